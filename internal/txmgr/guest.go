// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A sender whose lease another process holds is a guest here: requests are
// checked and stored as offered, the holder gives them their nonces and sends
// them, and their callers are answered from here (TXMGR.md no. 21). When the
// holder is gone, whoever needs the sender takes its lease.

// guest serves the callers of a sender that owner holds. It returns when the
// lease can be had, or ctx ends.
func (s *sender) guest(ctx context.Context, owner string) {
	s.hostedBy(ctx, owner)
	defer func() { s.owner, s.handing = "", nil; s.endGuesting() }()
	// Some may wait for a commit that failed: the rows say which were stored.
	if err := s.readmit(ctx); err != nil {
		s.log.Warn("cannot read what became of transactions", "err", err)
		sleep(ctx, 100*time.Millisecond)
		return
	}
	for _, subs := range s.waiters {
		s.follow(subs[len(subs)-1])
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	ticking := false
	for {
		s.drainInbox()
		if s.w.ctx.Err() != nil {
			return
		}
		s.handOver()
		if wants := len(s.waiters)+len(s.offers) > 0; wants != ticking {
			ticking = wants
			if wants {
				tick.Reset(outcomePoll)
			} else {
				tick.Reset(time.Hour)
			}
		}
		if s.try {
			s.try = false
			if s.leaseFree(ctx) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
			s.try = true
			s.pollOutcomes()
		}
	}
}

// hostedBy takes owner for the holder from now on. What was handed to the one
// before is asked for no longer: he may be silent for as long as he sleeps.
func (s *sender) hostedBy(ctx context.Context, owner string) {
	if s.endGuesting != nil {
		s.endGuesting()
	}
	for sub := range s.offers {
		sub.byRow = sub.byRow || sub.out
	}
	s.owner = owner
	s.guesting, s.endGuesting = context.WithCancel(ctx)
}

// leaseFree reports whether the lease can be had now, and notes who has it.
func (s *sender) leaseFree(ctx context.Context) bool {
	owner, left, err := s.m.db.LeaseOf(ctx, s.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true
	case err != nil:
		return false
	case left <= 0 || owner == s.m.owner:
		return true
	}
	if owner != s.owner { // another took it over: it does not know our callers
		s.hostedBy(ctx, owner)
		for _, subs := range s.waiters {
			s.follow(subs[len(subs)-1])
		}
	}
	return false
}

// offerNext stores the next request that the holder did not take: that with the
// lowest id, and not while the holder may still have one that came before it.
func (s *sender) offerNext() {
	if s.offering || len(s.unoffered) == 0 {
		return
	}
	next := 0
	for i, sub := range s.unoffered {
		if sub.row.ID < s.unoffered[next].row.ID {
			next = i
		}
	}
	sub := s.unoffered[next]
	for other := range s.offers {
		if other.out && other.row.ID < sub.row.ID {
			return // it is decided first
		}
	}
	s.unoffered = slices.Delete(s.unoffered, next, next+1)
	s.offering = true
	s.offerRow(sub)
}

// offerRow stores a request as offered, under the id that it has.
func (s *sender) offerRow(sub *submission) {
	sub.row.State, s.rowed = store.Offered, true
	sub.kept.Store(true)
	s.offers[sub] = struct{}{}
	var raw *store.Attempt
	if sub.signed != nil {
		a, err := s.rawAttempt(sub.row.ID, sub.signed)
		if err != nil {
			s.offered(sub, &RefusedError{Code: codeRefused, Msg: err.Error()})
			return
		}
		raw = &a
	}
	row, intent := sub.row, sub.intent
	s.work(func() {
		err := s.m.db.Write(s.ctx, func(w *store.Writer) error {
			if err := w.InsertTx(row); err != nil {
				return err
			}
			if err := w.AuditIntent(intent); err != nil {
				return err
			}
			defer faultpoint.At(faultpoint.Accept)
			if raw != nil {
				return w.InsertAttempt(*raw)
			}
			return nil
		})
		var unknown *store.CommitError
		var duplicate *store.DuplicateKeyError
		switch {
		case errors.As(err, &unknown):
			err = s.wasStored(row.ID)
		case errors.Is(err, store.ErrExists), errors.As(err, &duplicate) && duplicate.TxID == row.ID:
			err = nil // the holder had stored it before it fell silent
		}
		s.post(func() { s.offered(sub, err) })
	})
}

// wasStored finds out what became of a commit whose outcome is unknown; nil if
// the row is there.
func (s *sender) wasStored(id string) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		found, err := s.m.db.Outcomes(s.ctx, []string{id})
		switch {
		case err == nil && len(found) == 1:
			return nil
		case err == nil:
			return errNotStored
		}
		if !sleep(s.ctx, wait) {
			return errStopping
		}
	}
}

