// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// offline is the management API for an operator without a daemon: on the database
// itself. Nothing runs in it: no wallet is opened, and nothing is signed or sent.
type offline struct {
	inProcess
	db *store.DB
}

// Close ends it.
func (o *offline) Close() error { return o.db.Close() }

func openOffline(ctx context.Context, c *config.Config, stderr io.Writer) (_ *offline, err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := recordDatabase(ctx, c, stderr)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	declared, err := declaredRules(c)
	if err != nil {
		return nil, err
	}
	stop := freeze.New(freeze.Config{Store: db, Logger: log})
	if err := stop.Load(ctx); err != nil {
		return nil, err
	}
	cfg := platform.Config{
		Store: db, Sealer: noSealer{}, Verifier: noSealer{}, Runtime: services{fleet: fleet.New(fleet.Config{Store: db, Logger: log})},
		ParseDetails: c.ParseTenantDetails, ParseNode: c.ParseTenantNode, URLs: serviceURLs(c),
		Declared: c.Wallets, RequireHSM: c.Management.RequireHSM, Shared: c.Database.Set(), Region: c.Management.Region, Release: version,
		DeclaredPolicy: c.Policy, Freeze: stop, Logger: log,
	}
	judged := judge.Config{Declared: declared, Limits: allowance.New(allowance.Config{Store: db, Logger: log}), Logger: log}
	// Without the key that seals nobody can vouch for rules; whoever wants to stop
	// everything needs none.
	if verifier, err := offlineVerifier(ctx, c, db); err == nil && managed(c) {
		cfg.Verifier, cfg.PolicyMAC = verifier, platform.PolicyMAC(verifier)
		judged.Rows, judged.MAC = db, cfg.PolicyMAC
	}
	cfg.Judge = judge.New(judged)
	p, err := platform.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	handler, err := operatorAPI(p, log)
	if err != nil {
		return nil, err
	}
	return &offline{inProcess{handler}, db}, nil
}

func offlineVerifier(ctx context.Context, c *config.Config, db *store.DB) (*auth.Verifier, error) {
	sealer, err := openSealer(ctx, c, db)
	if err != nil {
		return nil, err
	}
	return auth.OpenVerifier(ctx, sealer)
}

// errOffline is for what needs a daemon.
var errOffline = errors.New("that needs the daemon, and none runs on this data directory")

// noSealer stands where secrets would be sealed.
type noSealer struct{}

// Seal seals nothing.
func (noSealer) Seal(context.Context, seal.Place, []byte) ([]byte, error) { return nil, errOffline }

// Open opens nothing.
func (noSealer) Open(context.Context, seal.Place, []byte) ([]byte, error) { return nil, errOffline }

// Hash is that of no secret.
func (noSealer) Hash(string, string, string) []byte { return nil }
