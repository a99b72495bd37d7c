// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// snapshot is what one discovery left behind. It is never changed once it is
// published, so readers need no lock.
type snapshot struct {
	sorted []Account // by address
	index  map[common.Address]int
}

func newSnapshot(accounts []Account) *snapshot {
	slices.SortFunc(accounts, func(a, b Account) int { return bytes.Compare(a.Address[:], b.Address[:]) })
	s := &snapshot{sorted: accounts, index: make(map[common.Address]int, len(accounts))}
	for i, a := range accounts {
		s.index[a.Address] = i
	}
	return s
}

func (s *snapshot) account(addr common.Address) (Account, bool) {
	i, ok := s.index[addr]
	if !ok {
		return Account{}, false
	}
	return s.sorted[i], true
}

// Accounts returns every known account, usable or not, sorted by address. The
// caller must not change their tags.
func (w *Wallet) Accounts() []Account { return slices.Clone(w.snapshot.Load().sorted) }

// Account returns what is known of an address. The caller must not change its
// tags.
func (w *Wallet) Account(addr common.Address) (Account, bool) {
	return w.snapshot.Load().account(addr)
}

// Usable returns nil if addr may be asked for a signature now, else an
// [*UnknownAccountError] or an [*UnusableError].
func (w *Wallet) Usable(addr common.Address) error {
	_, err := w.usable(addr)
	return err
}

func (w *Wallet) usable(addr common.Address) (Account, error) {
	account, ok := w.Account(addr)
	if !ok {
		return Account{}, &UnknownAccountError{Address: addr}
	}
	if reason := w.unusable(account); reason != "" {
		return Account{}, &UnusableError{Address: addr, Reason: reason}
	}
	return account, nil
}

// unusable says why an account must not sign; empty if it may.
func (w *Wallet) unusable(a Account) string {
	switch {
	case a.State == Missing:
		return "its key was not found in the backend since " + a.Seen.UTC().Format("2006-01-02 15:04:05 MST")
	case a.State != key.Enabled && a.Reason != "":
		return "its key is " + string(a.State) + ": " + a.Reason
	case a.State != key.Enabled:
		return "its key is " + string(a.State)
	case w.cfg.RequireHSM && a.Protection != key.HSM:
		return "require_hsm is set and the protection of its key is " + string(a.Protection)
	}
	return ""
}

// publish makes s what everybody sees.
func (w *Wallet) publish(s *snapshot) {
	w.snapshot.Store(s)
	usable := 0
	for _, a := range s.sorted {
		if w.unusable(a) == "" {
			usable++
		}
	}
	w.cfg.Observer.Accounts(w.cfg.Name, usable, len(s.sorted)-usable)
}

func toRow(wallet string, a Account) store.Account {
	return store.Account{
		Wallet:     wallet,
		Address:    a.Address,
		Ref:        string(a.Ref),
		Name:       a.Name,
		Protection: string(a.Protection),
		State:      string(a.State),
		Reason:     a.Reason,
		Tags:       a.Tags,
		Seen:       a.Seen,
	}
}

func fromRow(r store.Account) Account {
	return Account{
		Address:    r.Address,
		Ref:        key.Ref(r.Ref),
		Name:       r.Name,
		Protection: key.Protection(r.Protection),
		State:      key.State(r.State),
		Reason:     r.Reason,
		Tags:       r.Tags,
		Seen:       r.Seen,
	}
}
