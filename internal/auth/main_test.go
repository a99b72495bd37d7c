// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a store with credentials in it, as package platform writes them.
type place struct {
	*testing.T
	dir      string
	db       *store.DB
	verifier *auth.Verifier
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &place{t, dir, db, newVerifier(t, 1)}
}

func newVerifier(t testing.TB, first byte) *auth.Verifier {
	t.Helper()
	v, err := auth.NewVerifier(append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (p *place) directory(cfg auth.DirectoryConfig) *auth.Directory {
	p.Helper()
	cfg.Store, cfg.Verifier = p.db, p.verifier
	d, err := auth.NewDirectory(p.Context(), cfg)
	if err != nil {
		p.Fatal(err)
	}
	return d
}

// running is a directory whose Run runs until the test ends.
func (p *place) running(cfg auth.DirectoryConfig) *auth.Directory {
	p.Helper()
	d := p.directory(cfg)
	done := make(chan struct{})
	ctx := p.Context()
	go func() { defer close(done); d.Run(ctx) }()
	p.Cleanup(func() { <-done }) // the test's context ends first
	return d
}

func (p *place) row(kind, id string, data any) store.Resource {
	p.Helper()
	text, err := json.Marshal(data)
	if err != nil {
		p.Fatal(err)
	}
	now := time.Now()
	return store.Resource{
		ID: id, Kind: kind, Consortium: "h0conso001", Environment: "h0envir001", Membership: "h0membe001",
		State: "started", Created: now, Updated: now, Data: text,
	}
}

func (p *place) insert(r store.Resource) {
	p.Helper()
	if err := p.db.Write(p.Context(), func(w *store.Writer) error { return w.InsertResource(r) }); err != nil {
		p.Fatal(err)
	}
}

// app makes an app credential and returns its password.
func (p *place) app(id string) string {
	p.Helper()
	return p.appOf(id, "h0membe001")
}

// appOf makes one of a membership.
func (p *place) appOf(id, membership string) string {
	p.Helper()
	secret, r := auth.NewSecret(), p.row("appcreds", id, map[string]any{"auth_type": auth.Basic, "username": id})
	r.Membership = membership
	r.Verifier = credentialOf(r, auth.Basic, id).Stored(p.verifier, secret)
	p.insert(r)
	return secret
}

func credentialOf(r store.Resource, kind, username string) auth.AppCred {
	return auth.AppCred{ID: r.ID, AuthType: kind, Username: username, Membership: r.Membership, Environment: r.Environment}
}

// certificate makes an app credential of a certificate's identity, so many
// seconds from now.
func (p *place) certificate(id, identity, membership string, after time.Duration) {
	p.Helper()
	r := p.row("appcreds", id, map[string]any{"auth_type": auth.MTLS, "username": identity})
	r.Membership, r.Created = membership, r.Created.Add(after)
	r.Verifier = credentialOf(r, auth.MTLS, identity).Stored(p.verifier, "")
	p.insert(r)
}

// key makes an API key.
func (p *place) key(id string, grants ...auth.Grant) string {
	p.Helper()
	secret, r := auth.NewSecret(), p.row("apikeys", id, map[string]any{"grants": grants})
	r.Consortium, r.Environment, r.Membership = "", "", ""
	r.Verifier = auth.StoredKey(p.verifier, id, grants, secret)
	p.insert(r)
	return id + "-" + secret
}

func (p *place) remove(id string) {
	p.Helper()
	if err := p.db.Write(p.Context(), func(w *store.Writer) error { return w.DeleteResource(id) }); err != nil {
		p.Fatal(err)
	}
}

// change edits the row of a credential, as who may write to the database can.
func (p *place) change(id string, f func(*store.Resource)) {
	p.Helper()
	err := p.db.Write(p.Context(), func(w *store.Writer) error {
		r, err := w.Resource(id)
		if err != nil {
			return err
		}
		f(&r)
		return w.UpdateResource(r)
	})
	if err != nil {
		p.Fatal(err)
	}
}

func request(from string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.RemoteAddr = from
	return r
}

func basic(name, password string) *http.Request {
	r := request("192.0.2.1:5")
	r.SetBasicAuth(name, password)
	return r
}

func bearer(token string) *http.Request {
	r := request("192.0.2.1:5")
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// within asks until what is asked is so, and fails if it is not after a time.
func within(t *testing.T, limit time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !is() {
		if time.Since(start) > limit {
			t.Fatalf("%s: not so after %s", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}
