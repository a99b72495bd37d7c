// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/metrics"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// servedWallet is one wallet of the config with everything behind it.
type servedWallet struct {
	config config.Wallet
	node   *node.Client
	keys   *keywallet.Wallet
	bound  *txmgr.Wallet
}

// openWallets opens the wallets of the config. Neither a node that does not
// answer nor a backend that is down keeps the daemon from starting; a wallet
// that is configured wrongly does. The function that it returns closes what
// was opened and is never nil.
func openWallets(ctx context.Context, c *config.Config, db *store.DB, manager *txmgr.Manager, registry *metrics.Registry, log *slog.Logger) (wallets []*servedWallet, closeAll func() error, err error) {
	closeAll = func() error {
		var errs []error
		for _, w := range wallets {
			errs = append(errs, w.keys.Close())
			w.node.Close()
		}
		return errors.Join(errs...)
	}
	for _, wc := range c.Wallets {
		w, err := openWallet(ctx, wc, c.RPC, db, manager, registry, log.With("wallet", wc.Name))
		if err != nil {
			return wallets, closeAll, fmt.Errorf("wallet %s: %w", wc.Name, err)
		}
		wallets = append(wallets, w)
	}
	return wallets, closeAll, nil
}

func openWallet(ctx context.Context, wc config.Wallet, door config.RPC, db *store.DB, manager *txmgr.Manager, registry *metrics.Registry, log *slog.Logger) (*servedWallet, error) {
	client, err := openNode(wc.Node, log)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	backend, err := openBackend(wc.Details, log)
	if err != nil {
		client.Close()
		return nil, err
	}
	chainID := new(big.Int).SetUint64(wc.Node.ChainID)
	keys, err := keywallet.Open(ctx, keywallet.Config{
		Name: wc.Name, ChainID: chainID, Backend: backend, Policy: policy.AllowAll{}, Log: db, Snapshots: db,
		Logger: log, Observer: registry, RefreshInterval: wc.Refresh, Concurrency: wc.Concurrency,
		Include: wc.Details.Include, Exclude: wc.Details.Exclude, RequireHSM: wc.Details.RequireHSM,
	})
	if err != nil {
		client.Close()
		return nil, errors.Join(err, backend.Close())
	}
	registry.WatchNode(wc.Name, client.Stats)
	bound := manager.Bind(txmgr.Binding{
		Name: wc.Name, Keys: keys, Node: client, ChainID: wc.Node.ChainID,
		Settings: txmgr.Settings{
			Window: wc.Window, Confirmations: wc.Confirmations, Limits: tx.Limits{MaxFeePerGas: wc.MaxFeePerGas, MaxFee: wc.TxFeeCap, EstimateTransfers: config.ChargesData(wc.Node.ChainID)},
			Expires: wc.Expires, SendTimeout: door.Timeout, RefuseRaw: wc.RawOwn == config.RawRefuse, Poll: wc.Node.Poll,
		},
	})
	return &servedWallet{config: wc, node: client, keys: keys, bound: bound}, nil
}

func openNode(n config.Node, log *slog.Logger) (*node.Client, error) {
	url, err := n.URL.Reveal()
	if err != nil {
		return nil, err
	}
	cfg := node.Config{
		URL: url, ChainID: n.ChainID, Instance: n.Instance, Timeout: n.Timeout, MaxResponse: n.MaxResponse,
		Headers: make(map[string]string, len(n.Headers)), Logger: log,
	}
	if n.WSURL.Set() {
		if cfg.WSURL, err = n.WSURL.Reveal(); err != nil {
			return nil, err
		}
	}
	for name, value := range n.Headers {
		if cfg.Headers[name], err = value.Reveal(); err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
	}
	return node.New(cfg)
}

// service is the wallet as the RPC door sees it.
func (w *servedWallet) service(extra []string) *rpc.Service {
	return &rpc.Service{
		Name: w.config.Name, ChainID: new(big.Int).SetUint64(w.config.Node.ChainID),
		Accounts: doorAccounts{w.keys}, Signer: doorSigner{w.keys, w.bound}, Sender: w.bound, Node: w.node,
		SignTransactionHex: w.config.SignTransaction == config.SignHex, ExtraMethods: extra,
	}
}

// hasKeys is the readiness check of a wallet's accounts.
func (w *servedWallet) hasKeys(context.Context) error {
	if !w.keys.Ready() {
		return errStillDiscovering
	}
	if len((doorAccounts{w.keys}).Accounts()) == 0 {
		return errNoKeys
	}
	return nil
}

var (
	errStillDiscovering = errors.New("keys are still being discovered")
	errNoKeys           = errors.New("no usable key was found")
)

// doorAccounts shows a wallet's accounts to the RPC door.
type doorAccounts struct{ keys *keywallet.Wallet }

// Accounts lists the accounts that can sign.
func (a doorAccounts) Accounts() []common.Address {
	all := a.keys.Accounts()
	list := make([]common.Address, 0, len(all))
	for _, account := range all {
		if account.State == key.Enabled {
			list = append(list, account.Address)
		}
	}
	return list
}

// Has reports whether the wallet has the account, usable or not.
func (a doorAccounts) Has(addr common.Address) bool {
	_, ok := a.keys.Account(addr)
	return ok
}

// doorSigner joins what the wallet signs alone and what the manager checks
// first.
type doorSigner struct {
	*keywallet.Wallet
	bound *txmgr.Wallet
}

// SignTransaction signs without sending.
func (s doorSigner) SignTransaction(ctx context.Context, p auth.Principal, args tx.Args) (*types.Transaction, error) {
	return s.bound.SignTransaction(ctx, p, args)
}
