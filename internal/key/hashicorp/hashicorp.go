// SPDX-License-Identifier: Apache-2.0

// Package hashicorp signs with keys in HashiCorp Vault (or OpenBao), through a
// secrets engine: HSM Signer's own (cmd/vault-plugin-hsmsigner), or Kaleido's
// ethsign plugin, which signs whole legacy transactions only.
//
// It logs in with a token, AppRole, Kubernetes or JWT, keeps its token alive,
// logs in again when the token ends, and takes over a credential that was
// replaced. A token with the policy root is refused: the daemon must not be able
// to do more in Vault than sign. A token that may read private keys is warned
// about. Nothing of the environment (VAULT_ADDR, VAULT_TOKEN, …) is used.
//
// Keys in Vault are software keys: Vault decrypts them into its memory to sign.
// Seal wrap encrypts them under an HSM at rest, which does not change that.
package hashicorp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Vault limits nothing by itself: what it takes depends on its machine, and on
// the rate limit quotas that its operator has set, whose 429 is a
// [key.ThrottledError] (developer.hashicorp.com/vault/docs/concepts/resource-quotas).
const (
	SignPerSecond = 0     // no documented quota
	ReadPerSecond = 0     // no documented quota
	SharedQuota   = false // one bucket for both
)

// Engine is the plugin behind the mount.
type Engine string

// The engines that this package speaks to.
const (
	HSMSigner Engine = "hsmsigner" // cmd/vault-plugin-hsmsigner
	Ethsign   Engine = "ethsign"   // kaleido-io/vault-plugin-secrets-ethsign
)

// What the fields of [Config] are if left out.
const (
	DefaultMount        = "hsmsigner"
	DefaultEthsignMount = "ethereum"
	DefaultConcurrency  = 64
)

// Config says which Vault and how to log in. Exactly one of Token, RoleID,
// Kubernetes and JWT is set. A function that gives a secret is called again
// whenever Vault has refused what it gave before, and for every new connection
// or login, so that a replaced file is picked up.
type Config struct {
	Address   string // https://host:port
	Mount     string // path of the secrets engine, without / at its ends; default by engine
	Namespace string // of Vault Enterprise and HCP; empty: the root namespace
	Engine    Engine // empty: HSMSigner

	Token      func() (string, error)
	RoleID     string                 // AppRole, with Secret
	Secret     func() (string, error) // its secret id
	Kubernetes *Login                 // for the operator: File defaults to the pod's own token
	JWT        *Login                 // for the operator
	AuthMount  string                 // where the auth method is mounted; default approle, kubernetes or jwt

	CACert     []byte                 // PEM; trusted in place of the system's authorities
	ClientCert func() (string, error) // PEM, mutual TLS; nil: none
	ClientKey  func() (string, error) // PEM
	// DialContext opens connections; nil: a net.Dialer. No proxy is used.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	Concurrency int          // connections kept open; 0 means DefaultConcurrency
	Reads       *key.Quota   // waited for before every call that does not sign; nil: no limit
	Logger      *slog.Logger // nil: silent
}

// Login is a login with a token that something else keeps in a file.
type Login struct {
	Role string // the role in Vault
	File string // of the token; read at each login
}

var (
	mountPath  = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)
	lowAddress = regexp.MustCompile(`^0x[0-9a-f]{40}$`)
)

// Open checks the configuration and makes the clients. It makes no call: a
// Vault that is away or sealed does not keep the daemon from starting. It
// returns a [*Backend], or an [*EthsignBackend] if c.Engine says so.
func Open(_ context.Context, c Config) (key.Backend, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("hashicorp: %w", err)
	}
	v, err := newVault(c)
	if err != nil {
		return nil, fmt.Errorf("hashicorp: %w", err)
	}
	if c.Engine == Ethsign {
		return &EthsignBackend{vault: v}, nil
	}
	return &Backend{vault: v}, nil
}

