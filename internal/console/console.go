// SPDX-License-Identifier: Apache-2.0

// Package console is the web console: pages for operators on the admin listener,
// rendered on the server and embedded in the program.
//
// Every page and button calls package platform as the management API does, so
// that it offers nothing which the API cannot, and platform refuses here what it
// refuses there; roles only decide what is shown. No page runs script that stands
// in it, loads anything from elsewhere or can be framed. What changes something
// is a POST that carries the session's token. A secret that is shown once, when
// it is made, is in no URL and no log.
package console

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/history"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// Base is where all pages begin.
const Base = "/console"

//go:embed assets
var assetFiles embed.FS

// Config is what a Console is made of.
type Config struct {
	Platform *platform.Platform
	Sessions *auth.Directory
	Past     *history.Recorder // nil: no pictures
	// Contracts is what contracts, tokens and events are worked with; empty: there
	// are none.
	Contracts Contracts
	Release   string       // of this program
	SignIn    string       // URL that begins a sign-in at the identity provider; empty: there is none
	Logger    *slog.Logger // nil discards
}

// Console serves everything under Base. It is safe for concurrent use.
type Console struct {
	cfg   Config
	log   *slog.Logger
	mux   *http.ServeMux
	pages pages

	refreshWait time.Duration // as the constant; tests wait less
}

// New makes a console.
func New(cfg Config) (*Console, error) {
	if cfg.Platform == nil || cfg.Sessions == nil {
		return nil, errors.New("console: a platform and sessions are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Console{cfg: cfg, log: cfg.Logger, mux: http.NewServeMux(), refreshWait: refreshWait}
	var err error
	if c.pages, err = parsePages(); err != nil {
		return nil, err
	}
	assets, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		return nil, err
	}
	c.mux.Handle("GET "+Base+"/assets/", http.StripPrefix(Base+"/assets/", asset(assets)))
	c.mux.HandleFunc("GET "+Base+"/sign-in", c.showSignIn)
	c.mux.HandleFunc("POST "+Base+"/sign-in", c.signIn)
	c.mux.HandleFunc("POST "+Base+"/sign-out", c.signOut)
	c.mux.HandleFunc("GET "+Base, c.enter)
	c.mux.HandleFunc("GET "+Base+"/{$}", c.enter)
	for _, rt := range routes() {
		c.mux.HandleFunc(rt.method+" "+Base+rt.path, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, rt) })
	}
	c.mux.HandleFunc("GET "+Base+"/", func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, route{serve: nothingHere}) })
	return c, nil
}

// contentPolicy is the Content-Security-Policy of every page (CSP level 3): script and
// style are files of ours, forms go here, and nobody frames a page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: with that, browsers say of a form of ours that it comes from
	// the origin null (Fetch, "append a request Origin header").
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		most := int64(maxForm)
		if strings.HasSuffix(r.URL.Path, "/upload") {
			most = maxUpload
		}
		if r.ContentLength > most {
			c.render(w, "stopped", http.StatusRequestEntityTooLarge, stopped{
				"That is too large", fmt.Sprintf("Nothing was changed. What is sent here may have %d MiB at most.", most>>20),
			})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
	}
	c.mux.ServeHTTP(w, r)
}

// How much a form may send, in bytes; an upload has the output of a compiler in
// it, of which every quotation mark is three characters in a form.
const (
	maxForm   = 1 << 20
	maxUpload = 12 << 20
)

// asset serves files of ours, which change with the program only.
func asset(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r) // no list of them
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	})
}

// enter sends the browser to the first place that its person may see.
func (c *Console) enter(w http.ResponseWriter, r *http.Request) {
	c.serve(w, r, route{serve: firstPlace})
}

// render writes a page, whole or not at all.
func (c *Console) render(w http.ResponseWriter, name string, status int, data any) {
	var b bytes.Buffer
	if err := c.pages.execute(&b, name, data); err != nil {
		c.log.Error("a page of the console cannot be rendered", "page", name, "err", err)
		http.Error(w, "this page cannot be shown just now; the reason stands in the log of the daemon", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who has gone away needs no page
}

// callTimeout is for all that a page asks of backend, node and store.
const callTimeout = 30 * time.Second
