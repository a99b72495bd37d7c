// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

const maxTransactions = 1000

// TransactionStates are the words for where a transaction stands.
func TransactionStates() []string {
	var words []string
	for _, s := range append(unfinished(), store.Confirmed, store.Replaced, store.Displaced, store.Failed) {
		words = append(words, string(s))
	}
	return words
}

// Transactions lists the transactions of a service, newest first.
func (p *Platform) Transactions(ctx context.Context, who auth.Access, at Path, q TransactionQuery) ([]Transaction, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return nil, err
	}
	filter := store.TxFilter{
		Wallet: r.wallet(), Address: q.Address, ID: q.ID, Hash: q.Hash, Nonce: q.Nonce, Key: q.Key, Before: q.Before, Limit: q.Limit,
	}
	if q.Limit < 0 || q.Limit > maxTransactions {
		return nil, invalid("limit", "want 1 to %d", maxTransactions)
	}
	for _, s := range q.States {
		if !slices.Contains(TransactionStates(), s) {
			return nil, invalid("state", "is none of %s", strings.Join(TransactionStates(), ", "))
		}
		filter.States = append(filter.States, store.TxState(s))
	}
	stored, err := p.cfg.Store.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	out := make([]Transaction, len(stored))
	for i, t := range stored {
		out[i] = ViewTransaction(t)
	}
	return out, nil
}

// Transaction finds a transaction of a service by its id, or the hash of any of
// its attempts.
func (p *Platform) Transaction(ctx context.Context, who auth.Access, at Path, id string) (Transaction, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return Transaction{}, err
	}
	t, err := p.transaction(ctx, r, id)
	if err != nil {
		return Transaction{}, err
	}
	return p.shownTx(ctx, t)
}

func (p *Platform) shownTx(ctx context.Context, t store.Tx) (Transaction, error) {
	tries, err := p.cfg.Store.Attempts(ctx, t.ID)
	if err != nil {
		return Transaction{}, err
	}
	return ViewWhole(t, tries), nil
}

var (
	txID   = regexp.MustCompile(`^[0-9a-f]{32}$`)
	txHash = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)
)

// transaction reads one of the service's. Another service's is not there.
func (p *Platform) transaction(ctx context.Context, r row, id string) (t store.Tx, err error) {
	none := &Error{Reason: NotFound, Msg: "the service has no such transaction"}
	switch {
	case txHash.MatchString(id):
		t, err = p.cfg.Store.TxByHash(ctx, common.HexToHash(id))
	case txID.MatchString(id):
		t, err = p.cfg.Store.Tx(ctx, id)
	default:
		return t, none
	}
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && t.Wallet != r.wallet():
		return store.Tx{}, none
	}
	return t, err
}

// CancelTransaction ends a transaction that is not mined; see hsmsigner tx
// cancel.
func (p *Platform) CancelTransaction(ctx context.Context, who auth.Access, at Path, id string) (Transaction, error) {
	return p.care(ctx, who, at, id, "cancel transaction", p.cfg.Runtime.Cancel)
}

// SpeedUpTransaction signs a transaction again with higher fees, wei per gas; nil
// leaves them to the signer. See hsmsigner tx speed-up.
func (p *Platform) SpeedUpTransaction(ctx context.Context, who auth.Access, at Path, id string, maxFee, tip *big.Int) (Transaction, error) {
	for _, f := range []struct {
		field string
		wei   *big.Int
	}{{"max_fee_per_gas", maxFee}, {"priority_fee_per_gas", tip}} {
		if f.wei != nil && (f.wei.Sign() <= 0 || f.wei.BitLen() > 256) {
			return Transaction{}, invalid(f.field, "want a number of wei above 0")
		}
	}
	return p.care(ctx, who, at, id, "speed up transaction", func(ctx context.Context, wallet, tx string) error {
		return p.cfg.Runtime.SpeedUp(ctx, wallet, tx, maxFee, tip)
	})
}

func (p *Platform) care(ctx context.Context, who auth.Access, at Path, id, verb string, act func(ctx context.Context, wallet, tx string) error) (Transaction, error) {
	r, err := p.service(ctx, who, auth.Operates, at)
	if err != nil {
		return Transaction{}, err
	}
	t, err := p.transaction(ctx, r, id)
	if err != nil {
		return Transaction{}, err
	}
	if err := p.noteOrder(ctx, who, verb, r, []string{t.ID}); err != nil {
		return Transaction{}, err
	}
	if err := act(ctx, r.wallet(), t.ID); err != nil {
		return Transaction{}, careRefusal(err)
	}
	if t, err = p.cfg.Store.Tx(ctx, t.ID); err != nil {
		return Transaction{}, err
	}
	return p.shownTx(ctx, t)
}

// careRefusal words why a transaction cannot be helped. The manager's texts are
// made for whoever asked.
func careRefusal(err error) error {
	switch {
	case errors.Is(err, ErrNotRunning), errors.Is(err, txmgr.ErrNoSender):
		return unavailable("the account of the transaction is not at work just now: try again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return conflict("%s", err)
}

// ViewAttempt is one signed encoding of a stored transaction as the API and the
// command line show it.
func ViewAttempt(t store.Tx, a store.Attempt) Attempt {
	return Attempt{a.ID, string(a.Kind), a.Nonce, string(a.OutcomeIn(t)), hashText(a.Hash), a.Epoch, a.Created.UTC()}
}

// ViewWhole is a stored transaction with its attempts.
func ViewWhole(t store.Tx, tries []store.Attempt) Transaction {
	v := ViewTransaction(t)
	v.Durations = durationsOf(t, tries)
	for _, a := range tries {
		v.Attempts = append(v.Attempts, ViewAttempt(t, a))
	}
	return v
}

// ViewTransaction is a stored transaction as the API and the command line show it,
// without its attempts.
func ViewTransaction(t store.Tx) Transaction {
	v := Transaction{
		ID: t.ID, Wallet: t.Wallet, State: string(t.State), Kind: string(t.Kind),
		Sender: t.Sender, From: addressOfSender(t.Sender), Nonce: t.Nonce,
		FeeCeiling: decimal(t.FeeCeiling), Hash: hashText(t.Hash), Block: t.Block, Error: txmgr.FailureMessage(t.Error),
		Credential: t.Credential, IdempotencyKey: t.IdempotencyKey, Replaces: t.Replaces,
		Created: t.Created.UTC(), Updated: t.Updated.UTC(), Durations: durationsOf(t, nil),
	}
	if !t.Expires.IsZero() {
		expires := t.Expires.UTC()
		v.Expires = &expires
	}
	if t.BlockHash != (common.Hash{}) {
		v.Succeeded = &t.Succeeded
	}
	var payload types.Transaction
	if payload.UnmarshalBinary(t.Payload) == nil {
		v.Type, v.Value, v.Gas, v.DataBytes = payload.Type(), decimal(payload.Value()), payload.Gas(), len(payload.Data())
		if to := payload.To(); to != nil {
			v.To = to.Hex()
		}
	}
	return v
}

// addressOfSender is the last part of a sender's id.
func addressOfSender(id string) string {
	return common.HexToAddress(id[strings.LastIndexByte(id, '-')+1:]).Hex()
}

func hashText(h common.Hash) string {
	if h == (common.Hash{}) {
		return ""
	}
	return h.Hex()
}

func decimal(n *big.Int) string {
	if n == nil {
		return ""
	}
	return n.String()
}
