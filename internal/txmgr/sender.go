// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// sender runs one address on one chain. The fields below "the goroutine's
// own" are touched by its goroutine alone; everybody else posts events.
//
// An event changes memory and plans rows (plan) and effects (then). After a
// round of events the planned rows are committed together, fenced by the
// nonce lease, and only then do the effects happen: a caller is answered, a
// signature is asked for, bytes leave. While a commit is on its way the next
// events run and plan; their rows follow in the next one. If a commit fails
// nothing of it has left, and memory is thrown away and read from the rows again.
type sender struct {
	m          *Manager
	id         string
	addr       common.Address
	membership string  // the only one whose wallets may use it
	w          *Wallet // through whose node it sends; its goroutine changes it, under Manager.mu
	chain      *chain  // likewise
	log        *slog.Logger

	ctx   context.Context // ends with the manager, or when no wallet serves the sender
	halt  context.CancelCauseFunc
	tasks sync.WaitGroup // what runs beside the goroutine
	done  chan struct{}  // closed when all of it has ended

	mu     sync.Mutex
	inbox  []func()
	blocks []func() // what the chain brought; in its order, and after what is in inbox
	closed error    // why nothing is taken any more; nil while the goroutine runs
	wake   chan struct{}
	free   atomic.Int64                // next free nonce, -1 while unknown
	held   atomic.Pointer[store.Fence] // the lease, while it is ours and the rows are in memory

	// The goroutine's own.
	row       store.Sender
	fence     store.Fence
	loadedOK  bool
	base      uint64                      // the node's count: nonces below it are mined
	slots     map[uint64]*entry           // who occupies which nonce, from base upward
	hint      uint64                      // no nonce in [base, hint) is free
	heldAt    []uint64                    // which of the nonces in slots are held, lowest first
	reserved  *big.Int                    // wei that the others in slots may cost
	blobs     int                         // how many of the others are blob transactions
	plain     int                         // and how many are not
	older     map[uint64][]*entry         // superseded transactions of a nonce, oldest first
	byTx      map[string]*entry           // every entry in memory
	byHash    map[common.Hash]*attempt    // every stored attempt in memory
	filling   map[uint64]bool             // nonces that a self-transfer is being made for
	holes     map[uint64]bool             // nonces that fell free in this round: true if a self-transfer failed there
	queue     []*entry                    // stored, waiting for a nonce, oldest first
	subs      []*submission               // not yet stored
	mined     map[*entry]struct{}         // mined, not yet deep enough
	waiters   map[string][]*submission    // by transaction id; survive a reload
	drains    []drain                     // who waits for earlier transactions to have left
	seq       uint64                      // counts entries and drains, in order of arrival
	planned   []func(*store.Writer) error // rows of the next commit
	effects   []func()                    // what to do once they are committed
	undone    []func()                    // what to do instead if they are not
	forBlocks int                         // how many of planned are for blocks
	batch     batch                       // what is being committed
	writing   chan error                  // its end; nil if none is
	account   account                     // what the node says of the address
	foreign   foreign                     // a count above our rows, being watched
	looks     uint64                      // at the head, so far
	under     foreign                     // a count below base, being watched
	believed  bool                        // base is the node's word alone: no row of ours says so
	late      late                        // blocks that the node counts and we have not seen
	doubt     doubt                       // whether what was mined still is
	forks     uint64                      // counts reorganisations and reloads: answers from before are void
	looking   bool                        // receipts are being asked for by hash
	presence  presence                    // what the node's pending count is worth
	sending   bool                        // a batch is on its way to the node
	out       []*attempt                  // which it is
	unsend    context.CancelFunc          // calls it back
	refill    bool                        // another node serves the chain: it may lack what is mined
	retry     time.Time                   // nothing is sent before this
	backoff   time.Duration
	parked    string // why nothing is assigned or sent; empty if it is not parked
	unproven  string // nonces below the node's count whose transaction is not found yet: why assigning waits
	signings  map[*attempt]context.CancelFunc

	// Where other processes share the store.
	owner       string                   // who holds the lease instead of us; empty unless we are a guest
	offers      map[*submission]struct{} // being stored as offered
	pricing     bool                     // the chain is asked what it costs now
	guesting    context.Context          //nolint:containedctx // ends when we are no guest of this holder any more
	endGuesting context.CancelFunc
	unoffered   []*submission // to be stored as offered, one after the other: their order is that of their nonces
	offering    bool          // one of them is being stored
	rowed       bool          // requests of ours may wait in rows that nobody has taken up
	handing     *submission   // the first of those that are on their way to the holder, their order not yet certain
	polling     bool          // outcomes are being read
	taking      bool          // offered rows are being read
	takeAgain   bool
	try         bool  // somebody needs the lease
	broken      error // the lease is gone: read everything again
	leaving     bool  // the process stops, and nobody here waits any more: another one goes on
	used        time.Time
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
	noted     bool       // its row says Sent
	sentAt    uint64     // the head's number when the node took it
	capped    bool       // its fees cannot be raised any more
	seq       uint64
	begun     time.Time
	stage     time.Time // when the present stage began
	prepaid   bool      // its shortfall was checked against a fresh balance
	held      bool      // it is in sender.heldAt
	weighed   bool      // it is in sender.reserved, and in blobs or plain
	reason    error     // why the backend or node has not taken it so far
	asked     bool      // a backend may have been asked to sign it
	kept      bool      // signed, and held back by a freeze: it does not expire any more
	resumed   bool      // read from its row after it may have been sent

	trace             trace.SpanContext // zero if it is not traced
	signedAt, minedAt time.Time         // if it is traced
}

