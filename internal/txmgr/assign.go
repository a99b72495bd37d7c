// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// accountAge is how old the node's count and balance may be when a nonce is
// assigned. A busy sender hears of every head and never waits for this.
const accountAge = 2 * time.Second

// assign gives nonces to what waits for one, oldest first, as far as the
// window, the balance and the kinds of transaction in flight allow. It is the
// only place where a nonce is assigned (TXMGR.md no. 5), and everything it
// assigns in one round is one commit.
func (s *sender) assign() {
	s.promoteHeld()
	for e := s.nextQueued(); e != nil; e = s.nextQueued() {
		s.dequeue(e)
		s.place(e, s.lowestFree())
	}
	for i := 0; i < len(s.subs); {
		sub := s.subs[i]
		if s.behindRows(sub) {
			i++
			continue
		}
		if !s.accept(sub) {
			return
		}
		if i == 0 {
			s.subs = s.subs[1:]
		} else {
			s.subs = slices.Delete(s.subs, i, i+1)
		}
	}
}

// accept stores one request, with its nonce if it can have one at once. It
// reports false if the request has to wait for what the node says.
func (s *sender) accept(sub *submission) bool {
	if sub.offered && time.Now().After(sub.row.Expires) {
		s.refuse(sub, errExpired()) // nobody has come to it for so long
		return true
	}
	if !s.fresh() {
		s.wantAccount()
		return false
	}
	if s.row.Parked != "" {
		s.refuse(sub, s.parkedError())
		return true
	}
	e := &entry{
		row: sub.row, w: sub.w, utx: sub.utx, cost: tx.MaxCost(sub.utx), principal: sub.principal,
		action: audit.SendTransaction, begun: sub.begun, stage: time.Now(), trace: sub.trace,
	}
	if sub.attempt != nil {
		e.attempts = append(e.attempts, &attempt{row: *sub.attempt, entry: e})
	}
	direct := !sub.row.Explicit && s.loose() == nil && s.roomFor(e)
	ahead := sub.row.Explicit && s.slots[*sub.row.Nonce] == nil
	if direct || ahead {
		if short := s.shortfall(e); short != nil {
			if s.account.since.Before(sub.begun) || s.account.latest > s.base {
				// The balance may have come, or what reserves it been mined,
				// since the node was asked.
				s.askAnew()
				return false
			}
			s.refuse(sub, short)
			return true
		}
	}
	if !sub.take() {
		return true // its caller has given up, and was told that nothing is stored
	}
	e.seq = s.nextSeq()
	switch {
	case sub.row.Explicit:
		s.acceptExplicit(sub, e)
	case direct:
		s.insert(sub, e, store.Assigned, s.lowestFree())
		s.place(e, e.nonce())
	default:
		e.row.State, e.row.Nonce = store.Queued, nil
		s.queue = append(s.queue, e)
		s.stored(sub, e)
	}
	return true
}

// acceptExplicit takes a request whose caller chose the nonce (TXMGR.md no. 8).
func (s *sender) acceptExplicit(sub *submission, e *entry) {
	n := *sub.row.Nonce
	refuse := func(format string, args ...any) {
		s.refuse(sub, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf(format, args...)})
	}
	if n < s.base {
		refuse("nonce too low: next nonce %d, tx nonce %d", s.base, n)
		return
	}
	if sub.signed != nil {
		if a := s.byHash[sub.signed.Hash()]; a != nil && a.entry.row.State != store.Held {
			if sub.offered {
				refuse("already known: these bytes are transaction %s", a.entry.row.ID)
				return
			}
			s.then(func() { sub.finish(a.row.Hash, nil) }) // these very bytes
			return
		}
	}
	if s.filling[n] {
		refuse("nonce %d is taken", n)
		return
	}
	if old := s.slots[n]; old != nil {
		if err := s.mayReplace(old, e); err != nil {
			refuse("nonce %d is taken: %s", n, err)
			return
		}
		s.replace(sub, old, e)
		return
	}
	if n == s.lowestFree() && s.roomFor(e) {
		s.insert(sub, e, store.Assigned, n)
		s.place(e, n)
		return
	}
	if n-s.base > uint64(s.w.set.QueueLimit) {
		refuse("nonce %d is too far ahead: the next is %d", n, s.lowestFree())
		return
	}
	s.insert(sub, e, store.Held, n)
	s.occupy(n, e)
	if sub.signed != nil {
		s.adoptRaw(e, sub.signed)
	}
}

