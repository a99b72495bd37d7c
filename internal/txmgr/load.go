// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// load takes the sender over: a new epoch, then everything unfinished from
// the rows, so that what is stored goes out again before anything new
// (TXMGR.md nos. 19 and 22, crash table).
func (s *sender) load(ctx context.Context) error {
	s.forget()
	if err := s.claim(ctx); err != nil {
		return err
	}
	lease, err := s.m.db.AcquireLease(ctx, s.id, s.m.owner, s.m.ttl)
	if errors.Is(err, store.ErrLeaseHeld) {
		return s.leaseHeld(ctx, err)
	}
	if err != nil {
		return storeFailed(err)
	}
	s.fence = store.Fence{Sender: s.id, Owner: lease.Owner, Epoch: lease.Epoch}
	asked := time.Now()
	latest, pending, balance, err := s.w.node.Account(ctx, s.addr)
	if err != nil {
		return err
	}
	// A different block at the height of the last confirmed one means that
	// the rows speak of a chain that is gone. A lower head is a lagging node.
	gone, err := confirmedGone(ctx, s.w.node, s.row.ConfirmedNumber, s.row.ConfirmedHash)
	if err != nil {
		return err
	}
	rows, attempts, err := s.m.db.LoadSender(ctx, s.id, latest)
	if err != nil {
		return storeFailed(err)
	}
	if err := s.findBase(ctx, latest, rows); err != nil {
		return err
	}
	for _, row := range rows {
		if err := s.restore(row, attempts[row.ID]); err != nil {
			return fmt.Errorf("txmgr: transaction %s: %w", row.ID, err)
		}
	}
	s.skipFinal(rows)
	if err := s.readmit(ctx); err != nil {
		return err
	}
	s.requeueDrains()
	s.account = account{latest: latest, pending: pending, balance: balance, since: asked, at: time.Now(), asked: s.account.asked + 1}
	s.loadedOK = true
	s.parked = s.row.Parked
	if gone != "" {
		s.parkForRepair(gone)
	}
	if len(s.mined) > 0 {
		s.lookAgain() // their blocks may have gone meanwhile
	}
	s.counted()
	s.fillHoles(0)
	s.used, s.try = time.Now(), false
	fence := s.fence
	s.held.Store(&fence)
	s.takeOffered() // there may be some without peers too, of before the rows were moved
	return nil
}

// leaseHeld says by whom, also where the row is only locked: by one who was
// stopped in the middle of a commit.
func (s *sender) leaseHeld(ctx context.Context, err error) error {
	var held *store.LeaseHeldError
	if errors.As(err, &held) {
		return err
	}
	owner, _, readErr := s.m.db.LeaseOf(ctx, s.id)
	if readErr != nil {
		return storeFailed(readErr)
	}
	return &store.LeaseHeldError{Owner: owner}
}

// unclaimedError says that the address is not this wallet's to use.
type unclaimedError struct{ err error }

func (e *unclaimedError) Error() string { return e.err.Error() }
func (e *unclaimedError) Unwrap() error { return e.err }

// claim makes the address a sender of this membership. The first time, the
// backend has to sign a challenge before anything is stored, so that nobody
// can claim another's address with a vault that merely lists it (TXMGR.md
// no. 23).
func (s *sender) claim(ctx context.Context) error {
	row, err := s.m.db.Sender(ctx, s.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		row = s.row
	case err != nil:
		return storeFailed(err)
	}
	foreign := &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("account %s is not available to this wallet", s.addr)}
	if row.Membership != s.membership {
		return &unclaimedError{foreign}
	}
	if row.Proven {
		s.row = row
		return nil
	}
	err = s.w.keys.Prove(ctx, s.addr)
	if errors.Is(err, wallet.ErrAudit) {
		return storeFailed(err)
	}
	if err != nil {
		return &unclaimedError{asBackend(err)}
	}
	row.Proven = true
	err = s.m.db.Write(ctx, func(w *store.Writer) error {
		if err := w.PutSender(row); err != nil {
			return err
		}
		return w.UpdateSender(s.id, store.SenderUpdate{Proven: &row.Proven})
	})
	if errors.Is(err, store.ErrForeignSender) {
		return &unclaimedError{foreign}
	}
	if err != nil {
		return err
	}
	s.row, err = s.m.db.Sender(ctx, s.id)
	return err
}