// attempt is one encoding of an entry.
type attempt struct {
	row    store.Attempt
	entry  *entry
	stored bool          // its bytes are committed, and may leave
	waits  bool          // it is to be signed when it is not frozen any more
	took   time.Duration // from asking for its signature to the answer
	left   bool
	// shown says that some node may have these very bytes: it took them, or
	// its answer was lost. What a node later says
	// of itself (its chain, its forks, its fee cap) then proves nothing.
	shown bool
}

func (e *entry) nonce() uint64 { return *e.row.Nonce }

// current is the attempt to sign or send: the newest.
func (e *entry) current() *attempt {
	if len(e.attempts) == 0 {
		return nil
	}
	return e.attempts[len(e.attempts)-1]
}

// ready reports whether the current attempt is signed. Its bytes are stored, or
// part of a commit that is not settled yet.
func (e *entry) ready() bool {
	a := e.current()
	return a != nil && a.row.Raw != nil
}

// sendable reports whether the current attempt's bytes are committed.
func (e *entry) sendable() bool { return e.ready() && e.current().stored }

// hash is what callers are told: of the newest stored bytes that do what was
// asked for. That of a cancel is nobody's payment.
func (e *entry) hash() common.Hash {
	for _, a := range slices.Backward(e.attempts) {
		if a.row.Raw != nil && a.row.Kind != store.CancelAttempt {
			return a.row.Hash
		}
	}
	return e.row.Hash
}

// account is what the node says of the address.
type account struct {
	latest, pending uint64
	balance         *big.Int
	since, at       time.Time // of the question, of the answer
	asked           uint64    // counts questions; the answer belongs to the last
	fetching        bool
	again           bool // somebody needs an answer to a question asked from now on
}

func newSender(m *Manager, w *Wallet, row store.Sender) *sender {
	s := &sender{
		m: m, id: row.ID, addr: row.Address, membership: row.Membership, w: w, chain: w.chain, row: row,
		log:     m.log.With("sender", row.ID),
		wake:    make(chan struct{}, 1),
		waiters: map[string][]*submission{},
		offers:  map[*submission]struct{}{},
		done:    make(chan struct{}),
	}
	s.ctx, s.halt = context.WithCancelCause(m.ctx)
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
		s.chain.unwatch(hash, s)
	}
	s.chain.attend(s, false, false)
	s.loadedOK, s.taking, s.pricing, s.broken = false, false, false, nil
	s.held.Store(nil)
	s.forks++
	s.slots = map[uint64]*entry{}
	s.heldAt, s.holes = nil, map[uint64]bool{}
	s.hint, s.reserved, s.blobs, s.plain = 0, new(big.Int), 0, 0
	s.older = map[uint64][]*entry{}
	s.byTx = map[string]*entry{}
	s.byHash = map[common.Hash]*attempt{}
	s.filling = map[uint64]bool{}
	s.mined = map[*entry]struct{}{}
	s.signings = map[*attempt]context.CancelFunc{}
	s.queue, s.planned, s.effects, s.forBlocks = nil, nil, nil, 0
	s.unproven, s.looking = "", false
	s.foreign, s.late, s.doubt, s.presence = foreign{}, late{}, doubt{}, presence{}
	s.under, s.believed = foreign{}, false
	s.account.balance = nil
	// Whoever waits for an answer from a round that was not committed.
	undone := s.undone
	s.undone = nil
	for _, tell := range undone {
		tell()
	}
}

// plan adds a row change to this round's commit.
func (s *sender) plan(write func(*store.Writer) error) { s.planned = append(s.planned, write) }

// then adds something to do once this round is committed.
func (s *sender) then(effect func()) { s.effects = append(s.effects, effect) }

func (s *sender) event(kind string) { s.m.obs.Event(s.w.name, kind) }

