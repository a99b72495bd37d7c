// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// submission is a request on its way into the rows, and then a caller who
// waits for its outcome.
type submission struct {
	w         *Wallet
	principal auth.Principal
	row       store.Tx
	utx       *types.Transaction // nil if the caller joined another request's transaction
	signed    *types.Transaction // of a raw transaction
	intent    audit.Intent
	begun     time.Time
	deadline  time.Time
	s         *sender
	result    chan result       // one answer, buffered
	where     atomic.Int32      // outside, taken or withdrawn
	kept      atomic.Bool       // its row may be stored
	stored    func()            // called once the row is committed; may be nil
	trace     trace.SpanContext // of the transaction; zero if it is not traced
	arrived   time.Time         // at the sender, if it is traced
	away      *span             // while another process has it

	order  *Order // of its batch; nil for a request of its own
	byRow  bool   // it goes to the holder by its row
	handed bool   // another process was asked to store it, under its id
	// elsewhere says that another process may have stored it, or may still do so:
	// it is never refused for good, nor handed in again but under its id.
	elsewhere bool
	out       bool           // it is with the holder, who has not decided yet
	offered   bool           // its row is stored already, by a replica that does not hold the lease
	attempt   *store.Attempt // of an offered raw transaction

	// The sender's goroutine's own.
	answered bool
	refused  bool   // as soon as the next commit shows that the lease is ours
	late     bool   // its deadline has passed, and one more commit is waited for
	seq      uint64 // order of arrival
	tries    int    // commits that failed with it
}

// Where a submission is. Its caller withdraws it only from outside, the
// sender takes it only from there, so it is never both refused and stored.
const (
	outside int32 = iota
	taken
	withdrawn
)

func (sub *submission) take() bool     { return sub.where.CompareAndSwap(outside, taken) }
func (sub *submission) withdraw() bool { return sub.where.CompareAndSwap(outside, withdrawn) }

type result struct {
	hash common.Hash
	err  error
}

func (sub *submission) finish(hash common.Hash, err error) {
	if sub.answered {
		return
	}
	sub.answered = true
	sub.result <- result{hash, err}
}

// lateAnswer is how long after its deadline a caller waits for the sender to
// decide. Only a store or node that hangs makes it take longer.
const lateAnswer = 2 * time.Second

// await waits for the answer. At the deadline the sender decides what the
// answer is (TXMGR.md no. 3).
func (sub *submission) await() (common.Hash, error) {
	t := time.NewTimer(time.Until(sub.deadline))
	defer t.Stop()
	select {
	case r := <-sub.result:
		return r.hash, r.err
	case <-t.C:
		// If the sender has ended it has answered.
		sub.s.post(func() { sub.s.deadline(sub) })
	case <-sub.w.ctx.Done(): // the sender knows, and answers
	}
	t.Reset(lateAnswer)
	select {
	case r := <-sub.result:
		return r.hash, r.err
	case <-t.C:
	}
	if sub.utx != nil && sub.withdraw() {
		return common.Hash{}, &BusyError{Reason: "the account's transactions wait for the node or the key backend; nothing was stored", RetryAfter: time.Second}
	}
	return common.Hash{}, &PendingError{TxID: sub.row.ID}
}

// unused tells the policy, once the request has ended with err, that nothing of
// it was stored and no backend was asked, if that is certain.
func (sub *submission) unused(err error) {
	var pending *PendingError
	if err != nil && !sub.kept.Load() && !errors.As(err, &pending) {
		sub.w.keys.Settle(sub.row.ID, sub.row.Clearance, policy.Unused)
	}
}

// submit hands a request over. An error means that it was not taken.
func (s *sender) submit(sub *submission) error {
	s.m.mu.Lock()
	stopping := s.m.stopping
	s.m.mu.Unlock()
	if stopping {
		return errStopping
	}
	sub.s = s
	sub.row.Sender = s.id
	return s.offer(func() {
		switch {
		case s.leaving:
			sub.finish(common.Hash{}, errStopping)
			return
		case sub.w.ctx.Err() != nil:
			sub.finish(common.Hash{}, sub.w.over())
			return
		}
		if len(s.queue)+len(s.subs)+len(s.offers) >= s.w.set.QueueLimit {
			sub.finish(common.Hash{}, errQueueFull())
			return
		}
		sub.seq = s.nextSeq()
		s.subs = append(s.subs, sub)
	})
}

// join waits for the outcome of a transaction that another request brought.
func (s *sender) join(w *Wallet, id string, deadline time.Time) (common.Hash, error) {
	sub := &submission{w: w, s: s, deadline: deadline, result: make(chan result, 2)}
	sub.row.ID = id
	if s.offer(func() {
		s.await(sub)
	}) != nil {
		return common.Hash{}, &PendingError{TxID: id}
	}
	return sub.await()
}

// await has sub wait for a transaction that is stored, or tells it the outcome.
func (s *sender) await(sub *submission) {
	id := sub.row.ID
	e := s.byTx[id]
	if e != nil && e.acked && e.ready() {
		sub.finish(e.hash(), nil) // its bytes were committed before they left
		return
	}
	s.waiters[id] = append(s.waiters[id], sub)
	switch {
	case e == nil && s.loadedOK && s.offeredSub(id) == nil:
		s.look(sub)
	case s.owner != "":
		s.follow(sub)
	}
}

