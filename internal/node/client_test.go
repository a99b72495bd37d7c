// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestBadAddressesAreRefusedWithoutShowingThem(t *testing.T) {
	for _, c := range []struct {
		cfg  node.Config
		want string
	}{
		{node.Config{}, `node url: scheme ""; want http or https`},
		{node.Config{URL: "ftp://secret.example"}, `node url: scheme "ftp"; want http or https`},
		{node.Config{URL: "ws://secret.example"}, `node url: scheme "ws"; want http or https`},
		{node.Config{URL: "http://"}, `node url: has no host; want http://host:port`},
		{node.Config{URL: "http://user:hunter2@%zz"}, `node url: not a URL; want http://host:port`},
		{node.Config{URL: "http://a", WSURL: "http://b"}, `node websocket url: scheme "http"; want ws or wss`},
		{node.Config{URL: "http://a", WSURL: "ws://u:p@b"}, `node websocket url: has user info; put it into the user name and password of the node`},
		{node.Config{URL: "http://a", Timeout: -1}, `node: timeout and maximum response must not be negative`},
	} {
		if _, err := node.New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.want)
		}
	}
}

func TestCredentialsAndHeadersGoWithEveryRequest(t *testing.T) {
	got := make(chan http.Header, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		body, _ := io.ReadAll(r.Body)
		answerTo(w, body, `"0x1"`)
	}))
	t.Cleanup(srv.Close)
	url := strings.Replace(srv.URL, "http://", "http://alice:s%20cret@", 1)
	c := client(t, node.Config{URL: url, Headers: map[string]string{"X-Api-Key": "k"}})
	if _, err := c.Forward(ctx(t), "eth_chainId", nil, http.Header{
		"X-Request-Id": {"r1"}, "Authorization": {"Basic stolen"}, "Cookie": {"a=b"}, "Connection": {"close"},
		"Host": {"evil"}, "Content-Length": {"1"}, "X-Api-Key": {"mine"}, "Accept-Encoding": {"gzip"},
	}); err != nil {
		t.Fatal(err)
	}
	h := <-got
	for name, want := range map[string]string{
		"Authorization": "Basic YWxpY2U6cyBjcmV0", "X-Api-Key": "k", "X-Request-Id": "r1",
		"Cookie": "", "Accept-Encoding": "", "Content-Type": "application/json",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
}

// answerTo answers a single request with this result.
func answerTo(w io.Writer, body []byte, result string) {
	var req struct{ ID json.RawMessage }
	_ = json.Unmarshal(body, &req)
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, req.ID, result)
}

func TestForwardIsByteTrue(t *testing.T) {
	for _, result := range []string{
		`"0x1"`, `null`, `{ "b" : 1.50e+05,"a":[ ]  , "a":2 }`, `"\u0041\/\ud800"`, `12345678901234567890123`, `[]`,
	} {
		var asked []byte
		c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
			asked = body
			answerTo(w, body, result)
		})})
		r, err := c.Forward(ctx(t), "eth_call", []byte(`[{"to":"0x0", "x":1.0},"latest"]`), nil)
		if err != nil || string(r.Result) != result || r.Error != nil {
			t.Errorf("result %q, error %q, %v; want %q", r.Result, r.Error, err, result)
		}
		if !bytes.HasSuffix(asked, []byte(`"method":"eth_call","params":[{"to":"0x0", "x":1.0},"latest"]}`)) {
			t.Errorf("asked %s", asked)
		}
	}
}

func TestNodesOwnErrorsComeThroughVerbatim(t *testing.T) {
	const object = `{"code":3,"message":"execution reverted: no","data":"0x08c379a0","extra":[1.0]}`
	for _, status := range []int{200, 400, 429, 500} {
		c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":null,"error":%s}`, object)
		})})
		r, err := c.Forward(ctx(t), "eth_call", nil, nil)
		if err != nil || string(r.Error) != object || r.Result != nil {
			t.Errorf("status %d: %q %q %v", status, r.Result, r.Error, err)
		}
		var e *node.Error
		err = c.Call(ctx(t), nil, "eth_call")
		if !errors.As(err, &e) || e.Code != 3 || e.Message != "execution reverted: no" ||
			string(e.Data) != `"0x08c379a0"` || string(e.Raw) != object {
			t.Errorf("status %d: %#v %v", status, e, err)
		}
	}
}

