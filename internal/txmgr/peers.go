// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Peers reach the other processes that share this one's store. What they say
// is a shortcut: everything can be read from the rows too (TXMGR.md no. 21).
type Peers interface {
	// Await asks the process that holds a sender's lease for the outcome of a
	// transaction, and to treat it as one whose caller waits until deadline.
	// The error is that of the transaction, or ErrPeer if the process could not
	// be asked or does not hold the lease.
	Await(ctx context.Context, owner, sender, tx string, deadline time.Time) (common.Hash, error)
	// Submit hands requests to the process that holds their sender's lease, in
	// their order. taken is called once that order is certain, outcome for each
	// request whose outcome is known. An error says that the outcomes of the
	// others are not: they may be stored or not, and their ids tell.
	Submit(ctx context.Context, owner, sender string, items []Handover, taken func(), outcome func(i int, hash common.Hash, err error)) error
	// Mend has the process that holds a sender's lease do what an operator asks.
	Mend(ctx context.Context, owner, sender string, op Operation) (Report, error)
}

// ErrPeer says that another process could not be asked.
var ErrPeer = errors.New("the replica that holds the sender's lease does not answer")

// ErrNotAsked is an ErrPeer that says that nothing was sent to it.
var ErrNotAsked = fmt.Errorf("%w: it cannot be reached from here", ErrPeer)

// noPeers is for a process that is alone, or cannot reach the others.
type noPeers struct{}

func (noPeers) Await(context.Context, string, string, string, time.Time) (common.Hash, error) {
	return common.Hash{}, ErrPeer
}

func (noPeers) Submit(context.Context, string, string, []Handover, func(), func(int, common.Hash, error)) error {
	return ErrNotAsked
}

func (noPeers) Mend(context.Context, string, string, Operation) (Report, error) {
	return Report{}, ErrPeer
}

// Outcome is what another process asks by Await: how a transaction of a sender
// whose lease is ours ended. ErrNoSender if the lease is not ours; PendingError
// if the process ends before the outcome is known.
func (m *Manager) Outcome(_ context.Context, senderID, txID string, deadline time.Time) (common.Hash, error) {
	s := m.holder(senderID)
	if s == nil || m.ending() {
		return common.Hash{}, ErrNoSender
	}
	return s.join(s.via(), txID, deadline)
}

// holder is the sender with that id if this process holds its lease, or nil.
func (m *Manager) holder(senderID string) *sender {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, s := range m.senders {
		if k.id == senderID && s.held.Load() != nil {
			return s
		}
	}
	return nil
}

// How often a shared store is looked at for what other processes left there.
const (
	offeredPoll = 250 * time.Millisecond // transactions that wait for their sender's holder
	outcomePoll = 500 * time.Millisecond // outcomes of transactions that another process sends for our callers
)

// watchShared takes up what other processes left in a shared store: offered
// transactions of our senders, and senders whose holder is gone.
func (m *Manager) watchShared() {
	orphans, away := time.Now(), false
	told := map[string]bool{}
	for sleep(m.ctx, offeredPoll) {
		if m.ending() {
			return // others will see to it
		}
		select {
		case <-m.served: // what nobody could have before may be had now
			orphans = time.Time{}
		default:
		}
		ids, err := m.db.OfferedSenders(m.ctx)
		if err == nil && time.Since(orphans) >= m.ttl/4 {
			var more []string
			more, err = m.db.OrphanSenders(m.ctx)
			ids = append(ids, more...)
			orphans = time.Now()
		}
		if err != nil {
			if m.ctx.Err() == nil && !away {
				m.log.Warn("cannot look for other replicas' transactions, trying on", "err", err)
			}
			away = true
			continue
		}
		away = false
		m.takeUp(ids, told)
	}
}

// ending reports whether the manager takes nothing new.
func (m *Manager) ending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopping
}

// takeUp sees to senders that have work: ours look at their rows, the others
// are tried to be had. told is resumeAll's.
func (m *Manager) takeUp(ids []string, told map[string]bool) {
	var unknown []string
	m.mu.Lock()
	known := map[string]*sender{}
	for k, s := range m.senders {
		known[k.id] = s
	}
	m.mu.Unlock()
	for _, id := range ids {
		if s := known[id]; s != nil {
			s.post(func() { s.wanted() })
		} else {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		m.resumeAll(unknown, told)
	}
}
