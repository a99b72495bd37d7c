// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// sign asks the wallet for the signature of an attempt whose row and audit
// intent are committed. Many run at once; the wallet's limiter bounds them.
func (s *sender) sign(a *attempt, unsigned *types.Transaction) {
	e := a.entry
	if a != e.current() {
		return // moved away from in the same round
	}
	ctx, cancel := context.WithDeadline(s.m.ctx, e.row.Expires)
	s.signings[a] = cancel
	principal, intent, action, w := e.principal, e.row.Intent, e.action, e.w
	s.m.wg.Go(func() {
		defer cancel()
		signed, outcome, err := w.keys.SignAccepted(ctx, principal, intent, action, s.addr, unsigned)
		s.post(func() { s.signed(a, signed, outcome, err) })
	})
}

// signed takes the wallet's answer. The bytes are stored by compare-and-set
// on the attempt, so a signature that comes after its attempt was voided can
// never be stored, and never be sent (TXMGR.md no. 11).
func (s *sender) signed(a *attempt, signed *types.Transaction, outcome audit.Outcome, err error) {
	if _, ours := s.signings[a]; !ours {
		return // of before a reload; the rows have another attempt by now
	}
	delete(s.signings, a)
	e := a.entry
	s.plan(func(w *store.Writer) error { return w.AuditOutcome(outcome) })
	if a != e.current() || e.row.State == store.Failed {
		return // void: the outcome is on record, the signature is dropped
	}
	if e.row.State == store.Mined || e.row.State == store.Superseded {
		s.void(e)
		return
	}
	var raw []byte
	if err == nil {
		raw, err = signed.MarshalBinary()
	}
	if err != nil {
		s.notSigned(a, err)
		return
	}
	a.row.Raw, a.row.Hash = raw, signed.Hash()
	e.row.State, e.row.Hash = store.Signed, a.row.Hash
	s.byHash[a.row.Hash] = a
	row, id, hash := a.row, e.row.ID, a.row.Hash
	s.plan(func(w *store.Writer) error {
		if err := expect(w.StoreSigned(row.ID, row.Tx, row.Nonce, row.Digest, row.Epoch, row.Raw, row.Hash)); err != nil {
			return err
		}
		return expect(w.UpdateTx(id, []store.TxState{store.Assigned, store.Signed, store.Sent}, store.TxUpdate{State: store.Signed, Hash: &hash}))
	})
	s.then(func() {
		s.m.obs.ObserveStage(e.w.name, "sign", time.Since(e.stage))
		e.stage = time.Now()
	})
}

// notSigned handles a backend that gave no signature. The first attempt of a
// transaction fails with it and frees its nonce; a cancel or bump is simply
// withdrawn, since the transaction it stood beside goes on.
func (s *sender) notSigned(a *attempt, err error) {
	e := a.entry
	if a.row.Kind != store.FirstAttempt {
		s.log.Warn("a replacement could not be signed", "tx", e.row.ID, "err", err)
		s.void(e)
		e.acked = e.ready()
		return
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		err = &BackendError{Kind: "timeout", Err: err}
	default:
		err = asBackend(err)
	}
	s.log.Warn("transaction not signed", "tx", e.row.ID, "nonce", a.row.Nonce, "err", err)
	s.fail(e, err)
}

// asBackend gives the wallet's backend errors their place among this
// package's; others (a denial by policy) stay what they are.
func asBackend(err error) error {
	var backend *wallet.BackendError
	if errors.As(err, &backend) {
		return &BackendError{Kind: backend.Kind, Err: err}
	}
	return err
}

// void withdraws the current attempt of e, which must not have left.
func (s *sender) void(e *entry) {
	a := e.current()
	if a == nil {
		return
	}
	e.attempts = e.attempts[:len(e.attempts)-1]
	if cancel := s.signings[a]; cancel != nil {
		cancel()
	}
	if a.row.Raw != nil {
		delete(s.byHash, a.row.Hash)
		s.chain.unwatch(a.row.Hash)
	}
	id := a.row.ID
	s.plan(func(w *store.Writer) error {
		return expect(w.SetAttemptOutcome(id, []store.AttemptOutcome{store.Open}, store.Void))
	})
}

// fail ends a transaction that has not left and never will, tells its callers
// why, and closes the hole that its nonce leaves.
func (s *sender) fail(e *entry, reason error) {
	for e.current() != nil {
		s.void(e)
	}
	s.discard(e, reason)
}

// discard is fail for a transaction without attempts.
func (s *sender) discard(e *entry, reason error) {
	id, text, from := e.row.ID, encodeFailure(reason), e.row.State
	had := e.row.Nonce
	e.row.State, e.row.Error = store.Failed, text
	var none common.Hash
	s.plan(func(w *store.Writer) error {
		return expect(w.UpdateTx(id, []store.TxState{from}, store.TxUpdate{State: store.Failed, SetNonce: true, Error: &text, Hash: &none}))
	})
	delete(s.byTx, id)
	s.then(func() {
		s.answer(id, common.Hash{}, reason)
		s.event("failed")
	})
	if from == store.Queued {
		s.unqueue(e)
	}
	if had == nil || s.slots[*had] != e {
		return
	}
	s.vacate(*had)
	s.closeHole(*had)
}

