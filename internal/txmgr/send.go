// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// What one JSON-RPC batch of sends may hold. Blob transactions go alone.
const (
	maxBatch      = 100
	maxBatchBytes = 512 << 10
)

// The pause between two tries to send what the node did not take.
const (
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// pump sends stored bytes to the node, in nonce order and one batch at a
// time: the lowest nonces that the node has not taken yet, up to the first
// one that is not signed. It runs after the commit that stored the bytes
// (TXMGR.md nos. 12 and 13).
func (s *sender) pump() {
	if s.sending || s.broken != nil || s.parked != "" || !s.loadedOK || time.Now().Before(s.retry) {
		return
	}
	var batch []*attempt
	var raws [][]byte
	size := 0
	for n := s.base; ; n++ {
		e := s.slots[n]
		if e == nil || e.row.State == store.Held {
			break
		}
		// While a replacement is being signed or stored, what it replaces has the nonce.
		covered := !e.ready() && (e.left || len(s.older[n]) > 0) ||
			e.ready() && !e.sendable() && (len(e.attempts) > 1 || len(s.older[n]) > 0)
		if e.acked || covered {
			if len(batch) > 0 {
				break
			}
			continue
		}
		if !e.sendable() {
			break
		}
		if s.frozen(e) != nil {
			if e.left && len(e.attempts) > 1 && len(batch) == 0 {
				continue // what it is to replace has the nonce
			}
			break
		}
		a := e.current()
		blob := tx.IsBlob(e.utx)
		if len(batch) > 0 && (blob || size+len(a.row.Raw) > maxBatchBytes) || len(batch) == maxBatch {
			break
		}
		batch, raws, size = append(batch, a), append(raws, a.row.Raw), size+len(a.row.Raw)
		if blob {
			break
		}
	}
	if len(batch) == 0 {
		return
	}
	for _, a := range batch {
		a.left, a.entry.left = true, true
		s.chain.watch(a.row.Hash, s)
	}
	places := s.placesOf(batch)
	ctx, cancel := context.WithTimeout(s.w.ctx, sendTimeout)
	s.sending, s.out, s.unsend = true, batch, cancel
	begun, w, generation := time.Now(), s.w, s.w.node.Generation()
	end := s.spanSend(batch)
	s.work(func() {
		// The bytes are stored: a caller who goes away does not stop them. The
		// end of the process does, and they go out again at the next start.
		defer cancel()
		faultpoint.At(faultpoint.Send)
		errs := s.sendRaw(ctx, w.node, places, raws)
		end(errs)
		faultpoint.At(faultpoint.Sent)
		doubtImpossible(ctx, w.node, batch, errs)
		s.post(func() {
			if s.w.node != w.node || w.node.Generation() != generation {
				// The node that answered is not the one that serves us now: the bytes
				// have left, and go to that one too.
				for i := range errs {
					errs[i] = errOtherNode
				}
			}
			s.sent(batch, errs, begun)
		})
	})
}

// errOtherNode says that a node answered that serves us no longer. What it said
// is neither success nor proof.
var errOtherNode = errors.New("another node serves the chain now")

// sendTimeout bounds one batch. What was not answered by then is sent again.
const sendTimeout = 15 * time.Second

// doubtImpossible takes back a node's word that bytes can never become valid
// if the node turns out to serve another chain than ours just now: a URL that
// is routed elsewhere for a moment must not fail a transaction.
func doubtImpossible(ctx context.Context, n *node.Client, batch []*attempt, errs []error) {
	for i, a := range batch {
		if node.Classify(errs[i], a.row.Hash) != node.Impossible {
			continue
		}
		if err := n.VerifyChain(ctx); err != nil {
			errs[i] = err
		}
	}
}

func (s *sender) sendEnded() { s.sending, s.out, s.unsend = false, nil, nil }

// sent takes the node's answers to a batch. What the node said proves little:
// only the closed list of node.Impossible proves that bytes can never become
// valid (TXMGR.md no. 15).
func (s *sender) sent(batch []*attempt, errs []error, begun time.Time) {
	s.sendEnded()
	trouble := false
	for i, a := range batch {
		e := a.entry
		if s.byTx[e.row.ID] != e || a != e.current() {
			continue // reloaded, replaced or mined meanwhile
		}
		err := errs[i]
		verdict := node.Classify(err, a.row.Hash)
		if verdict == node.Impossible && a.shown && node.DependsOnNode(err) {
			verdict = node.Rejected
		}
		a.shown = a.shown || verdict == node.Accepted || verdict == node.Known || verdict == node.Unknown
		switch verdict {
		case node.Accepted, node.Known:
			e.delivered(a, verdict)
			s.taken(e, begun)
			s.shownBy(e, verdict == node.Known)
			continue
		case node.NonceTooLow:
			// Mined, or somebody else's: the account's count decides.
			s.wantAccount()
		case node.Impossible:
			s.impossible(a, err)
			continue
		case node.Rejected:
			s.log.Warn("node holds a transaction back", "tx", e.row.ID, "nonce", a.row.Nonce, "err", err)
			s.event("rejected")
		default:
			if e.reason == nil {
				s.log.Warn("node did not confirm a transaction, sending it again", "tx", e.row.ID, "nonce", a.row.Nonce, "err", err)
			}
			s.event("resent")
		}
		e.reason = err
		trouble = true
	}
	if trouble {
		s.backoff = min(max(2*s.backoff, firstBackoff), maxBackoff)
		s.retry = time.Now().Add(s.backoff)
	} else {
		s.backoff, s.retry = 0, time.Time{}
	}
}

// taken records that the node has a transaction, and answers its callers.
func (s *sender) taken(e *entry, begun time.Time) {
	e.acked, e.ackedAt, e.reason = true, s.account.asked, nil
	e.sentAt = s.chain.current().Number
	if e.row.State == store.Signed {
		e.row.State = store.Sent // the row learns of it if no block comes soon: note
		if e.current().row.Kind != store.CancelAttempt {
			s.tell(e)
		}
	}
	// The bytes were stored before they left, so the callers need not wait
	// for this round's commit.
	s.answer(e.row.ID, e.hash(), nil)
	s.m.obs.ObserveStage(e.w.name, "send", time.Since(begun))
	s.event("sent")
	e.stage = time.Now()
}

// impossible handles bytes that a node proved can never become valid. If no
// other encoding at this nonce may be mined, the transaction fails with the
// node's own words and its nonce is used otherwise.
func (s *sender) impossible(a *attempt, err error) {
	e := a.entry
	s.log.Warn("node proved a transaction impossible", "tx", e.row.ID, "nonce", a.row.Nonce, "err", err)
	e.attempts = e.attempts[:len(e.attempts)-1]
	delete(s.byHash, a.row.Hash)
	s.chain.unwatch(a.row.Hash, s)
	id := a.row.ID
	s.plan(func(w *store.Writer) error {
		return w.ExpectOutcome(id, []store.AttemptOutcome{store.Open}, store.Impossible)
	})
	if e.current() != nil {
		// The attempt before it goes out once more. If it was one with higher
		// fees, another would fare no better.
		e.acked, e.noted = false, false
		e.capped = e.capped || a.row.Kind == store.BumpAttempt
		e.row.Hash = e.hash()
		return
	}
	var nerr *node.Error
	if !errors.As(err, &nerr) {
		err = &RefusedError{Code: codeRefused, Msg: err.Error()}
	}
	s.discard(e, err)
}

// headSeen is told of every head, and of every look at an unchanged one.
func (s *sender) headSeen(head node.Head, moved bool) {
	if !s.loadedOK {
		return
	}
	s.late.heads++
	s.looks++
	if s.doubt.open && !s.doubt.asking {
		s.lookAgain()
	}
	s.confirm(head)
	if moved || s.late.open || s.parked != "" || s.unproven != "" || !s.under.since.IsZero() || len(s.subs)+len(s.queue) > 0 {
		s.wantAccount()
	}
}

// wantAccount asks the node for count and balance. Questions that come while
// one is under way are answered together by a second.
func (s *sender) wantAccount() {
	if s.account.fetching {
		s.account.again = true
		return
	}
	s.account.fetching, s.account.again = true, false
	s.account.asked++
	asked, since, generation := s.account.asked, time.Now(), s.w.node.Generation()
	s.chain.account(s.addr, func(a node.AccountAnswer) {
		s.post(func() {
			if asked != s.account.asked {
				return // of before a reload
			}
			s.account.fetching = false
			s.spanAccount(since, a.Err)
			if generation != s.w.node.Generation() {
				s.wantAccount() // the answer is of a node that serves us no longer
				return
			}
			if a.Err != nil {
				s.refuseWaiting(a.Err)
				return
			}
			s.account.latest, s.account.pending, s.account.balance = a.Latest, a.Pending, a.Balance
			s.account.since, s.account.at = since, time.Now()
			s.counted()
			if s.account.again {
				s.wantAccount()
			}
		})
	})
}

// refuseWaiting answers callers whose request needs the node before anything
// is stored, when the node does not answer.
func (s *sender) refuseWaiting(err error) {
	if s.ctx.Err() != nil {
		return // it is not the node that failed
	}
	kept := s.subs[:0]
	for _, sub := range s.subs {
		if sub.offered {
			kept = append(kept, sub) // it is stored, and waits
			continue
		}
		sub.finish(common.Hash{}, err)
	}
	s.subs = kept
}
