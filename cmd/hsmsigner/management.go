// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/auth/oidc"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/history"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// management is the management API of this daemon: what it has made, who may come
// in by it, and its face.
type management struct {
	directory *auth.Directory
	platform  *platform.Platform
	handler   http.Handler
	signIn    http.Handler // nil: people cannot sign in by an identity provider
	console   http.Handler
	operator  http.Handler // the API for whoever may open the control socket
}

// openManagement opens it; nil if this daemon has none.
func openManagement(ctx context.Context, c *config.Config, db *store.DB, wallets *fleet.Fleet, trail *auditTrail, watch *oversight, gates *contracts, past *history.Recorder, log *slog.Logger) (*management, error) {
	if !managed(c) {
		return nil, nil //nolint:nilnil // no management is no error
	}
	m := &management{}
	provider, err := openProvider(c.Management.OIDC, log)
	if err != nil {
		return nil, fmt.Errorf("management.oidc: %w", err)
	}
	if err := m.openDirectory(ctx, c, db, watch.verifier, provider, wallets, log); err != nil {
		return nil, fmt.Errorf("management: %w", err)
	}
	watch.directory = m.directory
	dial, err := tenantsDial(c.Egress)
	if err != nil {
		return nil, err
	}
	m.platform, err = platform.New(ctx, platform.Config{
		Store: db, Sealer: watch.sealer, Verifier: watch.verifier, Runtime: services{wallets, dial},
		ParseDetails: c.ParseTenantDetails, ParseNode: c.ParseTenantNode, URLs: serviceURLs(c),
		Declared: c.Wallets, RequireHSM: c.Management.RequireHSM, Shared: c.Database.Set(), Region: c.Management.Region, Release: version,
		Audit: trail.book, Documents: platform.Documents{Signer: wallets, Log: documentLog{trail.book}}, Hand: services{wallets, dial},
		Judge: watch.judge, PolicyMAC: platform.PolicyMAC(watch.verifier), DeclaredPolicy: c.Policy,
		Freeze: watch.stop, Approvals: watch.people,
		Changed: m.directory.Changed, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("management: %w", err)
	}
	cookie := ""
	if m.signIn != nil {
		cookie = auth.CookieName(secureAdmin(c))
	}
	m.handler, err = api.NewManagement(api.ManagementConfig{
		Platform: m.platform, Gate: m.directory, Release: version, Cookie: cookie, Gateway: gates.manage, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	if m.operator, err = operatorAPI(m.platform, log); err != nil {
		return nil, err
	}
	m.console, err = openConsole(m, gates, past, log)
	return m, err
}

// How long a start waits for a key service that is away, and at first and at most
// between two tries.
const (
	keyServiceTime  = 30 * time.Second
	keyServiceFirst = 500 * time.Millisecond
	keyServiceMost  = 5 * time.Second
)

// waitForVerifier opens the verifier, for which the key that seals is needed. If
// that is in a service which does not answer, it waits a while: a restart at the
// wrong moment must not need a second one.
func waitForVerifier(ctx context.Context, keys auth.Keys, log *slog.Logger) (*auth.Verifier, error) {
	limited, cancel := context.WithTimeout(ctx, keyServiceTime)
	defer cancel()
	start := time.Now()
	for wait := keyServiceFirst; ; wait = min(2*wait, keyServiceMost) {
		v, err := auth.OpenVerifier(limited, keys)
		switch {
		case err == nil:
			return v, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, seal.ErrUnavailable) && limited.Err() == nil:
			return nil, err
		case time.Since(start)+wait >= keyServiceTime:
			return nil, fmt.Errorf("no answer of the service with the key that seals for %s, and without it no credential can be checked: %w", keyServiceTime, err)
		}
		log.Warn("the service with the key that seals does not answer; trying again", "in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// managed reports whether there is a management API: where one is wanted, and on
// a machine of one's own, where it needs nothing that only the operator could
// give, as the key which daemons on one database have to share.
func managed(c *config.Config) bool {
	return tenanted(c) || !c.Database.Set() && c.Admin.Local()
}

// tenanted reports whether others than the operator may reach the admin listener.
func tenanted(c *config.Config) bool { return c.Management.Enabled || len(c.Seal.Keys) > 0 }

func (m *management) openDirectory(ctx context.Context, c *config.Config, db *store.DB, verifier *auth.Verifier, provider *oidc.Provider, wallets *fleet.Fleet, log *slog.Logger) error {
	cfg := auth.DirectoryConfig{
		Store: db, Verifier: verifier, Record: recordAccess(db, log), Secure: secureAdmin(c), Session: c.Management.Session, ScopeOf: scopeOf(wallets), Logger: log,
		Limits: auth.Limits{Credential: c.Management.Limits.Credential, Membership: c.Management.Limits.Membership},
	}
	if provider != nil {
		cfg.People, cfg.Rules = provider, rulesOf(c.Management.OIDC)
	}
	var err error
	if m.directory, err = auth.NewDirectory(ctx, cfg); err != nil || provider == nil {
		return err
	}
	m.signIn, err = oidc.NewFlow(oidc.FlowConfig{Provider: provider, Directory: m.directory, Verifier: verifier, URL: c.AdminBase()})
	return err
}

// scopeOf says whose the service at a path of the RPC door is.
func scopeOf(wallets *fleet.Fleet) func(path string) (membership, environment string) {
	return func(path string) (string, string) {
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		w := wallets.Wallet(name)
		if w == nil {
			return "", ""
		}
		spec := w.Spec()
		return spec.Membership, spec.Environment
	}
}

// openProvider is who vouches for people; nil if nobody does.
func openProvider(o config.OIDC, log *slog.Logger) (*oidc.Provider, error) {
	if o.Issuer == "" {
		return nil, nil //nolint:nilnil // nobody signs in
	}
	cfg := oidc.Config{Issuer: o.Issuer, ClientID: o.ClientID, Secret: revealer(o.Secret), Scopes: o.Scopes, Logger: log}
	for _, r := range o.Roles {
		cfg.Rules = append(cfg.Rules, oidc.Rule{
			Claim: r.Claim, Value: r.Value,
			Grant: auth.Grant{Consortium: r.Consortium, Membership: r.Membership, Role: auth.Role(r.Role)},
		})
	}
	return oidc.New(cfg)
}

// rulesOf stands for who vouches for people and what they may then do.
func rulesOf(o config.OIDC) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", o.Issuer, o.ClientID, o.Roles))
	return hex.EncodeToString(h[:])
}

// origins are those of our pages at a URL, as browsers write them (RFC 6454 §6.2).
func origins(base string) []string {
	u, err := url.Parse(strings.ToLower(base))
	if base == "" || err != nil {
		return nil
	}
	host := u.Host
	if u.Port() == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	return []string{u.Scheme + "://" + host}
}

func secureAdmin(c *config.Config) bool { return strings.HasPrefix(c.AdminBase(), "https:") }

// serviceURLs says where a service is reached. Some have two names: Kaleido calls
// them http and ws at services, rpc and wss at nodes.
func serviceURLs(c *config.Config) func(id string) map[string]string {
	door, admin := c.RPCBase(), c.AdminBase()
	socket := "ws" + strings.TrimPrefix(door, "http")
	return func(id string) map[string]string {
		return map[string]string{
			"http": door + "/" + id, "rpc": door + "/" + id,
			"ws": socket + "/" + id, "wss": socket + "/" + id,
			"rest":  door + "/" + id + "/gateway",
			"webui": admin + "/console/services/" + id,
		}
	}
}

// callers says who may use the RPC door.
func (m *management) callers(c *config.Config, log *slog.Logger) *callers {
	if m == nil {
		return newCallers(c.RPC, nil, auth.NewGuard(nil, log), nil, log)
	}
	return newCallers(c.RPC, m.directory, m.directory.Guard(), declaredPaths(c), log)
}

// watch closes the sockets of whose credentials are revoked.
func (m *management) watch(door *rpc.Server, gates *contracts) {
	if m == nil {
		return
	}
	m.directory.OnRevoke(func(gone auth.Principal) {
		is := func(p auth.Principal) bool { return p == gone }
		door.CloseSockets(is)
		gates.part.Revoke(is)
	})
}

// run keeps what it knows up to date until ctx ends.
func (m *management) run(ctx context.Context) {
	if m == nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { m.directory.Run(ctx) })
	both.Go(func() { _ = m.platform.Run(ctx) }) // it ends with ctx, and without an error
	both.Wait()
}

// handlers are its faces on the admin listener.
func (m *management) handlers() (management, signIn, console http.Handler) {
	if m == nil {
		return nil, nil, nil
	}
	signIn = m.signIn
	if signIn == nil { // those who sign in by a key have sessions, too
		signIn = m.directory.Routes()
	}
	return m.handler, signIn, m.console
}

// desk is its face at the control socket.
func (m *management) desk() http.Handler {
	if m == nil {
		return nil
	}
	return m.operator
}

// mayLook reports who may see metrics and the operator's wallets. Where tenants
// reach the admin listener, that is who has a role in the whole deployment.
func (m *management) mayLook(c *config.Config) func(*http.Request) bool {
	if m == nil || !tenanted(c) {
		return nil
	}
	return func(r *http.Request) bool {
		if r.Header.Get("Authorization") == "" && r.Header.Get("Cookie") == "" {
			return false
		}
		who, err := m.directory.Manager(r)
		return err == nil && who.Can(auth.Auditor, "", "")
	}
}