// mayReplace says why e may not take the nonce of old; nil if it may.
func (s *sender) mayReplace(old, e *entry) error {
	switch {
	case old.row.Credential != e.row.Credential:
		return errors.New("it belongs to another caller's transaction")
	case !old.left || !old.ready():
		return errors.New("its transaction has not been sent yet, so there is nothing to replace")
	case old.row.State == store.Mined || old.row.State == store.Confirmed:
		return errors.New("its transaction is mined")
	case !tx.BumpOK(old.last(), e.utx):
		return errors.New("to replace its transaction, raise maxFeePerGas and maxPriorityFeePerGas (or gasPrice) by at least 10 % (100 % for blobs)")
	}
	return nil
}

// last is the newest encoding of e: what a replacement has to beat.
func (e *entry) last() *types.Transaction {
	if a := e.current(); a != nil && a.row.Payload != nil {
		if unsigned, err := tx.DecodeUnsigned(a.row.Payload); err == nil {
			return unsigned
		}
	}
	return e.utx
}

// replace records e as the replacement of old; both are watched until one of
// them is mined (TXMGR.md no. 17).
func (s *sender) replace(sub *submission, old, e *entry) {
	n := old.nonce()
	e.row.Replaces = old.row.ID
	s.supersede(old)
	s.insert(sub, e, store.Assigned, n)
	s.place(e, n)
}

func (s *sender) supersede(old *entry) {
	n := old.nonce()
	from := rowStates(old.row.State)
	old.row.State = store.Superseded
	s.older[n] = append(s.older[n], old)
	id, hash := old.row.ID, old.hash()
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, from, store.TxUpdate{State: store.Superseded, Hash: &hash})
	})
}

// insert plans the row, its audit intent and its idempotency key: one commit.
func (s *sender) insert(sub *submission, e *entry, state store.TxState, nonce uint64) {
	e.row.State, e.row.Nonce = state, &nonce
	s.stored(sub, e)
}

func (s *sender) stored(sub *submission, e *entry) {
	row, intent := e.row, sub.intent
	sub.kept.Store(true)
	s.byTx[row.ID] = e
	s.tell(e)
	if sub.offered {
		s.plan(func(w *store.Writer) error {
			return w.ExpectTx(row.ID, []store.TxState{store.Offered}, store.TxUpdate{
				State: row.State, SetNonce: true, Nonce: row.Nonce, Replaces: &row.Replaces,
			})
		})
		s.then(func() { sub.spanCommitted(e); e.stage = time.Now() })
		return
	}
	s.waiters[row.ID] = append(s.waiters[row.ID], sub)
	s.plan(func(w *store.Writer) error {
		if err := w.AuditIntent(intent); err != nil {
			return err
		}
		defer faultpoint.At(faultpoint.Accept)
		return w.InsertTx(row)
	})
	s.then(func() {
		if sub.stored != nil {
			sub.stored()
		}
		e.w.keys.Settle(row.ID, row.Clearance, policy.Stored)
		s.m.obs.ObserveStage(e.w.name, "accept", time.Since(e.begun))
		s.event("accepted")
		sub.spanCommitted(e)
		e.stage = time.Now()
	})
}

