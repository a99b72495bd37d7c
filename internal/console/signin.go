// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// signInPage is the data of the page.
type signInPage struct {
	Problem string
	Next    string // where the person wanted to go
	SignIn  string // URL of the identity provider's sign-in
	Release string
}

func (c *Console) showSignIn(w http.ResponseWriter, r *http.Request) {
	if _, err := c.cfg.Sessions.Session(r); err == nil {
		http.Redirect(w, r, within(r.URL.Query().Get("next")), http.StatusSeeOther) //nolint:gosec // G710: within lets nothing through but paths of the console
		return
	}
	c.askSignIn(w, r, http.StatusOK, "")
}

func (c *Console) askSignIn(w http.ResponseWriter, r *http.Request, status int, problem string) {
	next := r.FormValue("next")
	c.render(w, "sign-in", status, signInPage{Problem: problem, Next: within(next), SignIn: c.cfg.SignIn, Release: c.cfg.Release})
}

// signIn begins a session by an API key. There is no session yet whose token the
// form could carry: what keeps other sites from signing a browser in is where the
// browser says the form came from.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	if http.NewCrossOriginProtection().Check(r) != nil {
		c.askSignIn(w, r, http.StatusForbidden, "This form was sent from another site. Open the console itself and sign in there.")
		return
	}
	err := c.cfg.Sessions.SignInWithKey(w, r, strings.TrimSpace(r.PostFormValue("key")))
	var limit *auth.LimitError
	switch {
	case err == nil:
		http.Redirect(w, r, within(r.PostFormValue("next")), http.StatusSeeOther) //nolint:gosec // G710: within lets nothing through but paths of the console
	case errors.As(err, &limit):
		c.askSignIn(w, r, http.StatusTooManyRequests, "Too many tries just now. Wait a minute, then try again.")
	case errors.Is(err, auth.ErrCredentials):
		c.askSignIn(w, r, http.StatusUnauthorized, "That is no API key that is valid here. Check that you pasted all of it, or have an administrator make a new one.")
	default:
		c.log.Error("cannot check a sign-in", "err", err)
		c.askSignIn(w, r, http.StatusServiceUnavailable, "The key cannot be checked just now, because the database does not answer. Try again in a moment.")
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if err := c.cfg.Sessions.SignOut(w, r); err != nil {
		http.Error(w, "the session could not be ended: go back, load the page again, and sign out there", http.StatusForbidden)
		return
	}
	http.Redirect(w, r, Base+"/sign-in", http.StatusSeeOther)
}

// within is a path of the console, the start page if to is none: nobody is sent
// elsewhere after signing in.
func within(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(u.Path, Base+"/") || strings.ContainsAny(to, "\\\r\n\t") || strings.HasPrefix(to, "//") ||
		strings.HasPrefix(u.Path, Base+"/sign-") || strings.Contains(u.Path, "..") {
		return Base + "/"
	}
	return u.RequestURI()
}