// TestBadAnswersAreNamedAndShowNoAddress has every way in which an answer can be
// no answer.
func TestBadAnswersAreNamedAndShowNoAddress(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		kind   error
		want   string
	}{
		"html":            {200, "<html>", node.ErrBadResponse, "not a JSON-RPC response object"},
		"empty":           {200, "", node.ErrBadResponse, "not a JSON-RPC response object"},
		"no answer":       {200, `{"id":1}`, node.ErrBadResponse, "neither result nor error"},
		"other id":        {200, `{"id":99,"result":1}`, node.ErrBadResponse, "answer to another question"},
		"no id":           {200, `{"result":1}`, node.ErrBadResponse, "answer to another question"},
		"array":           {200, `[{"id":1,"result":1}]`, node.ErrBadResponse, "not a JSON-RPC response object"},
		"deep":            {200, `{"id":1,"result":` + strings.Repeat("[", 1<<19), node.ErrBadResponse, "not JSON"},
		"bad gateway":     {502, "<html>bad gateway", node.ErrUnavailable, "HTTP status 502"},
		"redirect":        {301, "", node.ErrUnavailable, "HTTP status 301"},
		"unauthorised":    {401, "who are you", node.ErrUnavailable, "HTTP status 401"},
		"result with 500": {500, `{"id":1,"result":1}`, node.ErrUnavailable, "HTTP status 500"},
		"too large":       {200, `{"id":1,"result":"` + strings.Repeat("a", 2<<20) + `"}`, node.ErrTooLarge, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			url := answering(t, func(w http.ResponseWriter, body []byte) {
				w.Header().Set("Location", "http://evil.example/")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			cl := client(t, node.Config{URL: url, MaxResponse: 1 << 20})
			_, err := cl.Forward(ctx(t), "eth_call", nil, nil)
			if !errors.Is(err, c.kind) || !strings.HasSuffix(err.Error(), c.want) {
				t.Fatalf("%v, want %v: %s", err, c.kind, c.want)
			}
			noAddress(t, err, url)
		})
	}
}

func noAddress(t *testing.T, err error, url string) {
	t.Helper()
	host := strings.TrimPrefix(url, "http://")
	for _, secret := range []string{host, "127.0.0.1", "localhost", host[strings.LastIndex(host, ":")+1:], "evil"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error %q shows %q", err, secret)
		}
	}
}

func TestDeadConnectionsAreUnavailable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String()
	ln.Close()
	err = client(t, node.Config{URL: url}).Call(ctx(t), nil, "eth_chainId")
	if !errors.Is(err, node.ErrUnavailable) || !strings.HasSuffix(err.Error(), "connection refused") {
		t.Error(err)
	}
	noAddress(t, err, url)

	chain, c := pair(t, nodetest.Options{})
	chain.RefuseConn(true)
	if err = c.Call(ctx(t), nil, "eth_chainId"); !errors.Is(err, node.ErrUnavailable) {
		t.Error(err)
	}
	noAddress(t, err, chain.URL())
	chain.RefuseConn(false)
	if err = c.Call(ctx(t), nil, "eth_chainId"); err != nil {
		t.Error(err)
	}

	err = client(t, node.Config{URL: "http://no-such-host.invalid"}).Call(ctx(t), nil, "eth_chainId")
	if !errors.Is(err, node.ErrUnavailable) || strings.Contains(err.Error(), "invalid") {
		t.Error(err)
	}
	err = client(t, node.Config{URL: strings.Replace(chain.URL(), "http", "https", 1)}).Call(ctx(t), nil, "eth_chainId")
	if !errors.Is(err, node.ErrUnavailable) {
		t.Error(err)
	}
	noAddress(t, err, chain.URL())
}

