// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// aviary is a daemon that is given canaries, and what was seen of it.
type aviary struct {
	*managed
	canaries
	recorder
	node    *harness.Node
	guarded string // the node's URL, behind a user, a password, a path and a query
	output  string // path of what the daemon writes
	spans   *collector
	gossip  *httptest.Server // tells in its errors whatever it was sent
	heard   atomic.Int64     // requests, by gossip
	secure  *httptest.Server // the same with a certificate that nobody trusts
	azure   *azuretest.Server
	vault   *vaultfake.Server

	secretID string // that the vault takes
}

// security.md no. 38. Every input that takes a secret gets one of its own, in
// requests that are right and in such that fail in every way; then all that the
// daemon has written, answered and stored is searched.
func TestCanariesAreHeardNowhere(t *testing.T) {
	a := newAviary(t)
	a.configurations()
	a.nodes()
	a.bodies()
	a.doors()
	a.people()
	a.atWork()
	a.look()
	a.search()
}

func newAviary(t *testing.T) *aviary {
	t.Helper()
	a := &aviary{spans: startCollector(t), vault: startVault(t, 1)}
	gossip := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.heard.Add(1)
		dump, _ := httputil.DumpRequest(r, true)
		w.Header().Set("Location", "http://127.0.0.1:1/"+url.QueryEscape(r.URL.String()))
		w.Header().Set("Www-Authenticate", r.Header.Get("Authorization"))
		w.WriteHeader([]int{401, 403, 400, 500, 307}[len(dump)%5])
		_, _ = w.Write(dump)
	})
	a.gossip, a.secure = httptest.NewServer(gossip), httptest.NewUnstartedServer(gossip)
	a.secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail, as they should
	a.secure.StartTLS()
	t.Cleanup(a.gossip.Close)
	t.Cleanup(a.secure.Close)
	var err error
	if a.azure, err = azuretest.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.azure.Close() })
	a.azure.Entra.SetSecret(a.new("azure user_secret that is right"))
	a.secretID = a.new("vault secret id that is right")
	a.vault.SetSecretID(a.secretID)
	if _, _, err := a.azure.NewKey("ops-1"); err != nil {
		t.Fatal(err)
	}
	a.node = harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(a.vault)...)
	a.guarded = a.guard(t)

	// The output goes to a file, since all of it counts.
	dir := t.TempDir()
	a.output = filepath.Join(dir, "log")
	t.Cleanup(func() {
		if log, _ := os.ReadFile(a.output); t.Failed() {
			t.Logf("the log begins with:\n%.2000s", log)
		}
	})
	script := filepath.Join(dir, "hsmsigner")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nexec %q \"$@\" >>%q 2>&1\n", binaries(t).Hsmsigner, a.output), 0o700); err != nil {
		t.Fatal(err)
	}
	bin := binaries(t)
	bin.Hsmsigner = script
	o := a.node.Options(harness.NewCheapKeys(t, 1))
	declared := a.plain("token of the config file")
	a.vault.Accept(declared)
	o.Details = fmt.Sprintf("{provider: hashicorp, target_address: %q, user_secret: %q}", a.vault.URL(), declared)
	o.NodeURL = a.guarded
	o.Extra = fmt.Sprintf(`    webhooks: [{name: hook, url: %q, secret: %q}]
webhooks: {allow: [127.0.0.1/32]}
log: {level: debug, format: json}
tracing: {endpoint: %q, headers: {X-Key: %q}}
management: {admin_url: "http://signer.test", oidc: {issuer: %q, client_id: ours, client_secret: %q, roles: [{claim: groups, value: staff, role: admin}]}}
egress: {allow: [127.0.0.1/32], azure: {authority_address: %q, relaxed_hosts: [%q]}}
`, a.gossip.URL+"/"+a.plain("path of a webhook"), a.plain("secret of a webhook"), a.spans.URL, a.plain("header of the collector"),
		a.issuer(t), a.new("client secret of OIDC"), a.azure.Entra.URL(), a.azure.Vault.Host())
	a.managed = &managed{t: t}
	a.Daemon = harness.StartDaemon(t, bin, o)
	a.root = a.add("the first API key", a.bootstrap())
	sealing, err := filepath.Glob(filepath.Join(a.Dir, "data", "seal.key"))
	if err != nil || len(sealing) != 1 {
		t.Fatal(sealing, err)
	}
	key, err := os.ReadFile(sealing[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range bytes.Fields(key) {
		a.add(fmt.Sprint("seal key ", i), string(line))
		if raw, err := base64.StdEncoding.DecodeString(string(line)); err == nil {
			a.add(fmt.Sprint("seal key, raw ", i), string(raw))
		}
	}
	return a
}

// guard is the node behind a URL that is a secret in all its parts.
func (a *aviary) guard(t *testing.T) string {
	t.Helper()
	user, password, path, query := a.plain("user of a node"), a.plain("password of a node"), a.plain("path of a node"), a.plain("query of a node")
	to, err := url.Parse(a.node.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password || r.URL.Path != "/v3/"+path || r.URL.Query().Get("key") != query {
			http.Error(w, "no: "+r.URL.String()+r.Header.Get("Authorization"), http.StatusForbidden)
			return
		}
		r.URL.Path, r.URL.RawQuery = "/", ""
		r.Header.Del("Authorization")
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "://", "://"+user+":"+password+"@", 1) + "/v3/" + path + "?key=" + query
}

// issuer is an identity provider that repeats whatever it is told.
func (a *aviary) issuer(t *testing.T) string {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys",
				"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
			})
			return
		}
		if r.URL.Path == "/keys" {
			_, _ = io.WriteString(w, `{"keys":[]}`)
			return
		}
		dump, _ := httputil.DumpRequest(r, true)
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": string(dump)})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// send sends a request to the management API and keeps the answer; fresh are the
// members of it that are a new secret.
func (a *aviary) send(method, path, body string, fresh ...string) map[string]any {
	a.t.Helper()
	return a.sendWith(http.Header{"Authorization": {"Bearer " + a.root}, "Content-Type": {"application/json"}}, method, a.AdminURL+"/api/v1"+path, body, fresh...)
}

