// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// raw sends a body as it stands.
func (r *rig) raw(method, path, media, body string, more ...string) seen {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+Base+path, strings.NewReader(body))
	must(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.root)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i] == "Host" {
			req.Host = more[i+1]
		}
		req.Header.Set(more[i], more[i+1])
	}
	return r.do(req)
}

func TestOnlyJSONIsRead(t *testing.T) {
	r := newRig(t)
	good := `{"name":"x"}`
	for media, code := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 201, "Application/JSON": 201,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data": 415,
		"application/json; charset=utf-16": 415, "application/merge-patch+json": 415, "application": 415, "a/b;;": 415,
	} {
		if a := r.raw("POST", "/consortia", media, good); a.code != code || code == 415 && a.get("error") != mediaWrong {
			t.Errorf("%q: %d %s", media, a.code, a.text)
		}
	}
	if a := r.raw("POST", "/consortia", "application/json", good, "Content-Encoding", "gzip"); a.code != 415 {
		t.Errorf("gzip: %d", a.code)
	}
}

func TestBodiesThatAreNotAsDescribedAreRefusedWithTheField(t *testing.T) {
	r := newRig(t)
	for body, field := range map[string]string{
		"":                             "",
		"{":                            "",
		"[]":                           "",
		"null":                         "",
		"1":                            "",
		`{"name":"a","name":"b"}`:      "",
		`{"name":"a"} x`:               "",
		"\ufeff" + `{"name":"a"}`:      "",
		`{"name":"` + "\xff" + `"}`:    "",
		`{}`:                           "name",
		`{"name":1}`:                   "name",
		`{"name":null}`:                "name",
		`{"name":""}`:                  "name",
		`{"name":"<b>"}`:               "name",
		`{"name":"a","description":1}`: "description",
		`{"Name":"a"}`:                 "name",
		strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40): "",
	} {
		a := r.raw("POST", "/consortia", "application/json", body)
		got, _ := a.get("field").(string)
		if a.code != 400 || got != field || a.get("error") != "invalid" {
			t.Errorf("%.40s: %d %s", body, a.code, a.text)
		}
	}
}

