// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/auth/oidc"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// signer is an admin listener that people sign in at.
type signer struct {
	*testing.T
	idp       *provider
	server    *httptest.Server
	directory *auth.Directory
	log       *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{T: t, idp: newProvider(t), log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	v, err := auth.NewVerifier(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	people, err := oidc.New(oidc.Config{
		Issuer: s.idp.server.URL, ClientID: clientID, Secret: func() (string, error) { return clientSecret, nil },
		Scopes: []string{"profile"}, Rules: []oidc.Rule{opsRule()}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(people.CloseIdle)
	if s.directory, err = auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: v, People: people, Logger: log}); err != nil {
		t.Fatal(err)
	}
	var flow http.Handler
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { flow.ServeHTTP(w, r) }))
	t.Cleanup(s.server.Close)
	if flow, err = oidc.NewFlow(oidc.FlowConfig{Provider: people, Directory: s.directory, Verifier: v, URL: s.server.URL}); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser keeps cookies and follows no redirect by itself.
type browser struct {
	*signer
	jar    *cookiejar.Jar
	client *http.Client
}

func (s *signer) browser() *browser {
	s.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	transport := &http.Transport{}
	s.Cleanup(transport.CloseIdleConnections)
	return &browser{s, jar, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) do(method, target string, headers ...string) (status int, location, body string) {
	b.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.server.URL + target
	}
	r, err := http.NewRequestWithContext(b.Context(), method, target, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Location"), string(text)
}

// begin goes to the provider and returns where that sends the browser back to.
func (b *browser) begin(to string) *url.URL {
	b.Helper()
	status, location, body := b.do("GET", "/auth/login?"+url.Values{"to": {to}}.Encode())
	if status != http.StatusFound {
		b.Fatalf("login: %d %s", status, body)
	}
	status, location, body = b.do("GET", location)
	if status != http.StatusFound {
		b.Fatalf("at the provider: %d %s", status, body)
	}
	back, err := url.Parse(location)
	if err != nil {
		b.Fatal(err)
	}
	return back
}

// session asks who has signed in.
func (b *browser) session() (status int, s struct {
	Subject string       `json:"subject"`
	Name    string       `json:"name"`
	Grants  []auth.Grant `json:"grants"`
	CSRF    string       `json:"csrf_token"`
},
) {
	b.Helper()
	status, _, body := b.do("GET", "/auth/session")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		b.Fatal(err)
	}
	return status, s
}

func TestPersonSignsInAndOutWithABrowser(t *testing.T) {
	b := newSigner(t).browser()
	if status, _ := b.session(); status != http.StatusUnauthorized {
		t.Errorf("before: %d", status)
	}
	back := b.begin("/console/accounts?x=1&y=2")
	status, location, body := b.do("GET", back.String())
	if status != http.StatusOK || location != "" || !strings.Contains(body, `content="0;url=/console/accounts?x=1&amp;y=2"`) {
		t.Errorf("callback: %d %s %s", status, location, body)
	}
	status, s := b.session()
	if status != http.StatusOK || s.Subject != "ada" || s.Name != "ada@example.org" || len(s.Grants) != 1 || s.CSRF == "" {
		t.Errorf("session: %d %+v", status, s)
	}
	if status, _, _ := b.do("POST", "/auth/logout"); status != http.StatusForbidden {
		t.Errorf("signed out without the token: %d", status)
	}
	if status, _, _ := b.do("GET", "/auth/logout"); status != http.StatusMethodNotAllowed {
		t.Errorf("signed out by a link: %d", status)
	}
	if status, _, body := b.do("POST", "/auth/logout", auth.CSRFHeader, s.CSRF); status != http.StatusNoContent {
		t.Errorf("sign out: %d %s", status, body)
	}
	if status, _ := b.session(); status != http.StatusUnauthorized {
		t.Errorf("after: %d", status)
	}
	log := b.log.String()
	for _, want := range []string{`event="signed in"`, `event="signed out"`, "who=person:ada"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

func TestSignInSendsPKCEStateAndNonceThatAreNewEachTime(t *testing.T) {
	b := newSigner(t).browser()
	seen := map[string]bool{}
	for range 3 {
		status, location, _ := b.do("GET", "/auth/login")
		u, err := url.Parse(location)
		if err != nil || status != http.StatusFound {
			t.Fatal(status, err)
		}
		q := u.Query()
		if q.Get("code_challenge_method") != "S256" || q.Get("scope") != "openid profile" || q.Get("redirect_uri") != b.server.URL+"/auth/callback" {
			t.Errorf("asks for %v", q)
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if v := q.Get(name); len(v) < 43 || seen[v] {
				t.Errorf("%s %q", name, v)
			}
			seen[q.Get(name)] = true
		}
	}
}

func TestCallbackThatIsNotRightSignsNobodyIn(t *testing.T) {
	for name, try := range map[string]func(b *browser, back *url.URL) string{
		"no code":       func(_ *browser, back *url.URL) string { return without(back, "code") },
		"no state":      func(_ *browser, back *url.URL) string { return without(back, "state") },
		"another state": func(_ *browser, back *url.URL) string { return but(back, "state", auth.NewSecret()) },
		"the state twice": func(_ *browser, back *url.URL) string {
			return back.String() + "&state=" + back.Query().Get("state")
		},
		"an error": func(_ *browser, back *url.URL) string {
			return but(without2(back, "code"), "error", "access_denied")
		},
		"a made up code":    func(_ *browser, back *url.URL) string { return but(back, "code", "made-up") },
		"another issuer's":  func(_ *browser, back *url.URL) string { return but(back, "iss", "https://login.example.org") },
		"another browser's": func(b *browser, back *url.URL) string { *b = *b.browser(); return back.String() },
		"a code for another": func(b *browser, back *url.URL) string {
			return but(back, "code", b.browser().begin("").Query().Get("code"))
		},
		"another's altogether": func(b *browser, _ *url.URL) string { return b.browser().begin("").String() },
		"a changed cookie": func(b *browser, back *url.URL) string {
			b.spoil(func(v string) string { return "x" + v })
			return back.String()
		},
		"a cookie of one's own": func(b *browser, back *url.URL) string {
			b.spoil(func(string) string { return "a.9999999999..AAAA" })
			return back.String()
		},
		"a later expiry": func(b *browser, back *url.URL) string {
			b.spoil(func(v string) string {
				parts := strings.Split(v, ".")
				parts[1] += "0"
				return strings.Join(parts, ".")
			})
			return back.String()
		},
		"no nonce":        claim(map[string]any{"nonce": nil}),
		"an empty nonce":  claim(map[string]any{"nonce": ""}),
		"another nonce":   claim(map[string]any{"nonce": auth.NewSecret()}),
		"another's token": claim(map[string]any{"aud": "other"}),
		"expired":         claim(map[string]any{"exp": 1}),
		"no ID token": func(b *browser, back *url.URL) string {
			b.idp.set(func() { b.idp.noToken = true })
			return back.String()
		},
		"no role": claim(map[string]any{"groups": []string{"everybody"}}),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t)
			s.T = t
			b := s.browser()
			back := b.begin("/console/")
			target := try(b, back)
			status, location, body := b.do("GET", target)
			if status != http.StatusForbidden || location != "" || strings.Contains(body, "canary") {
				t.Errorf("got %d %s %s", status, location, body)
			}
			if status, _ := b.session(); status != http.StatusUnauthorized {
				t.Errorf("somebody has signed in: %d", status)
			}
			for _, canary := range []string{"canary", back.Query().Get("code"), back.Query().Get("state")} {
				if strings.Contains(s.log.String(), canary) {
					t.Errorf("the log holds %s:\n%s", canary, s.log.String())
				}
			}
		})
	}
}

