// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// services runs the services of the management API in the fleet. What they give
// as addresses is reached by the rules for tenants.
type services struct {
	fleet *fleet.Fleet
	dial  fleet.Dial
}

var _ platform.Runtime = services{}

// Open implements platform.Runtime.
func (s services) Open(ctx context.Context, spec platform.ServiceSpec) error {
	return s.fleet.Open(ctx, fleet.Spec{
		Wallet: spec.Wallet, ID: spec.Wallet.Name, Consortium: spec.Consortium, Membership: spec.Membership, Environment: spec.Environment,
		Backend: fleet.Version(spec.Backend), Node: fleet.Version(spec.Node), Resets: spec.Resets, Draining: spec.Draining,
		Dial: s.dial,
	})
}

// Close implements platform.Runtime.
func (s services) Close(ctx context.Context, name string) error {
	return stopped(s.fleet.Close(ctx, name))
}

// Try implements platform.Runtime.
func (s services) Try(ctx context.Context, membership string, details config.Details, keys int) (key.Page, error) {
	return s.fleet.Try(ctx, fleet.Opening{Details: details, Membership: membership, Dial: s.dial}, keys)
}

// Status implements platform.Runtime.
func (s services) Status(name string) (platform.RunStatus, bool) {
	is, ok := s.fleet.Status(name)
	return platform.RunStatus{
		Accounts: is.Accounts, Usable: is.Usable, Ready: is.Ready, Listed: is.Listed, Verified: is.Verified,
		Backend: platform.Dependency(is.Backend), Node: platform.Dependency(is.Node),
		Discovery: is.Discovery,
	}, ok
}

// Accounts implements platform.Runtime.
func (s services) Accounts(ctx context.Context, name string) ([]keywallet.Account, error) {
	list, err := s.fleet.Accounts(ctx, name)
	return list, stopped(err)
}

// Refresh implements platform.Runtime.
func (s services) Refresh(ctx context.Context, name string) (keywallet.Report, error) {
	report, err := s.fleet.Refresh(ctx, name)
	return report, stopped(err)
}

// Create implements platform.Runtime.
func (s services) Create(ctx context.Context, who auth.Principal, name, keyName string, tags map[string]string) (key.Key, error) {
	made, err := s.fleet.Create(ctx, who, name, keyName, tags)
	return made, stopped(err)
}

// Import implements platform.Runtime.
func (s services) Import(ctx context.Context, who auth.Principal, name, keyName string, private []byte, tags map[string]string) (key.Key, error) {
	taken, err := s.fleet.Import(ctx, who, name, keyName, private, tags)
	return taken, stopped(err)
}

// Balance implements platform.Runtime.
func (s services) Balance(ctx context.Context, name string, address common.Address) (*big.Int, error) {
	wei, err := s.fleet.Balance(ctx, name, address)
	return wei, stopped(err)
}

// Nonce implements platform.Runtime.
func (s services) Nonce(ctx context.Context, name string, address common.Address) (uint64, error) {
	nonce, err := s.fleet.Nonce(ctx, name, address)
	return nonce, stopped(err)
}

// Live implements platform.Runtime.
func (s services) Live(ctx context.Context, name string) (int, error) {
	return s.fleet.Live(ctx, name)
}

// Cancel implements platform.Runtime.
func (s services) Cancel(ctx context.Context, name, tx string) error {
	return stopped(s.fleet.Cancel(ctx, name, tx))
}

// SpeedUp implements platform.Runtime.
func (s services) SpeedUp(ctx context.Context, name, tx string, maxFee, tip *big.Int) error {
	return stopped(s.fleet.SpeedUp(ctx, name, tx, maxFee, tip))
}

// stopped gives the fleet's error the platform's name.
func stopped(err error) error {
	if errors.Is(err, fleet.ErrNotRunning) {
		return fmt.Errorf("%w: %w", platform.ErrNotRunning, err)
	}
	return err
}

// tenantsDial is how addresses are reached that tenants give.
func tenantsDial(c config.Egress) (fleet.Dial, error) {
	cfg, err := tenantsRules(c)
	if err != nil {
		return nil, err
	}
	d, err := dialrule.NewDialer(cfg)
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	return d.DialContext, nil
}

// tenantsRules say which addresses are connected to for tenants, and how.
func tenantsRules(c config.Egress) (dialrule.Config, error) {
	cfg := dialrule.Config{Rules: dialrule.Rules{Allow: c.Allow, Deny: c.Deny, Only: c.Only}}
	if c.Proxy.Set() {
		roots, err := onlyRoots(c.Proxy.CACert)
		if err != nil {
			return cfg, fmt.Errorf("egress.proxy: %w", err)
		}
		cfg.Proxy = &dialrule.Proxy{URL: c.Proxy.URL, RootCAs: roots, Names: c.Proxy.Names}
		if c.Proxy.Username != "" {
			cfg.Proxy.Credentials = func() (string, string, error) {
				password, err := c.Proxy.Password.Reveal()
				return c.Proxy.Username, password, err
			}
		}
	}
	return cfg, nil
}

// onlyRoots is the certificate authorities of pem; nil, which means the system's,
// if it is not set.
func onlyRoots(pem config.Secret) (*x509.CertPool, error) {
	text, err := pem.Reveal()
	if err != nil || text == "" {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, errors.New("ca_cert: no certificate in it")
	}
	return pool, nil
}
