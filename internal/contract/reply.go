// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// Reply words what became of the request with that id. *NotFoundError if nothing
// was accepted under it by this principal and wallet. If the node does not answer,
// it says what the row says, without a receipt.
func (d *Desk) Reply(ctx context.Context, t Target, id string) (Reply, error) {
	row, err := d.accepted(ctx, t, id)
	if err != nil {
		return Reply{}, err
	}
	r, unsigned, err := d.word(ctx, t, id, row)
	if err != nil {
		return Reply{}, err
	}
	d.look(ctx, t, &r, row, unsigned)
	return r, nil
}

// accepted finds what was accepted under an id.
func (d *Desk) accepted(ctx context.Context, t Target, id string) (store.IdempotentRow, error) {
	if CheckID(id) != nil {
		return store.IdempotentRow{}, missing("reply", id)
	}
	row, known, err := d.book.cfg.Store.Idempotent(ctx, t.Wallet.Name(), t.Principal.Name, store.GatewayKey+id)
	if err != nil {
		return row, stored("read a reply", err)
	}
	if !known {
		return row, missing("reply", id)
	}
	return row, nil
}

// word says what the rows say. unsigned is nil if the transaction was pruned.
func (d *Desk) word(ctx context.Context, t Target, id string, key store.IdempotentRow) (Reply, *types.Transaction, error) {
	row, err := d.book.cfg.Store.Tx(ctx, key.TxID)
	if errors.Is(err, store.ErrNotFound) {
		return pruned(id, key), nil, nil
	}
	if err != nil {
		return Reply{}, nil, stored("read a reply", err)
	}
	outcomes, err := d.book.cfg.Store.Outcomes(ctx, []string{key.TxID})
	if err != nil {
		return Reply{}, nil, stored("read a reply", err)
	}
	r, unsigned := wordRow(row, hashIn(outcomes, row.ID))
	return r, unsigned, nil
}

func hashIn(outcomes []store.TxOutcome, id string) common.Hash {
	for _, o := range outcomes {
		if o.ID == id {
			return o.Hash
		}
	}
	return common.Hash{}
}

// pruned is the reply of a transaction of which only the outcome was kept.
func pruned(id string, key store.IdempotentRow) Reply {
	r := Reply{
		ID: id, Tx: key.TxID, Origin: Origin{ID: id}, Received: key.Created, Updated: key.Created, Hash: key.Hash,
		Final: key.State.Final(),
	}
	switch key.State {
	case store.Confirmed:
		r.State = StateSucceeded // look corrects it if the node has the receipt
	case store.Replaced, store.Displaced:
		r.State = StateReplaced
	case store.Failed:
		r.State, r.Failure = StateFailed, txmgr.ParseFailure(key.Error)
	default:
		r.State = StatePending
	}
	return r
}

// wordRow says what a row says. hash is what Outcomes gives: that of its last
// encoding, none if that is a cancellation.
func wordRow(row store.Tx, hash common.Hash) (Reply, *types.Transaction) {
	r := Reply{
		ID: strings.TrimPrefix(row.IdempotencyKey, store.GatewayKey), Tx: row.ID, Final: row.State.Final(), Received: row.Created, Updated: row.Updated,
		Nonce: row.Nonce, Hash: hash,
	}
	if json.Unmarshal([]byte(row.Origin), &r.Origin) != nil || r.Origin.ID != r.ID {
		r.Origin = Origin{ID: r.ID}
	}
	r.From, _ = accountOf(row.Sender)
	unsigned, err := tx.DecodeUnsigned(row.Payload)
	if err == nil {
		r.To, r.Value = unsigned.To(), unsigned.Value()
	}
	switch row.State {
	case store.Confirmed, store.Mined:
		if row.State == store.Mined && hash != row.Hash {
			// Its cancellation is mined, and may yet leave its block; or the rows have
			// changed between two looks. The chain knows of the hash.
			r.State = StatePending
			break
		}
		r.State, r.Hash = StateReverted, row.Hash
		if row.Succeeded {
			r.State = StateSucceeded
			r.Contract = r.created(unsigned)
		}
	case store.Replaced, store.Displaced:
		r.State = StateReplaced
	case store.Failed:
		r.State, r.Failure, r.Nonce = StateFailed, txmgr.ParseFailure(row.Error), nil
	default:
		r.State = StatePending
	}
	return r, unsigned
}

