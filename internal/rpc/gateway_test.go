// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestGatewayPathsAreToldFromOthers(t *testing.T) {
	for path, want := range map[string]string{
		"/treasury/gateway":              "treasury|/treasury/gateway|",
		"/treasury/gateway/":             "treasury|/treasury/gateway|/",
		"/treasury/gateway/abis/a%2Fb/c": "treasury|/treasury/gateway|/abis/a%2Fb/c",
		"/a%20b/gateway/x":               "a b|/a%20b/gateway|/x",
		"/treasury":                      "", "/": "", "/gateway": "", "/gateway/abis": "", "//gateway": "",
		"/treasury/gateways": "", "/treasury/x/gateway": "", "/a%2Fb/gateway": "",
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if v, name, is := gatewayPath(u); is {
			got = name + "|" + v.Base + "|" + v.Path
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// through is a rig whose gateway does what serve does.
func through(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, v Visit), change ...func(*Config)) *rig {
	t.Helper()
	return newRig(t, append(change, func(c *Config) { c.Gateway = serve })...)
}

func (r *rig) visit(method, path, body string, change ...func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	return r.do(body, append([]func(*http.Request){func(q *http.Request) {
		q.Method = method
		q.URL.Path, q.URL.RawPath = path, ""
	}}, change...)...)
}

func TestGatewayIsBehindTheChecksOfEveryRequest(t *testing.T) {
	asked := 0
	r := through(t, func(w http.ResponseWriter, q *http.Request, v Visit) {
		asked++
		body, _ := io.ReadAll(q.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, v.Who.Name+" "+v.Service.Name+" "+v.Base+" "+v.Path+" "+string(body))
	}, func(c *Config) {
		c.AllowedOrigins = []string{"https://app.example"}
		c.Auth = func(q *http.Request) (auth.Principal, error) {
			if name, _, is := q.BasicAuth(); is {
				return auth.Principal{Name: name, Membership: strings.TrimPrefix(name, "own")}, nil
			}
			return auth.Principal{}, auth.ErrCredentials
		}
	})
	as := func(name string) func(*http.Request) { return func(q *http.Request) { q.SetBasicAuth(name, "x") } }
	for _, c := range []struct {
		path   string
		change []func(*http.Request)
		code   int
		body   string
	}{
		{"/treasury/gateway/abis", nil, 401, `{"error":"a valid credential is required (HTTP Basic)","code":"unauthenticated"}`},
		{"/treasury/gateway/abis", []func(*http.Request){as("m9")}, 404, `{"error":"there is no wallet at this path","code":"not_found"}`},
		{"/nobody/gateway/abis", []func(*http.Request){as("own")}, 404, `{"error":"there is no wallet at this path","code":"not_found"}`},
		{"/treasury/gateway/abis", []func(*http.Request){as("own"), header("Origin", "https://evil.example")}, 403, `{"error":"the Origin \"https://evil.example\" is not allowed here","code":"forbidden"}`},
		{"/treasury/gateway/abis", []func(*http.Request){as("own"), func(q *http.Request) { q.Host = "evil.example" }}, 403, `{"error":"the Host \"evil.example\" is not allowed here","code":"forbidden"}`},
		{"/treasury/gateway/abis", []func(*http.Request){as("own")}, 418, "own treasury /treasury/gateway /abis {}"},
		{"/treasury/gateway/abis", []func(*http.Request){as("own"), header("Origin", "https://app.example")}, 418, "own treasury /treasury/gateway /abis {}"},
	} {
		res, body := r.visit(http.MethodPost, c.path, "{}", c.change...)
		if res.StatusCode != c.code || strings.TrimSpace(body) != c.body {
			t.Errorf("%s: %d %s, want %d %s", c.path, res.StatusCode, body, c.code, c.body)
		}
	}
	if asked != 2 {
		t.Errorf("the gateway was asked %d times, want 2", asked)
	}
	if res, _ := r.visit(http.MethodPost, "/treasury", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}`, as("own")); res.StatusCode != 200 || asked != 2 {
		t.Errorf("JSON-RPC went to the gateway: %d", res.StatusCode)
	}
}

func TestGatewayCountsAsWork(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := through(t, func(w http.ResponseWriter, _ *http.Request, _ Visit) {
		entered <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	}, func(c *Config) { c.Limits.Concurrent = 1 })
	done := make(chan int)
	go func() {
		res, _ := r.visit(http.MethodGet, "/treasury/gateway", "")
		done <- res.StatusCode
	}()
	<-entered
	res, body := r.visit(http.MethodGet, "/treasury/gateway", "")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"busy"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	close(release)
	if code := <-done; code != http.StatusNoContent {
		t.Errorf("the first: %d", code)
	}
}

func TestBodyOfTheGatewayCountsAsMemory(t *testing.T) {
	r := through(t, func(w http.ResponseWriter, q *http.Request, _ Visit) {
		if _, err := io.ReadAll(q.Body); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, err.Error())
		}
	}, func(c *Config) { c.Limits.Memory = 2 << 20 })
	if res, _ := r.visit(http.MethodPost, "/treasury/gateway", strings.Repeat("x", 256<<10)); res.StatusCode != 200 {
		t.Errorf("a body that fits: %d", res.StatusCode)
	}
	for _, body := range []string{strings.Repeat("x", 2<<20), strings.Repeat(",", 64<<10)} {
		if res, text := r.visit(http.MethodPost, "/treasury/gateway", body); res.StatusCode != 503 || text != errMemory.Error() {
			t.Errorf("a body that does not: %d %s", res.StatusCode, text)
		}
	}
	asYAML := header("Content-Type", "application/x-yaml")
	if res, _ := r.visit(http.MethodPost, "/treasury/gateway", strings.Repeat("-\n", 2<<10), asYAML); res.StatusCode != 200 {
		t.Errorf("YAML that fits: %d", res.StatusCode)
	}
	if res, _ := r.visit(http.MethodPost, "/treasury/gateway", strings.Repeat("-\n", 5<<10), asYAML); res.StatusCode != 503 {
		t.Errorf("YAML that does not: %d", res.StatusCode)
	}
	if r.srv.pools.memory.used != 0 {
		t.Errorf("%d bytes are not given back", r.srv.pools.memory.used)
	}
}

func TestValuesOfABodyAreCountedHoweverTheyCome(t *testing.T) {
	for _, size := range []int{1, 2, 3, 100} {
		c := &claimed{}
		text := `{"abi":"[0\u002c0,\\n]",""`
		for b := range slices.Chunk([]byte(text), size) {
			c.count(b)
		}
		if want := int64(bytesPerByte*len(text) + 5*bytesPerValue + bytesPerMember); c.cost != want {
			t.Errorf("in pieces of %d: %d, want %d", size, c.cost, want)
		}
	}
}

// A WebSocket of the gateway ends with its credential, with its wallet and with the
// server, and has a place among the sockets meanwhile.
func TestWebSocketOfTheGatewayEndsWhenItHasTo(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"revoked": func(r *rig) { r.srv.CloseSockets(func(auth.Principal) bool { return true }) },
		"removed": func(r *rig) { r.srv.RemoveService("treasury") },
	} {
		t.Run(name, func(t *testing.T) {
			entered := make(chan struct{})
			r := through(t, func(w http.ResponseWriter, q *http.Request, _ Visit) {
				close(entered)
				<-q.Context().Done()
				w.WriteHeader(http.StatusGone)
			})
			done := make(chan int, 1)
			go func() {
				res, _ := r.visit(http.MethodGet, "/treasury/gateway/ws", "", header("Upgrade", "websocket"), header("Connection", "Upgrade"))
				done <- res.StatusCode
			}()
			<-entered
			r.srv.mu.Lock()
			sockets := r.srv.pools.sockets.used
			r.srv.mu.Unlock()
			if sockets != 1 {
				t.Errorf("%d sockets are counted, want 1", sockets)
			}
			end(r)
			select {
			case code := <-done:
				if code != http.StatusGone {
					t.Error(code)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it did not end")
			}
		})
	}
}