// offered takes the outcome of storing an offer.
func (s *sender) offered(sub *submission, err error) {
	delete(s.offers, sub)
	s.offering = false
	defer s.offerNext()
	var duplicate *store.DuplicateKeyError
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		sub.finish(common.Hash{}, err)
	case err == nil:
		if sub.stored != nil {
			sub.stored()
		}
		sub.w.keys.Settle(sub.row.ID, sub.row.Clearance, policy.Stored)
		sub.spanOffered()
		s.m.obs.ObserveStage(sub.w.name, "accept", time.Since(sub.begun))
		s.m.obs.Event(sub.w.name, "accepted")
		s.await(sub)
	case errors.As(err, &duplicate):
		s.repeatFor(sub)
	case errors.Is(err, store.ErrApprovalGone):
		sub.kept.Store(false)
		sub.finish(common.Hash{}, errApprovalGone())
	case s.ctx.Err() != nil:
		sub.finish(common.Hash{}, sub.unless(s.over()))
	default:
		s.log.Warn("a transaction could not be stored", "err", err)
		s.handAgain(sub)
	}
}

// handAgain hands a request in again, in a while, that is in no row.
func (s *sender) handAgain(sub *submission) {
	if sub.tries++; sub.tries > maxTries && !sub.elsewhere || time.Now().After(sub.deadline) {
		sub.finish(common.Hash{}, sub.unless(errStoreAway()))
		return
	}
	s.offers[sub] = struct{}{} // it is not forgotten meanwhile
	s.work(func() {
		alive := sleep(s.ctx, 200*time.Millisecond)
		s.post(func() {
			if alive && sub.elsewhere {
				s.unoffered = append(s.unoffered, sub)
				s.offerNext()
				return
			}
			delete(s.offers, sub)
			if !alive {
				sub.finish(common.Hash{}, sub.unless(s.over()))
				return
			}
			sub.where.Store(outside)
			s.subs = append(s.subs, sub)
		})
	})
}

// unless is what the caller of a request is told that is in no row that we know
// of: refused, unless another process may have stored it.
func (sub *submission) unless(refused error) error {
	if sub.elsewhere {
		return &PendingError{TxID: sub.row.ID}
	}
	return refused
}

// repeatFor answers a request whose idempotency key another process has stored
// in the same moment, as one that came later.
func (s *sender) repeatFor(sub *submission) {
	s.work(func() {
		var hash common.Hash
		row, known, err := s.m.db.Idempotent(s.ctx, sub.row.Wallet, sub.principal.Name, sub.row.IdempotencyKey)
		switch {
		case err != nil:
		case !known: // the other one was not stored in the end
			s.post(func() { s.handAgain(sub) })
			return
		default:
			sub.yields(row)
			hash, err = sub.w.repeat(s.ctx, row, sub.row.RequestHash, sub.deadline)
		}
		s.post(func() { sub.finish(hash, err) })
	})
}

// follow asks the holder what becomes of a transaction. What it does not
// answer is read from the rows.
func (s *sender) follow(sub *submission) {
	owner, id, deadline := s.owner, sub.row.ID, sub.deadline
	if owner == "" || owner == s.m.owner {
		return
	}
	s.work(func() {
		ctx, cancel := context.WithDeadline(s.ctx, deadline.Add(lateAnswer))
		defer cancel()
		ctx, waiting := sub.spanAwait(ctx)
		hash, err := s.m.peers.Await(ctx, owner, s.id, id, deadline)
		waiting.end(err)
		var pending *PendingError
		switch {
		case errors.Is(err, ErrPeer), errors.Is(err, ErrNoSender), errors.Is(err, store.ErrNotFound), ctx.Err() != nil:
			return
		case errors.As(err, &pending) && time.Now().Before(deadline):
			return // it is going; the next holder will know
		}
		s.post(func() { s.answer(id, hash, err) })
	})
}

// pollOutcomes reads what became of the transactions that callers wait for.
func (s *sender) pollOutcomes() {
	if s.polling || len(s.waiters) == 0 {
		return
	}
	ids := make([]string, 0, len(s.waiters))
	for id := range s.waiters {
		ids = append(ids, id)
	}
	s.polling = true
	s.work(func() {
		found, err := s.m.db.Outcomes(s.ctx, ids)
		s.post(func() {
			s.polling = false
			if err != nil || s.loadedOK {
				return
			}
			for _, o := range found {
				switch o.State {
				case store.Failed:
					s.answer(o.ID, common.Hash{}, ParseFailure(o.Error))
				case store.Sent, store.Mined, store.Superseded, store.Confirmed, store.Replaced, store.Displaced:
					if o.Hash != (common.Hash{}) {
						s.answer(o.ID, o.Hash, nil)
					}
				}
			}
		})
	})
}

