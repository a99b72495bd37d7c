// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxJump is how far the node's count may be above our rows to be adopted
// without an operator (TXMGR.md no. 7).
const maxJump = 16

// quietTime is how long an unchanged head must repeat a count above our rows
// to be believed. A chain that makes blocks only when transactions come has
// no second head to wait for.
const quietTime = 5 * time.Second

// minedAll takes the receipts of one block.
func (s *sender) minedAll(receipts []*node.Receipt) {
	for _, r := range receipts {
		s.includes(r)
	}
	s.advance()
}

// includes records that one of our attempts is in a block.
func (s *sender) includes(r *node.Receipt) {
	a := s.byHash[r.TxHash]
	if a == nil {
		return
	}
	e := a.entry
	if e.row.State == store.Mined && e.row.BlockHash == r.BlockHash {
		return
	}
	if e.nonce() < s.base && e.row.State != store.Mined {
		s.unmine(e.nonce()) // a reorganisation that we have not heard of yet
	}
	faultpoint.At(faultpoint.Receipt)
	winner := a.row.Hash
	cancelled := a.row.Kind == store.CancelAttempt
	e.row.State, e.row.Hash, e.row.Block, e.row.BlockHash = store.Mined, winner, r.BlockNumber, r.BlockHash
	e.row.Succeeded = r.Status == 1 && !cancelled // what was asked for has not succeeded by its cancellation
	e.acked, e.left = true, true
	s.mined[e] = struct{}{}
	e.stamp(&e.minedAt)
	e.row.Timing.Mined = e.reached(time.Now())
	id, row := e.row.ID, e.row
	// If it was superseded, it has its nonce back: it won.
	if n := e.nonce(); n >= s.base {
		s.outdo(n, e)
	}
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, []store.TxState{store.Held, store.Signed, store.Sent, store.Superseded, store.Mined}, store.TxUpdate{
			State: store.Mined, Hash: &row.Hash, Block: &row.Block, BlockHash: &row.BlockHash, Succeeded: &row.Succeeded, Timing: &row.Timing,
		})
	})
	if !cancelled {
		s.tell(e)
	}
	hash := e.hash()
	s.then(func() {
		if !cancelled { // else the end is told when it is certain
			s.answer(id, hash, nil)
		}
		s.m.obs.ObserveStage(e.w.name, "mine", time.Since(e.stage))
		e.spanMined()
		s.event("mined")
	})
}

// outdo gives nonce n to e, which is mined there, in place of a replacement.
func (s *sender) outdo(n uint64, e *entry) {
	if s.slots[n] != e {
		s.older[n] = slices.DeleteFunc(s.older[n], func(o *entry) bool { return o == e })
		if len(s.older[n]) == 0 {
			delete(s.older, n)
		}
		if other := s.slots[n]; other != nil {
			s.supersedeLoser(other)
		}
	}
	s.occupy(n, e)
}

// supersedeLoser parts a replacement from the nonce that the transaction it
// was to replace has won. If it was not signed yet it simply fails.
func (s *sender) supersedeLoser(e *entry) {
	if e.left {
		s.supersede(e)
		return
	}
	s.vacate(e.nonce())
	s.fail(e, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce %d is taken: the transaction to be replaced was mined", e.nonce())})
}

// advance moves the base over nonces whose transactions are mined, and over those
// below an adopted count that are nobody's: on a chain without a next block nothing
// else would have it go on once ours between them are found.
func (s *sender) advance() {
	for {
		e := s.slots[s.base]
		switch {
		case e != nil && e.row.State == store.Mined:
			s.vacate(s.base)
			s.believed = false // the chain has taken a nonce of ours there
		case e == nil && s.foreign.taken && s.base < s.foreign.count:
		default:
			s.hint = max(s.hint, s.base)
			return
		}
		s.base++
	}
}

// confirm ends what is deep enough under head.
func (s *sender) confirm(head node.Head) {
	if s.doubt.open || !s.loadedOK {
		return
	}
	var top *entry
	ended := 0
	for e := range s.mined {
		if e.row.Block+s.w.set.Confirmations > head.Number || e.nonce() >= s.base {
			continue
		}
		if ended++; ended > blockShare {
			s.nextBlock(func() { s.confirm(head) }) // before another head, or a reorganisation
			break
		}
		delete(s.mined, e)
		s.finish(e)
		if top == nil || e.row.Block > top.row.Block {
			top = e
		}
	}
	if top == nil || top.row.Block < s.row.ConfirmedNumber {
		return
	}
	s.row.ConfirmedNumber, s.row.ConfirmedHash = top.row.Block, top.row.BlockHash
	number, hash, id := top.row.Block, top.row.BlockHash, s.id
	s.plan(func(w *store.Writer) error {
		return w.UpdateSender(id, store.SenderUpdate{ConfirmedNumber: &number, ConfirmedHash: &hash})
	})
}

// finish makes a mined transaction final, and those that lost its nonce.
func (s *sender) finish(e *entry) {
	state, text := store.Confirmed, ""
	for _, a := range e.attempts {
		s.outcome(a, a.row.Hash == e.row.Hash, len(e.attempts) == 1)
		if a.row.Hash == e.row.Hash && a.row.Kind == store.CancelAttempt {
			state, text = store.Failed, EncodeFailure(&RefusedError{Code: codeRefused, Msg: "cancelled: the cancelling transaction was mined at its nonce"})
		}
	}
	id := e.row.ID
	e.row.State, e.row.Error = state, text
	s.tell(e)
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, []store.TxState{store.Mined}, store.TxUpdate{State: state, Error: &text})
	})
	delete(s.byTx, id)
	hash := e.hash()
	if state == store.Failed {
		s.unused(e) // the cancel was mined at its nonce
	}
	s.then(func() {
		if state == store.Failed {
			s.answer(id, common.Hash{}, ParseFailure(text))
		} else {
			s.answer(id, hash, nil)
		}
		s.event(string(state))
		e.spanFinal()
	})
	n := e.nonce()
	for _, loser := range s.older[n] {
		s.lost(loser, store.Replaced)
	}
	delete(s.older, n)
}