func without(u *url.URL, name string) string { return without2(u, name).String() }

func without2(u *url.URL, name string) *url.URL {
	q := u.Query()
	q.Del(name)
	v := *u
	v.RawQuery = q.Encode()
	return &v
}

func but(u *url.URL, name, value string) string {
	q := u.Query()
	q.Set(name, value)
	v := *u
	v.RawQuery = q.Encode()
	return v.String()
}

func claim(claims map[string]any) func(*browser, *url.URL) string {
	return func(b *browser, back *url.URL) string {
		b.idp.set(func() { b.idp.claims = claims })
		return back.String()
	}
}

// spoil changes the cookie of the sign-in.
func (b *browser) spoil(change func(string) string) {
	b.Helper()
	u, err := url.Parse(b.server.URL + "/auth/callback")
	if err != nil {
		b.Fatal(err)
	}
	cookies := b.jar.Cookies(u)
	if len(cookies) != 1 {
		b.Fatalf("cookies %v", cookies)
	}
	b.jar.SetCookies(u, []*http.Cookie{{Name: cookies[0].Name, Value: change(cookies[0].Value), Path: "/"}})
}

// A provider that gives tokens for a code again does not help who has seen a
// callback's URL and the browser's cookie.
func TestSignInCountsOnce(t *testing.T) {
	s := newSigner(t)
	b := s.browser()
	s.idp.reuse = true
	back := b.begin("")
	u, err := url.Parse(s.server.URL + "/auth/callback")
	if err != nil {
		t.Fatal(err)
	}
	stolen := b.jar.Cookies(u)
	if status, _, body := b.do("GET", back.String()); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if len(b.jar.Cookies(u)) != 1 { // the session's
		t.Errorf("the browser still has %v", b.jar.Cookies(u))
	}
	thief := s.browser()
	thief.jar.SetCookies(u, stolen)
	if status, _, body := thief.do("GET", back.String()); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := thief.session(); status != http.StatusUnauthorized {
		t.Errorf("the thief has signed in: %d", status)
	}
}

