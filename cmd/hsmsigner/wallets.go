// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
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
	opened openedBackend
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
	shared := sharing{quotaBook{}, pkcs11.NewLogins()}
	for _, wc := range c.Wallets {
		w, err := openWallet(ctx, wc, c.RPC, shared, db, manager, registry, log.With("wallet", wc.Name))
		if err != nil {
			return wallets, closeAll, fmt.Errorf("wallet %s: %w", wc.Name, err)
		}
		wallets = append(wallets, w)
	}
	return wallets, closeAll, nil
}

func openWallet(ctx context.Context, wc config.Wallet, door config.RPC, shared sharing, db *store.DB, manager *txmgr.Manager, registry *metrics.Registry, log *slog.Logger) (*servedWallet, error) {
	client, err := openNode(wc.Node, log)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	backend, err := openBackend(ctx, wc.Details, shared, log)
	if err != nil {
		client.Close()
		return nil, err
	}
	chainID := new(big.Int).SetUint64(wc.Node.ChainID)
	keys, err := keywallet.Open(ctx, keywallet.Config{
		Name: wc.Name, ChainID: chainID, Backend: backend.Backend, Policy: policy.AllowAll{}, Log: db, Snapshots: db,
		Logger: log, Observer: registry, RefreshInterval: wc.Refresh, Concurrency: wc.Concurrency,
		Include: wc.Details.Include, Exclude: wc.Details.Exclude, RequireHSM: wc.Details.RequireHSM,
	})
	if err != nil {
		client.Close()
		return nil, errors.Join(err, backend.Close())
	}
	registry.WatchBackend(wc.Name, keys.Status)
	registry.WatchNode(wc.Name, client.Stats)
	registry.WatchEndpoints(wc.Name, client.Endpoints)
	bound := manager.Bind(txmgr.Binding{
		Name: wc.Name, Keys: keys, Node: client, ChainID: wc.Node.ChainID,
		Settings: txmgr.Settings{
			Window: wc.Window, Confirmations: wc.Confirmations, Limits: tx.Limits{MaxFeePerGas: wc.MaxFeePerGas, MaxFee: wc.TxFeeCap, EstimateTransfers: config.ChargesData(wc.Node.ChainID)},
			BumpAfter: bumpAfter(wc), FeeCeiling: wc.FeeCeiling,
			Expires: wc.Expires, SendTimeout: door.Timeout, RefuseRaw: wc.RawOwn == config.RawRefuse, Poll: wc.Node.Poll,
		},
	})
	return &servedWallet{config: wc, node: client, keys: keys, bound: bound, opened: backend}, nil
}

// bumpAfter is the setting as the manager takes it, where zero is the default.
func bumpAfter(w config.Wallet) time.Duration {
	if w.BumpAfter == 0 {
		return -1
	}
	return w.BumpAfter
}

// walletCalled finds a wallet by its name; nil if there is none.
func walletCalled(wallets []*servedWallet, name string) *servedWallet {
	for _, w := range wallets {
		if w.config.Name == name {
			return w
		}
	}
	return nil
}

// shareQuota divides what the backends allow among n replicas (TXMGR.md no. 25).
func shareQuota(wallets []*servedWallet, n int) {
	for _, w := range wallets {
		w.opened.share(n)
	}
}

func openNode(n config.Node, log *slog.Logger) (*node.Client, error) {
	cfg := node.Config{
		ChainID: n.ChainID, Instance: n.Instance, Timeout: n.Timeout, MaxResponse: n.MaxResponse, Logger: log,
		Check: n.Check, DownAfter: n.DownAfter, MaxLag: n.MaxLag, Dwell: n.Dwell,
	}
	endpoints := n.Endpoints
	if len(endpoints) == 0 {
		endpoints = []config.NodeEndpoint{{URL: n.URL, WSURL: n.WSURL, Headers: n.Headers}}
	}
	for _, e := range endpoints {
		endpoint, err := openEndpoint(e)
		if err != nil {
			return nil, err // it names the file
		}
		cfg.Endpoints = append(cfg.Endpoints, endpoint)
	}
	return node.New(cfg)
}

// openEndpoint reveals what the node's client needs of an endpoint.
func openEndpoint(e config.NodeEndpoint) (node.Endpoint, error) {
	out := node.Endpoint{Name: e.Name, Headers: make(map[string]string, len(e.Headers))}
	var err error
	if out.URL, err = e.URL.Reveal(); err != nil {
		return out, err
	}
	if e.WSURL.Set() {
		if out.WSURL, err = e.WSURL.Reveal(); err != nil {
			return out, err
		}
	}
	for name, value := range e.Headers {
		if out.Headers[name], err = value.Reveal(); err != nil {
			return out, fmt.Errorf("headers.%s: %w", name, err)
		}
	}
	return out, nil
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
