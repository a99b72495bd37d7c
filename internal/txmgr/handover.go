// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// Handover is a request that was checked by one process and is stored and sent
// by the one that holds its sender's lease. Its id is chosen before it is handed
// over, so that it cannot be stored twice: whoever is not answered stores it
// himself, as offered, and finds that it is there or keeps the other from it.
type Handover struct {
	Row    store.Tx
	Intent audit.Intent
	Signed []byte        // of a raw transaction
	Wait   time.Duration // until its caller's deadline
}

// Take takes requests in that another process hands over, in their order. taken
// is called when their order is certain, outcome once for each, from any
// goroutine; then Take returns. ErrNoSender says that this process does not hold
// the lease, and that it took nothing.
func (m *Manager) Take(senderID string, items []Handover, taken func(), outcome func(i int, hash common.Hash, err error)) error {
	s := m.holder(senderID)
	if s == nil || m.ending() {
		return ErrNoSender
	}
	var waits []func() (common.Hash, error)
	for _, item := range items {
		wait, err := s.takeOne(item)
		if errors.Is(err, ErrNoSender) && len(waits) == 0 {
			return ErrNoSender
		}
		if err != nil {
			wait = func() (common.Hash, error) { return common.Hash{}, err }
		}
		waits = append(waits, wait)
	}
	taken()
	done := make(chan struct{}, len(waits))
	for i, wait := range waits {
		go func() {
			hash, err := wait()
			var unbound *UnboundError
			if errors.Is(err, errStopping) || errors.As(err, &unbound) {
				err = ErrNoSender // nothing was stored: another process can
			}
			outcome(i, hash, err)
			done <- struct{}{}
		}()
	}
	for range waits {
		<-done
	}
	return nil
}

// takeOne takes one request in, as if its caller had come here: a key that is
// known, or comes a second time in this moment, gets the stored outcome.
func (s *sender) takeOne(item Handover) (wait func() (common.Hash, error), err error) {
	sub, err := s.handed(item)
	if err != nil {
		return nil, err
	}
	if !sub.w.inHand(sub.row.Wallet, sub.principal, sub.row.IdempotencyKey) {
		return s.takeIn(sub)
	}
	// Those behind it do not wait until the other one is stored. As a rule it
	// gets that one's outcome, so its own place in the order does not count.
	return func() (common.Hash, error) {
		wait, err := s.takeIn(sub)
		if err != nil {
			return common.Hash{}, err
		}
		return wait()
	}, nil
}

func (s *sender) takeIn(sub *submission) (wait func() (common.Hash, error), err error) {
	if key := sub.row.IdempotencyKey; key != "" {
		ctx, cancel := sub.w.until(context.Background(), sub.deadline)
		defer cancel()
		release, row, known, err := sub.w.claim(ctx, sub.row.Wallet, sub.principal, key)
		if err != nil {
			return nil, sub.w.early(err)
		}
		if known {
			sub.yields(row)
			return func() (common.Hash, error) {
				return sub.w.repeat(sub.w.ctx, row, sub.row.RequestHash, sub.deadline)
			}, nil
		}
		sub.stored = sync.OnceFunc(release)
	}
	err = s.offer(func() {
		if s.leaving {
			sub.finish(common.Hash{}, errStopping)
			return
		}
		if sub.w.ctx.Err() != nil {
			sub.finish(common.Hash{}, sub.w.over())
			return
		}
		if len(s.queue)+len(s.subs) >= s.w.set.QueueLimit {
			sub.finish(common.Hash{}, errQueueFull())
			return
		}
		sub.seq = s.nextSeq()
		s.subs = append(s.subs, sub)
	})
	if err != nil {
		if sub.stored != nil {
			sub.stored()
		}
		return nil, ErrNoSender
	}
	return func() (common.Hash, error) {
		hash, err := sub.await()
		if sub.stored != nil {
			sub.stored()
		}
		return hash, err
	}, nil
}

func errQueueFull() error {
	return &BusyError{
		Reason: "too many transactions of this account are waiting for a nonce", RetryAfter: 5 * time.Second, Status: http.StatusTooManyRequests,
	}
}