func TestABodyOfMoreThanAMebibyteIsRefused(t *testing.T) {
	r := newRig(t)
	big := `{"name":"x","more":"` + strings.Repeat("x", maxBody) + `"}`
	if a := r.raw("POST", "/consortia", "application/json", big); a.code != 413 || a.get("error") != tooLarge {
		t.Errorf("%d %s", a.code, a.text)
	}
	fits := `{"name":"x","more":"` + strings.Repeat("x", 400<<10) + `"}`
	if a := r.raw("POST", "/consortia", "application/json", fits); a.code != 201 {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	r := newRig(t)
	for path, field := range map[string]string{
		"/consortia?naming=x":               "naming",
		"/consortia?limit=x":                "limit",
		"/consortia?a;b":                    "",
		"/consortia/h0consort0?fields=name": "",
		"/whoami?x=1":                       "",
	} {
		a := r.send(r.root, "GET", path, "")
		got, _ := a.get("field").(string)
		if a.code != 400 || got != field {
			t.Errorf("%s: %d %s", path, a.code, a.text)
		}
	}
}

func TestPagesOfOtherOriginsAndOtherHostsGetNothing(t *testing.T) {
	r := newRig(t)
	own := strings.TrimPrefix(r.server.URL, "http://")
	for _, c := range []struct {
		name, value string
		code        int
	}{
		{"Origin", "http://" + own, 200},
		{"Origin", "https://evil.example", 403},
		{"Origin", "null", 403},
		{"Origin", "http://" + own + ".evil.example", 403},
		{"Origin", "http://127.0.0.1:1", 403},
		{"Host", "rebound.example", 403},
		{"Host", own, 200},
	} {
		a := r.raw("GET", "/whoami", "", "", c.name, c.value)
		if a.code != c.code || c.code == 403 && a.get("error") != "forbidden" {
			t.Errorf("%s: %s: %d %s", c.name, c.value, a.code, a.text)
		}
	}
}

// failing fails with err, or panics with it.
type failing struct {
	Platform
	err   error
	panic any
}

func (f failing) List(context.Context, auth.Access, platform.Kind, platform.Path) ([]any, error) {
	if f.panic != nil {
		panic(f.panic)
	}
	return nil, f.err
}

type open struct{ err error }

func (o open) Manager(*http.Request) (auth.Access, error) { return auth.Operating(), o.err }

// What goes wrong inside is in the log and not in the answer; the two have a
// number in common.
func TestErrorsAndPanicsOfOursAreNotShown(t *testing.T) {
	for _, p := range []failing{
		{err: errors.New("canary: postgres://user:password@host")},
		{panic: "canary"},
		{panic: errors.New("canary")},
		{panic: 1},
	} {
		var log bytes.Buffer
		m, err := NewManagement(ManagementConfig{Platform: p, Gate: open{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", Base+"/consortia", nil))
		_, number, _ := strings.Cut(w.Body.String(), `"request_id":"`)
		number, _, _ = strings.Cut(number, `"`)
		if w.Code != 500 || strings.Contains(w.Body.String(), "canary") || number == "" || !strings.Contains(log.String(), number) {
			t.Errorf("%d %s %s", w.Code, w.Body, log.String())
		}
	}
}

func TestEachSortOfErrorHasItsCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		more string
	}{
		{&platform.Error{Reason: platform.Invalid, Field: "name", Msg: "is wrong"}, 400, `{"errorMessage":"name: is wrong","error":"invalid","field":"name"}`},
		{&platform.Error{Reason: platform.NotFound, Msg: "there is no service u0secret00"}, 404, `"not_found"}`},
		{&platform.Error{Reason: platform.Forbidden, Msg: "no"}, 403, `"forbidden"`},
		{&platform.Error{Reason: platform.Conflict, Msg: "no"}, 409, `"conflict"`},
		{&platform.Error{Reason: platform.Unsupported, Msg: "no"}, 422, `"unsupported"`},
		{&platform.Error{Reason: platform.Unavailable, Msg: "no"}, 503, `"unavailable"`},
		{context.DeadlineExceeded, 503, `"unavailable"`},
	} {
		m, err := NewManagement(ManagementConfig{Platform: failing{err: c.err}, Gate: open{}})
		must(t, err)
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", Base+"/consortia", nil))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.more) || strings.Contains(w.Body.String(), "u0secret00") {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		err    error
		code   int
		header string
	}{
		{auth.ErrCredentials, 401, "WWW-Authenticate"},
		{auth.ErrCSRF, 403, ""},
		{auth.ErrUnavailable, 503, "Retry-After"},
		{&auth.LimitError{Reason: "too many", RetryAfter: 1}, 429, "Retry-After"},
		{errors.New("canary"), 500, ""},
	} {
		m, err := NewManagement(ManagementConfig{Platform: failing{}, Gate: open{c.err}})
		must(t, err)
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", Base+"/consortia", nil))
		if w.Code != c.code || c.header != "" && w.Header().Get(c.header) == "" || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
}

// The page works with what is served beside it, and loads nothing else.
func TestTheUserInterfaceIsWholeAndTalksToNobody(t *testing.T) {
	r := newRig(t)
	page := r.send("", "GET", "/docs", "")
	policy := page.header.Get("Content-Security-Policy")
	if page.code != 200 || !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe-eval") || strings.Contains(policy, "http") {
		t.Fatalf("%d %s", page.code, policy)
	}
	if strings.Contains(page.text, "//") && strings.Contains(page.text, `="http`) {
		t.Error("the page loads something from elsewhere")
	}
	found := 0
	for part := range strings.SplitSeq(page.text, `"docs/`) {
		file, _, ok := strings.Cut(part, `"`)
		if !ok || strings.Contains(file, "<") {
			continue
		}
		for _, packed := range []string{"gzip", "identity"} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+Base+"/docs/"+file, nil)
			must(t, err)
			req.Header.Set("Accept-Encoding", packed)
			if a := r.do(req); a.code != 200 || len(a.text) < 100 || (a.header.Get("Content-Encoding") == "gzip") != (packed == "gzip" && !strings.HasSuffix(file, "start.js") && !strings.HasSuffix(file, "png")) {
				t.Errorf("%s: %d, %d bytes, %s", file, a.code, len(a.text), a.header.Get("Content-Encoding"))
			}
		}
		found++
	}
	if found != 4 {
		t.Errorf("%d files", found)
	}
}