// finalOutcome reads the outcome of a transaction that is not in memory. It may
// have been offered by another replica and not be taken up yet.
func (s *sender) finalOutcome(id string) (r result, offered bool) {
	t, err := s.m.db.Tx(context.WithoutCancel(s.ctx), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return result{err: err}, false
	case err != nil: // that it cannot be read says nothing of it
		s.log.Warn("cannot read what became of a transaction", "tx", id, "err", err)
		return result{err: &PendingError{TxID: id}}, false
	}
	if !t.State.Final() && t.Hash == (common.Hash{}) {
		return result{err: &PendingError{TxID: id}}, t.State == store.Offered
	}
	hash, err := storedOutcome(t.State, t.Hash, t.Error)
	return result{hash, err}, false
}

// answer gives everybody who waits for a transaction its outcome.
func (s *sender) answer(id string, hash common.Hash, err error) {
	for _, sub := range s.waiters[id] {
		sub.finish(hash, err)
	}
	delete(s.waiters, id)
}

// leave answers one who waits for a transaction, and no other.
func (s *sender) leave(sub *submission, hash common.Hash, err error) {
	sub.finish(hash, err)
	id := sub.row.ID
	s.waiters[id] = slices.DeleteFunc(s.waiters[id], func(other *submission) bool { return other == sub })
	if len(s.waiters[id]) == 0 {
		delete(s.waiters, id)
	}
}

// deadline decides what a caller is told whose time is up (TXMGR.md no. 3).
// A transaction that others still wait for is not cancelled.
func (s *sender) deadline(sub *submission) {
	if sub.answered {
		return
	}
	if sub.refused {
		sub.finish(common.Hash{}, errStoreAway())
		return
	}
	if i := slices.Index(s.subs, sub); i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
		reason := "the account's transactions wait for the node; nothing was stored"
		if s.parked != "" {
			reason = "account " + s.addr.Hex() + " is parked: " + s.parked + "; nothing was stored"
		}
		if given := sub.w.keys.Frozen(s.addr); given != nil {
			sub.finish(common.Hash{}, given)
			return
		}
		sub.finish(common.Hash{}, &BusyError{Reason: reason, RetryAfter: time.Second})
		return
	}
	e := s.byTx[sub.row.ID]
	offer := s.offeredSub(sub.row.ID)
	switch {
	case e == nil && offer != nil && s.loadedOK && len(s.waiters[sub.row.ID]) <= 1:
		s.subs = slices.DeleteFunc(s.subs, func(other *submission) bool { return other == offer })
		given := offer.w.frozenGivenUp(s.addr)
		if given == nil {
			given = &RefusedError{Code: codeRefused, Msg: "given up unsent: the account's transactions wait for the node"}
		}
		s.refuse(offer, given)
	case e == nil && s.writing != nil && !sub.late:
		// It has just ended, and its answer comes with a commit.
		sub.late = true
		s.then(func() { s.deadline(sub) })
	case e == nil && s.owner != "":
		s.closing(sub)
	case e == nil:
		s.leave(sub, common.Hash{}, &PendingError{TxID: sub.row.ID})
	case e.left, e.ready() && e.row.State != store.Held:
		// Stored bytes: the hash is the answer, and from now on it counts as
		// sent, since it was shown. Nothing below it may stay empty.
		e.left = true
		hash := e.hash()
		s.then(func() { s.leave(sub, hash, nil) })
		s.fillHoles(0)
	case len(s.waiters[sub.row.ID]) > 1:
		s.leave(sub, common.Hash{}, &PendingError{TxID: sub.row.ID})
	default:
		s.fail(e, s.givenUp(e))
	}
}

// givenUp words why an unsigned transaction is cancelled at its deadline. It is
// no -32005: that would promise that nothing is stored, and a client that sent
// the same idempotency key again would only get this outcome again.
func (s *sender) givenUp(e *entry) error {
	if err := s.frozen(e); err != nil {
		return givenUpFrozen(err)
	}
	switch {
	case e.row.State == store.Held:
		return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce %d is ahead of its turn: the next is %d, and it did not come up in time", e.nonce(), s.lowestFree())}
	case e.row.State == store.Queued && s.parked != "":
		return &RefusedError{Code: codeRefused, Msg: "given up unsent: account " + s.addr.Hex() + " is parked: " + s.parked}
	case e.row.State == store.Queued:
		return &RefusedError{Code: codeRefused, Msg: "given up unsent: no nonce came free in time, since earlier transactions of this account are not mined yet"}
	default:
		return &BackendError{Kind: "timeout", Err: context.DeadlineExceeded}
	}
}

// maxTries is how many failed commits a request may take part in.
const maxTries = 8

