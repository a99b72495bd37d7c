// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"maps"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// closeHoles deals with the nonces that fell free in this round (TXMGR.md
// no. 16), all of them together: where a backend refuses a thousand
// signatures at once, those behind them move once.
func (s *sender) closeHoles() {
	if len(s.holes) == 0 {
		return
	}
	var pause time.Duration
	for _, n := range slices.Sorted(maps.Keys(s.holes)) {
		if s.holes[n] {
			pause = fillPause
		}
		if n >= s.base && s.slots[n] == nil && len(s.older[n]) > 0 {
			s.reinstate(n) // the transaction that was to be replaced has it again
		}
	}
	clear(s.holes)
	s.fillHoles(pause)
	// Nothing above the lowest free nonce has left: everything that was filled
	// in moves down, in order, by waiting at the head of the queue for its new
	// nonce. Nonces that callers chose stay theirs.
	var moved []*entry
	for _, n := range s.nonces(s.lowestFree()) {
		e := s.slots[n]
		if e.row.State == store.Mined || s.outside(n, e) {
			continue // only while parked
		}
		if e.row.Explicit || e.row.Kind != store.UserTx {
			s.hold(e)
			continue
		}
		s.vacate(n)
		s.requeue(e)
		moved = append(moved, e)
	}
	s.queue = append(moved, s.queue...)
}

// fillHoles has every free nonce filled above which something has left.
func (s *sender) fillHoles(pause time.Duration) {
	if s.parked != "" {
		return // unpark does it
	}
	top := s.base
	for n, e := range s.slots {
		if e.left {
			top = max(top, n)
		}
	}
	for n := s.lowestFree(); n < top; n = s.lowestFree() {
		s.fill(n, pause)
	}
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
	s.occupy(e.nonce(), e)
	id := e.row.ID
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, []store.TxState{store.Assigned}, store.TxUpdate{State: store.Held})
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
	old.row.State, old.noted = store.Sent, true
	s.occupy(n, old)
	id := old.row.ID
	s.plan(func(w *store.Writer) error {
		return w.ExpectTx(id, []store.TxState{store.Superseded}, store.TxUpdate{State: store.Sent})
	})
}

// fillPause is how long a nonce whose self-transfer failed waits for another.
const fillPause = 5 * time.Second

// fill makes a self-transfer for nonce n, above which something has left
// (TXMGR.md no. 16). The fees are asked for first; until they are known the
// nonce counts as occupied.
func (s *sender) fill(n uint64, pause time.Duration) {
	s.filling[n] = true
	w := s.w
	s.work(func() {
		if pause > 0 && !sleep(w.ctx, pause) {
			return
		}
		var args tx.Args
		to, gas := s.addr, uint64(21_000)
		args.From, args.To, args.Gas = s.addr, &to, &gas
		err := tx.FillFees(w.ctx, w.chain, &args, w.set.Limits)
		var unsigned *types.Transaction
		if err == nil {
			unsigned, err = args.Unsigned(w.chainID, n)
		}
		if err != nil {
			s.log.Warn("cannot make a transaction that fills a nonce, trying again", "nonce", n, "err", err)
			s.post(func() {
				if s.loadedOK && s.filling[n] && n >= s.base {
					s.fill(n, time.Second)
				}
			})
			return
		}
		s.post(func() { s.filled(n, unsigned) })
	})
}

func (s *sender) filled(n uint64, unsigned *types.Transaction) {
	if !s.filling[n] {
		return // of before a reload
	}
	delete(s.filling, n)
	s.hint = min(s.hint, n)
	if s.slots[n] != nil || n < s.base {
		return
	}
	payload, err := tx.EncodeUnsigned(unsigned)
	if err != nil {
		s.log.Error("cannot encode a transaction that fills a nonce", "nonce", n, "err", err)
		return
	}
	now := time.Now()
	row := store.Tx{
		ID: store.NewID(), Wallet: s.w.name, Credential: auth.System.Name, Intent: store.NewID(), Sender: s.id,
		Nonce: &n, Explicit: true, Kind: store.FillTx, Payload: payload, State: store.Assigned,
		FeeCeiling: unsigned.GasFeeCap(), Expires: now.Add(365 * 24 * time.Hour), Created: now, Updated: now,
	}
	intent := audit.Intent{
		ID: row.Intent, At: now, Principal: auth.System.Name, Wallet: s.w.name, Address: s.addr,
		Action: audit.Repair, Subject: row.ID, Verdict: "allow: repair",
		Detail: s.w.keys.Detail(policy.Request{Transaction: unsigned}),
	}
	e := &entry{
		row: row, w: s.w, utx: unsigned, cost: tx.MaxCost(unsigned), principal: auth.System, action: audit.Repair,
		seq: s.nextSeq(), begun: now, stage: now,
	}
	s.byTx[row.ID] = e
	s.plan(func(w *store.Writer) error {
		if err := w.AuditIntent(intent); err != nil {
			return err
		}
		return w.InsertTx(row)
	})
	s.occupy(n, e)
	s.attempt(e, unsigned, store.FirstAttempt)
	s.log.Warn("filling a nonce with a self-transfer", "nonce", n)
	s.event("filled")
}
