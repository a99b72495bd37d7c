// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/policy"
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
	if s.frozen(e) != nil {
		a.waits = true // until thaw
		return
	}
	until := e.row.Expires
	if a.row.Kind != store.FirstAttempt {
		until = time.Now().Add(repairTimeout) // the transaction itself may be long past its time
	}
	ctx, cancel := context.WithDeadline(s.ctx, until)
	s.signings[a] = cancel
	w, accepted := e.w, wallet.Accepted{
		ID: e.row.ID, Wallet: e.row.Wallet, Intent: e.row.Intent, Principal: e.principal, Action: e.action, Address: s.addr, Unsigned: unsigned,
		Clearance: e.row.Clearance,
	}
	if a.row.Kind == store.FirstAttempt {
		accepted.FeeCeiling = e.row.FeeCeiling // higher fees are judged as what they are
	}
	asked := time.Now()
	if a.row.Kind == store.FirstAttempt {
		e.row.Timing = store.Timing{Asked: e.reached(asked)}
	}
	end := e.spanSign(a.row.Kind)
	s.work(func() {
		defer cancel()
		signed, outcome, err := w.keys.SignAccepted(ctx, &accepted)
		a.took = time.Since(asked)
		end(err)
		if s.offer(func() { s.signed(a, signed, outcome, accepted.Clearance, err) }) != nil {
			s.keep(outcome)
		}
	})
}

// record has the outcome of a signature written with this round or, if that is
// not committed, by itself: what was signed is on record even if it is dropped.
func (s *sender) record(outcome audit.Outcome) {
	alone := func() { s.work(func() { s.keep(outcome) }) }
	if !s.loadedOK {
		alone()
		return
	}
	s.plan(func(w *store.Writer) error { return w.AuditOutcome(outcome) })
	s.undone = append(s.undone, alone)
}

// keep writes an outcome by itself, unless it is there.
func (s *sender) keep(outcome audit.Outcome) {
	ctx := context.WithoutCancel(s.m.ctx)
	var err error
	for range maxTries {
		var there []audit.Outcome
		_, there, err = s.m.db.AuditOf(ctx, outcome.Intent)
		if err == nil && slices.ContainsFunc(there, func(o audit.Outcome) bool { return o.ID == outcome.ID }) {
			return
		}
		if err = s.m.db.WriteOutcome(ctx, outcome); err == nil || !sleep(s.m.ctx, time.Second) {
			break
		}
	}
	if err != nil {
		s.log.Error("an audit outcome could not be written; what was signed was not used", "intent", outcome.Intent, "err", err)
	}
}

// repairTimeout bounds the signing of a cancel.
const repairTimeout = time.Minute

// signed takes the wallet's answer. The bytes are stored by compare-and-set
// on the attempt, so a signature that comes after its attempt was voided can
// never be stored, and never be sent (TXMGR.md no. 11).
func (s *sender) signed(a *attempt, signed *types.Transaction, outcome audit.Outcome, clearance string, err error) {
	s.record(outcome)
	a.entry.asked = a.entry.asked || outcome.Digest != (common.Hash{})
	if _, ours := s.signings[a]; !ours {
		return // of before a reload; the rows have another attempt by now
	}
	delete(s.signings, a)
	e := a.entry
	s.cleared(e, clearance)
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
	e.stamp(&e.signedAt)
	if a.row.Kind == store.FirstAttempt {
		e.row.Timing.Signed = e.row.Timing.Asked + a.took
	}
	e.row.State, e.row.Hash = store.Signed, e.hash()
	s.byHash[a.row.Hash] = a
	row, id, hash, timing, from := a.row, e.row.ID, e.row.Hash, e.row.Timing, rowStates(store.Signed)
	if !e.left {
		from = []store.TxState{store.Assigned}
	}
	s.plan(func(w *store.Writer) error {
		if err := w.ExpectSigned(row.ID, row.Tx, row.Nonce, row.Digest, row.Epoch, row.Raw, row.Hash); err != nil {
			return err
		}
		return w.ExpectTx(id, from, store.TxUpdate{State: store.Signed, Hash: &hash, Timing: &timing})
	})
	e.noted = false
	s.then(func() {
		a.stored = true
		faultpoint.At(faultpoint.Store)
		e.spanStored()
		s.m.obs.ObserveStage(e.w.name, "sign", time.Since(e.stage))
		e.stage = time.Now()
	})
}

