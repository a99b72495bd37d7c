// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// manageTimeout bounds the making and importing of a key: an HSM takes seconds.
const manageTimeout = time.Minute

// CreateKey has admin, the wallet's backend opened with a credential that may do
// that, make a key. The intent is recorded before and the outcome after.
// [key.ErrUnsupported] if this kind of backend never does it. The account is
// there after the next discovery.
func (w *Wallet) CreateKey(ctx context.Context, p auth.Principal, admin key.Backend, name string, tags map[string]string) (key.Key, error) {
	creator, ok := key.Capability[key.Creator](admin)
	if !ok {
		return key.Key{}, fmt.Errorf("make a key: %w", key.ErrUnsupported)
	}
	return w.manage(ctx, p, audit.CreateKey, common.Address{}, name, func(ctx context.Context) (key.Key, error) {
		return creator.Create(ctx, name, tags)
	})
}

// ImportKey has admin take a private key in, as CreateKey makes one, and checks
// that it says to have taken that very key. The caller wipes private.
func (w *Wallet) ImportKey(ctx context.Context, p auth.Principal, admin key.Backend, name string, private []byte, tags map[string]string) (key.Key, error) {
	importer, ok := key.Capability[key.Importer](admin)
	if !ok {
		return key.Key{}, fmt.Errorf("take a key in: %w", key.ErrUnsupported)
	}
	address, err := addressOfPrivate(private)
	if err != nil {
		return key.Key{}, err
	}
	// A copy, since a backend that takes its time may still read it when the caller
	// wipes his.
	secret := bytes.Clone(private)
	var begun atomic.Bool
	defer func() {
		if !begun.Load() {
			clear(secret)
		}
	}()
	return w.manage(ctx, p, audit.ImportKey, address, name, func(ctx context.Context) (key.Key, error) {
		begun.Store(true)
		defer clear(secret)
		taken, err := importer.Import(ctx, name, secret, tags)
		if err == nil && taken.Address != address {
			err = fmt.Errorf("the key that was taken in has the address %s, and it should have %s; do not use it: %w",
				taken.Address.Hex(), address.Hex(), key.ErrBadResponse)
		}
		return taken, err
	})
}

// manage changes the keys of the backend, on record.
func (w *Wallet) manage(ctx context.Context, p auth.Principal, action audit.Action, address common.Address, name string, change func(context.Context) (key.Key, error)) (key.Key, error) {
	intent := store.NewID()
	if err := w.writeIntent(ctx, job{principal: p, address: address, action: action, subject: name}, intent, "allow: management", ""); err != nil {
		return key.Key{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, manageTimeout)
	defer cancel()
	made, err := guarded(ctx, change)
	outcome := audit.Outcome{ID: store.NewID(), At: time.Now(), Intent: intent}
	var refused *key.CallError
	if errors.As(err, &refused) {
		outcome.RequestID = refused.RequestID
	}
	if err != nil {
		err = backendError(err)
		outcome.Error = err.Error()
	}
	if written := w.writeOutcome(ctx, outcome); written != nil && err == nil {
		w.cfg.Logger.Error("an audit outcome could not be written; the key is there", "intent", intent, "key", made.Name, "err", written)
	}
	return made, err
}

// addressOfPrivate is the address of a private key, which is not kept.
func addressOfPrivate(secret []byte) (common.Address, error) {
	private, err := crypto.ToECDSA(secret)
	if err != nil {
		return common.Address{}, &RequestError{"the private key is not one: want a number from 1 to n-1"}
	}
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(private.D.Bits()) //nolint:staticcheck // as above
	return crypto.PubkeyToAddress(private.PublicKey), nil
}
