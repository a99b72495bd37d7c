// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// SendRaw takes a signed transaction of one of our accounts into the manager,
// so that its nonce is known (TXMGR.md no. 9). handled is false if the
// transaction is of somebody else and should simply be passed on.
func (w *Wallet) SendRaw(ctx context.Context, p auth.Principal, raw []byte) (hash common.Hash, handled bool, err error) {
	signed, from, err := tx.DecodeRaw(raw)
	if err != nil {
		return common.Hash{}, true, err
	}
	ctx, leave, err := w.enter(ctx)
	if err != nil {
		return common.Hash{}, true, err
	}
	defer leave()
	if _, ours := w.keys.Account(from); !ours {
		if w.Owns(from) {
			return common.Hash{}, true, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("%s is an account of another wallet of this signer: send the transaction there", from)}
		}
		return common.Hash{}, false, nil
	}
	if w.set.RefuseRaw {
		return common.Hash{}, true, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("%s is an account of this wallet, which takes no raw transactions of its own accounts: use eth_sendTransaction", from)}
	}
	if signed.ChainId().Cmp(w.chainID) != 0 {
		return common.Hash{}, true, &ChainIDError{Given: signed.ChainId(), Want: w.chainID}
	}
	hash, err = w.sendRaw(ctx, p, signed, from)
	return hash, true, err
}

// hasSender reports whether a stored sender is this wallet's membership's. Signed
// bytes are public: that somebody has them says nothing of who he is.
func (w *Wallet) hasSender(ctx context.Context, id string) bool {
	row, err := w.m.db.Sender(ctx, id)
	return err == nil && row.Membership == w.membership
}

func (w *Wallet) sendRaw(ctx context.Context, p auth.Principal, signed *types.Transaction, from common.Address) (hash common.Hash, err error) {
	begun := time.Now()
	ctx, cancel := w.until(ctx, begun.Add(w.set.SendTimeout))
	defer cancel()
	ctx, span := w.span(ctx, "accept")
	defer func() { span.end(err) }()
	if err := w.keys.Frozen(from); err != nil {
		return common.Hash{}, err
	}
	for _, authority := range tx.Authorities(signed) {
		if w.Owns(authority) {
			return common.Hash{}, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("authorizationList: an authorisation is signed by %s, an account of this signer", authority)}
		}
	}
	if t, err := w.m.db.TxByHash(ctx, signed.Hash()); err == nil && t.State != store.Failed && w.hasSender(ctx, t.Sender) {
		// The same bytes again: the answer is the same, too.
		w.m.repeats(ctx, t)
		if !t.State.Final() {
			if s, err := w.senderAt(ctx, t.Sender); err == nil {
				return s.join(w, t.ID, begun.Add(w.set.SendTimeout))
			}
		}
		return signed.Hash(), nil
	}
	if err := w.node.VerifyChain(ctx); err != nil {
		return common.Hash{}, w.early(err)
	}
	unsigned := tx.WithNonce(signed, signed.Nonce())
	payload, err := tx.EncodeUnsigned(unsigned)
	if err != nil {
		return common.Hash{}, err
	}
	nonce := signed.Nonce()
	request := policy.Request{
		Principal: p, Account: from, Action: audit.SendTransaction, Transaction: signed, ID: store.NewID(), Presigned: true,
		Asked: policy.Asked{Nonce: &nonce},
	}
	verdict, err := w.judge(ctx, request)
	if err != nil {
		return common.Hash{}, w.early(err)
	}
	sub := w.submission(request, verdict)
	defer func() { sub.unused(err) }()
	s, err := w.senderOf(ctx, from)
	if err != nil {
		return common.Hash{}, w.early(err)
	}
	sub.row.Kind, sub.row.Payload, sub.row.FeeCeiling = store.RawTx, payload, signed.GasFeeCap()
	sub.row.Nonce, sub.row.Explicit = &nonce, true
	sub.signed = signed
	sub.begun, sub.deadline = begun, begun.Add(w.set.SendTimeout)
	sub.follow(span)
	if err := s.submit(sub); err != nil {
		return common.Hash{}, err
	}
	span.end(nil)
	return sub.await()
}
