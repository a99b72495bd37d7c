// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Where a request that changes something carries the session's token. Only a
// form (application/x-www-form-urlencoded) may have it in a field; its handler
// bounds the body first.
const (
	CSRFHeader = "X-CSRF-Token"
	CSRFField  = "csrf_token"
)

// CookieName is the session cookie's name. With https it has the prefix that
// keeps other hosts of the same domain from setting it.
func CookieName(secure bool) string {
	if secure {
		return "__Host-hsmsigner"
	}
	return "hsmsigner"
}

// maxOld bounds how many old sessions one request can have ended.
const maxOld = 4

// sessionGrants is what is stored of what a session may do.
type sessionGrants struct {
	Grants []Grant `json:"grants"`
	Rules  string  `json:"rules"` // by which they were given
	MAC    []byte  `json:"mac"`   // of both and of the rest of the row
}

// Session is the session of a request.
type Session struct {
	Person  Person
	Access  Access // what it may do now
	CSRF    string // the token that goes with it
	Expires time.Time

	rules string // by which it was begun
}

// SignIn begins a session of a person, whom the identity provider has vouched
// for, and gives the browser its cookie. The session that the browser had ends.
func (d *Directory) SignIn(w http.ResponseWriter, r *http.Request, p Person) error {
	return d.begin(w, r, p, d.cfg.Rules)
}

func (d *Directory) begin(w http.ResponseWriter, r *http.Request, p Person, rules string) error {
	cookie, now := NewSecret(), time.Now()
	row := store.SignIn{
		Hash: d.cfg.Verifier.Hash(forSession, "", cookie), Subject: p.Subject, Name: p.Name,
		Created: now, Expires: now.Add(d.cfg.Session),
	}
	may := sessionGrants{Grants: p.Grants, Rules: rules, MAC: boundSession(d.cfg.Verifier, row, rules, p.Grants)}
	var err error
	if row.Grants, err = json.Marshal(may); err != nil {
		return err
	}
	if err := d.cfg.Store.PutSignIn(r.Context(), row); err != nil {
		return unavailable(err)
	}
	if err := d.endOld(r); err != nil {
		return err
	}
	if err := d.record(r, SignedIn, Session{Person: p, rules: rules}); err != nil {
		// Nobody gets the cookie, so the session is nobody's.
		_ = d.cfg.Store.EndSignIn(context.WithoutCancel(r.Context()), row.Hash)
		return unavailable(err)
	}
	http.SetCookie(w, d.cookie(cookie, int(d.cfg.Session/time.Second)))
	return nil
}

// endOld ends the sessions whose cookies the browser sends.
func (d *Directory) endOld(r *http.Request) error {
	for i, c := range r.CookiesNamed(CookieName(d.cfg.Secure)) {
		if i == maxOld {
			return nil
		}
		if err := d.cfg.Store.EndSignIn(r.Context(), d.cfg.Verifier.Hash(forSession, "", c.Value)); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// SignOut ends the session of a request, if it has one and its token.
func (d *Directory) SignOut(w http.ResponseWriter, r *http.Request) error {
	s, cookie, err := d.session(r)
	if errors.Is(err, ErrCredentials) {
		http.SetCookie(w, d.cookie("", -1))
		return nil
	}
	if err == nil && !d.fromUs(r, s) {
		err = ErrCSRF
	}
	if err != nil {
		return err
	}
	if err := d.cfg.Store.EndSignIn(r.Context(), d.cfg.Verifier.Hash(forSession, "", cookie)); err != nil {
		return unavailable(err)
	}
	http.SetCookie(w, d.cookie("", -1))
	if err := d.record(r, SignedOut, s); err != nil {
		d.log.Error("an event cannot be put on record", "event", string(SignedOut), "err", err)
	}
	return nil
}

// Session finds the session of a request: ErrCredentials if it has none.
func (d *Directory) Session(r *http.Request) (Session, error) {
	s, _, err := d.session(r)
	return s, err
}

func (d *Directory) session(r *http.Request) (Session, string, error) {
	sent := r.CookiesNamed(CookieName(d.cfg.Secure))
	if len(sent) != 1 || sent[0].Value == "" {
		return Session{}, "", ErrCredentials
	}
	cookie := sent[0].Value
	row, err := d.cfg.Store.SignIn(r.Context(), d.cfg.Verifier.Hash(forSession, "", cookie))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Session{}, "", ErrCredentials
	case err != nil:
		return Session{}, "", unavailable(err)
	}
	var may sessionGrants
	err = json.Unmarshal(row.Grants, &may)
	switch {
	case err != nil || !same(may.MAC, boundSession(d.cfg.Verifier, row, may.Rules, may.Grants)):
		return Session{}, "", d.changed(r.Context(), row)
	case may.Rules != d.cfg.Rules && may.Rules != byAKey:
		return Session{}, "", ErrCredentials // the person may sign in again, under those of now
	}
	person := Person{Subject: row.Subject, Name: row.Name, Grants: may.Grants}
	s := Session{Person: person, CSRF: d.csrf(cookie), Expires: row.Expires, rules: may.Rules}
	if s.Access, err = d.accessOf(s); err != nil {
		return Session{}, "", err // its key is gone
	}
	s.Person.Grants = s.Access.Grants
	return s, cookie, nil
}

// changed ends a session whose row is not as it was made, and says so.
func (d *Directory) changed(ctx context.Context, row store.SignIn) error {
	d.log.Error("a stored session was changed in the database, outside of the API: it is ended", "subject", row.Subject)
	if err := d.cfg.Store.EndSignIn(context.WithoutCancel(ctx), row.Hash); err != nil {
		return unavailable(err)
	}
	return ErrCredentials
}

func (d *Directory) bySession(r *http.Request) (Access, error) {
	s, _, err := d.session(r)
	if err != nil {
		return Access{}, err
	}
	if !safe(r.Method) && !d.fromUs(r, s) {
		return Access{}, ErrCSRF
	}
	return s.Access, nil
}

// csrf is made from the cookie, so there is nothing to store, and from a key, so
// that who learns one does not learn the other.
func (d *Directory) csrf(cookie string) string {
	return base64.RawURLEncoding.EncodeToString(d.cfg.Verifier.Hash(forCSRF, "", cookie))
}

// fromUs reports whether a page of ours sent the request: it has the token, and
// the browser, if it says where the request comes from, says from here.
func (d *Directory) fromUs(r *http.Request, s Session) bool {
	if http.NewCrossOriginProtection().Check(r) != nil {
		return false
	}
	token := r.Header.Get(CSRFHeader)
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); token == "" && strings.TrimSpace(kind) == "application/x-www-form-urlencoded" {
		token = r.PostFormValue(CSRFField)
	}
	return same([]byte(token), []byte(s.CSRF))
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func (d *Directory) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: Secure is left out only where the listener is reached without TLS, on loopback
		Name: CookieName(d.cfg.Secure), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: d.cfg.Secure, SameSite: http.SameSiteStrictMode,
	}
}

func (d *Directory) record(r *http.Request, kind EventKind, s Session) error {
	who := s.Person.access().Principal.Name
	if s.rules == byAKey {
		who = "key:" + s.Person.Subject
	}
	e := Event{At: time.Now(), Kind: kind, Who: who, Remote: addressOf(r), Count: 1}
	if kind == SignedIn {
		e.Name = s.Person.Name
	}
	return d.cfg.Record(context.WithoutCancel(r.Context()), e)
}
