// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// sender runs one address on one chain. The fields below "the goroutine's
// own" are touched by its goroutine alone; everybody else posts events.
//
// An event changes memory and plans rows (plan) and effects (then). After a
// round of events the planned rows are committed together, fenced by the
// nonce lease, and only then do the effects happen: a caller is answered, a
// signature is asked for, bytes leave. If the commit fails nothing has left,
// and memory is thrown away and read from the rows again.
type sender struct {
	m          *Manager
	id         string
	addr       common.Address
	membership string  // the only one whose wallets may use it
	w          *Wallet // through whose node it sends
	chain      *chain
	log        *slog.Logger

	mu    sync.Mutex
	inbox []func()
	wake  chan struct{}
	free  atomic.Int64 // next free nonce, -1 while unknown

	// The goroutine's own.
	row      store.Sender
	fence    store.Fence
	loadedOK bool
	base     uint64                      // the node's count: nonces below it are mined
	slots    map[uint64]*entry           // who occupies which nonce, from base upward
	hint     uint64                      // no nonce in [base, hint) is free
	reserved *big.Int                    // wei that the transactions in slots may cost
	blobs    int                         // how many of them are blob transactions
	held     int                         // at least as many as there are held ones among them
	older    map[uint64][]*entry         // superseded transactions of a nonce, oldest first
	byTx     map[string]*entry           // every entry in memory
	byHash   map[common.Hash]*attempt    // every stored attempt in memory
	filling  map[uint64]bool             // nonces that a self-transfer is being made for
	queue    []*entry                    // stored, waiting for a nonce, oldest first
	subs     []*submission               // not yet stored
	mined    map[*entry]struct{}         // mined, not yet deep enough
	waiters  map[string][]*submission    // by transaction id; survive a reload
	drains   []drain                     // who waits for earlier transactions to have left
	seq      uint64                      // counts entries and drains, in order of arrival
	planned  []func(*store.Writer) error // rows of this round
	effects  []func()                    // what to do once they are committed
	account  account                     // what the node says of the address
	foreign  foreign                     // a count above our rows, being watched
	sending  bool                        // a batch is on its way to the node
	retry    time.Time                   // nothing is sent before this
	backoff  time.Duration
	parked   string // why nothing is assigned or sent; empty if it is not parked
	unproven string // nonces below the node's count whose transaction is not found yet: why assigning waits
	signings map[*attempt]context.CancelFunc
}

// entry is a transaction in memory.
type entry struct {
	row       store.Tx
	w         *Wallet // whose backend signs it
	utx       *types.Transaction
	cost      *big.Int // wei, at most
	principal auth.Principal
	action    audit.Action
	attempts  []*attempt // all that may still be mined, oldest first; none void
	left      bool       // some attempt has left the house, or its hash was shown
	acked     bool       // the node has answered that it took the current attempt
	ackedAt   uint64     // account.asked at that moment
	seq       uint64
	begun     time.Time
	stage     time.Time // when the present stage began
	prepaid   bool      // its shortfall was checked against a fresh balance
	reason    error     // why the backend or node has not taken it so far
}

// attempt is one encoding of an entry.
type attempt struct {
	row   store.Attempt
	entry *entry
	left  bool
}

func (e *entry) nonce() uint64 { return *e.row.Nonce }

// current is the attempt to sign or send: the newest.
func (e *entry) current() *attempt {
	if len(e.attempts) == 0 {
		return nil
	}
	return e.attempts[len(e.attempts)-1]
}

// ready reports whether the current attempt has stored bytes.
func (e *entry) ready() bool {
	a := e.current()
	return a != nil && a.row.Raw != nil
}

// account is what the node says of the address.
type account struct {
	latest, pending uint64
	balance         *big.Int
	at              time.Time
	asked           uint64 // counts questions; the answer belongs to the last
	fetching        bool
	again           bool // somebody needs an answer to a question asked from now on
}

// drain waits until every transaction that came before it has left.
type drain struct {
	seq  uint64
	done chan struct{}
}

func newSender(m *Manager, w *Wallet, row store.Sender) *sender {
	s := &sender{
		m: m, id: row.ID, addr: row.Address, membership: row.Membership, w: w, chain: w.chain, row: row,
		log:     m.log.With("sender", row.ID),
		wake:    make(chan struct{}, 1),
		waiters: map[string][]*submission{},
	}
	s.free.Store(-1)
	s.forget()
	return s
}

// forget empties everything that the rows can give back. Waiters and
// submissions that are not stored yet stay.
func (s *sender) forget() {
	for _, cancel := range s.signings {
		cancel()
	}
	for hash := range s.byHash {
		s.chain.unwatch(hash)
	}
	s.loadedOK = false
	s.slots = map[uint64]*entry{}
	s.hint, s.reserved, s.blobs, s.held = 0, new(big.Int), 0, 0
	s.older = map[uint64][]*entry{}
	s.byTx = map[string]*entry{}
	s.byHash = map[common.Hash]*attempt{}
	s.filling = map[uint64]bool{}
	s.mined = map[*entry]struct{}{}
	s.signings = map[*attempt]context.CancelFunc{}
	s.queue, s.planned, s.effects = nil, nil, nil
	s.unproven = ""
	s.foreign = foreign{}
	s.account.balance = nil
}