func TestSignInGoesOnToPathsOfOursOnly(t *testing.T) {
	for _, to := range []string{"", "https://evil.example/", "//evil.example/", `/\evil.example/`, `\\evil.example`, "javascript:alert(1)", "console", "/\t/evil.example", "/" + strings.Repeat("x", 600)} {
		b := newSigner(t).browser()
		status, _, body := b.do("GET", b.begin(to).String())
		if status != http.StatusOK || !strings.Contains(body, `content="0;url=/console/"`) {
			t.Errorf("%q: %d %s", to, status, body)
		}
	}
	b := newSigner(t).browser()
	if _, _, body := b.do("GET", b.begin(`/x"><script>alert(1)</script>`).String()); strings.Contains(body, "<script") {
		t.Errorf("got %s", body)
	}
}

func TestPagesOfSigningInMayNotBeFramedOrKept(t *testing.T) {
	b := newSigner(t).browser()
	for _, path := range []string{"/auth/login", "/auth/callback", "/auth/session", "/auth/nothing"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		h := answer.Header
		if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestCookieOfASignInIsForSigningInOnly(t *testing.T) {
	s := newSigner(t)
	for base, want := range map[string]http.Cookie{
		"https://signer.example": {Name: "__Host-hsmsigner-login", Secure: true},
		"http://127.0.0.1:8080":  {Name: "hsmsigner-login"},
	} {
		people := believing(s.idp)
		v, err := auth.NewVerifier(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		f, err := oidc.NewFlow(oidc.FlowConfig{Provider: people, Directory: s.directory, Verifier: v, URL: base})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", "/auth/login", http.NoBody))
		c := w.Result().Cookies()
		if len(c) != 1 || c[0].Name != want.Name || c[0].Secure != want.Secure || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Path != "/" || c[0].MaxAge != 600 {
			t.Errorf("%s: %v", base, c)
		}
	}
	for _, base := range []string{"", "signer.example", "https://signer.example/x", "ftp://signer.example", "https://signer.example?x"} {
		if _, err := oidc.NewFlow(oidc.FlowConfig{URL: base}); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
}

func TestSigningInWaitsForTheProvider(t *testing.T) {
	s := newSigner(t)
	b := s.browser()
	s.idp.set(func() { s.idp.down = true })
	if status, _, body := b.do("GET", "/auth/login"); status != http.StatusServiceUnavailable || strings.Contains(body, s.idp.server.URL) {
		t.Errorf("%d %s", status, body)
	}
	other := newSigner(t)
	b = other.browser()
	back := b.begin("")
	other.idp.set(func() { other.idp.down = true })
	if status, _, body := b.do("GET", back.String()); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
}

func TestBearerOfAnIDTokenIsAManager(t *testing.T) {
	s := newSigner(t)
	r := httptest.NewRequest("POST", "/api/v1/consortia", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+s.idp.sign(nil))
	who, err := s.directory.Manager(r)
	if err != nil || who.Principal.Name != "person:ada" || !who.Can(auth.Operates, "h0conso001", "") {
		t.Errorf("got %+v, %v", who, err)
	}
}

func TestSignInThatTookTooLongDoesNotCount(t *testing.T) {
	s := newSigner(t)
	v, err := auth.NewVerifier(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for left, want := range map[time.Duration]int64{time.Minute: 1, -time.Second: 0} {
		b := s.browser()
		u, err := url.Parse(s.server.URL + "/auth/callback")
		if err != nil {
			t.Fatal(err)
		}
		cookie, state := oidc.CookieOf(v, left)
		b.jar.SetCookies(u, []*http.Cookie{{Name: "hsmsigner-login", Value: cookie, Path: "/"}})
		before := s.idp.exchanges.Load()
		b.do("GET", "/auth/callback?"+url.Values{"state": {state}, "code": {"made-up"}}.Encode())
		if got := min(1, s.idp.exchanges.Load()-before); got != want {
			t.Errorf("with %s left, the code is tried: %d, want %d", left, got, want)
		}
	}
}
