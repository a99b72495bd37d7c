// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

const theGateway = "/consortia/h0consort0/environments/h0environ0/services/%s/gateway"

// What is under a gateway is handed over with who asks and what they may do; whoever
// may not see the service gets what everybody gets for what is not there.
func TestGatewayIsHandedOverWithWhatTheCallerMayDo(t *testing.T) {
	r := newRig(t)
	m, err := NewManagement(ManagementConfig{
		Platform: r.platform, Gate: r.management.cfg.Gate, Release: "test",
		Gateway: func(w http.ResponseWriter, q *http.Request, who auth.Principal, to platform.Gateway, base, path string) {
			_, _ = fmt.Fprintf(w, "%s %s %s %s %v %s %s", q.Method, who.Name[:4], to.Wallet, to.Membership, to.MayChange, base, path)
		},
	})
	must(t, err)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	r.server = server
	id := platform.DeclaredID("treasury")
	under := fmt.Sprintf(theGateway, id)
	auditor := r.key(`{"name":"a","grants":[{"role":"auditor"}]}`)
	made := r.want(r.call(r.root, http.MethodPost, "/consortia", `{"name":"other"}`), 201)
	stranger := r.key(`{"name":"s","grants":[{"role":"admin","consortium_id":"` + made.id() + `"}]}`)

	for _, c := range []struct {
		token, method, path string
		code                int
		want                string
	}{
		{r.root, "POST", under + "/contracts/a%20b/f(uint256)", 200, "POST key: treasury h0member00 true " + Base + under + " /contracts/a%20b/f(uint256)"},
		{auditor, "DELETE", under + "/abis/x", 200, "DELETE key: treasury h0member00 false " + Base + under + " /abis/x"},
		{r.root, "GET", "/c/h0consort0/e/h0environ0/s/" + id + "/gateway/status", 200, "GET key: treasury h0member00 true " + Base + under + " /status"},
		{stranger, "GET", under + "/status", 404, ""},
		{"", "GET", under + "/status", 401, ""},
		{r.root, "GET", fmt.Sprintf(theGateway, someID) + "/status", 404, ""},
		{r.root, "GET", under + "/a/../b", 404, ""},
	} {
		a := r.send(c.token, c.method, c.path, "")
		if a.code != c.code || c.want != "" && a.text != c.want {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.method, c.path, a.code, a.text, c.code, c.want)
		}
	}
	if a := r.call(auditor, http.MethodGet, under, ""); a.code != 200 || a.get("may_change") != false || a.get("abis") != Base+under+"/abis" {
		t.Errorf("%d %s", a.code, a.text)
	}
	for _, upgrade := range [][]string{{"websocket"}, {"WebSocket"}, {"foo, websocket"}, {"foo", "websocket"}, {""}, {"", "websocket"}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+Base+under+"/ws", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+r.root)
		req.Header["Upgrade"] = upgrade
		req.Header.Set("Connection", "Upgrade")
		if a := r.do(req); a.code != http.StatusBadRequest {
			t.Errorf("a WebSocket, %q: %d %s", upgrade, a.code, a.text)
		}
	}
}