// post hands an event to the sender's goroutine. It never blocks.
func (s *sender) post(event func()) {
	s.mu.Lock()
	s.inbox = append(s.inbox, event)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ask posts an event and waits until it has run and its round is committed.
func ask[T any](ctx context.Context, s *sender, event func() T) (T, error) {
	answer := make(chan T, 1)
	s.post(func() {
		v := event()
		s.then(func() { answer <- v })
	})
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	case <-s.m.ctx.Done():
		var zero T
		return zero, errStopping
	}
}

// plan adds a row change to this round's commit.
func (s *sender) plan(write func(*store.Writer) error) { s.planned = append(s.planned, write) }

// then adds something to do once this round is committed.
func (s *sender) then(effect func()) { s.effects = append(s.effects, effect) }

func (s *sender) event(kind string) { s.m.obs.Event(s.w.name, kind) }

// run is the sender's goroutine.
func (s *sender) run() {
	ctx := s.m.ctx
	for wait := 100 * time.Millisecond; ctx.Err() == nil; {
		if err := s.load(ctx); err != nil {
			if ctx.Err() == nil {
				s.log.Error("cannot take up a sender", "err", err)
			}
			s.refuseAll(err)
			s.pause(ctx, wait)
			wait = min(2*wait, 10*time.Second)
			continue
		}
		wait = 100 * time.Millisecond
		if err := s.serve(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("transaction store failed, reading its rows again", "err", err)
			s.free.Store(-1)
			s.forget()
			s.pause(ctx, wait)
		}
	}
	s.forget()
	s.drainInbox()
	s.refuseAll(errStopping)
	for id := range s.waiters {
		s.answer(id, common.Hash{}, &PendingError{TxID: id})
	}
}

// pause waits before the next try to load; a new request ends it at once.
func (s *sender) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-s.wake:
			s.drainInbox()
			if len(s.subs) > 0 {
				return
			}
		}
	}
}

// drainInbox runs events while the sender is not loaded: they only queue
// submissions and waiters then.
func (s *sender) drainInbox() {
	s.mu.Lock()
	events := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for _, event := range events {
		event()
	}
	effects := s.effects
	s.planned, s.effects = nil, nil
	for _, effect := range effects {
		effect()
	}
}

// refuseAll answers everybody whose request is not stored.
func (s *sender) refuseAll(err error) {
	for _, sub := range s.subs {
		sub.finish(common.Hash{}, err)
	}
	s.subs = nil
	for _, d := range s.drains {
		close(d.done)
	}
	s.drains = nil
}