// readmit goes over those who waited when a commit failed. The rows that were
// just read are the truth: what is in them goes on, what is not was never
// stored and is handed in again, in its old order.
func (s *sender) readmit(ctx context.Context) error {
	answers := map[string]result{}
	var again, repeats []*submission
	for id, subs := range s.waiters {
		if e := s.byTx[id]; e != nil {
			if e.acked {
				answers[id] = result{hash: e.hash()}
			}
			continue
		}
		t, err := s.m.db.Tx(ctx, id)
		switch {
		case err == nil && t.State.Final():
			hash, failure := storedOutcome(t.State, t.Hash, t.Error)
			answers[id] = result{hash, failure}
		case errors.Is(err, store.ErrNotFound):
			for _, sub := range subs {
				if sub.answered || sub.utx == nil {
					continue
				}
				if known, err := s.keyTaken(ctx, sub); err != nil {
					return err
				} else if known {
					repeats = append(repeats, sub)
					continue
				}
				if gone, err := s.approvalGone(ctx, sub); err != nil {
					return err
				} else if gone {
					delete(s.waiters, id)
					continue
				}
				again = append(again, sub)
			}
		case err != nil:
			return err
		}
	}
	for id, a := range answers {
		s.answer(id, a.hash, a.err)
	}
	for _, sub := range repeats {
		delete(s.waiters, sub.row.ID)
		s.repeatFor(sub)
	}
	slices.SortFunc(again, func(a, b *submission) int { return cmp.Compare(a.seq, b.seq) })
	kept := again[:0]
	for _, sub := range again {
		delete(s.waiters, sub.row.ID)
		if sub.tries++; sub.tries > maxTries {
			sub.finish(common.Hash{}, errStoreAway()) // the rows do not have it
			continue
		}
		sub.where.Store(outside)
		kept = append(kept, sub)
	}
	// Offers that were at hand are read again: their rows may have changed.
	s.subs = append(kept, slices.DeleteFunc(s.subs, func(sub *submission) bool { return sub.offered })...)
	return nil
}

// keyTaken reports whether another process has stored a request under the
// same idempotency key.
func (s *sender) keyTaken(ctx context.Context, sub *submission) (taken bool, err error) {
	if sub.row.IdempotencyKey == "" {
		return false, nil
	}
	_, taken, err = s.m.db.Idempotent(ctx, sub.row.Wallet, sub.principal.Name, sub.row.IdempotencyKey)
	return taken, err
}

// approvalGone answers a request whose approval has ended before its row was
// stored, which it therefore never is.
func (s *sender) approvalGone(ctx context.Context, sub *submission) (gone bool, err error) {
	if sub.row.Uses == "" {
		return false, nil
	}
	if gone, err = s.m.db.ApprovalGone(ctx, sub.row.Uses); gone && err == nil {
		sub.kept.Store(false)
		sub.finish(common.Hash{}, errApprovalGone())
	}
	return gone, err
}

func errApprovalGone() error {
	return &BusyError{Reason: "the request for approval was decided, used or ended at the same time; nothing was stored", RetryAfter: time.Second}
}

// yields gives back what a request has reserved whose idempotency key is another
// row's: it can never be stored itself.
func (sub *submission) yields(to store.IdempotentRow) {
	if to.TxID != sub.row.ID {
		sub.w.keys.Settle(sub.row.ID, sub.row.Clearance, policy.Unused)
	}
}

// drain is somebody who waits until every transaction that came before has
// left.
type drain struct {
	seq  uint64
	done chan struct{}
}

// drain waits until every transaction that was accepted before has left, and
// reports false if there was nothing to wait for.
func (s *sender) drain(ctx context.Context) bool {
	done := make(chan struct{})
	waited := make(chan bool, 1)
	if s.held.Load() == nil && s.m.shared {
		return s.drainRows(ctx)
	}
	if s.offer(func() {
		unsent := len(s.subs) > 0 || s.oldestUnsent() <= s.seq
		if !unsent {
			waited <- false
			return
		}
		s.drains = append(s.drains, drain{s.nextSeq(), done})
		waited <- true
	}) != nil {
		return false
	}
	select {
	case w := <-waited:
		if !w {
			return false
		}
	case <-ctx.Done():
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

const noSeq = ^uint64(0)

// oldestUnsent is the lowest sequence number of an entry that the node has
// not taken yet.
func (s *sender) oldestUnsent() uint64 {
	oldest := noSeq
	for _, e := range s.queue {
		if s.frozen(e) == nil { // else nobody knows when
			oldest = min(oldest, e.seq)
		}
	}
	for _, e := range s.slots {
		if !e.acked && e.row.State != store.Held && s.frozen(e) == nil {
			oldest = min(oldest, e.seq)
		}
	}
	return oldest
}

func (s *sender) releaseDrains() {
	if len(s.drains) == 0 {
		return
	}
	oldest := s.oldestUnsent()
	kept := s.drains[:0]
	for _, d := range s.drains {
		if len(s.subs) == 0 && oldest > d.seq {
			close(d.done)
		} else {
			kept = append(kept, d)
		}
	}
	s.drains = kept
}

// requeueDrains makes those who wait wait for everything that was read from
// the rows.
func (s *sender) requeueDrains() {
	for i := range s.drains {
		s.drains[i].seq = s.nextSeq()
	}
}
