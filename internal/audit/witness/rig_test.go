// SPDX-License-Identifier: Apache-2.0

package witness_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
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
	key  *logbook.Key
}

func newLog(t *testing.T) *logOf {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	must(t, err)
	key, err := logbook.NewKey("example.org/log")
	must(t, err)
	book, err := logbook.Open(t.Context(), logbook.Config{Store: db, Key: key, Interval: time.Millisecond})
	must(t, err)
	stop := start(func(done <-chan struct{}) { _ = book.Run(contextOf(done)) })
	t.Cleanup(func() { stop(); must(t, db.Close()) })
	return &logOf{t, db, book, key}
}

// grow adds n records and waits until they are under a checkpoint.
func (l *logOf) grow(n int) logbook.Checkpoint {
	l.t.Helper()
	var ids []string
	for range n {
		id := store.NewID()
		ids = append(ids, id)
		must(l.t, l.db.WriteIntent(l.t.Context(), audit.Intent{ID: id, At: time.Now(), Principal: "key:x", Wallet: "w", Action: audit.SignMessage, Subject: id, Verdict: "allow: default"}))
	}
	must(l.t, l.book.Await(l.t.Context(), ids...))
	c, err := l.book.Checkpoint(l.t.Context())
	must(l.t, err)
	return c
}

// server is a witness as c2sp.org/tlog-witness describes it. What it signs with is
// written here once more, by the words of the specification.
type server struct {
	*httptest.Server
	name    string
	private ed25519.PrivateKey
	vkey    string
	log     note.Verifier

	mu    sync.Mutex
	size  uint64
	root  []byte
	calls int
	fail  func(call int) int // a status; 0: none
	lost  func(call int) bool
	other bool // sign with another key
}

func newServer(t *testing.T, log logbook.Verifier) *server {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	s := &server{name: "witness.example/w1", private: private, log: log.Note()}
	key := append([]byte{4}, public...)
	s.vkey = s.name + "+" + hex.EncodeToString(s.id()) + "+" + base64.StdEncoding.EncodeToString(key)
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *server) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// id is SHA-256(<name> || "\n" || 0x04 || 32-byte key)[:4].
func (s *server) id() []byte {
	sum := sha256.Sum256([]byte(s.name + "\n\x04" + string(s.private.Public().(ed25519.PublicKey))))
	return sum[:4]
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if code := s.fail(s.calls); code != 0 {
			w.WriteHeader(code)
			return
		}
	}
	code, answer := s.take(r, string(body))
	if s.lost != nil && s.lost(s.calls) {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, answer)
}

func (s *server) take(r *http.Request, body string) (int, string) {
	head, signed, ok := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	old, isOld := strings.CutPrefix(lines[0], "old ")
	if r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" || !ok || !isOld {
		return 400, ""
	}
	n, err := note.Open([]byte(signed), note.VerifierList(s.log))
	if err != nil {
		return 403, ""
	}
	text := strings.Split(n.Text, "\n")
	size, err := strconv.ParseUint(text[1], 10, 64)
	if err != nil || text[0] != "example.org/log" {
		return 404, ""
	}
	root, err := base64.StdEncoding.DecodeString(text[2])
	if err != nil {
		return 400, ""
	}
	known, err := strconv.ParseUint(old, 10, 64)
	if err != nil || known > size {
		return 400, ""
	}
	if known != s.size || known == size && string(root) != string(s.root) {
		return 409, fmt.Sprintf("%d\n", s.size)
	}
	var hashes [][]byte
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return 400, ""
		}
		hashes = append(hashes, h)
	}
	if s.size > 0 {
		if proof.VerifyConsistency(rfc6962.DefaultHasher, s.size, size, hashes, s.root, root) != nil {
			return 422, ""
		}
	} else if len(hashes) > 0 {
		return 400, ""
	}
	s.size, s.root = size, root
	return 200, s.sign(n.Text)
}

func (s *server) sign(text string) string {
	private := s.private
	if s.other {
		_, private, _ = ed25519.GenerateKey(nil)
	}
	now := uint64(time.Now().Unix())
	signature := ed25519.Sign(private, []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s", now, text)))
	data := append(binary.BigEndian.AppendUint64(s.id(), now), signature...)
	return "— someone.else " + base64.StdEncoding.EncodeToString(make([]byte, 76)) + "\n" +
		"— " + s.name + " " + base64.StdEncoding.EncodeToString(data) + "\n"
}