// closing decides what a caller is told whose time is up at a process that
// does not hold the lease, and whom the holder has not answered. As the holder
// would: what has no nonce is cancelled, what has bytes is shown.
func (s *sender) closing(sub *submission) {
	id, deadline := sub.row.ID, sub.deadline
	if _, storing := s.offers[sub]; storing {
		return // whether it is stored is not known: await words that
	}
	s.work(func() {
		sleep(s.ctx, time.Until(deadline.Add(lateAnswer/2)))
		ctx, cancel := context.WithDeadline(s.ctx, deadline.Add(lateAnswer))
		defer cancel()
		given := sub.w.frozenGivenUp(s.addr)
		if given == nil {
			given = &RefusedError{Code: codeRefused, Msg: "given up unsent: the replica that sends this account's transactions did not come to it in time"}
		}
		if only, err := ask(ctx, s, func() bool { return !sub.answered && len(s.waiters[id]) <= 1 }); err != nil || !only {
			return
		}
		if ok, err := s.cancelUnclaimed(ctx, id, given); err != nil {
			return
		} else if ok {
			s.post(func() { s.answer(id, common.Hash{}, given) })
			return
		}
		if hash, ok, err := s.m.db.Disclose(ctx, id); err == nil && ok {
			s.post(func() { s.answer(id, hash, nil) })
		}
	})
}

// cancelUnclaimed fails a transaction that no holder has given a nonce.
func (s *sender) cancelUnclaimed(ctx context.Context, id string, reason error) (ok bool, err error) {
	err = s.m.db.Write(ctx, func(w *store.Writer) error {
		if ok, err = w.CancelUnclaimed(id, EncodeFailure(reason)); err != nil || !ok || s.m.hooks == nil {
			return err
		}
		row, err := w.Tx(id)
		if err != nil {
			return err
		}
		return putEvents(w, s.m.hooks.Events(row, nil))
	})
	if ok = ok && err == nil; ok && s.m.hooks != nil {
		s.m.hooks.Kick()
	}
	return ok, err
}

// idle lets go of a lease that nothing needs, and waits until something does.
// Where processes share a store, each sender is had by whoever uses it.
func (s *sender) idle(ctx context.Context) {
	s.release()
	s.forget()
	s.free.Store(-1)
	for ctx.Err() == nil && len(s.subs)+len(s.waiters) == 0 && !s.try && s.w.ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.wake:
			s.drainInbox()
		}
	}
	s.try = false
}

// release lets another process take the lease at once.
func (s *sender) release() {
	if s.fence.Owner == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*time.Second)
	defer cancel()
	if err := s.m.db.ReleaseLease(ctx, s.fence); err != nil && !errors.Is(err, store.ErrLeaseLost) {
		s.log.Warn("cannot release the nonce lease", "err", err)
	}
	s.fence = store.Fence{}
}

// drainRows is drain for a process that does not hold the lease: it waits
// until no row of the sender is unsent.
func (s *sender) drainRows(ctx context.Context) bool {
	unsent := store.TxFilter{Sender: s.id, States: []store.TxState{store.Offered, store.Queued, store.Assigned, store.Signed}, Limit: 1}
	waited := false
	for {
		rows, err := s.m.db.List(ctx, unsent)
		if err != nil || len(rows) == 0 {
			return waited && err == nil
		}
		if unsent.Before == "" { // what comes later is not waited for
			unsent.Before = store.NewID()
		}
		waited = true
		if !sleep(ctx, 100*time.Millisecond) {
			return false
		}
	}
}

// leaseLost is told that the lease is no longer ours.
func (s *sender) leaseLost(f store.Fence) {
	if s.loadedOK && s.fence == f {
		s.broken = fmt.Errorf("%w: it was not renewed in time", store.ErrLeaseLost)
	}
}

// offeredSub is the offered transaction with that id that waits to be taken up.
func (s *sender) offeredSub(id string) *submission {
	if i := slices.IndexFunc(s.subs, func(sub *submission) bool { return sub.offered && sub.row.ID == id }); i >= 0 {
		return s.subs[i]
	}
	return nil
}

// behindRows reports whether requests of the same batch, which came before, are
// in rows that nobody has taken up: a process that becomes the holder finds some
// of a batch there, and has the rest in hand.
func (s *sender) behindRows(sub *submission) bool {
	if !s.rowed || sub.order == nil {
		return false
	}
	s.rowed = false
	behind := false
	look := func(other *submission) {
		if other.answered || !other.byRow || s.byTx[other.row.ID] != nil {
			return
		}
		s.rowed = true
		behind = behind || other.order == sub.order && other.row.ID < sub.row.ID
	}
	for other := range s.offers {
		look(other)
	}
	for _, subs := range s.waiters {
		for _, other := range subs {
			look(other)
		}
	}
	return behind
}
