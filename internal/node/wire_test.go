// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// rawServer is a server that writes what it is told to, HTTP or not.
type rawServer struct {
	url      string
	conns    atomic.Int64
	requests atomic.Int64
}

// rawly serves each connection by serve, which is given its number from 1. next
// reads one request, and returns false at the end.
func rawly(t *testing.T, serve func(nth int64, c net.Conn, next func() bool)) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + ln.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			nth := s.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				serve(nth, c, func() bool {
					r, err := http.ReadRequest(in)
					if err != nil {
						return false
					}
					_, err = io.Copy(io.Discard, r.Body)
					s.requests.Add(1)
					return err == nil
				})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

const (
	okBody   = `{"id":1,"result":"0x1"}` // to the first question of a client
	okLength = "Content-Length: 23\r\n"
)

// answered is a client of a server that answers every request with text, and
// closes the connection then if told to.
func answered(t *testing.T, text string, hangUp bool) (*rawServer, *node.Client) {
	t.Helper()
	s := rawly(t, func(_ int64, c net.Conn, next func() bool) {
		for next() {
			if _, err := io.WriteString(c, text); err != nil || hangUp {
				return
			}
		}
	})
	return s, client(t, node.Config{URL: s.url, Timeout: time.Minute})
}

func TestAnswersOfEveryHonestFormAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		hangUp bool
		kept   bool // the connection may be used again
	}{
		"length":               {"HTTP/1.1 200 OK\r\n" + okLength + "\r\n" + okBody, false, true},
		"no reason":            {"HTTP/1.1 200\r\n" + okLength + "\r\n" + okBody, false, true},
		"odd case and blanks":  {"HTTP/1.1 200 OK\r\ncOnTeNt-lEnGtH:  23 \t\r\n\r\n" + okBody, false, true},
		"bare line feeds":      {"HTTP/1.1 200 OK\nContent-Length: 23\n\n" + okBody, false, true},
		"chunks":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + okBody[:5] + "\r\n12;a=b\r\n" + okBody[5:] + "\r\n0\r\n\r\n", false, true},
		"chunks and trailers":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0017\r\n" + okBody + "\r\n0\r\nExpires: never\r\nContent-Length: 5\r\n\r\n", false, true},
		"interim answers":      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + okLength + "\r\n" + okBody, false, true},
		"interim and chunks":   {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n0\r\n\r\n", false, true},
		"interim to the end":   {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + okBody, true, false},
		"a very long header":   {"HTTP/1.1 200 OK\r\nSet-Cookie: " + strings.Repeat("x", 20_000) + "\r\n" + okLength + "\r\n" + okBody, false, true},
		"connection: close":    {"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n" + okLength + "\r\n" + okBody, true, false},
		"until the end":        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + okBody, true, false},
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\n" + okLength + "\r\n" + okBody, true, false},
		"HTTP/1.0 to the end":  {"HTTP/1.0 200 OK\r\n\r\n" + okBody, true, false},
		"garbage after it":     {"HTTP/1.1 200 OK\r\n" + okLength + "\r\n" + okBody + "HTTP/1.1 200 OK\r\n" + okLength, false, false},
		"garbage after chunks": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n0\r\n\r\nx", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, cl := answered(t, c.text, c.hangUp)
			r, err := cl.Forward(ctx(t), "eth_unknown", nil, nil)
			if err != nil || string(r.Result) != `"0x1"` {
				t.Fatalf("%s %v", r.Result, err)
			}
			// The second answer is to the first question, hence bad; what counts
			// is over which connection it was asked.
			if _, err := cl.Forward(ctx(t), "eth_unknown", nil, nil); !errors.Is(err, node.ErrBadResponse) {
				t.Error(err)
			}
			if n := s.conns.Load(); (n == 1) != c.kept {
				t.Errorf("%d connections for two requests", n)
			}
		})
	}
}

