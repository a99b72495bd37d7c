// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// ErrNoSender says that no sender with that id is at work in this process.
var ErrNoSender = errors.New("no such sender is at work")

// Action is what an operator may do to a sender.
type Action string

// The actions of an operator.
const (
	Explain Action = "explain" // report, and change nothing
	// Adopt takes the node's count as the sender's, for an operator who has
	// made sure that the node is right, and lets the sender go on.
	Adopt Action = "adopt"
	// Release lets a parked sender go on without changing what it believes.
	// After a chain reset it also forgets the block that is gone, so the check
	// that parked it does not park it again.
	Release Action = "release"
	// Cancel ends a transaction. One that has not left is failed at once; for
	// one that has, a self-transfer with a higher fee competes for its nonce,
	// and it is failed only when that is mined and confirmed.
	Cancel Action = "cancel"
	// SpeedUp signs a transaction again with higher fees, at the same nonce;
	// both are watched.
	SpeedUp Action = "speed-up"
)

// Operation is one thing that an operator wants done.
type Operation struct {
	Action Action   `json:"action"`
	Tx     string   `json:"tx,omitempty"`                   // of Cancel and SpeedUp
	Fee    *big.Int `json:"max_fee_per_gas,omitempty"`      // of SpeedUp, wei per gas; nil: what the chain asks now
	Tip    *big.Int `json:"priority_fee_per_gas,omitempty"` // of SpeedUp, wei per gas
}

// Operate does it, in whichever process holds the sender's lease, and reports
// how the sender stands then. ErrNoSender if there is no such sender,
// store.ErrNotFound if there is no such transaction.
func (m *Manager) Operate(ctx context.Context, senderID string, op Operation) (Report, error) {
	if op.Tx != "" {
		t, err := m.db.Tx(ctx, op.Tx)
		if err != nil {
			return Report{}, err
		}
		if senderID == "" {
			senderID = t.Sender
		}
		if t.Sender != senderID {
			return Report{}, fmt.Errorf("%w: transaction %s is not of sender %s", store.ErrNotFound, op.Tx, senderID)
		}
	}
	r, err := m.OperateHere(ctx, senderID, op)
	if !errors.Is(err, ErrNoSender) || !m.shared {
		return r, err
	}
	owner, left, err := m.db.LeaseOf(ctx, senderID)
	if err == nil && left > 0 && owner != m.owner {
		return m.peers.Mend(ctx, owner, senderID, op)
	}
	// Nobody has it: here then.
	if err := m.haveHere(ctx, senderID); err != nil {
		if s := m.at(ctx, senderID); s != nil && op.Action == Release && errors.Is(err, ErrNoSender) {
			if done, failed := s.releaseUnloaded(ctx); done || failed != nil {
				return s.toBeRead(), failed
			}
		}
		return Report{}, err
	}
	return m.OperateHere(ctx, senderID, op)
}

// toBeRead is the report of a sender that is not in memory.
func (s *sender) toBeRead() Report {
	w := s.via()
	return Report{
		Sender: s.id, Address: s.addr.Hex(), ChainID: w.chainID.Uint64(), Wallet: w.name,
		Advice: "it is read again from its rows; look again in a moment",
	}
}

// haveHere starts a sender that no process runs.
func (m *Manager) haveHere(ctx context.Context, senderID string) error {
	if _, err := m.db.Sender(ctx, senderID); err != nil {
		return ErrNoSender
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		m.takeUp([]string{senderID}, map[string]bool{senderID: true})
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
		if s := m.at(ctx, senderID); s != nil && s.held.Load() != nil {
			return nil
		}
	}
	return fmt.Errorf("%w: its node or key backend does not answer here", ErrNoSender)
}