// findBase decides which nonces count as mined: those below the node's count,
// as far as our rows go. What the node counts beyond them is looked into
// later, what it does not count yet it may have forgotten.
func (s *sender) findBase(ctx context.Context, latest uint64, rows []store.Tx) error {
	highest, any, err := s.m.db.HighestNonce(ctx, s.id)
	if err != nil {
		return err
	}
	s.base = latest
	if any {
		s.base = min(latest, highest+1)
	}
	for _, row := range rows {
		if row.Nonce != nil && !row.State.Final() && row.State != store.Mined {
			s.base = min(s.base, *row.Nonce)
		}
	}
	lowest, _, err := s.m.db.LowestNonce(ctx, s.id)
	if err != nil {
		return err
	}
	// Nothing of ours below it is known to be mined: then it is but the node's word,
	// also when the rows are read for the second time.
	s.believed = s.base > 0 && (!any || lowest >= s.base) && s.row.ConfirmedHash == (common.Hash{})
	if !any || highest+1 >= latest {
		return nil
	}
	// A cancelled transaction has failed and is no live row, yet its nonce is
	// used.
	failed, err := s.m.db.List(ctx, store.TxFilter{Sender: s.id, States: []store.TxState{store.Failed}, Limit: maxJump})
	if err != nil {
		return err
	}
	spent := map[uint64]bool{}
	for _, row := range failed {
		if row.Nonce != nil {
			spent[*row.Nonce] = true
		}
	}
	for s.base > highest && s.base < latest && spent[s.base] {
		s.base++
	}
	return nil
}

// confirmedGone says so if the last confirmed block is no longer on the chain.
func confirmedGone(ctx context.Context, n *node.Client, number uint64, hash common.Hash) (string, error) {
	if hash == (common.Hash{}) {
		return "", nil
	}
	head, err := n.HeaderByNumber(ctx, number)
	switch {
	case errors.Is(err, node.ErrNotFound):
		return "", fmt.Errorf("txmgr: the node has no block %d yet, in which transactions of this account were confirmed: %w", number, node.ErrUnavailable)
	case err != nil:
		return "", err
	case head.Hash != hash:
		return fmt.Sprintf("block %d, which was confirmed and holds transactions of this account, has another hash now: the chain was reset or reorganised deeply", number), nil
	}
	return "", nil
}

// restore makes an entry of a row.
func (s *sender) restore(row store.Tx, attempts []store.Attempt) error {
	if row.State.Final() {
		return nil
	}
	utx, err := tx.DecodeUnsigned(row.Payload)
	if err != nil {
		return err
	}
	e := &entry{
		row: row, w: s.walletNamed(row.Wallet), utx: utx, principal: auth.Principal{Name: row.Credential},
		action: audit.SendTransaction, seq: s.nextSeq(), begun: row.Created, stage: time.Now(),
		trace: s.m.traceOf(row), minedAt: row.Updated,
	}
	e.spanResumed()
	e.asked = len(attempts) > 0
	if row.Kind == store.FillTx {
		e.action = audit.Repair
	}
	s.byTx[row.ID] = e
	for _, a := range attempts {
		switch {
		case a.Outcome != store.Open:
		case a.Raw == nil:
			// Being signed when the process ended: void, so that a signature
			// which still arrives somewhere can never be stored.
			id := a.ID
			s.plan(func(w *store.Writer) error {
				_, err := w.SetAttemptOutcome(id, []store.AttemptOutcome{store.Open}, store.Void)
				return err
			})
		default:
			// Stored under an earlier epoch counts as sent (no. 19).
			got := &attempt{row: a, entry: e, stored: true, left: true, shown: true}
			e.attempts = append(e.attempts, got)
			e.left, e.resumed = true, true
			s.byHash[a.Hash] = got
			s.chain.watch(a.Hash, s)
		}
	}
	e.noted, e.cost = row.State == store.Sent, tx.MaxCost(e.last())
	if row.Kind == store.RawTx && e.ready() {
		signed := new(types.Transaction)
		if err := signed.UnmarshalBinary(e.current().row.Raw); err != nil {
			return err
		}
		e.utx = signed
	}
	s.settle(e)
	return nil
}