// serve runs rounds of events until the store fails or ctx ends.
func (s *sender) serve(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	ticking := false
	for {
		if err := s.round(ctx); err != nil {
			return err
		}
		// The ticker runs only while something can expire or be retried, so
		// that ten thousand idle senders cost nothing.
		if busy := s.busy(); busy != ticking {
			ticking = busy
			if busy {
				tick.Reset(100 * time.Millisecond)
			} else {
				tick.Reset(time.Hour)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
			s.tick()
		}
	}
}

// round runs the waiting events and commits what they planned.
func (s *sender) round(ctx context.Context) error {
	s.mu.Lock()
	events := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for _, event := range events {
		event()
	}
	s.assign()
	if len(s.planned) > 0 {
		planned := s.planned
		err := s.m.db.WriteFenced(context.WithoutCancel(ctx), s.fence, func(w *store.Writer) error {
			for _, write := range planned {
				if err := write(w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	effects := s.effects
	s.planned, s.effects = nil, nil
	for _, effect := range effects {
		effect()
	}
	s.releaseDrains()
	s.pump()
	s.publish()
	return nil
}

// busy reports whether anything is unfinished that time alone can change.
func (s *sender) busy() bool {
	return len(s.queue) > 0 || len(s.subs) > 0 || len(s.slots) > 0 || len(s.mined) > 0 || s.parked != ""
}

// publish lets others see the next free nonce and the gauges, and says
// whether heads matter to this sender.
func (s *sender) publish() {
	s.free.Store(int64(s.lowestFree())) //nolint:gosec // nonces are below 2^63, node.Client checks
	s.chain.attend(s, s.busy())
	s.m.obs.SetSender(s.w.name, s.id, SenderGauges{
		Queued: len(s.queue) + len(s.subs), InFlight: len(s.slots), Window: s.w.set.Window, Parked: s.parked != "",
	})
}

// nextFree is the lowest nonce that nobody occupies, if it is known.
func (s *sender) nextFree() (uint64, bool) {
	n := s.free.Load()
	return uint64(n), n >= 0 //nolint:gosec // -1 is answered as unknown
}

// quiesce waits until every caller of this sender has an answer.
func (s *sender) quiesce(ctx context.Context) {
	for ctx.Err() == nil {
		idle, err := ask(ctx, s, func() bool { return len(s.waiters) == 0 && len(s.subs) == 0 })
		if err != nil || idle {
			return
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
}

// renew prolongs the nonce lease.
func (s *sender) renew() {
	s.post(func() {
		if !s.loadedOK {
			return
		}
		fence := s.fence
		s.m.wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.m.ctx, s.m.ttl/3)
			defer cancel()
			if _, err := s.m.db.RenewLease(ctx, fence, s.m.ttl); err != nil && s.m.ctx.Err() == nil {
				s.log.Warn("cannot renew the nonce lease", "err", err)
			}
		})
	})
}

// submission is a request on its way into the rows, and then a caller who
// waits for its outcome.
type submission struct {
	w         *Wallet
	principal auth.Principal
	row       store.Tx
	utx       *types.Transaction
	signed    *types.Transaction // of a raw transaction
	intent    audit.Intent
	begun     time.Time
	deadline  time.Time
	s         *sender
	result    chan result // one answer, buffered
	answered  bool        // the sender's goroutine's own
	short     bool        // its shortfall was checked against a fresh balance
}

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

// await waits for the answer. At the deadline the sender decides what the
// answer is (TXMGR.md no. 3).
func (sub *submission) await() (common.Hash, error) {
	t := time.NewTimer(time.Until(sub.deadline))
	defer t.Stop()
	select {
	case r := <-sub.result:
		return r.hash, r.err
	case <-t.C:
	}
	sub.s.post(func() { sub.s.deadline(sub) })
	// The store may be the thing that hangs: its caller is told so.
	t.Reset(2 * time.Second)
	select {
	case r := <-sub.result:
		return r.hash, r.err
	case <-t.C:
		return common.Hash{}, &PendingError{TxID: sub.row.ID}
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
	s.post(func() {
		if len(s.queue)+len(s.subs) >= s.w.set.QueueLimit {
			sub.finish(common.Hash{}, &BusyError{
				Reason: "too many transactions of this account are waiting for a nonce", RetryAfter: 5 * time.Second, Status: http.StatusTooManyRequests,
			})
			return
		}
		s.subs = append(s.subs, sub)
	})
	return nil
}

// join waits for the outcome of a transaction that another request brought.
func (s *sender) join(id string, deadline time.Time) (common.Hash, error) {
	sub := &submission{w: s.w, s: s, deadline: deadline, result: make(chan result, 2)}
	sub.row.ID = id
	s.post(func() {
		e := s.byTx[id]
		switch {
		case e == nil && s.loadedOK:
			s.m.wg.Go(func() { sub.result <- s.finalOutcome(id) })
		case e != nil && e.acked:
			hash := e.row.Hash
			s.then(func() { sub.finish(hash, nil) })
		default:
			s.waiters[id] = append(s.waiters[id], sub)
		}
	})
	return sub.await()
}

// finalOutcome reads the outcome of a transaction that is not in memory.
func (s *sender) finalOutcome(id string) result {
	t, err := s.m.db.Tx(s.m.ctx, id)
	if err != nil {
		return result{err: err}
	}
	if !t.State.Final() && t.Hash == (common.Hash{}) {
		return result{err: &PendingError{TxID: id}}
	}
	hash, err := storedOutcome(t.State, t.Hash, t.Error)
	return result{hash, err}
}

// answer gives everybody who waits for a transaction its outcome.
func (s *sender) answer(id string, hash common.Hash, err error) {
	for _, sub := range s.waiters[id] {
		sub.finish(hash, err)
	}
	delete(s.waiters, id)
}

// drain waits until every transaction that was accepted before has left, and
// reports false if there was nothing to wait for.
func (s *sender) drain(ctx context.Context) bool {
	done := make(chan struct{})
	waited := make(chan bool, 1)
	s.post(func() {
		unsent := len(s.subs) > 0 || s.oldestUnsent() <= s.seq
		if !unsent {
			waited <- false
			return
		}
		s.seq++
		s.drains = append(s.drains, drain{s.seq, done})
		waited <- true
	})
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
	case <-s.m.ctx.Done():
		return false
	}
}

const noSeq = ^uint64(0)

// oldestUnsent is the lowest sequence number of an entry that the node has
// not taken yet.
func (s *sender) oldestUnsent() uint64 {
	oldest := noSeq
	for _, e := range s.queue {
		oldest = min(oldest, e.seq)
	}
	for _, e := range s.slots {
		if !e.acked && e.row.State != store.Held {
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

// transient reports whether a refusal by the node may pass by itself.
func transient(err error) bool {
	return errors.Is(err, node.ErrUnavailable) || errors.Is(err, node.ErrTimeout) || errors.Is(err, node.ErrBadResponse)
}
