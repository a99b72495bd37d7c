// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// running finds a wallet that is open.
func (f *Fleet) running(name string) (*Wallet, *binding, error) {
	if w := f.Wallet(name); w != nil {
		if b := w.live.Load(); b != nil {
			return w, b, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", name, ErrNotRunning)
}

// Status says how a wallet does. It makes no call; false if there is none.
func (f *Fleet) Status(name string) (Status, bool) {
	w := f.Wallet(name)
	if w == nil {
		return Status{}, false
	}
	return w.Status()
}

// Accounts returns the last snapshot of a wallet's accounts, by address.
func (f *Fleet) Accounts(_ context.Context, name string) ([]keywallet.Account, error) {
	_, b, err := f.running(name)
	if err != nil {
		return nil, err
	}
	return b.keys.Accounts(), nil
}

// Refresh lists the keys of a wallet's backend now.
func (f *Fleet) Refresh(ctx context.Context, name string) (keywallet.Report, error) {
	w, _, err := f.running(name)
	if err != nil {
		return keywallet.Report{}, err
	}
	return w.Refresh(ctx)
}

// Create has a wallet's backend make a key, with the configuration's admin
// credential; who is on record for it. key.ErrUnsupported if there is none, or if
// this kind of backend never does it.
func (f *Fleet) Create(ctx context.Context, who auth.Principal, name, keyName string, tags map[string]string) (key.Key, error) {
	return f.administer(ctx, name, func(keys *keywallet.Wallet, admin key.Backend) (key.Key, error) {
		return keys.CreateKey(ctx, who, admin, keyName, tags)
	})
}

// Import has a wallet's backend take a private key in, as Create makes one. The
// caller wipes private.
func (f *Fleet) Import(ctx context.Context, who auth.Principal, name, keyName string, private []byte, tags map[string]string) (key.Key, error) {
	return f.administer(ctx, name, func(keys *keywallet.Wallet, admin key.Backend) (key.Key, error) {
		return keys.ImportKey(ctx, who, admin, keyName, private, tags)
	})
}

// administer opens the backend with the credential that may change keys, for one
// change, after which the keys are listed anew.
func (f *Fleet) administer(ctx context.Context, name string, change func(*keywallet.Wallet, key.Backend) (key.Key, error)) (key.Key, error) {
	w, b, err := f.running(name)
	if err != nil {
		return key.Key{}, err
	}
	details, ok := b.spec.Wallet.Details.ForAdmin()
	if !ok {
		return key.Key{}, fmt.Errorf("its configuration has no credential that may make or import keys: %w", key.ErrUnsupported)
	}
	opening := Opening{Details: details, Membership: b.spec.Membership, Dial: b.spec.Dial, Logger: w.log}
	admin, err := f.cfg.Open(ctx, opening)
	if err != nil {
		return key.Key{}, err
	}
	made, err := change(b.keys, admin.Backend)
	if closed := admin.Close(); closed != nil {
		w.log.Warn("cannot close a key backend", "err", closed)
	}
	if err != nil {
		return key.Key{}, err
	}
	if _, err := w.Refresh(ctx); err != nil {
		w.log.Warn("a new key is found at the next discovery", "key", made.Name, "err", err)
	}
	return made, nil
}

// Balance is what an address has at the latest block, in wei.
func (f *Fleet) Balance(ctx context.Context, name string, address common.Address) (*big.Int, error) {
	_, b, err := f.running(name)
	if err != nil {
		return nil, err
	}
	return b.link.client.BalanceAt(ctx, address, "latest")
}

// Nonce is what the next transaction of an account would get.
func (f *Fleet) Nonce(ctx context.Context, name string, address common.Address) (uint64, error) {
	w, _, err := f.running(name)
	if err != nil {
		return 0, err
	}
	return w.PendingNonce(ctx, address)
}

// Live counts the transactions of a wallet that are not final, whichever process
// has them.
func (f *Fleet) Live(ctx context.Context, name string) (int, error) {
	return f.cfg.Store.Unfinished(ctx, name)
}

// Cancel ends a transaction of a wallet, whichever process has it; see
// txmgr.Cancel. store.ErrNotFound if the wallet has none of that id.
func (f *Fleet) Cancel(ctx context.Context, name, id string) error {
	return f.operate(ctx, name, txmgr.Operation{Action: txmgr.Cancel, Tx: id})
}

// SpeedUp signs a transaction of a wallet again with higher fees, wei per gas; nil
// leaves them to the signer. See Cancel and txmgr.SpeedUp.
func (f *Fleet) SpeedUp(ctx context.Context, name, id string, maxFee, tip *big.Int) error {
	return f.operate(ctx, name, txmgr.Operation{Action: txmgr.SpeedUp, Tx: id, Fee: maxFee, Tip: tip})
}

func (f *Fleet) operate(ctx context.Context, name string, op txmgr.Operation) error {
	w, _, err := f.running(name)
	if err != nil {
		return err
	}
	row, err := f.cfg.Store.Tx(ctx, op.Tx)
	if err != nil {
		return err
	}
	if row.Wallet != w.name {
		return fmt.Errorf("transaction %s: %w", op.Tx, store.ErrNotFound)
	}
	_, err = f.cfg.Manager.Operate(ctx, row.Sender, op)
	if errors.Is(err, txmgr.ErrNoSender) {
		return fmt.Errorf("transaction %s cannot be changed now: %w", op.Tx, err)
	}
	return err
}
