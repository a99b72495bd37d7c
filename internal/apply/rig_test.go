// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/api"
	"github.com/hsmsigner/hsmsigner/internal/apply"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// rig is the real management API over a real store. Only what would run the
// services is not there: here no vault and no node is reached.
type rig struct {
	client *client.Client
	key    string
	dir    string // of the files to apply, with their secrets
	data   string

	mu   sync.Mutex
	sent []string // method and path of what was sent and is no reading
}

// idle runs services that are started and do nothing.
type idle struct{ platform.Runtime }

func (idle) Open(context.Context, platform.ServiceSpec) error { return nil }
func (idle) Close(context.Context, string) error              { return nil }
func (idle) Live(context.Context, string) (int, error)        { return 0, nil }
func (idle) Status(string) (platform.RunStatus, bool) {
	ok := platform.Dependency{OK: true, Checked: time.Now()}
	return platform.RunStatus{Ready: true, Listed: true, Verified: true, Backend: ok, Node: ok}, true
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{dir: t.TempDir(), data: t.TempDir()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: r.data})
	must(err)
	t.Cleanup(func() { _ = db.Close() })
	sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Dir: r.data})
	must(err)
	verifier, err := auth.OpenVerifier(t.Context(), sealer)
	must(err)
	directory, err := auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: verifier})
	must(err)
	p, err := platform.New(t.Context(), platform.Config{
		Store: db, Sealer: sealer, Verifier: verifier, Runtime: idle{},
		ParseDetails: new(config.Config).ParseTenantDetails, ParseNode: new(config.Config).ParseTenantNode,
		Declared: []config.Wallet{{Name: "of-the-file", Node: config.Node{ChainID: 1337}, Details: config.Details{Provider: config.ProviderKeystore}}},
		Release:  "test", Poll: 10 * time.Millisecond, Changed: directory.Changed,
	})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() { stop(); ended.Wait() })
	management, err := api.NewManagement(api.ManagementConfig{Platform: p, Gate: directory, Release: "test"})
	must(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet {
			r.mu.Lock()
			r.sent = append(r.sent, req.Method+" "+req.URL.Path)
			r.mu.Unlock()
		}
		management.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	made, err := p.Create(t.Context(), auth.Operating(), platform.APIKeys, platform.Path{}, []byte(`{"name": "root", "grants": [{"role": "admin"}]}`))
	must(err)
	r.key = made.(*platform.APIKey).Key
	r.client, err = client.New(client.Config{URL: server.URL, Key: func() (string, error) { return r.key, nil }})
	must(err)
	return r
}

// write makes a file in the folder of the files to apply.
func (r *rig) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) parse(t *testing.T, text string) []*apply.Item {
	t.Helper()
	items, err := apply.Parse(filepath.Join(r.dir, "apply.yaml"), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func (r *rig) plan(t *testing.T, text string, prune bool) *apply.Plan {
	t.Helper()
	p, err := apply.Make(t.Context(), r.client, r.parse(t, text), prune)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// apply applies a file and returns what was done, one line each, and what was
// sent.
func (r *rig) apply(t *testing.T, text string, prune bool) (done []string, sent []string) {
	t.Helper()
	p := r.plan(t, text, prune)
	r.mu.Lock()
	r.sent = nil
	r.mu.Unlock()
	if err := p.Run(t.Context(), r.client, func(s *apply.Step) { done = append(done, s.String()) }); err != nil {
		t.Fatalf("%v after %q", err, done)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return done, r.sent
}