// walletNamed is the wallet by which a row came in. Where that is gone, or is
// another's by now, the wallet through which the sender works takes over.
func (s *sender) walletNamed(name string) *Wallet {
	s.m.mu.Lock()
	own, via := s.m.wallets[name], s.w
	s.m.mu.Unlock()
	if own == nil || own.membership != s.membership || own.chainID.Cmp(via.chainID) != 0 {
		return via
	}
	if _, has := own.keys.Account(s.addr); !has {
		return via
	}
	return own
}

// settle puts a restored entry where its state says.
func (s *sender) settle(e *entry) {
	switch e.row.State {
	case store.Queued:
		s.queue = append(s.queue, e)
	case store.Held:
		e.left = false
		s.occupy(e.nonce(), e)
	case store.Assigned:
		s.occupy(e.nonce(), e)
		if !e.left && s.row.Parked == "" {
			s.attempt(e, e.utx, store.FirstAttempt)
		}
	case store.Signed, store.Sent:
		s.occupy(e.nonce(), e)
	case store.Mined:
		s.mined[e] = struct{}{}
		e.acked = true
		if e.nonce() >= s.base {
			s.occupy(e.nonce(), e)
		}
	case store.Superseded:
		s.older[e.nonce()] = append(s.older[e.nonce()], e)
	}
}

// skipFinal moves the base over nonces that final rows have: a node that lags
// behind them is not believed.
func (s *sender) skipFinal(rows []store.Tx) {
	done := map[uint64]bool{}
	for _, row := range rows {
		if row.Nonce != nil && row.State.Final() {
			done[*row.Nonce] = true
		}
	}
	for done[s.base] && s.slots[s.base] == nil {
		s.base++
	}
	s.hint = s.base
}

// park keeps the sender from assigning and sending until what it waits for
// has come. It is not remembered over a restart.
func (s *sender) park(reason string) {
	if s.parked == "" {
		s.log.Warn("sender parked", "reason", reason)
		s.event("parked")
	}
	if s.row.Parked == "" {
		s.parked = reason
	}
}

// unpark ends a park that needs no operator.
func (s *sender) unpark() {
	if s.row.Parked == "" && s.parked != "" {
		s.log.Info("sender goes on")
		s.parked = ""
		s.fillHoles(0)
	}
}

// parkForRepair keeps the sender parked, over restarts too, until an operator
// has looked at it. Nobody waits for that: what has not left is given up, and
// of what has, the callers get the hash.
func (s *sender) parkForRepair(reason string) {
	if s.row.Parked != "" {
		return
	}
	s.log.Error("sender parked until tx repair", "reason", reason)
	s.event("parked")
	s.row.Parked, s.parked = reason, reason
	id := s.id
	s.plan(func(w *store.Writer) error { return w.UpdateSender(id, store.SenderUpdate{Parked: &reason}) })
	for _, waited := range slices.Collect(maps.Keys(s.waiters)) {
		switch e := s.byTx[waited]; {
		case e == nil:
		case e.left:
			s.then(func() { s.answer(waited, e.hash(), nil) })
		default:
			s.fail(e, s.parkedError())
		}
	}
}

// parkedError is what a caller is told while an operator is needed.
func (s *sender) parkedError() error {
	return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("account %s is parked: %s; an operator has to release it with: hsmsigner tx repair %s", s.addr, s.row.Parked, s.id)}
}
