// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// A transaction that no block takes is signed again with higher fees at the
// same nonce, up to the ceiling that was fixed when it was accepted. Both are
// watched; whichever is mined is the transaction (TXMGR.md no. 17).

// stuckBlocks must have been made without it: where no blocks come, a higher fee
// helps nobody.
const stuckBlocks = 3

// care raises the fees of what has been in flight for too long.
func (s *sender) care(now time.Time) {
	after := s.w.set.BumpAfter
	if after <= 0 || s.pricing || s.parked != "" || !s.mayWork() {
		return
	}
	// Only the lowest nonce: what is above waits for it, whatever it pays.
	e := s.slots[s.base]
	if e == nil || !e.ready() || !e.acked || e.capped || e.row.Kind != store.UserTx || s.frozen(e) != nil {
		return
	}
	a := e.current()
	if a.row.Kind == store.CancelAttempt || s.chain.current().Number < e.sentAt+stuckBlocks || now.Sub(a.row.Created) < after {
		return
	}
	s.pricing = true
	forks, w := s.forks, s.w
	s.work(func() {
		fees, err := w.chain.market(w.ctx)
		s.post(func() {
			s.pricing = false
			if err != nil || forks != s.forks || !s.loadedOK {
				return // looked at again with the next tick
			}
			if s.slots[s.base] != e || !e.acked || s.frozen(e) != nil {
				return
			}
			if err := s.speedUp(e, fees, false); err != nil {
				e.capped = true
				s.log.Warn("a transaction is stuck and its fees cannot be raised", "tx", e.row.ID, "nonce", e.nonce(), "err", err)
				s.event("stuck")
			}
		})
	})
}

// market is what the chain asks for a transaction now: twice the base fee and
// the node's tip, or its gas price where there is no base fee.
func (c *chain) market(ctx context.Context) (tx.Fees, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return tx.Fees{}, err
	}
	if head.BaseFee == nil {
		price, err := c.GasPrice(ctx)
		return tx.Fees{MaxFeePerGas: price, MaxPriorityFeePerGas: price}, err
	}
	tip, err := c.SuggestTip(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		tip, err = new(big.Int), nil
	}
	if err != nil {
		return tx.Fees{}, err
	}
	top := new(big.Int).Lsh(head.BaseFee, 1)
	return tx.Fees{MaxFeePerGas: top.Add(top, tip), MaxPriorityFeePerGas: tip}, nil
}

// speedUp plans a dearer encoding of e: at least what nodes take in place of
// the last one, and what want says if that is more. exact says that an operator
// asked for it: then a want above what may be paid is refused, not lowered.
func (s *sender) speedUp(e *entry, want tx.Fees, exact bool) error {
	a := e.current()
	switch {
	case e.row.Kind != store.UserTx:
		return errors.New("its fees are its caller's: a raw transaction is replaced by sending another")
	case !e.left:
		return fmt.Errorf("transaction %s is %s and was not sent yet", e.row.ID, e.row.State)
	case a == nil || a.row.Raw == nil:
		return errors.New("a replacement of it is being signed")
	case a.row.Kind == store.CancelAttempt:
		return errors.New("it is being cancelled")
	}
	if err := s.frozen(e); err != nil {
		return err
	}
	last := e.last()
	fees, most := tx.LeastBump(last), s.most(e, last)
	switch {
	case most != nil && fees.MaxFeePerGas.Cmp(most) > 0:
		return fmt.Errorf("to replace it %s wei per gas would have to be paid, and at most %s may be: the ceiling that was fixed when it was accepted, or the wallet's limits", fees.MaxFeePerGas, most)
	case exact && most != nil && want.MaxFeePerGas != nil && want.MaxFeePerGas.Cmp(most) > 0:
		return fmt.Errorf("%s wei per gas is more than may be paid for it: at most %s", want.MaxFeePerGas, most)
	}
	fees = fees.AtLeast(want, most)
	return s.bump(e, tx.WithFees(last, fees))
}

// most is the highest fee per gas that a replacement of e may pay; nil if there
// is no limit.
func (s *sender) most(e *entry, like *types.Transaction) *big.Int {
	most := e.row.FeeCeiling
	lower := func(limit *big.Int) {
		if limit != nil && limit.Sign() > 0 && (most == nil || limit.Cmp(most) < 0) {
			most = limit
		}
	}
	lower(e.w.set.Limits.MaxFeePerGas)
	if limit := e.w.set.Limits.MaxFee; limit != nil && limit.Sign() > 0 && like.Gas() > 0 {
		lower(new(big.Int).Div(limit, new(big.Int).SetUint64(like.Gas())))
	}
	return most
}

// bump records the dearer encoding, reserves what it may cost more, and has it
// signed. The policy judges it again before the backend is asked.
func (s *sender) bump(e *entry, unsigned *types.Transaction) error {
	cost := tx.MaxCost(unsigned)
	if s.account.balance != nil {
		need := new(big.Int).Sub(s.reserved, e.cost)
		if need.Add(need, cost).Cmp(s.account.balance) > 0 {
			return fmt.Errorf("the balance of %s wei does not cover the higher fee", s.account.balance)
		}
	}
	n := e.nonce()
	s.unweigh(n, e)
	e.cost = cost
	s.weigh(n, e)
	intent := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: e.principal.Name, Wallet: e.w.name, Address: s.addr,
		Action: audit.SendTransaction, Subject: e.row.ID, Verdict: "to be judged before signing: higher fees for a transaction that was accepted",
		Detail: e.w.keys.Detail(policy.Request{Transaction: unsigned}),
	}
	e.row.Intent, e.action = intent.ID, audit.SendTransaction
	s.plan(func(w *store.Writer) error { return w.AuditIntent(intent) })
	s.attempt(e, unsigned, store.BumpAttempt)
	s.log.Info("raising the fees of a transaction", "tx", e.row.ID, "nonce", n, "max_fee_per_gas", unsigned.GasFeeCap().String())
	s.event("bumped")
	return nil
}