// OperateHere is Operate for a sender that this process runs.
func (m *Manager) OperateHere(ctx context.Context, senderID string, op Operation) (Report, error) {
	s := m.at(ctx, senderID)
	if s == nil || m.shared && s.held.Load() == nil {
		return Report{}, ErrNoSender
	}
	switch op.Action {
	case Explain:
		return ask(ctx, s, s.report)
	case Adopt:
		return m.mend(ctx, s, func() error {
			s.clearPark()
			if s.account.latest > s.base {
				s.adopt(s.account.latest)
			}
			return nil
		})
	case Release:
		if done, err := s.releaseUnloaded(ctx); done || err != nil {
			return s.toBeRead(), err
		}
		return m.mend(ctx, s, func() error {
			s.clearPark()
			return nil
		})
	case Cancel:
		// Where the chain cannot be asked, the least that replaces it has to do.
		asking, done := context.WithTimeout(ctx, 3*time.Second)
		fees, _ := s.market(asking, op)
		done()
		return s.onTx(ctx, op.Tx, func(e *entry) error { return s.cancel(e, fees) })
	case SpeedUp:
		fees, err := s.market(ctx, op)
		if err != nil {
			return Report{}, err
		}
		return s.onTx(ctx, op.Tx, func(e *entry) error { return s.speedUp(e, fees, true) })
	}
	return Report{}, fmt.Errorf("there is no action %q", op.Action)
}

// releaseUnloaded forgets the last confirmed block of a sender that cannot be
// taken up since its node does not have that block: a chain that was reset and
// is still shorter.
func (s *sender) releaseUnloaded(ctx context.Context) (done bool, err error) {
	loaded, err := ask(ctx, s, func() bool { return s.loadedOK })
	if err != nil || loaded {
		return false, err
	}
	none, number := "", uint64(0)
	var hash common.Hash
	err = s.m.db.Write(ctx, func(w *store.Writer) error {
		return w.UpdateSender(s.id, store.SenderUpdate{Parked: &none, ConfirmedNumber: &number, ConfirmedHash: &hash})
	})
	return err == nil, err
}

type outcomeOf struct {
	report Report
	err    error
}

// onTx acts on a transaction that is in memory.
func (s *sender) onTx(ctx context.Context, id string, act func(*entry) error) (Report, error) {
	answer, err := ask(ctx, s, func() outcomeOf {
		e := s.byTx[id]
		switch {
		case !s.loadedOK:
			return outcomeOf{err: errNotLoaded}
		case e == nil:
			return outcomeOf{err: fmt.Errorf("transaction %s is final: there is nothing to do", id)}
		case e.row.State == store.Mined:
			return outcomeOf{err: fmt.Errorf("transaction %s is mined: there is nothing to do", id)}
		case e.row.State == store.Superseded:
			return outcomeOf{err: fmt.Errorf("transaction %s has a replacement: act on that one", id)}
		}
		if err := act(e); err != nil {
			return outcomeOf{err: err}
		}
		return outcomeOf{report: s.report()}
	})
	if err != nil {
		return Report{}, err
	}
	return answer.report, answer.err
}

var errNotLoaded = errors.New("the sender is not loaded: its node or store does not answer")

// cancel fails a transaction that has not left, and has a self-transfer compete
// with one that has.
func (s *sender) cancel(e *entry, want tx.Fees) error {
	if !e.left {
		s.fail(e, &RefusedError{Code: codeRefused, Msg: "cancelled by an operator before it was sent"})
		return nil
	}
	return s.cancelAttempt(e, want)
}

// mend acts on a sender with a fresh answer of its node.
func (m *Manager) mend(ctx context.Context, s *sender, act func() error) (Report, error) {
	if err := s.freshAccount(ctx); err != nil {
		return Report{}, err
	}
	answer, err := ask(ctx, s, func() outcomeOf {
		if !s.loadedOK {
			return outcomeOf{err: errNotLoaded}
		}
		return outcomeOf{err: act()}
	})
	if err == nil {
		err = answer.err
	}
	if err != nil {
		return Report{}, err
	}
	// What it believes now shows with the node's next answer.
	if err := s.freshAccount(ctx); err != nil {
		return Report{}, err
	}
	return ask(ctx, s, s.report)
}

// market is what a transaction of the sender would have to pay now, or what the
// operator names.
func (s *sender) market(ctx context.Context, op Operation) (tx.Fees, error) {
	if op.Fee != nil || op.Tip != nil {
		f := tx.Fees{MaxFeePerGas: op.Fee, MaxPriorityFeePerGas: op.Tip}
		if f.MaxFeePerGas == nil {
			f.MaxFeePerGas = f.MaxPriorityFeePerGas
		}
		if f.MaxPriorityFeePerGas == nil {
			f.MaxPriorityFeePerGas = f.MaxFeePerGas
		}
		return f, nil
	}
	return s.via().chain.market(ctx)
}