// run is the sender's goroutine. It ends with the manager, when no wallet serves
// the sender any more, or if the address turns out not to be this wallet's to use.
func (s *sender) run() {
	defer close(s.done)
	defer s.tasks.Wait()
	ctx := s.ctx
	var end error
	for wait := 100 * time.Millisecond; ctx.Err() == nil; {
		if s.w.ctx.Err() != nil && !s.turn() {
			break
		}
		err := s.load(s.w.ctx)
		if err != nil && s.w.ctx.Err() != nil {
			continue
		}
		var unclaimed *unclaimedError
		if errors.As(err, &unclaimed) {
			end = unclaimed.err
			break
		}
		var held *store.LeaseHeldError
		if errors.As(err, &held) {
			wait = 100 * time.Millisecond
			s.guest(ctx, held.Owner)
			continue
		}
		if err != nil {
			if s.m.shared {
				s.release() // another process may have a node that answers
			}
			if ctx.Err() == nil {
				s.log.Error("cannot take up a sender", "err", err)
			}
			s.refuseAll(err)
			s.pause(ctx, wait)
			wait = min(2*wait, 10*time.Second)
			continue
		}
		wait = 100 * time.Millisecond
		err = s.serve(ctx)
		s.m.obs.SetSender(s.w.name, s.id, SenderGauges{Window: s.w.set.Window})
		switch {
		case errors.Is(err, errIdle):
			s.idle(ctx)
		case errors.Is(err, errFirstCount):
			s.free.Store(-1)
			s.forget()
		case errors.Is(err, errTurned):
			s.free.Store(-1)
			s.forget()
		case errors.Is(err, store.ErrLeaseLost):
			s.log.Warn("another replica has taken the nonce lease, or it was not renewed in time", "err", err)
			s.free.Store(-1)
			s.forget()
		case err != nil:
			s.log.Error("transaction store failed, reading its rows again", "err", err)
			s.free.Store(-1)
			s.forget()
			s.pause(ctx, wait)
		}
	}
	if end == nil {
		end = s.over()
	}
	s.m.drop(s)
	s.part()
	s.forget()
	s.mu.Lock()
	s.closed = end
	s.mu.Unlock()
	s.drainInbox()
	s.refuseAll(end)
	for sub := range s.offers {
		sub.finish(common.Hash{}, &PendingError{TxID: sub.row.ID}) // nobody is told any more what became of it
	}
	for id := range s.waiters {
		s.answer(id, common.Hash{}, &PendingError{TxID: id})
	}
	s.halt(end)
	if s.m.ctx.Err() == nil {
		s.release() // where the manager ends it gives all leases back together
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
			if len(s.subs) > 0 || s.w.ctx.Err() != nil {
				return
			}
		}
	}
}

// drainInbox runs events while the sender is not loaded: they only queue
// submissions and waiters then.
func (s *sender) drainInbox() {
	s.mu.Lock()
	events := append(s.inbox, s.blocks...)
	s.inbox, s.blocks = nil, nil
	s.mu.Unlock()
	for _, event := range events {
		event()
	}
	effects := s.effects
	s.planned, s.effects, s.undone, s.forBlocks = nil, nil, nil, 0
	for _, effect := range effects {
		effect()
	}
}

// refuseAll answers everybody whose request is not stored.
func (s *sender) refuseAll(err error) {
	for _, sub := range s.subs {
		if !sub.offered {
			sub.finish(common.Hash{}, sub.w.early(err))
		}
	}
	s.subs = nil
	for _, d := range s.drains {
		close(d.done)
	}
	s.drains = nil
}

// serve runs rounds of events until ctx ends; an error says that a round was
// not committed.
func (s *sender) serve(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	ticking := false
	for {
		if err := s.round(ctx); err != nil {
			if failed := s.quiet(); failed != nil {
				return failed
			}
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
		if s.writing == nil && s.restful() {
			return errIdle
		}
		// With a full batch waiting behind the one on its way there is nothing to
		// do but to wait for that: events would only be put back.
		wake := s.wake
		if len(s.planned) >= roundSize {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return s.end(ctx)
		case err := <-s.writing:
			if err := s.committed(err); err != nil {
				return err
			}
		case <-wake:
		case <-tick.C:
			s.tick()
		}
	}
}

// errIdle ends serve for a sender that nobody has used for a while.
var errIdle = errors.New("idle")

// restful reports whether a shared lease has not been needed for a while.
func (s *sender) restful() bool {
	if s.leaving && s.m.shared && !s.sending && len(s.waiters)+len(s.offers) == 0 {
		return true
	}
	if !s.m.shared || s.busy() || len(s.waiters)+len(s.drains)+len(s.offers) > 0 {
		s.used = time.Now()
		return false
	}
	return time.Since(s.used) > max(time.Minute, 2*s.m.ttl)
}

// busy reports whether anything is unfinished that time alone can change.
func (s *sender) busy() bool {
	return len(s.queue) > 0 || len(s.subs) > 0 || len(s.slots) > 0 || len(s.mined) > 0 || s.parked != ""
}

// hungry reports whether requests wait that only a block can make room for.
func (s *sender) hungry() bool {
	return len(s.queue)+len(s.subs) > 0 && s.mayWork() &&
		s.lowestFree()-s.base >= uint64(s.w.set.Window)
}

// publish lets others see the next free nonce and the gauges, and says
// whether heads matter to this sender.
func (s *sender) publish(free uint64) {
	s.free.Store(int64(free))
	s.chain.attend(s, s.busy(), s.hungry())
	s.m.obs.SetSender(s.w.name, s.id, SenderGauges{
		Queued: len(s.queue) + len(s.subs), InFlight: len(s.slots), Window: s.w.set.Window, Parked: s.parked != "",
	})
}

// nextFree is the lowest nonce that nobody occupies, if it is known.
func (s *sender) nextFree() (uint64, bool) {
	n := s.free.Load()
	return uint64(n), n >= 0
}
