// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// What is frozen takes no step: it gets no nonce, is not signed, and its bytes do
// not leave, not for the first time and not once more. It keeps its place, so that
// it goes on from there when it is released. A transaction that is not signed ends
// at its caller's deadline, and when it expires, as it would without a freeze;
// one that is signed and stored waits as long as it takes.
//
// Every way to a signature goes through sender.sign, and every way of bytes to a
// node through sender.sendRaw: these two, and the wallet before it asks its backend,
// see to it that nothing leaves. All else is for what comes after.

// codeDenied is the JSON-RPC code of what policy or a freeze refuses (EIP-1474).
const codeDenied = -32003

// place is where a transaction came in.
type place struct {
	keys   *wallet.Wallet // by which it is signed
	wallet string         // as its row says, which may be served no longer
}

// frozen is a *freeze.FrozenError if nothing may be done for e now.
func (s *sender) frozen(e *entry) error {
	return s.m.frozen(place{e.w.keys, e.row.Wallet}, s.addr)
}

func (m *Manager) frozen(p place, addr common.Address) error {
	if err := p.keys.Frozen(addr); err != nil {
		return err
	}
	o := p.keys.Owner()
	if o.Wallet == p.wallet {
		return nil
	}
	o.Wallet, o.Service = p.wallet, ""
	return m.freeze.Check(o, addr)
}

// thaw has all senders look at what may have been frozen or released.
func (m *Manager) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.senders {
		s.post(s.thaw)
	}
}

// thaw goes on with what was held back before it was signed, and calls back what
// is on its way to the node and must not go there any more. That what is signed
// is sent, and what is queued gets its nonce, follows with the round.
func (s *sender) thaw() {
	if s.unsend != nil {
		for _, a := range s.out {
			if s.frozen(a.entry) != nil {
				s.unsend()
				break
			}
		}
	}
	for _, e := range s.byTx {
		a := e.current()
		if a == nil || !a.waits || e.row.State == store.Mined || s.frozen(e) != nil {
			continue
		}
		a.waits = false
		if unsigned, err := a.unsigned(); err != nil {
			s.log.Error("a transaction that was frozen cannot be read", "tx", e.row.ID, "err", err)
		} else {
			s.then(func() { s.sign(a, unsigned) })
		}
	}
}

// sendRaw is the last look before bytes leave.
func (s *sender) sendRaw(ctx context.Context, n *node.Client, places []place, raws [][]byte) []error {
	for _, p := range places {
		if err := s.m.frozen(p, s.addr); err != nil {
			errs := make([]error, len(raws))
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	return n.SendRaw(ctx, raws)
}

// placesOf is where the transactions of a batch came in, each place once.
func (s *sender) placesOf(batch []*attempt) []place {
	var places []place
	for _, a := range batch {
		p := place{a.entry.w.keys, a.entry.row.Wallet}
		if len(places) == 0 || places[len(places)-1] != p {
			places = append(places, p)
		}
	}
	return places
}

// setAside takes back the nonces of frozen transactions of which nothing has left,
// if others wait behind them: those of another wallet that has the account. They
// wait at the head of the queue until they are released. closeHoles has what was
// behind them move down, in order.
func (s *sender) setAside() {
	if s.loadedOK && s.parked == "" && s.stuckBehind() {
		nonces := s.nonces(s.base)
		for i := len(nonces) - 1; i >= 0; i-- {
			n := nonces[i]
			e := s.slots[n]
			if e.left || len(s.older[n]) > 0 {
				return // what is below it has to be mined first
			}
			if s.frozen(e) == nil || e.row.Explicit || e.row.Kind != store.UserTx || e.row.State == store.Held {
				continue
			}
			s.vacate(n)
			s.requeue(e)
			s.queue = append([]*entry{e}, s.queue...)
			s.holes[n] = false
		}
	}
}

// stuckBehind reports whether something that is not frozen waits for something
// that is.
func (s *sender) stuckBehind() bool {
	if s.m.freeze.Idle() {
		return false
	}
	held, loose := false, s.loose() != nil
	for _, sub := range s.subs {
		loose = loose || s.m.frozen(place{sub.w.keys, sub.row.Wallet}, s.addr) == nil
	}
	for _, e := range s.slots {
		switch {
		case e.acked || e.row.State == store.Mined:
		case s.frozen(e) != nil:
			held = held || !e.left
		default:
			loose = true
		}
	}
	return held && loose
}

// frozenGivenUp is why an unsigned transaction of a frozen account is cancelled at
// its deadline; nil if it is not frozen.
func (w *Wallet) frozenGivenUp(addr common.Address) *RefusedError {
	if err := w.keys.Frozen(addr); err != nil {
		return givenUpFrozen(err)
	}
	return nil
}

func givenUpFrozen(err error) *RefusedError {
	if undecided := (*policy.UndecidedError)(nil); errors.As(err, &undecided) {
		return &RefusedError{Code: codeRefused, Msg: "given up unsent: " + undecided.Why}
	}
	return &RefusedError{Code: codeDenied, Msg: err.Error() + " (given up unsent)"}
}

// unsigned is what a is to be the signature of.
func (a *attempt) unsigned() (unsigned *types.Transaction, err error) {
	like := a.entry.utx
	if a.row.Payload != nil {
		if like, err = tx.DecodeUnsigned(a.row.Payload); err != nil {
			return nil, err
		}
	}
	return tx.WithNonce(like, a.row.Nonce), nil
}

// cleared keeps what a transaction is allowed by since it was judged again.
func (s *sender) cleared(e *entry, clearance string) {
	if e.row.Clearance == clearance || s.byTx[e.row.ID] != e {
		return
	}
	e.row.Clearance = clearance
	id := e.row.ID
	s.plan(func(w *store.Writer) error {
		_, err := w.UpdateTx(id, nil, store.TxUpdate{Clearance: &clearance})
		return err
	})
}

// unused tells the policy, once this round is committed, that e is not mined and
// never will be.
func (s *sender) unused(e *entry) {
	id, clearance := e.row.ID, e.row.Clearance
	if clearance != "" {
		s.then(func() { e.w.keys.Settle(id, clearance, policy.Unused) })
	}
}

// unasked is unused of a transaction that has failed, if no backend was asked to
// sign it. Of another the rows are looked at.
func (s *sender) unasked(e *entry) {
	if !e.asked {
		s.unused(e)
	}
}