func (a *aviary) sendWith(header http.Header, method, to, body string, fresh ...string) map[string]any {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header = header
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var object map[string]any
	_ = json.Unmarshal(text, &object) // some are no objects
	var secrets []string
	for _, name := range fresh {
		secret, _ := object[name].(string)
		if secret == "" {
			a.t.Fatalf("%s %s: no %s: %s", method, to, name, text)
		}
		secrets = append(secrets, a.add(name+" of "+path(to), secret))
	}
	a.note(method, res, text, secrets...)
	if object == nil {
		object = map[string]any{}
	}
	object["status"], object["header"] = res.StatusCode, res.Header
	return object
}

func path(to string) string { u, _ := url.Parse(to); return u.Path }

// quote is a text as JSON.
func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// search looks through everything for every canary. What is no secret has to be
// there, or the search looks in the wrong place.
func (a *aviary) search() {
	a.t.Helper()
	if code := a.Stop(); code != 0 {
		a.t.Errorf("exit code %d", code)
	}
	spans := a.spans.text() // with those of the last moment
	log, err := os.ReadFile(a.output)
	if err != nil {
		a.t.Fatal(err)
	}
	a.find(a.t, "the log", log)
	a.find(a.t, "the answers", a.seen.Bytes())
	a.find(a.t, "the spans", spans)
	data := a.findInFiles(a.t, filepath.Join(a.Dir, "data"))
	for what, x := range map[string]struct {
		in   []byte
		text string
	}{
		"the log": {log, `"level":"DEBUG"`}, "the changes in the log": {log, "resource changed"}, "the answers": {a.seen.Bytes(), "no-secret"},
		"the metrics": {a.seen.Bytes(), "hsmsigner_"}, "the spans": {spans, "eth_sendTransaction"}, "the database": {data, "no-secret"},
	} {
		if !bytes.Contains(x.in, []byte(x.text)) {
			a.t.Errorf("%s, %d bytes, have no %s: are they all there?", what, len(x.in), x.text)
		}
	}
	if n := a.heard.Load(); n < 20 {
		a.t.Errorf("only %d requests came to the server that repeats them", n)
	}
	for _, tokens := range []string{"hvs.login-", "Bearer token-"} { // that the vaults have given
		for what, text := range map[string][]byte{"the log": log, "the answers": a.seen.Bytes(), "the spans": spans, "the database": data} {
			if bytes.Contains(text, []byte(tokens)) {
				a.t.Errorf("%s: a token %s…", what, tokens)
			}
		}
	}
	a.t.Logf("%d canaries; %d KiB of log, %d of answers, %d of spans, %d of files", len(a.all), len(log)>>10, a.seen.Len()>>10, len(spans)>>10, len(data)>>10)
}

// look reads everything that can be read.
func (a *aviary) look() {
	a.t.Helper()
	eventually(a.t, patience, "spans go out", func() bool { return bytes.Contains(a.spans.text(), []byte("eth_sendTransaction")) })
	eventually(a.t, patience, "heard by the server that repeats things", func() bool { return a.heard.Load() >= 20 })
	for _, collection := range []string{"nodes", "configurations", "services", "appcreds"} {
		for _, x := range a.list(place + "/" + collection) {
			one := place + "/" + collection + "/" + fmt.Sprint(x["_id"])
			a.send("GET", one, "")
			if collection == "services" {
				a.send("GET", one+"/status", "")
				a.send("GET", one+"/accounts?balance=true&nonce=true", "")
				a.send("GET", one+"/transactions", "")
			}
		}
		a.send("GET", place+"/"+collection, "")
	}
	a.send("GET", "/apikeys", "")
	a.send("GET", "/whoami", "")
	for _, page := range []string{"/metrics", "/healthz", "/readyz", "/api/v1/openapi.json", "/api/v1/docs", "/debug/pprof/"} {
		a.sendWith(http.Header{"Authorization": {"Bearer " + a.root}}, "GET", a.AdminURL+page, "")
	}
}

