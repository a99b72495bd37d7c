// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkPassThrough compares the door with the plainest proxy there is, in
// front of the same node. The ratio is what counts.
func BenchmarkPassThrough(b *testing.B) {
	answer := `{"jsonrpc":"2.0","id":ID,"result":"0x10"}`
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, id, _ := strings.Cut(string(body), `"id":`)
		id, _, _ = strings.Cut(id, ",")
		_, _ = io.WriteString(w, strings.Replace(answer, "ID", id, 1))
	}))
	defer upstream.Close()
	target, _ := url.Parse(upstream.URL)

	r := newRig(b, func(c *Config) { c.Services["treasury"].Node = dial(b, upstream.URL) })
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	plain := httptest.NewServer(proxy)
	defer plain.Close()
	defer proxy.Transport.(*http.Transport).CloseIdleConnections()

	body := `{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["` + to + `","latest"]}`
	for _, way := range []struct{ name, url string }{{"door", r.http.URL}, {"ReverseProxy", plain.URL}, {"direct", upstream.URL}} {
		b.Run(way.name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Post(way.url, "application/json", strings.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					got, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if string(got) != `{"jsonrpc":"2.0","id":1,"result":"0x10"}` {
						b.Errorf("%s", got)
						return
					}
				}
			})
		})
	}
}

// BenchmarkRequest is what the door itself does for a request, without a
// connection and a node, by several callers at once.
func BenchmarkRequest(b *testing.B) {
	r := tenanted(b)
	for name, body := range map[string]string{
		"small": text,
		"large": `{"jsonrpc":"2.0","id":7,"method":"eth_accounts","params":[]` + strings.Repeat(" ", 100_000) + `}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					q := httptest.NewRequest(http.MethodPost, "http://localhost/one", strings.NewReader(body))
					q.Header.Set("Content-Type", "application/json")
					q.SetBasicAuth("one", "one")
					w := httptest.NewRecorder()
					r.srv.ServeHTTP(w, q)
					if w.Code != http.StatusOK {
						b.Error(w.Code, w.Body)
						return
					}
				}
			})
		})
	}
}
