// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// wanted is told that rows of this sender may need somebody.
func (s *sender) wanted() {
	if s.loadedOK {
		s.takeOffered()
		return
	}
	s.try = true
}

// takeOffered reads the transactions that other replicas took for this sender.
// Questions that come while one is under way are answered together.
func (s *sender) takeOffered() {
	if s.m.ending() {
		return // who takes over will find them
	}
	if s.taking {
		s.takeAgain = true
		return
	}
	s.taking, s.takeAgain = true, false
	epoch := s.fence.Epoch
	s.work(func() {
		rows, attempts, err := s.m.db.Offered(s.ctx, s.id, maxOffered)
		s.post(func() {
			if !s.loadedOK || epoch != s.fence.Epoch {
				return // of before a reload, which asks again
			}
			s.taking = false
			if err != nil {
				s.log.Warn("cannot read what other replicas took", "err", err)
				return
			}
			taken := s.offeredRead(rows, attempts)
			if s.takeAgain || taken == maxOffered {
				s.takeOffered()
			}
		})
	})
}

// maxOffered is how many offered transactions are read at once.
const maxOffered = 256

// offeredRead hands offered rows in, in their order, as if their requests had
// come here, and says how many were new.
func (s *sender) offeredRead(rows []store.Tx, attempts map[string][]store.Attempt) int {
	known := map[string]bool{}
	for _, sub := range s.subs {
		known[sub.row.ID] = true
	}
	taken := 0
	for _, row := range rows {
		if known[row.ID] || s.byTx[row.ID] != nil {
			continue
		}
		known[row.ID] = true
		sub, err := s.offeredSubmission(row, attempts[row.ID])
		if err != nil {
			s.log.Error("an offered transaction cannot be read", "tx", row.ID, "err", err)
			continue
		}
		s.subs = append(s.subs, sub)
		taken++
	}
	if len(rows) == maxOffered {
		return taken // there may be more
	}
	// Whoever asked for one that is not here any more is told by its row.
	for id, subs := range s.waiters {
		if s.byTx[id] == nil && !known[id] {
			for _, sub := range subs {
				s.look(sub)
			}
		}
	}
	return taken
}

// offeredSubmission makes a request of an offered row. Nobody waits for it
// here; its caller asks by Outcome.
func (s *sender) offeredSubmission(row store.Tx, attempts []store.Attempt) (*submission, error) {
	utx, err := tx.DecodeUnsigned(row.Payload)
	if err != nil {
		return nil, err
	}
	sub := &submission{
		w: s.walletNamed(row.Wallet), principal: auth.Principal{Name: row.Credential}, row: row, utx: utx, s: s,
		begun: time.Now(), result: make(chan result, 1), offered: true, seq: s.nextSeq(),
		trace: s.m.traceOf(row), arrived: time.Now(),
	}
	if row.Kind != store.RawTx {
		return sub, nil
	}
	i := slices.IndexFunc(attempts, func(a store.Attempt) bool { return a.Raw != nil && a.Outcome == store.Open })
	if i < 0 {
		return nil, fmt.Errorf("txmgr: raw transaction %s has no bytes", row.ID)
	}
	sub.signed = new(types.Transaction)
	if err := sub.signed.UnmarshalBinary(attempts[i].Raw); err != nil {
		return nil, err
	}
	sub.utx, sub.attempt = sub.signed, &attempts[i]
	return sub, nil
}

// refuse ends a request that gets no nonce. Of several processes only the holder
// of the lease may say so, and one that was stopped for a while may hold it no
// longer without knowing: its word goes out with a commit that was fenced. If there
// is none the request is handed in again.
func (s *sender) refuse(sub *submission, err error) {
	if !sub.offered && !s.m.shared {
		sub.finish(common.Hash{}, err)
		return
	}
	if !sub.offered {
		sub.refused = true
		s.plan(func(*store.Writer) error { return nil })
		s.then(func() { sub.finish(common.Hash{}, err) })
		s.undone = append(s.undone, func() { s.handInAgain(sub) })
		return
	}
	id, text := sub.row.ID, EncodeFailure(err)
	row := sub.row
	row.State, row.Error = store.Failed, text
	s.tellRow(row, nil)
	attempt := sub.attempt
	s.plan(func(w *store.Writer) error {
		if attempt != nil {
			if err := w.ExpectOutcome(attempt.ID, []store.AttemptOutcome{store.Open}, store.Void); err != nil {
				return err
			}
		}
		return w.ExpectTx(id, []store.TxState{store.Offered}, store.TxUpdate{State: store.Failed, SetNonce: true, Error: &text})
	})
	s.then(func() {
		sub.w.keys.Settle(id, row.Clearance, policy.Unused) // it never had a nonce
		sub.spanRefused(err)
		s.answer(id, common.Hash{}, err)
		s.event("failed")
	})
}

// handInAgain takes back that a request was refused.
func (s *sender) handInAgain(sub *submission) {
	if sub.answered {
		return
	}
	sub.refused = false
	sub.where.CompareAndSwap(taken, outside)
	s.subs = append(s.subs, sub)
	slices.SortStableFunc(s.subs, func(a, b *submission) int { return cmp.Compare(a.seq, b.seq) })
}

// look answers somebody who waits for a transaction by its row.
func (s *sender) look(sub *submission) {
	s.work(func() {
		r, offered := s.finalOutcome(sub.row.ID)
		s.post(func() {
			switch e := s.byTx[sub.row.ID]; {
			case !offered:
				s.leave(sub, r.hash, r.err)
			case e != nil && e.acked && e.ready():
				s.leave(sub, e.hash(), nil)
			case e == nil && s.loadedOK:
				s.takeOffered()
			}
		})
	})
}