func TestAnswersWhoseEndIsInDoubtAreRefused(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	const chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"no HTTP":                   {"220 smtp.example ESMTP\r\n", "no status line"},
		"TLS alert":                 {"\x15\x03\x01\x00\x02\x02\x16\n", "a control character in the header"},
		"HTTP/2":                    {"HTTP/2 200 OK\r\n\r\n", "no status line"},
		"HTTP/1.2":                  {"HTTP/1.2 200 OK\r\n\r\n", "no status line"},
		"status of two digits":      {"HTTP/1.1 20 OK\r\n\r\n", "no status line"},
		"status of four digits":     {"HTTP/1.1 2000 OK\r\n\r\n", "no status line"},
		"status zero":               {"HTTP/1.1 000 OK\r\n\r\n", "no status"},
		"other protocol":            {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "it switched to another protocol"},
		"two lengths":               {head + okLength + "Content-Length: 5\r\n\r\n" + okBody, "two lengths"},
		"the same length twice":     {head + okLength + okLength + "\r\n" + okBody, "two lengths"},
		"list of lengths":           {head + "Content-Length: 23, 23\r\n\r\n" + okBody, "no length"},
		"signed length":             {head + "Content-Length: +23\r\n\r\n" + okBody, "no length"},
		"negative length":           {head + "Content-Length: -1\r\n\r\n" + okBody, "no length"},
		"hexadecimal length":        {head + "Content-Length: 0x17\r\n\r\n" + okBody, "no length"},
		"empty length":              {head + "Content-Length:\r\n\r\n" + okBody, "no length"},
		"length beyond 64 bits":     {head + "Content-Length: 18446744073709551639\r\n\r\n" + okBody, "no length"},
		"length and chunks":         {head + okLength + "Transfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n0\r\n\r\n", "a length and chunks"},
		"chunks twice":              {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "an unknown transfer encoding"},
		"compressed transfer":       {head + "Transfer-Encoding: gzip, chunked\r\n\r\n", "an unknown transfer encoding"},
		"chunks in HTTP/1.0":        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n0\r\n\r\n", "an unknown transfer encoding"},
		"folded header":             {head + "X: a\r\n b\r\n" + okLength + "\r\n" + okBody, "a header without a name"},
		"blank before the colon":    {head + "Content-Length : 23\r\n\r\n" + okBody, "a header without a name"},
		"header without a colon":    {head + "Content-Length 23\r\n\r\n" + okBody, "a header without a name"},
		"header without a name":     {head + ": 23\r\n\r\n" + okBody, "a header without a name"},
		"zero byte":                 {head + "X: \x00\r\n\r\n" + okBody, "a control character in the header"},
		"lone carriage return":      {head + "X: a\rContent-Length: 5\r\n\r\n" + okBody, "a control character in the header"},
		"header without end":        {head + strings.Repeat("X-Pad: "+strings.Repeat("x", 1000)+"\r\n", 100), "a header without end"},
		"line without end":          {head + "X: " + strings.Repeat("x", 100_000), "a header without end"},
		"status line without end":   {strings.Repeat("x", 100_000), "a header without end"},
		"interim answers for ever":  {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 4000), "a header without end"},
		"long length":               {head + "Content-Length: 23" + strings.Repeat(" ", 5000) + "\r\n\r\n" + okBody, "two lengths"},
		"chunk without size":        {chunked + "\r\n" + okBody, "a chunk without a size"},
		"chunk of a sign":           {chunked + "+17\r\n" + okBody, "a chunk without a size"},
		"chunk of prefix":           {chunked + "0x17\r\n" + okBody, "a chunk without a size"},
		"chunk beyond 64 bits":      {chunked + "10000000000000017\r\n" + okBody, "a chunk without a size"},
		"chunk with bare line feed": {chunked + "17\n" + okBody + "\r\n0\r\n\r\n", "a chunk without an end"},
		"chunk that is longer":      {chunked + "5\r\n" + okBody + "\r\n0\r\n\r\n", "a chunk without an end"},
		"chunk header without end":  {chunked + "17;" + strings.Repeat("x", 100_000), "a chunk without a size"},
		"many chunk extensions":     {chunked + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\n \r\n", 100), "a header without end"},
		"trailer without a name":    {chunked + "17\r\n" + okBody + "\r\n0\r\nx\r\n\r\n", "a trailer without a name"},
		"trailers without end":      {chunked + "17\r\n" + okBody + "\r\n0\r\n" + strings.Repeat("X: x\r\n", 20_000), "a header without end"},
	} {
		t.Run(name, func(t *testing.T) {
			s, cl := answered(t, c.text, false)
			_, err := cl.Forward(ctx(t), "eth_unknown", nil, nil)
			if !errors.Is(err, node.ErrBadResponse) || !strings.HasSuffix(err.Error(), "not HTTP: "+c.want) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			noAddress(t, err, s.url)
			_, _ = cl.Forward(ctx(t), "eth_unknown", nil, nil)
			if n := s.conns.Load(); n != 2 {
				t.Errorf("a connection that is out of step was used again: %d connections", n)
			}
		})
	}
}

