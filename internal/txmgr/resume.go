// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// lookAround has the unfinished work in the store looked at again.
func (m *Manager) lookAround() {
	select {
	case m.served <- struct{}{}:
	default:
	}
}

// resume takes up every sender that has unfinished rows, at the start and
// whenever a wallet is bound or a node says which chain it is. It tries on while
// one may yet find its wallet.
func (m *Manager) resume() {
	told := map[string]bool{}
	for wait := time.Duration(0); ; {
		ids, err := m.db.SendersWithWork(m.ctx)
		if err != nil && m.ctx.Err() == nil {
			m.log.Error("cannot list unfinished transactions", "err", err)
		}
		again := time.After(time.Hour)
		if err != nil || !m.resumeAll(m.notAtWork(ids), told) {
			wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
			again = time.After(wait)
		}
		select {
		case <-m.ctx.Done():
			return
		case <-again:
		case <-m.served:
			wait = 0
			if !sleep(m.ctx, 20*time.Millisecond) { // a thousand are bound in a row
				return
			}
		}
	}
}

// notAtWork leaves those out that are run here.
func (m *Manager) notAtWork(ids []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	here := make(map[string]bool, len(m.senders))
	for k := range m.senders {
		here[k.id] = true
	}
	var rest []string
	for _, id := range ids {
		if !here[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

// resumeAll reports whether every sender named has found its wallet and node.
// told are those of whom the log knows that no wallet serves them.
func (m *Manager) resumeAll(ids []string, told map[string]bool) bool {
	all := true
	for _, id := range ids {
		row, err := m.db.Sender(m.ctx, id)
		if err != nil {
			all = false
			continue
		}
		m.mu.Lock()
		w, perhaps := m.walletOf(row)
		m.mu.Unlock()
		switch {
		case w != nil:
			delete(told, id)
			if _, err := m.sender(w, row); err != nil {
				m.log.Warn("unfinished transactions cannot be taken up", "sender", id, "err", err)
			}
		case perhaps:
			all = false
		case !told[id]:
			// No wallet here has its chain any more (a development chain that was
			// reset, a wallet that was taken away): the rows stay as they are.
			told[id] = true
			m.log.Warn("unfinished transactions of a sender that no wallet serves", "sender", id)
		}
	}
	return all
}

// walletOf finds a wallet that serves the sender's chain and has its account:
// of several the one with the first name, and one that is being unbound only if
// there is no other. perhaps says that one may turn out to:
// its node has not said yet which chain it is, or its keys are not discovered.
// m.mu is held.
func (m *Manager) walletOf(row store.Sender) (found *Wallet, perhaps bool) {
	for w := range m.bound[row.Membership] {
		if w.chainID.Uint64() != row.ChainID || w.node.Instance() != row.Instance {
			continue
		}
		id := w.chain.id.Load()
		if id != nil && id.Genesis != row.Genesis {
			continue
		}
		perhaps = true
		if id == nil || found != nil && !w.before(found) {
			continue
		}
		if _, ok := w.keys.Account(row.Address); ok {
			found = w
		}
	}
	return found, perhaps
}

// before says which of two wallets that could serve a sender does. m.mu is held.
func (w *Wallet) before(other *Wallet) bool {
	if w.unbinding != other.unbinding {
		return other.unbinding
	}
	return w.name < other.name
}
