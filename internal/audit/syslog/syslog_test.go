// SPDX-License-Identifier: Apache-2.0

package syslog_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/audit/syslog"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logOf is a real log over a real store.
type logOf struct {
	t    *testing.T
	db   *store.DB
	book *logbook.Book
}

func newLog(t *testing.T) *logOf {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	must(t, err)
	key, err := logbook.NewKey("example.org/log")
	must(t, err)
	book, err := logbook.Open(t.Context(), logbook.Config{Store: db, Key: key, Interval: time.Millisecond})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = book.Run(ctx) })
	t.Cleanup(func() { cancel(); ended.Wait(); must(t, db.Close()) })
	return &logOf{t, db, book}
}

// grow adds n records and waits until they are in the log.
func (l *logOf) grow(n int) {
	l.t.Helper()
	var ids []string
	for range n {
		id := store.NewID()
		ids = append(ids, id)
		must(l.t, l.db.WriteIntent(l.t.Context(), audit.Intent{ID: id, At: time.Now(), Principal: "ü\nx", Wallet: "w", Action: audit.SignMessage, Subject: id, Verdict: "allow: default"}))
	}
	must(l.t, l.book.Await(l.t.Context(), ids...))
}

// lines are all of the log.
func (l *logOf) lines() (all []string) {
	l.t.Helper()
	for {
		some, err := l.book.Records(l.t.Context(), int64(len(all)), 100)
		must(l.t, err)
		if len(some) == 0 {
			return all
		}
		for _, r := range some {
			all = append(all, string(r.Line))
		}
	}
}

func (l *logOf) row() store.AuditWitness {
	l.t.Helper()
	r, err := l.db.AuditWitness(l.t.Context(), syslog.Row("siem"))
	must(l.t, err)
	return r
}

// export runs an exporter to one server until stop is called.
func (l *logOf) export(s syslog.Server) (stop func()) {
	l.t.Helper()
	s.Name, s.Facility, s.Hostname, s.App = "siem", 13, "host.example", "hsmsigner"
	e, err := syslog.New(syslog.Config{Log: l.book, Store: l.db, Servers: []syslog.Server{s}, Poll: 5 * time.Millisecond, Settle: 2 * time.Second})
	must(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { e.Run(ctx) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); ended.Wait() }) }
	l.t.Cleanup(stop)
	return stop
}

// sink is what a server has received, message by message.
type sink struct {
	mu       sync.Mutex
	messages []string
}

func (s *sink) add(m string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

// stream reads messages as RFC 6587 §3.4.1 frames them, at most most of them.
func (s *sink) stream(c net.Conn, most int) {
	defer c.Close()
	r := bufio.NewReader(c)
	for range most {
		size, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil {
			s.add("no length: " + size)
			return
		}
		m := make([]byte, n)
		if _, err := io.ReadFull(r, m); err != nil {
			return
		}
		s.add(string(m))
	}
}

// listen takes streams, of each of which it reads at most most messages.
func (s *sink) listen(t *testing.T, l net.Listener, most int) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() { s.stream(c, most) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}

var format = regexp.MustCompile(`^<110>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) host\.example hsmsigner \d+ (intent|outcome|event) \[meta sequenceId="(\d+)"\] (\{.*\})$`)

// check holds what came against the log: every record at least once, its line
// byte by byte, and the first time in order.
func check(t *testing.T, l *logOf, got []string) {
	t.Helper()
	want := l.lines()
	next := 0
	for _, m := range got {
		parts := format.FindStringSubmatch(m)
		if parts == nil {
			t.Fatalf("not as RFC 5424 has it: %q", m)
		}
		n, err := strconv.Atoi(parts[3])
		must(t, err)
		if n > next+1 {
			t.Fatalf("record %d came after %d", n-1, next-1)
		}
		if parts[4] != want[n-1] {
			t.Fatalf("record %d: %q, logged as %q", n-1, parts[4], want[n-1])
		}
		next = max(next, n)
	}
	if next != len(want) {
		t.Fatalf("%d of %d records came", next, len(want))
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// certificate is a server's, and the authorities that vouch for it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestEveryRecordComesOverEveryTransport(t *testing.T) {
	l := newLog(t)
	l.grow(3)
	tcp, encrypted := listenTCP(t), listenTCP(t)
	cert, roots := certificate(t)
	udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	must(t, err)
	dir := t.TempDir()
	gram, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "unixgram", filepath.Join(dir, "g"))
	must(t, err)
	unix, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	must(t, err)
	for name, c := range map[string]struct {
		server syslog.Server
		packet net.PacketConn
		stream net.Listener
	}{
		"tcp":         {server: syslog.Server{Network: "tcp", Address: tcp.Addr().String()}, stream: tcp},
		"tls":         {server: syslog.Server{Network: "tls", Address: encrypted.Addr().String(), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}, stream: tls.NewListener(encrypted, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})},
		"udp":         {server: syslog.Server{Network: "udp", Address: udp.LocalAddr().String()}, packet: udp},
		"unix":        {server: syslog.Server{Network: "unix", Address: filepath.Join(dir, "g")}, packet: gram},
		"unix stream": {server: syslog.Server{Network: "unix", Address: filepath.Join(dir, "s")}, stream: unix},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, l.db.PutAuditWitness(t.Context(), store.AuditWitness{Name: syslog.Row("siem"), At: time.Now()}))
			var s sink
			if c.stream != nil {
				s.listen(t, c.stream, 1<<20)
			} else {
				go s.packets(c.packet)
				t.Cleanup(func() { _ = c.packet.Close() })
			}
			stop := l.export(c.server)
			waitFor(t, "first records", func() bool { return len(s.all()) >= len(l.lines()) })
			l.grow(2)
			waitFor(t, "new records", func() bool { return len(s.all()) >= len(l.lines()) })
			waitFor(t, "position", func() bool { return l.row().Size == int64(len(l.lines())) })
			stop()
			check(t, l, s.all())
		})
	}
}