func TestAnswersThatEndEarlyAreUnavailable(t *testing.T) {
	for name, text := range map[string]string{
		"in the status line":       "HTTP/1.1 2",
		"in the header":            "HTTP/1.1 200 OK\r\nContent-Le",
		"before the body":          "HTTP/1.1 200 OK\r\n" + okLength + "\r\n",
		"in the body":              "HTTP/1.1 200 OK\r\n" + okLength + "\r\n" + okBody[:22],
		"in a chunk's size":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1",
		"in a chunk":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody[:5],
		"after a chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n",
		"in the trailers":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + okBody + "\r\n0\r\nA: b\r\n",
		"after an interim answer":  "HTTP/1.1 100 Continue\r\n\r\n",
		"in a long body":           "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + okBody + strings.Repeat(" ", 3<<20),
		"in a long body of chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + strings.Repeat(" ", 3<<20),
	} {
		t.Run(name, func(t *testing.T) {
			s, cl := answered(t, text, true)
			_, err := cl.Forward(ctx(t), "eth_unknown", nil, nil)
			if !errors.Is(err, node.ErrUnavailable) || !strings.HasSuffix(err.Error(), "connection closed before the answer") {
				t.Error(err)
			}
			if n := s.requests.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestConnectionThatDiedIdleCostsNothing has a node that hangs up after each
// answer without a word. What must not be repeated is still sent once, over a
// connection that is alive.
func TestConnectionThatDiedIdleCostsNothing(t *testing.T) {
	for name, after := range map[string]func(c net.Conn){
		"closed":  func(net.Conn) {},
		"reset":   func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
		"garbage": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{}, 10)
			s := rawly(t, func(nth int64, c net.Conn, next func() bool) {
				if !next() {
					return
				}
				body := fmt.Sprintf(`{"id":%d,"result":"0x1"}`, nth)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				time.Sleep(20 * time.Millisecond) // so that it is idle before it dies
				after(c)
				c.Close()
				ended <- struct{}{}
			})
			cl := client(t, node.Config{URL: s.url})
			for range 5 {
				if _, err := cl.Forward(ctx(t), "eth_newFilter", nil, nil); err != nil {
					t.Fatal(err)
				}
				<-ended
				time.Sleep(50 * time.Millisecond) // loopback
			}
			if n := s.requests.Load(); n != 5 {
				t.Errorf("%d requests for 5 calls", n)
			}
		})
	}
}

func TestOnlyReadsAreRepeatedAfterTheNodeGotThem(t *testing.T) {
	for method, want := range map[string]int64{"eth_call": 2, "eth_newFilter": 1, "eth_getFilterChanges": 1, "custom_thing": 1} {
		s := rawly(t, func(_ int64, _ net.Conn, next func() bool) { next() })
		cl := client(t, node.Config{URL: s.url})
		_, err := cl.Forward(ctx(t), method, nil, nil)
		if !errors.Is(err, node.ErrUnavailable) || s.requests.Load() != want {
			t.Errorf("%s: %v after %d requests", method, err, s.requests.Load())
		}
	}
}

// TestDrippingAnswersEndAtTheDeadline has nodes that send a byte now and then
// for ever, in every place where one can.
func TestDrippingAnswersEndAtTheDeadline(t *testing.T) {
	for name, c := range map[string]struct{ begin, drip string }{
		"nothing":    {"", ""},
		"status":     {"", "x"},
		"header":     {"HTTP/1.1 200 OK\r\n", "A: b\r\n"},
		"interim":    {"", "HTTP/1.1 100 Continue\r\n\r\n"},
		"body":       {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", " "},
		"long body":  {"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", " "},
		"chunks":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"},
		"trailers":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n"},
		"to the end": {"HTTP/1.1 200 OK\r\n\r\n", " "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rawly(t, func(_ int64, conn net.Conn, next func() bool) {
				if !next() {
					return
				}
				_, err := io.WriteString(conn, c.begin)
				for err == nil {
					time.Sleep(10 * time.Millisecond)
					if c.drip == "" {
						_, err = conn.Read(make([]byte, 1)) // until it is closed
						continue
					}
					_, err = io.WriteString(conn, c.drip)
				}
			})
			start := time.Now()
			hasty := client(t, node.Config{URL: s.url, Timeout: time.Second})
			for range 2 {
				if _, err := hasty.Forward(context.Background(), "eth_call", nil, nil); !errors.Is(err, node.ErrTimeout) {
					t.Error(err)
				}
			}
			patient := client(t, node.Config{URL: s.url, Timeout: time.Hour})
			for n := int64(3); n <= 4; n++ {
				cancelled, cancel := context.WithCancel(context.Background())
				go func() {
					defer cancel()
					for s.conns.Load() < n && time.Since(start) < time.Minute {
						time.Sleep(10 * time.Millisecond)
					}
				}()
				if _, err := patient.Forward(cancelled, "eth_call", nil, nil); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			eventually(t, "a connection for each call; one on which an answer is under way must not be used again", func() bool { return s.conns.Load() == 4 })
		})
	}
}

// TestRefusalBeforeTheRequestIsReadIsHeard has a proxy that refuses by its
// head alone.
func TestRefusalBeforeTheRequestIsReadIsHeard(t *testing.T) {
	for _, size := range []int{10, 60_000, 3 << 20} {
		s := rawly(t, func(_ int64, c net.Conn, _ func() bool) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // a proxy lingers so that its answer is not lost
		})
		cl := client(t, node.Config{URL: s.url})
		_, err := cl.Forward(ctx(t), "eth_unknown", []byte(`["`+strings.Repeat("x", size)+`"]`), nil)
		if !errors.Is(err, node.ErrUnavailable) || !strings.HasSuffix(err.Error(), "HTTP status 413") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestRequestIsWrittenAsConfigured(t *testing.T) {
	got := make(chan *http.Request, 4)
	url := answeringRequest(t, got)
	c := client(t, node.Config{URL: url + "/v3/key?a=b%20c", Headers: map[string]string{"Host": "chain.example", "X-Api-Key": "k"}})
	extra := http.Header{"x-request-id": {"r1"}, "Traceparent": {"00-1", "00-2"}, "Host": {"evil"}, "Transfer-Encoding": {"chunked"}}
	if _, err := c.Forward(ctx(t), "eth_chainId", nil, extra); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.RequestURI != "/v3/key?a=b%20c" || r.Host != "chain.example" || r.Proto != "HTTP/1.1" || r.Method != http.MethodPost ||
		r.Header.Get("X-Api-Key") != "k" || r.Header.Get("X-Request-Id") != "r1" || len(r.Header["Traceparent"]) != 2 ||
		r.Header.Get("User-Agent") != "hsmsigner" || r.ContentLength <= 0 || len(r.TransferEncoding) != 0 {
		t.Errorf("%+v", r)
	}
	for _, bad := range []http.Header{{"X-Request-Id": {"a\r\nX-Admin: yes"}}, {"X\r\nY": {"a"}}, {"X-Request-Id": {"a\x00"}}} {
		_, err := c.Forward(ctx(t), "eth_chainId", nil, bad)
		if !errors.Is(err, node.ErrUnavailable) || !strings.HasSuffix(err.Error(), "request could not be made") || len(got) != 0 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func answeringRequest(t *testing.T, got chan<- *http.Request) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r
		answerTo(w, body, `"0x1"`)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestCallerWhoHasGivenUpSendsNothing(t *testing.T) {
	s, c := answered(t, "HTTP/1.1 200 OK\r\n"+okLength+"\r\n"+okBody, false)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		if errs := c.SendRaw(cancelled, [][]byte{{1}}); !errors.Is(errs[0], context.Canceled) {
			t.Error(errs)
		}
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestRuleOfDialledAddressesHolds(t *testing.T) {
	s, _ := answered(t, "", true)
	var asked atomic.Int64
	c := client(t, node.Config{URL: s.url, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("not " + address)
	}})
	err := c.Call(ctx(t), nil, "eth_chainId")
	if !errors.Is(err, node.ErrUnavailable) || asked.Load() == 0 || s.conns.Load() != 0 {
		t.Error(err, asked.Load(), s.conns.Load())
	}
	noAddress(t, err, s.url)
}

func TestManyCallersShareConnectionsWithoutMixingAnswers(t *testing.T) {
	url := answering(t, func(w http.ResponseWriter, body []byte) {
		params := body[bytes.Index(body, []byte(`"params":`))+9 : len(body)-1]
		answerTo(w, body, string(params))
	})
	c := client(t, node.Config{URL: url, Timeout: time.Minute})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 60 {
				give := fmt.Sprintf(`[%d,%d,"%s"]`, i, j, strings.Repeat("x", i*j))
				callCtx, cancel := context.WithCancel(context.Background())
				if j%7 == 3 {
					time.AfterFunc(time.Duration(j)*10*time.Microsecond, cancel)
				}
				r, err := c.Forward(callCtx, "eth_unknown", []byte(give), nil)
				cancel()
				if err == nil && string(r.Result) != give || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%.40s answered %.40s, %v", give, r.Result, err)
				}
			}
		})
	}
	wg.Wait()
}