// lost ends a transaction at whose nonce something else was mined.
func (s *sender) lost(e *entry, state store.TxState) {
	for _, a := range e.attempts {
		s.outcome(a, false, false)
	}
	from, id, hash := rowStates(e.row.State), e.row.ID, e.row.Hash
	e.row.State = state
	reason := &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("another transaction was mined at nonce %d", e.nonce())}
	text := EncodeFailure(reason)
	e.row.Error = text
	s.tell(e)
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, from, store.TxUpdate{State: state, Error: &text, Hash: &hash})
	})
	delete(s.byTx, id)
	s.unused(e)
	s.then(func() {
		e.spanFailed("lost", reason)
		s.answer(id, common.Hash{}, reason)
		s.event(string(state))
	})
}

// outcome ends an attempt of a transaction that is final. That the only one of
// a confirmed transaction has won needs no writing down: see store.Attempt.OutcomeIn.
func (s *sender) outcome(a *attempt, won, only bool) {
	to := store.Lost
	if won {
		to = store.Won
	}
	if a.row.Raw != nil {
		delete(s.byHash, a.row.Hash)
		s.chain.unwatch(a.row.Hash, s)
	}
	if won && only {
		return
	}
	id := a.row.ID
	s.plan(func(w *store.Writer) error {
		_, err := w.SetAttemptOutcome(id, []store.AttemptOutcome{store.Open}, to)
		return err
	})
}

// counted takes a fresh answer about the account.
func (s *sender) counted() {
	if !s.loadedOK {
		return
	}
	latest := s.account.latest
	s.advance()
	s.fillUp()
	if latest > s.base {
		s.behind(latest)
	} else {
		s.unproven = ""
		s.foreign, s.late = foreign{}, late{}
		s.unpark()
	}
	s.lower(latest)
	s.resendDropped()
}

// late is how far we are with blocks that the node counts and we have not
// seen. As a rule the next look at the head brings them.
type late struct {
	open  bool
	base  uint64
	heads int // looks at the head since
}

// behind deals with a count above our base: our transactions were mined
// unseen, or somebody else has used the key, or the node lies.
func (s *sender) behind(latest uint64) {
	if s.blocksWait() {
		return // they may be the ones that it counts; the head behind them has the account asked for again
	}
	for n := s.base; n < latest; n++ {
		e := s.slots[n]
		if e == nil || e.row.State != store.Mined && !s.outside(n, e) {
			// Nobody's, or never shown to anybody, so it may have another
			// nonce: it waits until the count is believed, and then moves.
			s.aboveRows(latest)
			return
		}
	}
	if !s.late.open || s.late.base != s.base {
		s.late = late{open: true, base: s.base}
	}
	if s.late.heads < 2 { // the first may have been on its way before the question
		s.chain.pollNow()
		return
	}
	s.lookUp(latest)
}

// outside reports whether bytes of e, or of what it replaces at n, may be
// known outside, so that they may be mined without our doing.
func (s *sender) outside(n uint64, e *entry) bool {
	return e.left || e.row.Kind == store.RawTx || len(s.older[n]) > 0
}

// aboveRows parks the sender until two heads in a row agree on a count above
// our rows, and then adopts it. A large jump waits for an operator (no. 7).
func (s *sender) aboveRows(latest uint64) {
	if s.foreign.taken && s.foreign.count == latest {
		s.adopt(latest)
		return
	}
	expected := s.base
	for n := s.base; n < latest; n++ {
		if e := s.slots[n]; e != nil && e.left {
			expected = n + 1
		}
	}
	if latest-expected > maxJump {
		s.parkForRepair(fmt.Sprintf("the node counts %d transactions where %d were expected: somebody else uses this key, or the node is wrong", latest, expected))
		return
	}
	wait := fmt.Sprintf("the node counts %d transactions where %d were expected; waiting for the next block to agree", latest, expected)
	head := s.chain.current()
	if head.Hash == (common.Hash{}) {
		s.park(wait)
		return
	}
	if !s.agreed(&s.foreign, latest, head.Hash) {
		s.park(wait)
		return
	}
	s.adopt(latest)
}

