// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// errOver says that a request is not sent any more, since its time is over.
var errOver = errors.New("its time is over")

// sendTimeout bounds one try; the transaction manager has a deadline of its own.
const sendTimeout = time.Minute

// execute has an approved transaction sent, and reports whether it is to be tried
// again. Killed at any point, it does the same once more: whether the transaction
// is stored is seen by its idempotency key, and nothing else is believed.
func (b *Book) execute(ctx context.Context, a store.Approval, q Request) (again bool) {
	log := b.cfg.Logger.With("approval", a.ID, "wallet", a.Wallet)
	done, err := b.settled(ctx, a, q)
	if done {
		return false
	}
	if err == nil {
		err = b.submit(ctx, a, q)
		if done, other := b.settled(context.WithoutCancel(ctx), a, q); done {
			return false
		} else if other != nil && err == nil {
			err = other
		}
	}
	switch {
	case err == nil, ctx.Err() != nil:
		return true
	case errors.Is(err, errOver):
		return true // it is ended where such requests are
	case !final(err):
		b.hold(a.ID, reason(err))
		log.Info("an approved transaction could not be sent yet; it is tried again", "err", err)
		return true
	}
	log.Warn("an approved transaction was refused", "err", err)
	if err := ignoreFaster(b.end(ctx, a, store.ApprovalFailed, err.Error())); err != nil {
		log.Warn("what became of an approved transaction could not be stored; it is tried again", "err", err)
		return true
	}
	return false
}

// key is the idempotency key that a transaction is sent under.
func key(a store.Approval, q Request) string {
	if q.Transaction.IdempotencyKey != "" {
		return q.Transaction.IdempotencyKey
	}
	return KeyPrefix + a.ID
}

// settled ends a request whose transaction is stored, and reports whether it has
// ended.
func (b *Book) settled(ctx context.Context, a store.Approval, q Request) (bool, error) {
	row, known, err := b.cfg.Store.Idempotent(ctx, a.Wallet, a.Principal, key(a, q))
	if err != nil || !known {
		return false, err
	}
	hash, err := q.requestHash()
	if err != nil {
		return false, err
	}
	_, gone := b.cfg.Store.Tx(ctx, row.TxID)
	switch {
	case row.State == store.Failed && errors.Is(gone, store.ErrNotFound): // the key was spent without a transaction
		err = b.end(ctx, a, store.ApprovalFailed, row.Error)
	case row.RequestHash != hash:
		err = b.end(ctx, a, store.ApprovalFailed, "the idempotency key was used for another request meanwhile: "+row.TxID)
	default:
		err = b.end(ctx, a, store.ApprovalUsed, row.TxID)
	}
	return err == nil || errors.Is(err, errFaster), ignoreFaster(err)
}

// submit hands the transaction over, and returns when its outcome is known, or its
// deadline has come.
func (b *Book) submit(ctx context.Context, a store.Approval, q Request) error {
	if !b.now().Before(a.Expires) {
		return errOver
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	p := q.principal()
	if err := b.standing(ctx, p, q); err != nil {
		return err
	}
	w := b.cfg.Wallet(a.Wallet)
	if w == nil {
		return errNotRunning
	}
	args, err := q.args()
	if err != nil {
		return err
	}
	if err := q.fees(ctx, w, &args); err != nil {
		return err
	}
	hash, err := q.requestHash()
	if err != nil {
		return err
	}
	_, err = w.Begin(ctx, p, txmgr.SendRequest{Args: args, IdempotencyKey: key(a, q), Approval: a.ID, RequestHash: &hash, Origin: q.Transaction.Origin})(ctx)
	return err
}

// requestHash is what stands beside the idempotency key: the hash of what the
// caller asked for in his own words, so that he finds the transaction by asking
// again.
func (q Request) requestHash() ([32]byte, error) {
	if q.Transaction.Asked != (common.Hash{}) {
		return q.Transaction.Asked, nil
	}
	args, err := q.args()
	if err != nil {
		return [32]byte{}, err
	}
	return args.RequestHash(), nil
}

// args are the approved transaction as arguments: all of it is given, but fees.
func (q Request) args() (tx.Args, error) {
	t, err := q.transaction()
	if err != nil {
		return tx.Args{}, err
	}
	gas, kind := t.Gas(), t.Type()
	args := tx.Args{
		From: q.Account, To: t.To(), Gas: &gas, Value: t.Value(), Nonce: q.Transaction.Nonce, Data: t.Data(),
		ChainID: amount(q.ChainID), Type: &kind,
	}
	if kind >= types.AccessListTxType {
		list := t.AccessList()
		args.AccessList = &list
	}
	if kind == types.SetCodeTxType {
		args.AuthorizationList = t.SetCodeAuthorizations()
	}
	if kind == types.BlobTxType {
		args.BlobHashes, args.MaxFeePerBlobGas = t.BlobHashes(), t.BlobGasFeeCap()
		if side := t.BlobTxSidecar(); side != nil {
			args.Blobs, args.Commitments, args.Proofs = side.Blobs, side.Commitments, side.Proofs
		}
	}
	return args, nil
}

// fees fills them anew, at most what was approved. Where the chain has a base fee,
// the cap is what was approved: what is paid then follows the chain by itself.
func (q Request) fees(ctx context.Context, w Wallet, args *tx.Args) error {
	most, mostTip := amount(q.Transaction.MaxFeePerGas), amount(q.Transaction.MaxPriorityFeePerGas)
	asking := *args
	filled, err := w.Fill(ctx, asking)
	if err != nil {
		return err
	}
	if *args.Type < types.DynamicFeeTxType {
		args.GasPrice = least(filled.GasPrice(), most)
		return nil
	}
	args.MaxFeePerGas = most
	args.MaxPriorityFeePerGas = least(filled.GasTipCap(), mostTip)
	return nil
}

func least(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// final reports whether an error says that the transaction will never be taken.
// What is not known may pass: it is tried again until the request is over.
func final(err error) bool {
	var (
		denied  *policy.DeniedError
		pending *policy.PendingError
		arg     *tx.ArgError
		chain   *tx.ChainError
		other   *txmgr.ChainIDError
		unknown *txmgr.UnknownAccountError
		revert  *txmgr.RevertError
		refused *txmgr.RefusedError
	)
	if errors.As(err, &denied) {
		// What a limit refuses may have room later: when its window has moved on, or
		// when another try of this very transaction gives back what it has reserved.
		return !denied.Verdict.Limit
	}
	return errors.As(err, &pending) || errors.As(err, &arg) || errors.As(err, &chain) ||
		errors.As(err, &other) || errors.As(err, &unknown) || errors.As(err, &revert) || errors.As(err, &refused)
}

func ignoreFaster(err error) error {
	if errors.Is(err, errFaster) {
		return nil
	}
	return err
}