// created is the address that the transaction has created.
func (r *Reply) created(unsigned *types.Transaction) *common.Address {
	if unsigned == nil || unsigned.To() != nil || r.Nonce == nil {
		return nil
	}
	addr := crypto.CreateAddress(r.From, *r.Nonce)
	return &addr
}

// look completes a reply by what the chain says: the chain is right about what is
// mined, the row about what will never be.
func (d *Desk) look(ctx context.Context, t Target, r *Reply, key store.IdempotentRow, unsigned *types.Transaction) {
	if r.State == StateFailed || r.State == StateReplaced || r.Hash == (common.Hash{}) {
		return
	}
	receipt, err := receiptOf(ctx, t.Wallet, r.Hash)
	if err != nil {
		return
	}
	if receipt == nil {
		if !r.Final { // mined no more, or not yet
			r.State, r.Contract = StatePending, nil
		}
		return
	}
	r.Receipt, r.State, r.Contract = receipt, StateSucceeded, receipt.Contract
	if receipt.Status == 0 {
		r.State, r.Contract = StateReverted, nil
	}
	if unsigned == nil { // it was pruned
		r.From, r.To = receipt.From, receipt.To
	} else if receipt.To != nil {
		r.Contract = nil
	}
	var c *abi.Contract
	if r.Origin.ABI != "" {
		if a, err := d.book.ABI(ctx, t.Place, r.Origin.ABI); err == nil {
			c = a.Contract
		}
	}
	r.Events = eventsOf(c, receipt.Logs)
	if r.State == StateReverted && unsigned != nil {
		r.Revert = d.replay(ctx, t, r, unsigned, c)
	}
}

// replay asks the node what the transaction would have said in the state before its
// block. It is the node's best guess: what stood before it in the block is not
// counted in. nil if that does not revert.
func (d *Desk) replay(ctx context.Context, t Target, r *Reply, unsigned *types.Transaction, c *abi.Contract) *Reverted {
	if r.Receipt.BlockNumber == 0 {
		return nil
	}
	gas := hexutil.Uint64(unsigned.Gas())
	call := callObject{From: &r.From, To: unsigned.To(), Data: unsigned.Data(), Value: (*hexutil.Big)(unsigned.Value()), Gas: &gas}
	_, err := ethCall(ctx, t.Wallet, call, hexutil.EncodeUint64(r.Receipt.BlockNumber-1), c)
	var reverted *RevertedError
	if errors.As(err, &reverted) {
		return &reverted.Reverted
	}
	return nil
}

// Replies lists the replies of the principal's requests by this wallet, the
// newest first, by their rows alone: without receipts, events and why they were
// reverted.
func (d *Desk) Replies(ctx context.Context, t Target, f ReplyFilter) ([]Reply, error) {
	rows, err := d.book.cfg.Store.Origins(ctx, store.OriginFilter{
		Wallet: t.Wallet.Name(), Credential: t.Principal.Name, From: f.From, Before: f.Before, Since: f.Since, Limit: page(f.Limit),
	})
	if err != nil {
		return nil, stored("list replies", err)
	}
	ids := make([]string, 0, len(rows))
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	outcomes, err := d.book.cfg.Store.Outcomes(ctx, ids)
	if err != nil {
		return nil, stored("list replies", err)
	}
	hashes := make(map[string]common.Hash, len(outcomes))
	for _, o := range outcomes {
		hashes[o.ID] = o.Hash
	}
	all := make([]Reply, 0, len(rows))
	for _, row := range rows {
		r, _ := wordRow(row, hashes[row.ID])
		all = append(all, r)
	}
	return all, nil
}
