// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"math/big"
	"reflect"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// binding is what a wallet works with until it is changed. It is not changed
// itself, once it is live.
type binding struct {
	spec   Spec
	link   *link
	source *source
	keys   *keywallet.Wallet
	bound  *txmgr.Wallet
}

// linkTo gives b its node's client.
func (w *Wallet) linkTo(b, old *binding, anew bool) (err error) {
	v := b.spec.Node
	if old != nil && !anew && v == old.spec.Node && reflect.DeepEqual(b.spec.Wallet.Node, old.spec.Wallet.Node) {
		b.link = old.link
		w.fleet.mu.Lock()
		b.link.users++
		w.fleet.mu.Unlock()
		return nil
	}
	b.link, err = w.fleet.link(v, b.spec.Wallet.Node, b.spec.Dial, anew, w.log)
	return err
}

// draw gives b its key backend.
func (w *Wallet) draw(ctx context.Context, b, old *binding, anew bool) (err error) {
	f := w.fleet
	if old != nil && b.spec.Backend.ID == "" && old.spec.Backend.ID == "" && structureOf(b.spec) == old.source.structure {
		f.mu.Lock()
		old.source.users++
		f.mu.Unlock()
		b.source = old.source
		changed := anew || !reflect.DeepEqual(b.spec.Wallet.Details, old.spec.Wallet.Details)
		err = b.source.use(ctx, b.spec.Backend.Version, b.spec.Wallet.Details, changed)
	} else if b.source, err = f.source(ctx, b.spec, w.log); err != nil {
		return err
	} else if anew && old.source == b.source && old.spec.Backend == b.spec.Backend {
		err = b.source.use(ctx, b.spec.Backend.Version, b.spec.Wallet.Details, true)
	}
	if err != nil {
		f.releaseSource(b.source)
	}
	return err
}

func (w *Wallet) openKeys(ctx context.Context, b *binding) (*keywallet.Wallet, error) {
	backend, err := b.source.backend()
	if err != nil {
		return nil, err
	}
	c, f := b.spec.Wallet, w.fleet
	cfg := keywallet.Config{
		Name: w.name, ChainID: new(big.Int).SetUint64(c.Node.ChainID), Backend: backend,
		Owner: ownerOf(b.spec), Policy: f.cfg.Policy, Freeze: f.cfg.Freeze,
		Log: f.cfg.Store, Snapshots: f.cfg.Store, Logger: w.log, RefreshInterval: c.Refresh, Concurrency: c.Concurrency,
		Include: c.Details.Include, Exclude: c.Details.Exclude, RequireHSM: c.Details.RequireHSM, Discovery: b.source.discovery,
	}
	if f.cfg.Metrics != nil {
		cfg.Observer = f.cfg.Metrics
	}
	keys, err := keywallet.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	return keys, nil
}

// ownerOf is where the wallet of a spec stands.
func ownerOf(s Spec) policy.Owner {
	return policy.Owner{
		Consortium: s.Consortium, Environment: s.Environment, Membership: s.Membership, Wallet: s.Wallet.Name, Service: s.ID,
	}
}

// binding is how the transaction manager is told of the wallet.
func (w *Wallet) binding(b *binding) txmgr.Binding {
	c, f := b.spec.Wallet, w.fleet
	membership := b.spec.Membership
	if membership == f.cfg.Operator {
		membership = "" // its senders in the store are older than memberships
	}
	return txmgr.Binding{
		Name: w.name, Keys: b.keys, Node: b.link.client, ChainID: c.Node.ChainID, Membership: membership,
		Settings: txmgr.Settings{
			Window: c.Window, Confirmations: c.Confirmations,
			Limits:    tx.Limits{MaxFeePerGas: c.MaxFeePerGas, MaxFee: c.TxFeeCap, EstimateTransfers: config.ChargesData(c.Node.ChainID)},
			BumpAfter: bumpAfter(c), FeeCeiling: c.FeeCeiling, Expires: c.Expires, SendTimeout: f.cfg.SendTimeout,
			RefuseRaw: c.RawOwn == config.RawRefuse, Poll: c.Node.Poll,
		},
	}
}

// bumpAfter is the setting as the manager takes it, where zero is the default.
func bumpAfter(c config.Wallet) time.Duration {
	if c.BumpAfter == 0 {
		return -1
	}
	return c.BumpAfter
}

// sameKeys reports whether the accounts are found and used in the same way.
func sameKeys(a, b Spec) bool {
	return a.Wallet.Node.ChainID == b.Wallet.Node.ChainID && a.Wallet.Concurrency == b.Wallet.Concurrency && ownerOf(a) == ownerOf(b)
}

// sameSettings reports whether transactions are treated in the same way.
func sameSettings(a, b Spec) bool {
	bare := func(s Spec) config.Wallet {
		c := s.Wallet
		c.Node, c.Details, c.Webhooks = config.Node{}, config.Details{}, nil
		return c
	}
	return reflect.DeepEqual(bare(a), bare(b))
}