// place puts e at nonce n and has it signed. The row is at n already if it
// was inserted in this round.
func (s *sender) place(e *entry, n uint64) {
	if e.row.State != store.Assigned {
		from := e.row.State
		e.spanWaited(from)
		e.row.State, e.row.Nonce = store.Assigned, &n
		id := e.row.ID
		s.plan(func(w *store.Writer) error {
			return w.ExpectTx(id, []store.TxState{from}, store.TxUpdate{State: store.Assigned, SetNonce: true, Nonce: &n})
		})
	}
	s.occupy(n, e)
	if e.row.Kind == store.RawTx {
		s.adoptRaw(e, e.utx)
		return
	}
	s.attempt(e, e.utx, store.FirstAttempt)
}

// attempt plans a new encoding of e at its nonce and asks for its signature
// once that is committed.
func (s *sender) attempt(e *entry, like *types.Transaction, kind store.AttemptKind) {
	unsigned := tx.WithNonce(like, e.nonce())
	a := &attempt{entry: e, row: store.Attempt{
		ID: store.NewID(), Tx: e.row.ID, Sender: s.id, Nonce: e.nonce(), Kind: kind,
		Digest: tx.Digest(unsigned, s.w.chainID), Epoch: s.fence.Epoch, Outcome: store.Open, Created: time.Now(),
	}}
	if kind != store.FirstAttempt {
		if payload, err := tx.EncodeUnsigned(unsigned); err == nil {
			a.row.Payload = payload
		}
	}
	e.attempts = append(e.attempts, a)
	e.acked = false
	row := a.row
	s.plan(func(w *store.Writer) error { return w.InsertAttempt(row) })
	s.then(func() { faultpoint.At(faultpoint.Nonce); s.sign(a, unsigned) })
}

// adoptRaw stores the caller's own bytes as the attempt of a raw transaction.
func (s *sender) adoptRaw(e *entry, signed *types.Transaction) {
	if len(e.attempts) == 0 {
		attemptRow, err := s.rawAttempt(e.row.ID, signed)
		if err != nil {
			s.fail(e, err)
			return
		}
		e.attempts = append(e.attempts, &attempt{entry: e, row: attemptRow})
		s.plan(func(w *store.Writer) error { return w.InsertAttempt(attemptRow) })
	}
	a := e.current()
	s.then(func() { a.stored = true })
	s.byHash[a.row.Hash] = a
	s.chain.watch(a.row.Hash, s)
	e.row.Hash = signed.Hash()
	if e.row.State != store.Assigned {
		return
	}
	e.row.State = store.Signed
	id, hash := e.row.ID, e.row.Hash
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, []store.TxState{store.Assigned}, store.TxUpdate{State: store.Signed, Hash: &hash})
	})
}

// rawAttempt is the attempt that the caller's own bytes are.
func (s *sender) rawAttempt(txID string, signed *types.Transaction) (store.Attempt, error) {
	raw, err := signed.MarshalBinary()
	if err != nil {
		return store.Attempt{}, fmt.Errorf("txmgr: encode a raw transaction: %w", err)
	}
	return store.Attempt{
		ID: store.NewID(), Tx: txID, Sender: s.id, Nonce: signed.Nonce(), Kind: store.FirstAttempt,
		Digest: tx.Digest(signed, s.w.chainID), Raw: raw, Hash: signed.Hash(),
		Epoch: s.fence.Epoch, Outcome: store.Open, Created: time.Now(),
	}, nil
}

// promoteHeld lets held transactions go whose turn has come: every nonce
// below theirs is occupied, and window, pool and balance have room for them.
func (s *sender) promoteHeld() {
	for len(s.heldAt) > 0 && s.mayWork() {
		n := s.heldAt[0]
		e := s.slots[n]
		if n >= s.lowestFree() || n-s.base >= uint64(s.w.set.Window) || !s.fits(e) || s.shortfall(e) != nil || s.frozen(e) != nil {
			return
		}
		s.place(e, n)
	}
}

// mayWork reports whether nonces may be assigned at all.
func (s *sender) mayWork() bool {
	return s.parked == "" && s.unproven == "" && s.account.balance != nil
}

// fresh reports whether the node's count and balance are new enough.
func (s *sender) fresh() bool {
	return s.account.balance != nil && time.Since(s.account.at) < accountAge
}