// closeHole deals with a nonce that fell free below others (TXMGR.md no. 16).
func (s *sender) closeHole(n uint64) {
	if older := s.older[n]; len(older) > 0 {
		// The transaction that was to be replaced has it again.
		s.reinstate(n)
		return
	}
	above := s.nonces(n + 1)
	for _, m := range above {
		if s.slots[m].left {
			s.fill(n)
			return
		}
	}
	// Nothing above has left: everything that was filled in moves down, in
	// order, by waiting at the head of the queue for its new nonce. Nonces
	// that callers chose stay theirs.
	var moved []*entry
	for _, m := range above {
		e := s.slots[m]
		if e.row.Explicit || e.row.Kind != store.UserTx {
			s.hold(e)
			continue
		}
		s.vacate(m)
		s.requeue(e)
		moved = append(moved, e)
	}
	s.queue = append(moved, s.queue...)
}

// hold lets an explicit nonce wait again, now that one below it fell free.
// What is signed already stays signed and is sent when its turn comes.
func (s *sender) hold(e *entry) {
	if e.row.State != store.Assigned {
		return
	}
	for e.current() != nil {
		s.void(e)
	}
	e.row.State = store.Held
	s.held++
	id := e.row.ID
	s.plan(func(w *store.Writer) error {
		return expect(w.UpdateTx(id, []store.TxState{store.Assigned}, store.TxUpdate{State: store.Held}))
	})
}

// reinstate gives nonce n back to the newest transaction that was superseded
// there.
func (s *sender) reinstate(n uint64) {
	older := s.older[n]
	old := older[len(older)-1]
	if s.older[n] = older[:len(older)-1]; len(s.older[n]) == 0 {
		delete(s.older, n)
	}
	old.row.State = store.Sent
	s.occupy(n, old)
	id := old.row.ID
	s.plan(func(w *store.Writer) error {
		return expect(w.UpdateTx(id, []store.TxState{store.Superseded}, store.TxUpdate{State: store.Sent}))
	})
}

// deadline decides what a caller is told whose time is up (TXMGR.md no. 3).
func (s *sender) deadline(sub *submission) {
	if sub.answered {
		return
	}
	for i, waiting := range s.subs {
		if waiting == sub {
			s.subs = append(s.subs[:i], s.subs[i+1:]...)
			reason := "the account's transactions wait for the node; nothing was stored"
			if s.parked != "" {
				reason = "account " + s.addr.Hex() + " is parked: " + s.parked + "; nothing was stored"
			}
			sub.finish(common.Hash{}, &BusyError{Reason: reason, RetryAfter: time.Second})
			return
		}
	}
	e := s.byTx[sub.row.ID]
	switch {
	case e == nil:
		sub.finish(common.Hash{}, &PendingError{TxID: sub.row.ID})
	case e.ready() || e.left:
		// Stored bytes: the hash is the answer, and from now on it counts as
		// sent, since it was shown.
		if e.row.State == store.Held {
			s.fail(e, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce %d is ahead of its turn: the next is %d, and it did not come up in time", e.nonce(), s.lowestFree())})
			return
		}
		e.left = true
		hash := e.row.Hash
		s.then(func() { sub.finish(hash, nil) })
	default:
		s.fail(e, s.givenUp(e))
	}
}

// givenUp words why an unsigned transaction is cancelled at its deadline.
func (s *sender) givenUp(e *entry) error {
	switch {
	case e.row.State == store.Held:
		return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce %d is ahead of its turn: the next is %d, and it did not come up in time", e.nonce(), s.lowestFree())}
	case e.row.State == store.Queued && s.parked != "":
		return &BusyError{Reason: "account " + s.addr.Hex() + " is parked: " + s.parked + "; the transaction was cancelled", RetryAfter: time.Second}
	case e.row.State == store.Queued:
		return &BusyError{Reason: "no nonce came free in time: earlier transactions of this account are not mined yet; the transaction was cancelled", RetryAfter: time.Second}
	default:
		return &BackendError{Kind: "timeout", Err: context.DeadlineExceeded}
	}
}

// tick expires what waited too long unsent and retries what may be retried.
func (s *sender) tick() {
	now := time.Now()
	expired := func(e *entry) bool { return !e.left && now.After(e.row.Expires) }
	late := errors.New("expired before it could be sent")
	var gone []*entry
	for _, e := range s.byTx {
		if expired(e) && !e.row.State.Final() && e.row.State != store.Superseded && e.row.State != store.Mined {
			gone = append(gone, e)
		}
	}
	slices.SortFunc(gone, func(a, b *entry) int { return cmp.Compare(b.seq, a.seq) }) // newest first: least to move
	for _, e := range gone {
		s.fail(e, late)
	}
	if len(s.subs)+len(s.queue) > 0 && !s.fresh() {
		s.wantAccount()
	}
}

func (s *sender) unqueue(e *entry) {
	for i := range s.queue {
		if s.queue[i] == e {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			return
		}
	}
}