// handed makes a submission of what another process has checked.
func (s *sender) handed(item Handover) (*submission, error) {
	utx, err := tx.DecodeUnsigned(item.Row.Payload)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	sub := &submission{
		w: s.walletNamed(item.Row.Wallet), s: s, principal: auth.Principal{Name: item.Row.Credential}, row: item.Row, utx: utx,
		intent: item.Intent, begun: now, deadline: now.Add(item.Wait), result: make(chan result, 1),
		trace: s.m.traceOf(item.Row), arrived: now,
		handed: true, elsewhere: true, // whoever is not answered stores it himself
	}
	sub.row.Sender = s.id
	if item.Signed != nil {
		sub.signed = new(types.Transaction)
		if err := sub.signed.UnmarshalBinary(item.Signed); err != nil {
			return nil, err
		}
		sub.utx = sub.signed
	}
	return sub, nil
}

// handOver gives the waiting requests to the process that holds the lease. One
// lot is on its way at a time until it is certain in which order it was taken:
// the order in which requests came is that of their nonces.
func (s *sender) handOver() {
	if s.handing != nil || len(s.subs) == 0 {
		return
	}
	var subs []*submission
	for _, sub := range s.subs {
		if sub.offered || !sub.take() {
			continue // the rows have it; or its caller has given up
		}
		// Offers are taken up in the order of their ids, which those of a batch rise
		// in. It keeps its id for good: a process that has fallen silent may still
		// store it, and what the policy has reserved is reserved for that id.
		sub.handed = true
		sub.kept.Store(true)
		if s.partByRow(sub.order) {
			s.offers[sub], sub.byRow = struct{}{}, true
			s.unoffered = append(s.unoffered, sub)
			continue
		}
		subs = append(subs, sub)
	}
	s.subs = nil
	s.offerNext()
	if len(subs) == 0 {
		return
	}
	items := make([]Handover, len(subs))
	before := make([]bool, len(subs))
	latest := time.Now()
	for i, sub := range subs {
		s.offers[sub] = struct{}{}
		before[i], sub.elsewhere, sub.out = sub.elsewhere, true, true
		sub.spanHandOver()
		items[i] = Handover{Row: sub.row, Intent: sub.intent, Wait: time.Until(sub.deadline)}
		if sub.signed != nil {
			items[i].Signed, _ = sub.signed.MarshalBinary() // it was read from bytes
		}
		if sub.deadline.After(latest) {
			latest = sub.deadline
		}
	}
	lot := subs[0]
	s.handing = lot
	certain := func() {
		if s.handing == lot {
			s.handing = nil
		}
	}
	owner := s.owner
	// It ends with our being this holder's guest: then we find out from the rows.
	ctx, cancel := context.WithDeadline(s.guesting, latest.Add(lateAnswer))
	s.work(func() {
		defer cancel()
		acked := false
		ack := func() {
			acked = true
			s.post(certain)
		}
		err := s.m.peers.Submit(ctx, owner, s.id, items, ack, func(i int, hash common.Hash, err error) {
			s.post(func() {
				if _, open := s.offers[subs[i]]; !open {
					return
				}
				subs[i].away.end(err)
				var pending *PendingError
				switch {
				case errors.Is(err, ErrNoSender): // the holder ended meanwhile
					subs[i].elsewhere = before[i]
					s.notHanded(subs[i : i+1])
					return
				case errors.As(err, &pending) && time.Now().Before(subs[i].deadline):
					s.notHanded(subs[i : i+1])
					return
				}
				delete(s.offers, subs[i])
				s.offerNext()
				if subs[i].stored != nil {
					subs[i].stored()
				}
				subs[i].finish(hash, err)
			})
		})
		s.post(func() {
			if !acked {
				certain()
			}
			for i, sub := range subs {
				if sub.out && (errors.Is(err, ErrNoSender) || errors.Is(err, ErrNotAsked)) {
					sub.elsewhere = before[i] // it has none of them
				}
			}
			if err != nil {
				s.notHanded(subs)
			}
		})
	})
}

// partByRow reports whether requests of a batch wait in the rows for the holder
// to come to them. The rest of it then waits behind them.
func (s *sender) partByRow(batch *Order) bool {
	if batch == nil {
		return false
	}
	for sub := range s.offers {
		if sub.order == batch && sub.byRow {
			return true
		}
	}
	for _, subs := range s.waiters {
		for _, sub := range subs {
			if sub.order == batch && sub.byRow && !sub.answered {
				return true
			}
		}
	}
	return false
}

// notHanded stores as offered what the holder did not answer. If it had stored
// them, their ids are there already.
func (s *sender) notHanded(subs []*submission) {
	for _, sub := range subs {
		if _, open := s.offers[sub]; open && sub.out {
			sub.out, sub.byRow = false, true
			sub.away.end(ErrPeer)
			s.unoffered = append(s.unoffered, sub)
		}
	}
	s.offerNext()
}
