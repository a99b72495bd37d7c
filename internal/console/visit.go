// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// visit is one request of somebody who has signed in.
type visit struct {
	c    *Console
	r    *http.Request
	who  auth.Access
	name string // of the person, as shown
	csrf string
	at   platform.Path // consortium and environment of the path; empty where it has none
	form url.Values    // of a POST; the query of a GET
	// spent: nothing can be sent any more under the key of the form that came.
	spent bool

	consortium  *platform.Consortium
	environment *platform.Environment
}

// view is what a handler answers.
type view struct {
	page     string // name of the template
	title    string
	section  string // of the navigation
	data     any
	status   int    // 0: 200
	to       string // path to go to instead, after something was done
	fragment bool   // the page's part alone, for pages that keep themselves up to date
	file     *file  // what is given instead of a page
}

// handler answers a request. An error of package platform becomes a page that
// says what to do now.
type handler func(ctx context.Context, v *visit) (view, error)

// route is one method at one path under Base.
type route struct {
	method string
	path   string
	serve  handler
}

// here is where the pages of an environment begin.
const here = "/in/{consortium}/{environment}"

func (c *Console) serve(w http.ResponseWriter, r *http.Request, rt route) {
	session, err := c.cfg.Sessions.Session(r)
	if err != nil {
		c.outside(w, r, err)
		return
	}
	if r.Method == http.MethodPost {
		// Checks the token, too.
		if _, err := c.cfg.Sessions.Manager(r); err != nil {
			c.outside(w, r, err)
			return
		}
	}
	v := &visit{c: c, r: r, who: session.Access, name: session.Person.Name, csrf: session.CSRF, form: r.URL.Query()}
	if r.Method == http.MethodPost {
		v.form = r.PostForm
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	if err = v.enter(ctx); err == nil {
		var is view
		is, err = rt.serve(ctx, v)
		ctx, cancel := afterwards(ctx)
		defer cancel()
		if err == nil {
			c.answer(ctx, w, v, is)
			return
		}
	}
	c.answer(ctx, w, v, c.trouble(v, err))
}

// outside answers who has no session, or whose form did not come from here.
func (c *Console) outside(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, auth.ErrCSRF):
		c.render(w, "stopped", http.StatusForbidden, stopped{
			"This form is out of date", "Nothing was changed. Go back, load the page again, and send the form once more.",
		})
	case errors.Is(err, auth.ErrCredentials) && (r.Method != http.MethodGet || r.Header.Get("X-Fragment") != ""):
		c.render(w, "stopped", http.StatusUnauthorized, stopped{
			"Your session has ended", "Nothing was changed. Sign in again, then repeat what you were doing.",
		})
	case errors.Is(err, auth.ErrCredentials):
		to := Base + "/sign-in"
		if r.URL.Path != Base && r.URL.Path != Base+"/" {
			to += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		c.log.Error("cannot tell who opens the console", "err", err)
		c.render(w, "stopped", http.StatusServiceUnavailable, stopped{
			"The console cannot tell who you are", "The database does not answer just now. Try again in a moment.",
		})
	}
}

// stopped is a page for somebody of whom nothing is known.
type stopped struct{ Title, Text string }

// enter reads what the path leads through.
func (v *visit) enter(ctx context.Context) error {
	v.at = platform.Path{Consortium: v.r.PathValue("consortium"), Environment: v.r.PathValue("environment")}
	if v.at.Consortium == "" {
		return nil
	}
	var err error
	if v.consortium, err = get[platform.Consortium](ctx, v, platform.Consortia, platform.Path{ID: v.at.Consortium}); err != nil {
		return err
	}
	v.environment, err = get[platform.Environment](ctx, v, platform.Environments, platform.Path{Consortium: v.at.Consortium, ID: v.at.Environment})
	return err
}

// answer writes a view, or sends the browser on.
func (c *Console) answer(ctx context.Context, w http.ResponseWriter, v *visit, is view) {
	if is.to != "" {
		http.Redirect(w, v.r, is.to, http.StatusSeeOther)
		return
	}
	if is.file != nil {
		is.file.serve(w)
		return
	}
	if is.status == 0 {
		is.status = http.StatusOK
	}
	p := &page{v: v, Title: is.title, Section: is.section, Data: is.data, Done: doneText(v)}
	name := is.page
	if is.fragment {
		name += fragmentSuffix
	} else if err := p.frame(ctx); err != nil {
		c.log.Error("cannot read what stands around a page of the console", "err", err)
	}
	c.render(w, name, is.status, p)
}

