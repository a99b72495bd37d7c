// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestNobodySeesAPageWithoutSigningIn(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	for _, rt := range routes() {
		path := filled(rt.path, "h0h0h0h0h0")
		if rt.method == http.MethodGet {
			a := b.get(path)
			want := "/console/sign-in?" + url.Values{"next": {path}}.Encode()
			if a.code != http.StatusSeeOther || a.header.Get("Location") != want {
				t.Errorf("GET %s: %d to %s", path, a.code, a.header.Get("Location"))
			}
			continue
		}
		if a := b.post(path, nil); a.code != http.StatusUnauthorized || !strings.Contains(a.text, "Nothing was changed") {
			t.Errorf("POST %s: %d", path, a.code)
		}
	}
	for _, key := range []string{"", "h0h0h0h0h0-wrong", r.root + "x"} {
		if a := b.post("/console/sign-in", url.Values{"key": {key}}); a.code != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" || key != "" && strings.Contains(a.text, key) {
			t.Errorf("%q: %d", key, a.code)
		}
	}
	if a := b.post("/console/sign-in", url.Values{"key": {r.root}}, "Sec-Fetch-Site", "cross-site"); a.code != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
		t.Errorf("from another site: %d", a.code)
	}
	a := b.post("/console/sign-in", url.Values{"key": {" " + r.root + "\n"}, "next": {home("/wallets")}})
	if a.code != http.StatusSeeOther || a.header.Get("Location") != home("/wallets") {
		t.Errorf("%d to %s", a.code, a.header.Get("Location"))
	}
	if a := b.get("/console/"); a.header.Get("Location") != home("/overview") {
		t.Errorf("%d to %s", a.code, a.header.Get("Location"))
	}
	if a := b.send("/console/sign-out", nil); a.code != http.StatusSeeOther {
		t.Errorf("sign out: %d", a.code)
	}
	if a := b.get(home("/overview")); a.code != http.StatusSeeOther {
		t.Errorf("after signing out: %d", a.code)
	}
}

func TestNobodyIsSentElsewhereAfterSigningIn(t *testing.T) {
	for _, to := range []string{
		"", "https://evil.example/console/", "//evil.example/console/", "/console", "/", "/api/v1/", "/console/../x", "/console/\\evil", "javascript:alert(1)",
		"/console/sign-out", "/console/x\r\nSet-Cookie: a=b", "\\\\evil.example", "/console//evil.example/..", "http:/console/", "/console/sign-in?next=/console/sign-in",
	} {
		if got := within(to); got != "/console/" {
			t.Errorf("%q leads to %s", to, got)
		}
	}
	if got := within(home("/wallets?x=1")); got != home("/wallets?x=1") {
		t.Error(got)
	}
}

func TestFormWithoutTheTokenChangesNothing(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(r.root)
	for _, rt := range routes() {
		if rt.method != http.MethodPost {
			continue
		}
		path := filled(rt.path, serviceID(r))
		for name, headers := range map[string][]string{"none": nil, "another site": {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}} {
			if a := b.post(path, url.Values{"name": {"x"}, "csrf_token": {"AAAA"}}, headers...); a.code != http.StatusForbidden || !strings.Contains(a.text, "Nothing was changed") {
				t.Errorf("%s, %s: %d", path, name, a.code)
			}
		}
	}
	all, err := r.platform.List(t.Context(), auth.Operating(), platform.Nodes, platform.Path{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment})
	if err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// Whatever runs without being asked for stands in one of these.
var inline = regexp.MustCompile(`(?i)<script(?:>|[^>]*>[^<]+<)|<style|\sstyle=|\son[a-z]+=|javascript:|<iframe|<object|<embed|https?://(?:[a-z0-9-]+\.)+(?:com|net|org|io)/[^"]*\.(?:js|css|woff2?)`)

func TestPagesHaveNothingInlineAndNothingFromElsewhere(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	seen := 0
	for _, path := range r.pages() {
		a := b.get(path)
		if a.code != http.StatusOK {
			t.Errorf("%s: %d", path, a.code)
			continue
		}
		seen++
		if found := inline.FindString(a.text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": contentPolicy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if strings.Contains(a.text, "ZgotmplZ") || strings.Contains(a.text, "%!") || strings.Contains(a.text, "<nil>") {
			t.Errorf("%s is not rendered well", path)
		}
	}
	if seen < 20 {
		t.Errorf("only %d pages", seen)
	}
}

// TestNamesAreTextOnEveryPage: whatever people and backends call things is shown,
// and never becomes part of the page.
func TestNamesAreTextOnEveryPage(t *testing.T) {
	const evil = `"><img src=x onerror=alert(1)><script>alert(2)</script>'{{.}}`
	r := newRig(t)
	r.run.name = evil
	r.fillWith(` \" onload=alert(1) '{{.}}`) // names have no < and >
	b := r.signedIn(r.root)
	if a := b.send(home("/wallets/"+serviceID(r)+"/accounts/"+account.Hex()), url.Values{"label": {evil}}); a.code != http.StatusUnprocessableEntity && a.code != http.StatusSeeOther {
		t.Errorf("label: %d %s", a.code, a.text)
	}
	escaped := 0
	for _, path := range append(r.pages(), home("/wallets/"+serviceID(r)+"/accounts?search="+url.QueryEscape(evil)), home("/wallets/"+serviceID(r)+"/transactions?search="+url.QueryEscape(evil)), home("/"+url.PathEscape(evil)), home("/configurations/new?provider="+url.QueryEscape(evil)), home("/overview?done="+url.QueryEscape(evil))) {
		a := b.get(path)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue // a file to keep
		}
		if strings.Contains(a.text, "<img src=x") || strings.Contains(a.text, "<script>alert") || strings.Contains(a.text, `" onload=`) {
			t.Errorf("%s: a name became part of the page", path)
		}
		if strings.Contains(a.text, "&lt;img src=x") || strings.Contains(a.text, "&#34; onload=") {
			escaped++
		}
	}
	if escaped < 8 {
		t.Errorf("the name stands on %d pages only", escaped)
	}
	for _, form := range []url.Values{{"name": {evil}}, {"name": {strings.Repeat("x", 70) + evil}}} {
		a := b.send(home("/nodes/new"), form)
		if a.code != http.StatusUnprocessableEntity || strings.Contains(a.text, "<img src=x") {
			t.Errorf("%d", a.code)
		}
	}
	if a := b.send(home("/wallets/"+serviceID(r)+"/accounts/refresh"), nil); a.code != http.StatusOK || !strings.Contains(a.text, "&lt;img") || strings.Contains(a.text, "<img src=x") {
		t.Errorf("refresh: %d", a.code)
	}
}

