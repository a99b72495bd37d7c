// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// signIn begins a session and returns its cookie.
func signIn(t *testing.T, d *auth.Directory, who auth.Person) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	if err := d.SignIn(w, request("192.0.2.1:5"), who); err != nil {
		t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies: %v", cookies)
	}
	return cookies[0]
}

func with(method string, cookie *http.Cookie, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "https://signer.example/api/v1/consortia", http.NoBody)
	if cookie != nil {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func ada() auth.Person {
	return auth.Person{Subject: "ada", Name: "Ada", Grants: []auth.Grant{{Consortium: "h0conso001", Role: auth.Operates}}}
}

func TestSessionCookieIsForOneSiteAndNoScript(t *testing.T) {
	p := newPlace(t)
	for secure, name := range map[bool]string{true: "__Host-hsmsigner", false: "hsmsigner"} {
		c := signIn(t, p.directory(auth.DirectoryConfig{Secure: secure}), ada())
		if c.Name != name || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 8*3600 {
			t.Errorf("secure %v: %+v", secure, c)
		}
	}
}

func TestRequestThatChangesSomethingNeedsTheSessionsToken(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{Secure: true})
	cookie := signIn(t, d, ada())
	other := signIn(t, d, ada())
	session := func(c *http.Cookie) auth.Session {
		s, err := d.Session(with("GET", c))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	token, others := session(cookie).CSRF, session(other).CSRF
	if token == others || len(token) < 40 {
		t.Errorf("tokens %q and %q", token, others)
	}
	for _, c := range []struct {
		name string
		r    *http.Request
		want error
	}{
		{"GET", with("GET", cookie), nil},
		{"HEAD", with("HEAD", cookie), nil},
		{"POST with the token", with("POST", cookie, auth.CSRFHeader, token), nil},
		{"PATCH with the token from here", with("PATCH", cookie, auth.CSRFHeader, token, "Sec-Fetch-Site", "same-origin", "Origin", "https://signer.example"), nil},
		{"POST without a token", with("POST", cookie), auth.ErrCSRF},
		{"PUT without a token", with("PUT", cookie), auth.ErrCSRF},
		{"DELETE without a token", with("DELETE", cookie), auth.ErrCSRF},
		{"a method that nobody knows", with("BREW", cookie), auth.ErrCSRF},
		{"another session's token", with("POST", cookie, auth.CSRFHeader, others), auth.ErrCSRF},
		{"the cookie as the token", with("POST", cookie, auth.CSRFHeader, cookie.Value), auth.ErrCSRF},
		{"the token from another site", with("POST", cookie, auth.CSRFHeader, token, "Sec-Fetch-Site", "cross-site"), auth.ErrCSRF},
		{"the token from another port", with("POST", cookie, auth.CSRFHeader, token, "Sec-Fetch-Site", "same-site"), auth.ErrCSRF},
		{"the token from another origin", with("POST", cookie, auth.CSRFHeader, token, "Origin", "https://signer.example:444"), auth.ErrCSRF},
		{"a token without a cookie", with("POST", nil, auth.CSRFHeader, token), auth.ErrCredentials},
		{"a cookie of nobody", with("GET", &http.Cookie{Name: cookie.Name, Value: auth.NewSecret()}), auth.ErrCredentials},
		{"an empty cookie", with("GET", &http.Cookie{Name: cookie.Name}), auth.ErrCredentials},
		{"the cookie under the other name", with("GET", &http.Cookie{Name: "hsmsigner", Value: cookie.Value}), auth.ErrCredentials},
	} {
		who, err := d.Manager(c.r)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err == nil && (who.Principal.Name != "person:ada" || !who.Can(auth.Operates, "h0conso001", "") || who.Can(auth.Admin, "h0conso001", "")) {
			t.Errorf("%s: got %+v", c.name, who)
		}
		if err != nil && len(who.Grants) > 0 {
			t.Errorf("%s: refused, with grants %v", c.name, who.Grants)
		}
	}
	twice := with("GET", cookie)
	twice.AddCookie(&http.Cookie{Name: cookie.Name, Value: other.Value})
	if _, err := d.Manager(twice); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("two cookies: %v", err)
	}
}

func TestFormMayCarryTheTokenInAField(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{})
	cookie := signIn(t, d, ada())
	s, err := d.Session(with("GET", cookie))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]error{
		"application/x-www-form-urlencoded":                nil,
		"application/x-www-form-urlencoded; charset=utf-8": nil,
		"text/plain": auth.ErrCSRF,
	} {
		r := httptest.NewRequest("POST", "/console/x", strings.NewReader(url.Values{auth.CSRFField: {s.CSRF}}.Encode()))
		r.AddCookie(cookie)
		r.Header.Set("Content-Type", kind)
		if _, err := d.Manager(r); !errors.Is(err, want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	r := httptest.NewRequest("POST", "/console/x?csrf_token="+s.CSRF, http.NoBody)
	r.AddCookie(cookie)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := d.Manager(r); !errors.Is(err, auth.ErrCSRF) {
		t.Errorf("in the URL: %v", err)
	}
}

func TestSignedOutSessionIsGoneEverywhere(t *testing.T) {
	p := newPlace(t)
	d, other := p.directory(auth.DirectoryConfig{}), p.directory(auth.DirectoryConfig{})
	cookie := signIn(t, d, ada())
	s, err := other.Session(with("GET", cookie))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SignOut(httptest.NewRecorder(), with("POST", cookie)); !errors.Is(err, auth.ErrCSRF) {
		t.Errorf("another page can sign people out: %v", err)
	}
	w := httptest.NewRecorder()
	if err := d.SignOut(w, with("POST", cookie, auth.CSRFHeader, s.CSRF)); err != nil {
		t.Fatal(err)
	}
	if c := w.Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("the browser keeps %v", c)
	}
	for _, d := range []*auth.Directory{d, other} {
		if _, err := d.Manager(with("GET", cookie)); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("got %v", err)
		}
	}
	if err := d.SignOut(httptest.NewRecorder(), with("POST", cookie)); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestSessionEndsByItself(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{Session: 10 * time.Second})
	cookie := signIn(t, d, ada())
	if _, err := d.Manager(with("GET", cookie)); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "the session has ended", func() bool {
		_, err := d.Manager(with("GET", cookie))
		return errors.Is(err, auth.ErrCredentials)
	})
}

func TestStoreThatIsAwayIsNotAWrongCookie(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{})
	cookie := signIn(t, d, ada())
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Manager(with("GET", cookie)); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
