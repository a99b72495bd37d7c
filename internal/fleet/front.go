// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// maxTurns bounds how often a request goes over to what a wallet was changed to
// while it came.
const maxTurns = 5

// via makes a call to what the wallet works with. If that was replaced just then,
// so that nothing came of the call, it is made again to what has replaced it.
func via[T any](w *Wallet, call func(*binding) (T, error)) (T, error) {
	b := w.live.Load()
	for turn := 1; b != nil; turn++ {
		answer, err := call(b)
		now := w.live.Load()
		if !ended(err) || now == b || now == nil || turn == maxTurns {
			return answer, err
		}
		b = now
	}
	var none T
	return none, &txmgr.UnboundError{Wallet: w.name}
}

// anew is via for what a draining wallet does no more.
func anew[T any](w *Wallet, call func(*binding) (T, error)) (T, error) {
	return via(w, func(b *binding) (T, error) {
		if b.spec.Draining {
			var none T
			return none, &txmgr.UnboundError{Wallet: w.name}
		}
		return call(b)
	})
}

// ended reports whether an error says that a wallet was closed before anything was
// done.
func ended(err error) bool {
	var unbound *txmgr.UnboundError
	return errors.As(err, &unbound) || errors.Is(err, keywallet.ErrClosed)
}

// Accounts lists the accounts that can sign, by address.
func (w *Wallet) Accounts() []common.Address {
	b := w.live.Load()
	if b == nil {
		return nil
	}
	all := b.keys.Accounts()
	list := make([]common.Address, 0, len(all))
	for _, account := range all {
		if account.State == key.Enabled {
			list = append(list, account.Address)
		}
	}
	return list
}

// Has reports whether the wallet has the account, usable or not.
func (w *Wallet) Has(addr common.Address) bool {
	b := w.live.Load()
	if b == nil {
		return false
	}
	_, ok := b.keys.Account(addr)
	return ok
}

// SignMessage signs under EIP-191; see wallet.Wallet.
func (w *Wallet) SignMessage(ctx context.Context, p auth.Principal, account common.Address, msg []byte) ([]byte, error) {
	return anew(w, func(b *binding) ([]byte, error) { return b.keys.SignMessage(ctx, p, account, msg) })
}

// SignTypedData signs under EIP-712; see wallet.Wallet.
func (w *Wallet) SignTypedData(ctx context.Context, p auth.Principal, account common.Address, data *tx.TypedData) ([]byte, error) {
	return anew(w, func(b *binding) ([]byte, error) { return b.keys.SignTypedData(ctx, p, account, data) })
}

// SignTransaction signs without sending; see txmgr.Wallet.
func (w *Wallet) SignTransaction(ctx context.Context, p auth.Principal, args tx.Args) (*types.Transaction, error) {
	return anew(w, func(b *binding) (*types.Transaction, error) { return b.bound.SignTransaction(ctx, p, args) })
}

// Begin takes a transaction in and returns at once; see txmgr.Wallet.
func (w *Wallet) Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) (wait func(context.Context) (common.Hash, error)) {
	var b *binding
	var begun func(context.Context) (common.Hash, error)
	for turn := 1; ; turn++ {
		if b = w.live.Load(); b == nil || b.spec.Draining {
			return func(context.Context) (common.Hash, error) {
				return common.Hash{}, &txmgr.UnboundError{Wallet: w.name}
			}
		}
		var refused error
		if begun, refused = b.bound.TryBegin(ctx, p, r); refused == nil {
			break
		}
		// At once, so that it keeps its place among the others of a batch.
		if !ended(refused) || w.live.Load() == b || turn == maxTurns {
			return func(context.Context) (common.Hash, error) { return common.Hash{}, refused }
		}
	}
	return func(waiting context.Context) (common.Hash, error) {
		hash, err := begun(waiting)
		if !ended(err) {
			return hash, err
		}
		// Its turn among the others of a batch has passed.
		r.Order = nil
		if w.live.Load() == b {
			return hash, err
		}
		return anew(w, func(b *binding) (common.Hash, error) { return b.bound.Begin(ctx, p, r)(waiting) })
	}
}

// SendRaw takes a transaction that an account signed already; see txmgr.Wallet.
func (w *Wallet) SendRaw(ctx context.Context, p auth.Principal, raw []byte) (hash common.Hash, handled bool, err error) {
	hash, err = anew(w, func(b *binding) (common.Hash, error) {
		h, took, err := b.bound.SendRaw(ctx, p, raw)
		handled = took
		return h, err
	})
	return hash, handled || ended(err), err
}

// Owns reports whether an account of any wallet of the membership has this
// address.
func (w *Wallet) Owns(account common.Address) bool {
	b := w.live.Load()
	return b != nil && b.bound.Owns(account)
}

// Fill returns the unsigned transaction that Begin would make; see txmgr.Wallet.
func (w *Wallet) Fill(ctx context.Context, args tx.Args) (*types.Transaction, error) {
	return via(w, func(b *binding) (*types.Transaction, error) { return b.bound.Fill(ctx, args) })
}

// PendingNonce returns the nonce that the account's next transaction would get.
func (w *Wallet) PendingNonce(ctx context.Context, account common.Address) (uint64, error) {
	return via(w, func(b *binding) (uint64, error) { return b.bound.PendingNonce(ctx, account) })
}

// Forward passes a request to the node; see node.Client.
func (w *Wallet) Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error) {
	return via(w, func(b *binding) (node.Response, error) { return b.link.client.Forward(ctx, method, params, header) })
}

// ForwardBatch passes several requests to the node; see node.Client.
func (w *Wallet) ForwardBatch(ctx context.Context, calls []*node.ForwardCall, header http.Header) {
	if b := w.live.Load(); b != nil {
		b.link.client.ForwardBatch(ctx, calls, header)
		return
	}
	for _, c := range calls {
		c.Err = node.ErrUnavailable
	}
}

// Subscribe starts an eth_subscribe at the node; see node.Client.
func (w *Wallet) Subscribe(ctx context.Context, params []byte, onEvent func(json.RawMessage)) (*node.Subscription, error) {
	return via(w, func(b *binding) (*node.Subscription, error) { return b.link.client.Subscribe(ctx, params, onEvent) })
}
