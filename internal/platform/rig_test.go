// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// rig is a deployment: one store, and one or more replicas.
type rig struct {
	t        *testing.T
	dir      string
	db       *store.DB
	sealer   *seal.Sealer
	verifier *auth.Verifier
	operator *config.Config
	log      *lines
	p        *platform.Platform // the first replica
	stage    *stage
	changes  *recorded
}

// lines keeps a log as text.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// recorded keeps the changes that were told.
type recorded struct {
	mu  sync.Mutex
	all []platform.Change
}

func (r *recorded) record(_ context.Context, c platform.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, c)
}

func (r *recorded) verbs() (verbs []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.all {
		verbs = append(verbs, c.Verb+" "+string(c.Kind))
	}
	return verbs
}

// root may do everything, as the first key of a deployment.
func root() auth.Access {
	return auth.Access{Principal: auth.Principal{Name: "key:root"}, Grants: []auth.Grant{{Role: auth.Admin}}}
}

func newRig(t *testing.T, change ...func(*platform.Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.OpenVerifier(t.Context(), sealer)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, dir: dir, db: db, sealer: sealer, verifier: verifier, log: new(lines), changes: new(recorded),
		operator: &config.Config{Egress: config.Egress{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
	}
	r.p, r.stage = r.replica(change...)
	return r
}

// replica is another process on the same store. Run it with start.
func (r *rig) replica(change ...func(*platform.Config)) (*platform.Platform, *stage) {
	r.t.Helper()
	s := newStage()
	cfg := platform.Config{
		Store: r.db, Sealer: r.sealer, Verifier: r.verifier, Runtime: s,
		ParseDetails: func(m string, d []byte) (config.Details, error) { return r.operator.ParseTenantDetails(m, d) },
		ParseNode:    r.operator.ParseTenantNode,
		URLs: func(id string) map[string]string {
			return map[string]string{"http": "https://signer.example.org/" + id}
		},
		Record: r.changes.record, Release: "1.2.3",
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	p, err := platform.New(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return p, s
}

// start runs a replica until the test ends.
func (r *rig) start(p *platform.Platform) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done })
}

// home is where the resources of the default tenant stand.
func home() platform.Path {
	return platform.Path{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment}
}

func at(p platform.Path, id string) platform.Path {
	p.ID = id
	return p
}

// must makes a resource as somebody who may.
func must[T any](r *rig, kind platform.Kind, at platform.Path, body string) T {
	r.t.Helper()
	return made[T](r, root(), kind, at, body)
}

func made[T any](r *rig, who auth.Access, kind platform.Kind, at platform.Path, body string) T {
	r.t.Helper()
	v, err := r.p.Create(r.t.Context(), who, kind, at, []byte(body))
	if err != nil {
		r.t.Fatalf("create %s: %v", kind, err)
	}
	out, ok := v.(T)
	if !ok {
		r.t.Fatalf("create %s gives %T", kind, v)
	}
	return out
}

func got[T any](r *rig, kind platform.Kind, at platform.Path) T {
	r.t.Helper()
	v, err := r.p.Get(r.t.Context(), root(), kind, at)
	if err != nil {
		r.t.Fatalf("get %s: %v", kind, err)
	}
	return v.(T)
}

// patched changes a resource.
func patched[T any](r *rig, kind platform.Kind, at platform.Path, body string) T {
	r.t.Helper()
	v, err := r.p.Update(r.t.Context(), root(), kind, at, []byte(body))
	if err != nil {
		r.t.Fatalf("update %s: %v", kind, err)
	}
	return v.(T)
}

const vaultToken = "hvs.CANARY-token-of-the-vault"

// vault is the body of a configuration that needs nothing of this machine.
func vaultBody(more string) string {
	return `{"type":"cloudhsm","name":"vault","membership_id":"` + platform.DefaultMembership + `","details":{"provider":"hashicorp",` +
		`"target_address":"https://vault.example.org:8200","user_secret":"` + vaultToken + `"` + more + `}}`
}

const nodeURL = "https://user:CANARY-password@node.example.org/v3/CANARY-key"

func nodeBody(more string) string {
	return `{"name":"node","membership_id":"` + platform.DefaultMembership + `","chain_id":1337,"urls":{"rpc":"` + nodeURL + `"}` + more + `}`
}

// service makes a whole service of the default tenant.
func (r *rig) service() *platform.Service {
	r.t.Helper()
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	return r.serviceOf(c.ID)
}

func (r *rig) serviceOf(configuration string) *platform.Service {
	r.t.Helper()
	return must[*platform.Service](r, platform.Services, home(), fmt.Sprintf(
		`{"name":"treasury","membership_id":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q}}`, platform.DefaultMembership, configuration))
}

// refused wants a platform error and gives its text with its reason.
func refused(t *testing.T, err error) string {
	t.Helper()
	var e *platform.Error
	if !errors.As(err, &e) {
		t.Fatalf("want a refusal, not %v", err)
	}
	return string(e.Reason) + ": " + e.Error()
}

// until waits for something to become so: within a time that the machine may need six
// times, and stand still for a few seconds beside.
func until(t *testing.T, within time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	within = 6*within + 5*time.Second
	begun := time.Now()
	for time.Since(begun) < within {
		if is() {
			return time.Since(begun)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not within %s: %s", within, what)
	return 0
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// files reads the database as it lies on the disk.
func (r *rig) files() []string {
	names, err := filepath.Glob(filepath.Join(r.dir, "*.db*"))
	if err != nil || len(names) == 0 {
		r.t.Fatal("no database file", err)
	}
	return names
}