// adopt takes the node's count as ours.
func (s *sender) adopt(latest uint64) {
	s.log.Warn("transactions that this signer did not make have used this account's nonces", "from_nonce", s.base, "to_nonce", latest)
	s.event("adopted")
	s.foreign = foreign{}
	var moved []*entry
	for _, n := range s.nonces(s.base) {
		e := s.slots[n]
		if n >= latest || e.row.State == store.Mined || s.outside(n, e) {
			continue
		}
		s.vacate(n)
		if e.row.Explicit || e.row.Kind != store.UserTx {
			s.fail(e, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce too low: next nonce %d, tx nonce %d", latest, n)})
			continue
		}
		s.requeue(e)
		moved = append(moved, e)
	}
	s.queue = append(moved, s.queue...)
	for s.base < latest && s.slots[s.base] == nil {
		s.base++
	}
	s.hint = s.base
	s.unpark()
	if s.base < latest {
		s.foreign = foreign{count: latest, taken: true}
		s.lookUp(latest)
	}
}

// lookUp asks for the receipts of everything below latest that is not known
// to be mined.
func (s *sender) lookUp(latest uint64) {
	if s.looking {
		return
	}
	var hashes []common.Hash
	asked := map[common.Hash]bool{}
	for n := s.base; n < latest; n++ {
		for _, e := range append(slices.Clone(s.older[n]), s.slots[n]) {
			if e == nil || e.row.State == store.Mined {
				continue
			}
			for _, a := range e.attempts {
				if a.row.Raw != nil {
					hashes = append(hashes, a.row.Hash)
					asked[a.row.Hash] = true
				}
			}
		}
	}
	if len(hashes) == 0 {
		return
	}
	s.looking = true
	w, head, forks := s.w, s.chain.current(), s.forks
	s.work(func() {
		receipts, err := w.node.Receipts(w.ctx, hashes)
		// TXMGR.md no. 14: the same node's count, deep enough, is the proof.
		deep, confirmations := uint64(0), w.set.Confirmations
		if err == nil && head.Number >= confirmations {
			deep, err = w.node.NonceAt(w.ctx, s.addr, fmt.Sprintf("0x%x", head.Number-confirmations))
			if err != nil {
				deep, err = 0, nil
			}
		}
		s.post(func() {
			if forks != s.forks {
				return // of before a reorganisation or a reload
			}
			s.looking = false
			if err == nil { // else it is asked again at the next head
				s.lookedUp(latest, receipts, asked, deep)
			}
		})
	})
}

// lookedUp takes the receipts of a lookUp. What has none although its nonce
// is used deep in the chain is displaced; until then the sender waits.
func (s *sender) lookedUp(latest uint64, receipts []*node.Receipt, asked map[common.Hash]bool, deep uint64) {
	for _, r := range receipts {
		if r != nil {
			s.includes(r)
		}
	}
	s.advance()
	s.unproven = ""
	for n := s.base; n < latest; n++ {
		e := s.slots[n]
		if e == nil || e.row.State == store.Mined {
			continue
		}
		if !s.outside(n, e) || !s.allAsked(n, e, asked) {
			return // it came later than the question
		}
		if deep <= n {
			s.unproven = fmt.Sprintf("nonce %d is used on the chain and none of our hashes has a receipt; waiting for confirmations", n)
			return
		}
		s.displace(n, e)
	}
	s.hint = max(s.hint, s.base)
}

func (s *sender) allAsked(n uint64, e *entry, asked map[common.Hash]bool) bool {
	for _, o := range append(slices.Clone(s.older[n]), e) {
		for _, a := range o.attempts {
			if a.row.Raw != nil && !asked[a.row.Hash] {
				return false
			}
		}
	}
	return true
}

// displace ends everything of ours at nonce n, which somebody else has used.
func (s *sender) displace(n uint64, e *entry) {
	s.log.Error("a transaction that this signer did not make was mined at the nonce of one that it sent", "tx", e.row.ID, "nonce", n)
	s.vacate(n)
	losers := s.older[n]
	delete(s.older, n)
	if e.left {
		losers = append(losers, e)
	} else {
		s.fail(e, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("nonce too low: next nonce %d, tx nonce %d", n+1, n)})
	}
	for i, o := range losers {
		state := store.Replaced
		if i == len(losers)-1 {
			state = store.Displaced // one row keeps the nonce
		}
		s.lost(o, state)
	}
	s.base = max(s.base, n+1)
	s.advance()
}

// requeue plans that e waits for a nonce again; none of its bytes have left.
func (s *sender) requeue(e *entry) {
	for e.current() != nil {
		s.void(e)
	}
	from, id := movable(e), e.row.ID
	var none common.Hash
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, from, store.TxUpdate{State: store.Queued, SetNonce: true, Hash: &none})
	})
	e.row.State, e.row.Nonce, e.row.Hash = store.Queued, nil, none
	e.kept = false
}