// askAnew makes what the node said of the account stale.
func (s *sender) askAnew() {
	s.account.at = time.Time{}
	if s.account.latest <= s.base {
		s.wantAccount() // else blocks are missing, and the next one or tick asks
	}
}

// roomFor reports whether window and kind of transaction allow one more.
// geth keeps blob transactions and others of one sender in pools that exclude
// each other, so a change of kind waits until the others are mined (no. 18).
func (s *sender) roomFor(e *entry) bool {
	if !s.mayWork() || s.frozen(e) != nil {
		return false
	}
	if s.lowestFree()-s.base >= uint64(s.w.set.Window) {
		return false
	}
	return s.fits(e)
}

// fits reports whether e may share geth's pools with what is in flight.
func (s *sender) fits(e *entry) bool {
	if tx.IsBlob(e.utx) {
		return s.plain == 0
	}
	return s.blobs == 0
}

// shortfall says why the balance does not cover e beside everything that is
// not mined yet; nil if it does.
func (s *sender) shortfall(e *entry) error {
	if s.account.balance == nil {
		return nil
	}
	need := new(big.Int).Add(s.reserved, e.cost)
	if need.Cmp(s.account.balance) <= 0 {
		return nil
	}
	return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf(
		"insufficient funds for gas * price + value: address %s have %s want %s (of which %s is for earlier transactions that are not mined yet)",
		s.addr, s.account.balance, need, s.reserved)}
}

// lowestFree is the lowest nonce at or above the node's count that nobody
// occupies: the next one to be assigned.
func (s *sender) lowestFree() uint64 {
	s.hint = max(s.hint, s.base)
	for s.slots[s.hint] != nil || s.filling[s.hint] {
		s.hint++
	}
	if !s.foreign.taken {
		return s.hint
	}
	// What is below an adopted count is used, though the base is not there yet.
	n := max(s.hint, s.foreign.count)
	for s.slots[n] != nil || s.filling[n] {
		n++
	}
	return n
}

// occupy gives nonce n to e, in place of whoever had it. It is also called
// when e is there already and its state has changed.
func (s *sender) occupy(n uint64, e *entry) {
	if s.slots[n] == e {
		s.unweigh(n, e)
	} else {
		s.vacate(n)
		s.slots[n] = e
	}
	s.weigh(n, e)
}

// vacate makes nonce n free.
func (s *sender) vacate(n uint64) {
	e := s.slots[n]
	if e == nil {
		return
	}
	delete(s.slots, n)
	s.hint = min(s.hint, n)
	s.unweigh(n, e)
}

// weigh counts what e takes of balance and pool. What is held takes nothing
// until its turn comes, so that it stands in nobody's way.
func (s *sender) weigh(n uint64, e *entry) {
	if e.row.State == store.Held {
		e.held = true
		i, _ := slices.BinarySearch(s.heldAt, n)
		s.heldAt = slices.Insert(s.heldAt, i, n)
		return
	}
	e.weighed = true
	s.reserved.Add(s.reserved, e.cost)
	if tx.IsBlob(e.utx) {
		s.blobs++
	} else {
		s.plain++
	}
}

func (s *sender) unweigh(n uint64, e *entry) {
	if e.held {
		e.held = false
		if i, found := slices.BinarySearch(s.heldAt, n); found {
			s.heldAt = slices.Delete(s.heldAt, i, i+1)
		}
	}
	if !e.weighed {
		return
	}
	e.weighed = false
	s.reserved.Sub(s.reserved, e.cost)
	if tx.IsBlob(e.utx) {
		s.blobs--
	} else {
		s.plain--
	}
}

func (s *sender) nextSeq() uint64 {
	s.seq++
	return s.seq
}

// nonces lists the occupied nonces at or above from, in order.
func (s *sender) nonces(from uint64) []uint64 {
	list := slices.Sorted(maps.Keys(s.slots))
	i, _ := slices.BinarySearch(list, from)
	return list[i:]
}