func (c *Config) complete() error {
	var errs []error
	fail := func(text string) { errs = append(errs, errors.New(text)) }
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		fail("target_address: want https://host:port")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		fail("target_address: want nothing but https://host:port; the mount and the namespace have fields of their own")
	case u.Scheme == "http" && (len(c.CACert) > 0 || c.ClientCert != nil):
		fail("target_address: certificates are for TLS, and this is http")
	}
	c.Address = strings.TrimRight(c.Address, "/")
	switch c.Engine {
	case "":
		c.Engine = HSMSigner
	case HSMSigner, Ethsign:
	default:
		fail("engine: want hsmsigner or ethsign")
	}
	if c.Mount == "" {
		c.Mount = DefaultMount
		if c.Engine == Ethsign {
			c.Mount = DefaultEthsignMount
		}
	}
	for _, f := range []struct{ name, value string }{{"mount", c.Mount}, {"namespace", c.Namespace}, {"auth mount", c.AuthMount}} {
		if f.value != "" && !mountPath.MatchString(f.value) {
			fail(f.name + ": want a path like team/hsmsigner, without / at its ends")
		}
	}
	errs = append(errs, c.completeLogin())
	if (c.ClientCert == nil) != (c.ClientKey == nil) {
		fail("mutual TLS needs both a client certificate and its key")
	}
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

func (c *Config) completeLogin() error {
	ways := 0
	for _, way := range []struct {
		given bool
		mount string
	}{{c.Token != nil, ""}, {c.RoleID != "", "approle"}, {c.Kubernetes != nil, "kubernetes"}, {c.JWT != nil, "jwt"}} {
		if !way.given {
			continue
		}
		ways++
		if c.AuthMount == "" {
			c.AuthMount = way.mount
		}
	}
	switch {
	case ways != 1:
		return errors.New("credential: give one of a token, a role id with its secret id, kubernetes and jwt")
	case (c.RoleID != "") != (c.Secret != nil):
		return errors.New("credential: AppRole needs both a role id and a secret id")
	}
	if c.Kubernetes != nil && c.Kubernetes.File == "" {
		c.Kubernetes = &Login{Role: c.Kubernetes.Role, File: "/var/run/secrets/kubernetes.io/serviceaccount/token"}
	}
	for _, l := range []*Login{c.Kubernetes, c.JWT} {
		if l != nil && (l.Role == "" || l.File == "") {
			return errors.New("credential: kubernetes and jwt need a role and the file of their token")
		}
	}
	return nil
}

// vault is one configured Vault, whatever the engine.
type vault struct {
	cfg    Config
	http   *api.Client // with the token in use
	anon   *api.Client // with no token, to log in
	root   *api.Client // with neither token nor namespace, for sys/health
	idle   func()      // closes idle connections
	asked  atomic.Bool // the server has asked for a client certificate; many do without wanting one
	auth   *session
	ctx    context.Context // done when closed
	cancel context.CancelFunc
}

func (v *vault) closed() bool { return v.ctx.Err() != nil }

// Close gives a token that was got by logging in back to Vault, if that takes no
// longer than two seconds, and forgets it. A token that was given stays alive.
func (v *vault) Close() error {
	if v.closed() {
		return nil
	}
	v.auth.close()
	v.cancel()
	v.auth.wg.Wait()
	v.idle()
	return nil
}

// Health reports whether Vault is initialised, unsealed and active (or hands
// requests on to the active node), and takes our token.
func (v *vault) Health(ctx context.Context) error {
	const op = "health"
	if err := v.usable(ctx, op); err != nil {
		return err
	}
	h, err := v.root.Sys().HealthWithContext(ctx)
	if err != nil {
		return v.explain(ctx, call{op: op, path: "sys/health"}, nil, err)
	}
	why := ""
	switch {
	case !h.Initialized:
		why = "Vault is not initialised: vault operator init"
	case h.Sealed:
		why = whySealed
	case h.ReplicationDRMode == "secondary":
		why = "this is a disaster recovery secondary, which serves nobody: point target_address at the primary"
	}
	if why != "" {
		return &key.CallError{Op: op, Kind: key.ErrUnavailable, Why: why}
	}
	_, err = v.read(ctx, call{op: op, path: "auth/token/lookup-self", lookup: true}, nil)
	var refused *key.CallError
	if errors.As(err, &refused) && errors.Is(err, key.ErrDenied) && v.auth.alive(time.Now()) {
		return nil // it may not look itself up, which says nothing about signing
	}
	return err
}