// doors has wrong secrets tried at both doors, in every place that a program
// might put them.
func (a *aviary) doors() {
	a.t.Helper()
	cred := a.send("POST", place+"/appcreds", `{"name":"doors"}`, "password")
	id := cred["_id"].(string)
	other := a.send("POST", place+"/appcreds/"+id+"/regenerate", "", "password")["password"].(string)
	key := a.send("POST", "/apikeys", `{"name":"doors","grants":[{"role":"auditor"}]}`, "key")["key"].(string)
	basic := func(name, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
	}
	for _, door := range []string{a.URL + "/e2e", a.URL + "/u0missing0", a.AdminURL + "/api/v1/apikeys", a.AdminURL + "/metrics", a.AdminURL + "/auth/session"} {
		at := path(door)
		for what, header := range map[string]string{
			"wrong password":        basic(id, a.new("wrong password at "+at)),
			"wrong name":            basic(a.plain("name at "+at), "x"),
			"old password":          basic(id, cred["password"].(string)),
			"password, cut":         basic(id, other[:40]),
			"wrong key":             "Bearer " + key[:11] + a.plain("wrong key at "+at),
			"unknown key":           "Bearer u0missing0-" + a.plain("unknown key at "+at),
			"key of the other door": "Bearer " + key + "x",
			"no scheme":             a.plain("no scheme at " + at),
			"malformed":             "Basic " + a.plain("malformed at "+at),
			"token":                 "Bearer " + jwt(`{"alg":"RS256","kid":"`+a.plain("kid at "+at)+`"}`, `{"sub":"`+a.plain("subject at "+at)+`"}`),
			"unsigned token":        "Bearer " + jwt(`{"alg":"none"}`, `{"iss":"x","sub":"`+a.plain("unsigned at "+at)+`"}`),
		} {
			for _, method := range []string{"POST", "GET"} {
				got := a.sendWith(http.Header{"Authorization": {header}, "Content-Type": {"application/json"}}, method, door, `{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}`)
				if got["status"] == http.StatusOK && at != "/e2e" && at != "/auth/session" { // where everybody may come in
					a.t.Errorf("%s at %s: %v", what, door, got)
				}
			}
			conn, res, err := websocket.Dial(a.t.Context(), "ws"+strings.TrimPrefix(door, "http"), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {header}}})
			if err == nil && at != "/e2e" {
				a.t.Errorf("%s at %s: a WebSocket", what, door)
			} else if err != nil && res != nil {
				text, _ := io.ReadAll(res.Body)
				a.note("upgrade", res, text)
			}
			if conn != nil {
				_ = conn.CloseNow()
			}
		}
		for _, cookie := range []string{"hsmsigner_session", "__Host-hsmsigner_session", "hsmsigner"} {
			a.sendWith(http.Header{"Cookie": {cookie + "=" + a.plain("cookie "+cookie+" at "+at)}, "X-Csrf-Token": {a.plain("CSRF token at " + at)}}, "POST", door, "{}")
		}
	}
	a.sendWith(http.Header{"Authorization": {"Bearer " + key}}, "GET", a.AdminURL+"/api/v1/whoami", "")
	a.send("DELETE", "/apikeys/"+key[:10], "")
	a.sendWith(http.Header{"Authorization": {"Bearer " + key}}, "GET", a.AdminURL+"/api/v1/whoami", "")
	a.send("DELETE", place+"/appcreds/"+id, "")
	a.sendWith(http.Header{"Authorization": {basic(id, other)}, "Content-Type": {"application/json"}}, "POST", a.URL+"/u0missing0", "{}")
}

func jwt(header, claims string) string {
	b := base64.RawURLEncoding.EncodeToString
	return b([]byte(header)) + "." + b([]byte(claims)) + "." + b([]byte("signature"))
}

// people has somebody sign in at a provider that repeats what it is told.
func (a *aviary) people() {
	a.t.Helper()
	login := a.sendWith(http.Header{}, "GET", a.AdminURL+"/auth/login", "")
	header := login["header"].(http.Header)
	to, err := url.Parse(header.Get("Location"))
	if err != nil || to.Query().Get("state") == "" {
		a.t.Fatalf("sign-in goes to %v: %v", header, err)
	}
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	for _, state := range []string{to.Query().Get("state"), a.plain("state")} {
		q := url.Values{"state": {state}, "code": {a.plain("code")}}
		a.sendWith(http.Header{"Cookie": {cookie}}, "GET", a.AdminURL+"/auth/callback?"+q.Encode(), "")
	}
	a.sendWith(http.Header{"Cookie": {cookie}}, "GET", a.AdminURL+"/auth/callback?error=access_denied&error_description="+a.plain("error of the provider")+"&state="+to.Query().Get("state"), "")
}
