// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/metrics"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// newFleet is what the wallets of the config, and services, run in.
func newFleet(c *config.Config, db *store.DB, manager *txmgr.Manager, watch *oversight, registry *metrics.Registry, log *slog.Logger) *fleet.Fleet {
	return fleet.New(fleet.Config{
		Store: db, Manager: manager, Open: opener(), Operator: platform.DefaultMembership,
		Policy: watch.judge, Freeze: watch.stop,
		SendTimeout: c.RPC.Timeout, Metrics: registry, Logger: log,
	})
}

// opener opens the backends of one process.
func opener() func(context.Context, fleet.Opening) (fleet.Backend, error) {
	shared := newSharing()
	return func(ctx context.Context, o fleet.Opening) (fleet.Backend, error) {
		b, err := dialBackend(ctx, o.Details, shared.of(o.Membership), o.Dial, o.Logger)
		return fleet.Backend{Backend: b.Backend, Signs: b.signs, Reads: b.reads}, err
	}
}

// openWallets opens the wallets of the config. Neither a node that does not
// answer nor a backend that is down keeps the daemon from starting; a wallet
// that is configured wrongly does.
func openWallets(ctx context.Context, wallets []config.Wallet, all *fleet.Fleet) error {
	for _, w := range wallets {
		if err := all.Open(ctx, declared(w)); err != nil {
			return err // it names the wallet
		}
	}
	return nil
}

// declared is a wallet of the config: it shares its backend and node with nobody,
// and reaches them directly.
func declared(w config.Wallet) fleet.Spec {
	return fleet.Spec{
		Wallet: w, ID: platform.DeclaredID(w.Name),
		Consortium: platform.DefaultConsortium, Membership: platform.DefaultMembership, Environment: platform.DefaultEnvironment,
	}
}

// serveWallets shows the door the wallets that are open, and those that are opened
// later.
func serveWallets(all *fleet.Fleet, door *rpc.Server, methods []string) error {
	return all.Serving(
		func(w *fleet.Wallet) error { return door.SetService(service(w, methods)) },
		func(w *fleet.Wallet) <-chan struct{} { return door.RemoveService(w.Name()) },
	)
}

// service is a wallet as the RPC door sees it.
func service(w *fleet.Wallet, methods []string) *rpc.Service {
	spec := w.Spec()
	s := &rpc.Service{
		Name: w.Name(), Membership: spec.Membership, Environment: spec.Environment, ChainID: w.ChainID(),
		Accounts: w, Signer: w, Sender: w, Node: w,
		SignTransactionHex: spec.Wallet.SignTransaction == config.SignHex, ExtraMethods: methods,
	}
	if id := w.ID(); id != "" && id != w.Name() {
		s.Aliases = []string{id}
	}
	return s
}

// takeAccounts takes over the accounts that another replica has found for a
// wallet, if it runs here.
func takeAccounts(ctx context.Context, all *fleet.Fleet, name string, log *slog.Logger) {
	w := all.Wallet(name)
	if w == nil {
		return
	}
	if err := w.Reload(ctx); err != nil {
		log.Warn("cannot take over the accounts that another replica found", "wallet", name, "err", err)
	}
}
