// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// tenants are callers by user name. Its password is the same as the name.
func tenants() map[string]auth.Principal {
	return map[string]auth.Principal{
		"one":         {Name: "app:one", Membership: "u0member01", Environment: "u0environ1"},
		"neighbour":   {Name: "app:neighbour", Membership: "u0member02", Environment: "u0environ1"},
		"other stage": {Name: "app:stage", Membership: "u0member01", Environment: "u0environ2"},
		"anybody":     {Name: "operator"},
	}
}

func basicAuth(q *http.Request) (auth.Principal, error) {
	user, pass, _ := q.BasicAuth()
	if p, ok := tenants()[user]; ok && pass == user {
		return p, nil
	}
	return auth.Principal{}, auth.ErrCredentials
}

// tenanted is a door with a service of each tenant, of the tenant's name, and
// one that is nobody's.
func tenanted(t testing.TB, change ...func(*Config)) *rig {
	return newRig(t, append([]func(*Config){func(c *Config) {
		c.Auth = basicAuth
		c.Default = "one"
		from := c.Services["treasury"]
		c.Services = map[string]*Service{}
		for user, p := range tenants() {
			svc := *from
			svc.Name, svc.Membership, svc.Environment = strings.ReplaceAll(user, " ", "-"), p.Membership, p.Environment
			c.Services[svc.Name] = &svc
		}
	}}, change...)...)
}

var (
	date = regexp.MustCompile(`Date: [^\r]*\r\n`)
	text = `{"jsonrpc":"2.0","id":7,"method":"eth_accounts"}`
)

// exchange sends a whole HTTP request and returns the whole answer, but for
// its date.
func (r *rig) exchange(request string) string {
	r.t.Helper()
	conn := r.open(request)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(conn)
	var b strings.Builder
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(in, &b)), nil)
	if err != nil {
		r.t.Fatalf("%q: %v", request, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = conn.Close()
	return date.ReplaceAllString(b.String(), "")
}

// requests are all that can be asked of a path, as whole HTTP requests.
func requests(path, authorization string) map[string]string {
	host := " HTTP/1.1\r\nHost: localhost\r\n" + authorization
	post := func(contentType, body string) string {
		return "POST " + path + host + "Content-Type: " + contentType + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
	}
	return map[string]string{
		"request":      post("application/json", text),
		"batch":        post("application/json", "["+text+","+text+"]"),
		"notification": post("application/json", `{"jsonrpc":"2.0","method":"eth_accounts"}`),
		"not JSON":     post("application/json", "{"),
		"not its type": post("text/plain", text),
		"idempotent":   strings.Replace(post("application/json", text), "Content-Type", "Idempotency-Key: \x01\r\nContent-Type", 1),
		"too large":    "POST " + path + host + "Content-Type: application/json\r\nContent-Length: 9999999\r\n\r\n",
		"GET":          "GET " + path + host + "\r\n",
		"OPTIONS":      "OPTIONS " + path + host + "\r\n",
		"upgrade":      "GET " + path + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"bad upgrade":  "GET " + path + host + "Upgrade: websocket\r\n\r\n",
	}
}

func itoa(n int) string { return string(appendInt(n)) }

func appendInt(n int) []byte {
	if n < 10 {
		return []byte{byte('0' + n)}
	}
	return append(appendInt(n/10), byte('0'+n%10))
}

func authorization(user string) string {
	q := http.Request{Header: http.Header{}}
	q.SetBasicAuth(user, user)
	return "Authorization: " + q.Header.Get("Authorization") + "\r\n"
}

func TestAnothersWalletIsAsGoodAsNone(t *testing.T) {
	r := tenanted(t)
	for user, p := range tenants() {
		missing := requests("/missing", authorization(user))
		for of, owner := range tenants() {
			path := "/" + strings.ReplaceAll(of, " ", "-")
			may := user == "anybody" || p.Membership == owner.Membership && p.Environment == owner.Environment
			for what, request := range requests(path, authorization(user)) {
				if what == "idempotent" {
					continue // net/http refuses the header by itself
				}
				got, none := r.exchange(request), r.exchange(missing[what])
				switch {
				case !may && got != none:
					t.Errorf("%s, %s at %s:\n got %q\nwant %q", user, what, path, got, none)
				case may && what != "GET" && what != "OPTIONS" && got == none:
					t.Errorf("%s may use %s, but %s is answered with %q", user, path, what, got)
				}
			}
		}
	}
	// The wallet at "/" is one's.
	for user, want := range map[string]string{"one": "200 OK", "anybody": "200 OK", "neighbour": "404 Not Found", "other stage": "404 Not Found"} {
		if got := r.exchange(requests("/", authorization(user))["request"]); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%s at /: %s", user, got)
		}
	}
}

func TestWithoutCredentialsNoPathTellsAnything(t *testing.T) {
	r := tenanted(t)
	for _, authorization := range []string{"", "Authorization: Basic bm86bm8=\r\n"} {
		missing := requests("/missing", authorization)
		for _, path := range []string{"/", "/one", "/neighbour", "/anybody", "/one/more"} {
			for what, request := range requests(path, authorization) {
				if got, none := r.exchange(request), r.exchange(missing[what]); got != none {
					t.Errorf("%s at %s:\n got %q\nwant %q", what, path, got, none)
				}
			}
		}
	}
}

// What takes longer tells that there is something.
func TestAnothersWalletTakesAsLongAsNone(t *testing.T) {
	r := tenanted(t)
	once := func(path string) time.Duration {
		q := httptest.NewRequest(http.MethodPost, "http://localhost"+path, strings.NewReader(text))
		q.Header.Set("Content-Type", "application/json")
		q.SetBasicAuth("one", "one")
		w := httptest.NewRecorder()
		start := time.Now()
		r.srv.ServeHTTP(w, q)
		took := time.Since(start)
		if w.Code != http.StatusNotFound {
			t.Fatalf("%s: %d", path, w.Code)
		}
		return took
	}
	var foreign, missing []time.Duration
	for range 3000 {
		foreign = append(foreign, once("/neighbour"))
		missing = append(missing, once("/nobodysss"))
	}
	slices.Sort(foreign)
	slices.Sort(missing)
	a, b := foreign[len(foreign)/2], missing[len(missing)/2]
	if max(a, b) > 2*min(a, b) {
		t.Errorf("another's takes %v, a missing one %v", a, b)
	}
}