func (s *sink) packets(c net.PacketConn) {
	room := make([]byte, 64<<10)
	for {
		n, _, err := c.ReadFrom(room)
		if err != nil {
			return
		}
		s.add(string(room[:n]))
	}
}

// A server that takes some messages and goes away, again and again, and an
// exporter that is stopped and started: each record arrives, in the log's order.
func TestConnectionsThatBreakAndRestartsLoseNothing(t *testing.T) {
	l := newLog(t)
	var s sink
	tcp := listenTCP(t)
	s.listen(t, tcp, 7)
	server := syslog.Server{Network: "tcp", Address: tcp.Addr().String()}
	stop := l.export(server)
	for range 3 {
		l.grow(5)
		stop()
		stop = l.export(server)
	}
	var whole sink
	waitFor(t, "complaint", func() bool { return l.row().Error != "" })
	stop()
	// In the end it takes all that comes.
	more := listenTCP(t)
	whole.listen(t, more, 1<<20)
	from := l.row().Size
	l.export(syslog.Server{Network: "tcp", Address: more.Addr().String()})
	waitFor(t, "position", func() bool { r := l.row(); return r.Size == int64(len(l.lines())) && r.Error == "" })
	got := append(s.all(), whole.all()...)
	if from > int64(len(s.all())) {
		t.Errorf("position %d, and only %d messages were read", from, len(s.all()))
	}
	check(t, l, got)
}

// What the server's kernel has and the server has not read does not count as
// arrived when the connection is reset.
func TestWhatWasNotReadIsSentAgain(t *testing.T) {
	l := newLog(t)
	l.grow(20)
	tcp := listenTCP(t)
	reset := make(chan struct{})
	go func() {
		defer close(reset)
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		time.Sleep(30 * time.Millisecond)
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close() // with unread data: a reset
	}()
	server := syslog.Server{Network: "tcp", Address: tcp.Addr().String()}
	l.export(server)
	<-reset
	var s sink
	s.listen(t, tcp, 1<<20)
	waitFor(t, "position", func() bool { return l.row().Size == int64(len(l.lines())) })
	check(t, l, s.all())
}

func TestAServerOfAnotherCertificateGetsNothing(t *testing.T) {
	l := newLog(t)
	l.grow(1)
	cert, _ := certificate(t)
	_, others := certificate(t)
	tcp := listenTCP(t)
	var s sink
	s.listen(t, tls.NewListener(tcp, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), 1<<20)
	l.export(syslog.Server{Network: "tls", Address: tcp.Addr().String(), TLS: &tls.Config{RootCAs: others, MinVersion: tls.VersionTLS12}})
	waitFor(t, "complaint", func() bool { return strings.Contains(l.row().Error, "certificate") })
	if got := s.all(); len(got) != 0 || l.row().Size != 0 {
		t.Error(fmt.Sprint(got))
	}
}
