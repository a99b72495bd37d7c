// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// evil is text that a page which took it for anything else would act upon.
const evil = `"><img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)>'};alert(4)//{{.}}`

// mild is as much of it as names may have.
const mild = ` " onfocus=alert(5) autofocus ' {{.}}`

// TestNothingThatPeopleOrBackendsSayComesToLife visits every page of a deployment in
// which all names, labels and reasons are attacks. A page on which one of them
// works opens a dialog, or has the browser report what the page's policy stopped.
func TestNothingThatPeopleOrBackendsSayComesToLife(t *testing.T) {
	t.Parallel()
	s := set(t, mild, evil)
	s.lying(mild, evil)
	s.act(mild, mild, evil)
	s.vault.SetIntercept(func(w http.ResponseWriter, _ *http.Request) bool {
		vaultfake.Refuse(w, http.StatusBadRequest, evil)
		return true
	})
	s.ids["account"] = s.accounts[0].Hex()
	a := &album{stage: s, seen: map[string]bool{}}
	a.begin()
	q := url.QueryEscape(evil)
	b := s.signIn(s.Key, nil)
	for _, path := range []string{"/wallets/" + s.ids["wallet"] + "/accounts?search=" + q, "/wallets/" + s.ids["wallet"] + "/transactions?search=" + q, "/overview?done=" + q, "/" + url.PathEscape(evil)} {
		b.visit(home + path)
		b.quiet(404)
	}
	shown, mildly := map[string]bool{}, 0
	for p, ok := a.take(); ok; p, ok = a.take() {
		b.visit(p.path)
		found, _ := b.run(links).([]any)
		for _, link := range found {
			a.add(page{"", link.(string)})
		}
		text := b.text("body")
		shown[p.name] = strings.Contains(text, "onerror=alert(1)")
		if strings.Contains(text, "alert(") {
			mildly++
		}
		b.quiet(http.StatusNotFound, http.StatusUnprocessableEntity)
	}
	// What backends, chains and receivers say stands there with every character; what
	// people call things has no < and >.
	for _, name := range []string{"account", "accounts", "contract-answer", "documents", "stream", "token", "transaction-refused", "wallet-policy"} {
		if !shown[name] {
			t.Errorf("%s shows nothing of the attacks", name)
		}
	}
	if mildly < 25 {
		t.Errorf("attacks in names stand on %d pages only", mildly)
	}
	b.visit(home + "/wallets/" + s.ids["wallet"] + "/accounts")
	b.press("Refresh Accounts")
	b.reach("/accounts/refresh") // its answer, before the tab goes elsewhere
	b.visit(home + "/configurations/" + s.ids["configuration"])
	b.press("Test connection")
	b.seeAt("#trial", "gave no list of keys")
	b.quiet(404, 422, 503)
}

// Another site can neither frame a page nor send a form of it: not one of another
// site, and not one of another port of this machine, to which the browser gives
// the session's cookie.
func TestOtherOriginsCanFrameAndSendNothing(t *testing.T) {
	t.Parallel()
	r := start(t, "")
	b := r.signIn(r.Key, nil)
	token := b.run(`document.querySelector("[name=csrf_token]").value`)
	form := func(csrf any) string {
		return fmt.Sprintf(`<form id="f" method="post" action=%q><input name="org_name" value="forged"><input name="csrf_token" value="%v"></form><button onclick="f.submit()">go</button>`,
			r.daemon.AdminURL+"/console/in/h0consort0/h0environ0/memberships", csrf)
	}
	pages := map[string]string{
		"/frame": fmt.Sprintf(`<iframe src=%q width=900 height=600></iframe>`, r.daemon.AdminURL+home+"/overview"),
		"/form":  form("AAAA"), "/stolen": form(token),
		"/read": fmt.Sprintf(`<script>fetch(%q, {credentials: "include"}).then((a) => a.text()).then((t) => document.title = "read " + t.length, () => document.title = "stopped")</script>`, r.daemon.AdminURL+home+"/overview"),
		"/in":   fmt.Sprintf(`<form id="f" method="post" action=%q><input name="key" value=%q></form><button onclick="f.submit()">go</button>`, r.daemon.AdminURL+"/console/sign-in", r.Key),
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<!doctype html><title>other</title>", pages[req.URL.Path])
	}))
	defer site.Close()
	for _, origin := range []string{site.URL, strings.Replace(site.URL, "127.0.0.1", "localhost", 1)} {
		b.visit(origin + "/frame")
		if f := b.do("frame", args{"index": 1}); strings.Contains(f.Text, "Overview") || strings.Contains(f.Text, "Sign in") {
			t.Errorf("%s frames the console: %s", origin, f.Text)
		}
		b.visit(origin + "/read")
		b.becomes("document.title", "stopped")
		for _, path := range []string{"/form", "/stolen"} {
			b.visit(origin + path)
			b.click("button")
			b.see("web pages of other origins")
		}
		stranger := open(t, r.daemon.AdminURL, nil)
		stranger.visit(origin + "/in")
		stranger.click("button")
		stranger.see("web pages of other origins")
	}
	_, all := r.Ask("GET", "/consortia/h0consort0/memberships", "")
	if strings.Contains(string(all), "forged") {
		t.Errorf("a form of another origin changed something: %s", all)
	}
}