func TestStaleConnectionIsTriedOnceMoreForReadsOnly(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	chain.Drop("eth_chainId", 1)
	if err := c.Call(ctx(t), nil, "eth_chainId"); err != nil || chain.Calls("eth_chainId") != 2 {
		t.Errorf("read: %v after %d calls", err, chain.Calls("eth_chainId"))
	}
	chain.Drop("eth_sendRawTransaction", 1)
	key, _ := nodetest.Key(0)
	errs := c.SendRaw(ctx(t), [][]byte{raw(t, transfer(t, key, 0))})
	if !errors.Is(errs[0], node.ErrUnavailable) || chain.Calls("eth_sendRawTransaction") != 1 {
		t.Errorf("send: %v after %d calls", errs[0], chain.Calls("eth_sendRawTransaction"))
	}
}

func TestSlowNodeTimesOut(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c := client(t, node.Config{URL: chain.URL(), Timeout: 100 * time.Millisecond})
	defer chain.Hang("eth_call")()
	start := time.Now()
	_, err := c.Forward(context.Background(), "eth_call", nil, nil)
	if !errors.Is(err, node.ErrTimeout) || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	noAddress(t, err, chain.URL())

	if s := c.Stats(); s.Requests != 1 || s.Failures != 1 || !errors.Is(s.LastError, node.ErrTimeout) {
		t.Errorf("%+v", s)
	}
	patient := client(t, node.Config{URL: chain.URL(), Timeout: time.Hour})
	cancelled, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = patient.Forward(cancelled, "eth_call", nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s := patient.Stats(); s.Requests != 0 || s.Failures != 0 || s.LastError != nil {
		t.Errorf("%+v: a caller who gave up is no fault of the node", s)
	}
}

// TestSlowBodyTimesOut has a node that sends a byte now and then for ever.
func TestSlowBodyTimesOut(t *testing.T) {
	stop := make(chan struct{})
	url := answering(t, func(w http.ResponseWriter, _ []byte) {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_, _ = io.WriteString(w, " ")
				w.(http.Flusher).Flush()
			}
		}
	})
	defer close(stop)
	c := client(t, node.Config{URL: url, Timeout: 150 * time.Millisecond})
	if err := c.Call(context.Background(), nil, "eth_chainId"); !errors.Is(err, node.ErrTimeout) {
		t.Error(err)
	}
}

func TestHugeAnswersTakeBoundedMemory(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c := client(t, node.Config{URL: chain.URL(), MaxResponse: 4 << 20})
	chain.Oversize("eth_getLogs", 100<<20, nodetest.Forever)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 5 {
		if _, err := c.Forward(ctx(t), "eth_getLogs", nil, nil); !errors.Is(err, node.ErrTooLarge) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// Doubling up to 4 MiB is 8 MiB per answer; the fake's own writes are small.
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("allocated %d MiB for 5 answers of 100 MiB with a limit of 4", grown>>20)
	}
}

func TestAnnouncedLengthIsNotBelieved(t *testing.T) {
	url := answering(t, func(w http.ResponseWriter, _ []byte) {
		w.Header().Set("Content-Length", "33000000")
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	c := client(t, node.Config{URL: url})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if err := c.Call(ctx(t), nil, "eth_getLogs"); !errors.Is(err, node.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("allocated %d MiB for 20 answers of one byte", grown>>20)
	}
	if err := client(t, node.Config{URL: url, MaxResponse: 1000}).Call(ctx(t), nil, "x"); !errors.Is(err, node.ErrTooLarge) {
		t.Error(err)
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var seen bool
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
		seen = true
		answerTo(w, body, `"0x1"`)
	})})
	if err := c.Call(ctx(t), nil, "eth_chainId"); err != nil || !seen {
		t.Error(err, seen)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := c.Call(context.Background(), nil, "eth_blockNumber"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := chain.Connections(); n > 16 {
		t.Errorf("%d connections for 8 callers", n)
	}
}

func TestClosedClientSaysSo(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c, err := node.New(node.Config{URL: chain.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if err := c.Call(ctx(t), nil, "eth_chainId"); !errors.Is(err, node.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), nil); !errors.Is(err, node.ErrClosed) {
		t.Error(err)
	}
}