// trouble is the page about an error.
func (c *Console) trouble(v *visit, err error) view {
	t := troublePage{Title: "Something went wrong here", Text: "The reason stands in the log of the daemon. Try again; if it stays, tell an operator when it happened.", Back: v.at.Environment != ""}
	status := http.StatusInternalServerError
	var refused *platform.Error
	switch {
	case errors.As(err, &refused):
		status, t.Title = statusOf(refused.Reason), titleOf(refused.Reason)
		t.Text = sentence(refused.Error())
	case errors.Is(err, context.DeadlineExceeded):
		status, t.Title = http.StatusGatewayTimeout, "That took too long"
		t.Text = "The database, a key backend or a node does not answer. Look at the overview for what is down, and try again."
	case errors.Is(err, context.Canceled):
		status = 499
	default:
		c.log.Error("a page of the console failed", "path", v.r.URL.Path, "err", err)
	}
	return view{page: "trouble", title: t.Title, data: t, status: status}
}

// troublePage is the data of the page about an error.
type troublePage struct {
	Title, Text string
	Back        bool // there is a start page to go to
}

func statusOf(r platform.Reason) int {
	switch r {
	case platform.Invalid, platform.Unsupported:
		return http.StatusUnprocessableEntity
	case platform.NotFound:
		return http.StatusNotFound
	case platform.Forbidden:
		return http.StatusForbidden
	case platform.Conflict:
		return http.StatusConflict
	case platform.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func titleOf(r platform.Reason) string {
	switch r {
	case platform.NotFound:
		return "There is nothing here"
	case platform.Forbidden:
		return "You may not do this"
	case platform.Conflict:
		return "That does not fit with what is there"
	case platform.Unavailable:
		return "Not just now"
	}
	return "That cannot be done as it is"
}

// sentence begins and ends a text of the API as a sentence.
func sentence(s string) string {
	if s == "" {
		return s
	}
	_, first := utf8.DecodeRuneInString(s)
	s = strings.ToUpper(s[:first]) + s[first:]
	if !strings.ContainsAny(s[len(s)-1:], ".?!") {
		s += "."
	}
	return s
}

// placed is where the pages of an environment begin.
func placed(consortium, environment string) string {
	return Base + "/in/" + url.PathEscape(consortium) + "/" + url.PathEscape(environment)
}

// path is a path of the environment that the visit is in.
func (v *visit) path(parts ...string) string {
	escaped := []string{placed(v.at.Consortium, v.at.Environment)}
	for _, p := range parts {
		escaped = append(escaped, url.PathEscape(p))
	}
	return strings.Join(escaped, "/")
}

// done sends the browser on, to a page that says what was done: the key of one of
// doneTexts.
func (v *visit) done(what string, parts ...string) view {
	return view{to: v.path(parts...) + "?done=" + url.QueryEscape(what)}
}

// wantsFragment reports whether a page asks for its part anew.
func (v *visit) wantsFragment() bool { return v.r.Header.Get("X-Fragment") != "" }

// can reports whether the person has a role in a membership here: for what is
// shown. Package platform decides what is done.
func (v *visit) can(role auth.Role, membership string) bool {
	return v.who.Can(role, v.at.Consortium, membership)
}

// canSomewhere is can for any membership of the consortium.
func (v *visit) canSomewhere(role auth.Role) bool {
	return slices.ContainsFunc(v.who.Grants, func(g auth.Grant) bool {
		return v.who.Can(role, v.at.Consortium, g.Membership) && (g.Consortium == "" || g.Consortium == v.at.Consortium)
	})
}

// get reads one resource.
func get[T any](ctx context.Context, v *visit, kind platform.Kind, at platform.Path) (*T, error) {
	is, err := v.c.cfg.Platform.Get(ctx, v.who, kind, at)
	if err != nil {
		return nil, err
	}
	t, ok := is.(*T)
	if !ok {
		return nil, errors.New("console: " + string(kind) + " are of another type")
	}
	return t, nil
}

// list reads all resources of a kind that the person may see, here.
func list[T any](ctx context.Context, v *visit, kind platform.Kind) ([]*T, error) {
	at := v.at
	at.ID = ""
	return listAt[T](ctx, v, kind, at)
}

func listAt[T any](ctx context.Context, v *visit, kind platform.Kind, at platform.Path) ([]*T, error) {
	all, err := v.c.cfg.Platform.List(ctx, v.who, kind, at)
	if err != nil {
		return nil, err
	}
	out := make([]*T, 0, len(all))
	for _, is := range all {
		if t, ok := is.(*T); ok {
			out = append(out, t)
		}
	}
	return out, nil
}