func TestAuditorSeesAndChangesNothing(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"auditor","consortium_id":"h0consort0","membership_id":"h0member00"}]}`))
	page := b.get(home("/configurations"))
	if page.code != http.StatusOK || strings.Contains(page.text, "New configuration") {
		t.Errorf("%d, or the button is there", page.code)
	}
	refused := 0
	for _, rt := range routes() {
		if rt.method != http.MethodPost || strings.HasSuffix(rt.path, "/policy/test") { // which changes nothing
			continue
		}
		path := filled(strings.Replace(rt.path, "{approval}", r.waiting, 1), r.idFor(rt.path))
		a := b.send(path, url.Values{"name": {"x"}, "label": {"x"}, "org_name": {"x"}, "membership_id": {platform.DefaultMembership}, "scope": {platform.DefaultMembership}, "role": {"auditor"}, "chain_id": {"1"}, "urls.rpc": {"https://node.example.org"}, "provider": {"aws_kms"}})
		if a.code == http.StatusForbidden || a.code == http.StatusNotFound {
			refused++
			continue
		}
		t.Errorf("%s: %d", path, a.code)
	}
	if refused < 20 {
		t.Errorf("%d forms", refused)
	}
}

func TestAnotherTenantFindsNothing(t *testing.T) {
	r := newRig(t)
	r.fill()
	other := r.make(platform.Memberships, `{"org_name":"another"}`).(*platform.Membership)
	b := r.signedIn(r.key(`{"name":"other","grants":[{"role":"admin","consortium_id":"h0consort0","membership_id":"` + other.ID + `"}]}`))
	for _, path := range r.pages() {
		if !strings.Contains(path, serviceID(r)) && !strings.Contains(path, r.idFor("/configurations/")) && !strings.Contains(path, r.idFor("/nodes/")) {
			if a := b.get(path); strings.Contains(a.text, "vault-of-ours") || strings.Contains(a.text, "node-of-ours") {
				t.Errorf("%s shows another's", path)
			}
			continue
		}
		if a := b.get(path); a.code != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.code)
		}
	}
}

func TestSecretsAreShownOnceOrNever(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	id := r.idFor("/configurations/")
	for _, path := range r.pages() {
		if strings.Contains(b.get(path).text, "hunter2") {
			t.Errorf("%s shows a secret", path)
		}
	}
	a := b.send(home("/configurations/"+id), url.Values{"name": {""}, "details.user_secret": {"hunter3"}})
	if a.code != http.StatusUnprocessableEntity || strings.Contains(a.text, "hunter3") {
		t.Errorf("a refused form: %d, or it shows the secret", a.code)
	}
	a = b.send(home("/credentials"), url.Values{"name": {"shop"}, "membership_id": {platform.DefaultMembership}})
	shown := regexp.MustCompile(`Password</dt><dd><code>([^<]{20,})</code>`).FindStringSubmatch(a.text)
	if a.code != http.StatusOK || shown == nil {
		t.Fatalf("%d %s", a.code, a.text)
	}
	if strings.Contains(b.get(home("/credentials")).text, shown[1]) {
		t.Error("a password is shown twice")
	}
}

func TestWizardMakesWhatTheAPIWould(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(r.root)
	configuration := url.Values{
		"provider": {"aws_kms"}, "name": {"keys"}, "membership_id": {platform.DefaultMembership},
		"details.target_region": {"eu-central-1"}, "details.user_id": {"AKIAIOSFODNN7EXAMPLE"}, "details.user_secret": {"hunter2"},
	}
	wrong := url.Values{"provider": {"aws_kms"}, "name": {"keys"}, "membership_id": {platform.DefaultMembership}, "details.target_region": {"nowhere!"}, "details.user_id": {"AKIAIOSFODNN7EXAMPLE"}, "details.user_secret": {"hunter2"}}
	a := b.send(home("/configurations/new"), wrong)
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `value="nowhere!"`) || !strings.Contains(a.text, `aria-invalid="true"`) {
		t.Errorf("%d %s", a.code, a.text)
	}
	a = b.send(home("/configurations/try"), configuration)
	if a.code != http.StatusOK || !strings.Contains(a.text, "1 key found") {
		t.Errorf("try: %d %s", a.code, a.text)
	}
	r.run.refuses = &key.CallError{Kind: key.ErrDenied, Why: "the access key is not known"}
	if a = b.send(home("/configurations/try"), configuration); a.code != http.StatusOK || !strings.Contains(a.text, "the access key is not known") {
		t.Errorf("try: %d %s", a.code, a.text)
	}
	r.run.refuses = errors.New("secret of the operator")
	if a = b.send(home("/configurations/try"), configuration); strings.Contains(a.text, "secret of the operator") {
		t.Error("a backend's own words are shown")
	}
	made := b.send(home("/configurations/new"), configuration)
	at, _, _ := strings.Cut(made.header.Get("Location"), "?")
	if made.code != http.StatusSeeOther || !strings.HasPrefix(at, home("/configurations/h0")) {
		t.Fatalf("%d to %s", made.code, at)
	}
	if a := b.get(made.header.Get("Location")); !strings.Contains(a.text, "never shown again") || !strings.Contains(a.text, `value="eu-central-1"`) {
		t.Error("the page does not say what was done")
	}
	a = b.send(at, url.Values{"name": {"keys"}, "details.target_region": {"eu-west-1"}, "details.user_id": {"AKIAIOSFODNN7EXAMPLE"}, "details.user_secret": {""}})
	if a.code != http.StatusSeeOther {
		t.Errorf("change without the secret: %d %s", a.code, a.text)
	}
	if a = b.send(home("/nodes/new"), url.Values{"name": {"main"}, "membership_id": {platform.DefaultMembership}, "chain_id": {"one"}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("%d", a.code)
	}
	if a = b.send(home("/nodes/new"), url.Values{"name": {"main"}, "membership_id": {platform.DefaultMembership}, "chain_id": {"1"}, "urls.rpc": {"https://node.example.org/key"}}); a.code != http.StatusSeeOther {
		t.Errorf("%d %s", a.code, a.text)
	}
	node := strings.TrimPrefix(strings.TrimSuffix(a.header.Get("Location"), "?done=node-made"), home("/nodes/"))
	a = b.send(home("/wallets/new"), url.Values{
		"name": {"pay"}, "membership_id": {platform.DefaultMembership},
		"details.cloudhsm_id": {strings.TrimPrefix(at, home("/configurations/"))}, "details.node_id": {node},
	})
	if a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	if page := b.get(a.header.Get("Location")); page.code != http.StatusOK || !strings.Contains(page.text, "pay") {
		t.Errorf("%d", page.code)
	}
	if a = b.send(at+"/delete", nil); a.code != http.StatusConflict || !strings.Contains(a.text, "pay") {
		t.Errorf("a configuration in use: %d %s", a.code, a.text)
	}
}

func TestPartOfAPageComesAlone(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	for _, path := range []string{"/overview", "/wallets", "/wallets/" + serviceID(r), "/wallets/" + serviceID(r) + "/transactions"} {
		a := b.get(home(path), "X-Fragment", "1")
		if a.code != http.StatusOK || strings.Contains(a.text, "<html") || strings.Contains(a.text, "<nav class=\"side\"") {
			t.Errorf("%s: %d", path, a.code)
		}
	}
	if a := r.browser().get(home("/overview"), "X-Fragment", "1"); a.code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", a.code)
	}
}