// notSigned handles a backend that gave no signature. The first attempt of a
// transaction fails with it and frees its nonce; a cancel or bump is simply
// withdrawn, since the transaction it stood beside goes on.
func (s *sender) notSigned(a *attempt, err error) {
	e := a.entry
	if s.ctx.Err() != nil {
		return // the sender ends: whoever takes over signs it
	}
	var frozen *freeze.FrozenError
	if errors.As(err, &frozen) {
		a.waits = true // until thaw
		return
	}
	if a.row.Kind != store.FirstAttempt {
		s.log.Warn("a replacement could not be signed", "tx", e.row.ID, "err", err)
		var denied *policy.DeniedError
		e.capped = e.capped || a.row.Kind == store.BumpAttempt && errors.As(err, &denied)
		s.void(e) // what it stood beside goes out once more, which shows that the node has it
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
	if errors.Is(err, wallet.ErrClosed) {
		return &BackendError{Kind: wallet.KindUnavailable, Err: err}
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
		s.chain.unwatch(a.row.Hash, s)
	}
	id := a.row.ID
	s.plan(func(w *store.Writer) error {
		return w.ExpectOutcome(id, []store.AttemptOutcome{store.Open}, store.Void)
	})
}

// fail ends a transaction that has not left and never will, tells its callers
// why, and closes the hole that its nonce leaves.
func (s *sender) fail(e *entry, reason error) {
	for e.current() != nil {
		_, asking := s.signings[e.current()]
		e.asked = e.asked || asking
		s.void(e)
	}
	s.discard(e, reason)
}

// discard is fail for a transaction without attempts.
func (s *sender) discard(e *entry, reason error) {
	id, text, from := e.row.ID, EncodeFailure(reason), movable(e)
	queued := e.row.State == store.Queued
	had := e.row.Nonce
	e.row.State, e.row.Error = store.Failed, text
	var none common.Hash
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, from, store.TxUpdate{State: store.Failed, SetNonce: true, Error: &text, Hash: &none})
	})
	delete(s.byTx, id)
	s.tell(e)
	s.unasked(e)
	s.then(func() {
		e.spanFailed("fail", reason)
		s.answer(id, common.Hash{}, reason)
		s.event("failed")
	})
	if queued {
		s.unqueue(e)
	}
	if had == nil || s.slots[*had] != e {
		return
	}
	s.vacate(*had)
	s.holes[*had] = e.row.Kind == store.FillTx
}

func errExpired() error { return errors.New("expired before it could be sent") }

// tick expires what waited too long unsent and retries what may be retried.
func (s *sender) tick() {
	now := time.Now()
	expired := func(e *entry) bool {
		// What is signed and stored is not lost by a freeze.
		e.kept = e.kept || !e.left && e.sendable() && s.frozen(e) != nil
		return !e.left && !e.kept && now.After(e.row.Expires)
	}
	var gone []*entry
	for _, e := range s.byTx {
		if expired(e) && !e.row.State.Final() && e.row.State != store.Superseded && e.row.State != store.Mined {
			gone = append(gone, e)
		}
	}
	slices.SortFunc(gone, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	for _, e := range gone {
		s.fail(e, errExpired())
	}
	s.thaw()
	s.note(now)
	s.care(now)
	if len(s.subs)+len(s.queue) > 0 && !s.fresh() {
		s.wantAccount()
	}
}
