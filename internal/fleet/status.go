// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"time"

	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// Dependency is how something outside of this process is.
type Dependency struct {
	OK      bool
	Err     error     // why not; nil while nothing is known. As package wallet or node returned it
	Checked time.Time // zero: not yet
}

// Status is how a wallet does. All of it is about the spec that was opened last.
type Status struct {
	Accounts int // known
	Usable   int // of those, that would sign
	Ready    bool
	Listed   bool // the backend's keys were listed once, with the credentials of the spec
	Verified bool // the node has shown once that it is on the pinned chain
	Backend  Dependency
	Node     Dependency
	// Discovery is how far the listing of the backend's keys is.
	Discovery keywallet.Progress
}

// Status says how the wallet does. It makes no call; false if it is closed.
func (w *Wallet) Status() (Status, bool) {
	b := w.live.Load()
	if b == nil {
		return Status{}, false
	}
	var s Status
	if next := w.later.Load(); next == nil || next.source == b.source {
		s.Listed, s.Backend = b.source.status(b.keys)
	} else {
		s.Backend = next.source.pending()
	}
	// After that: what was listed is counted.
	for _, a := range b.keys.Accounts() {
		s.Accounts++
		if b.keys.Usable(a.Address) == nil {
			s.Usable++
		}
	}
	s.Discovery = b.keys.Progress()
	s.Verified, s.Node = w.wanted().link.status()
	s.Ready = s.Usable > 0 && s.Backend.OK && s.Node.OK && !b.spec.Draining
	return s, true
}

// Errors of HasKeys.
var (
	ErrDiscovering = errors.New("keys are still being discovered")
	ErrNoKeys      = errors.New("no usable key was found")
)

// HasKeys returns nil if an account of the wallet can sign.
func (w *Wallet) HasKeys(context.Context) error {
	b := w.live.Load()
	switch {
	case b == nil:
		return ErrNotRunning
	case !b.keys.Ready():
		return ErrDiscovering
	case len(w.Accounts()) == 0:
		return ErrNoKeys
	}
	return nil
}

// BackendHealth asks the key backend whether it would sign now. An error is a
// *wallet.BackendError.
func (w *Wallet) BackendHealth(ctx context.Context) error {
	b := w.live.Load()
	if b == nil {
		return ErrNotRunning
	}
	return b.keys.Health(ctx)
}

// NodeHealth asks the node whether it answers and serves the pinned chain.
func (w *Wallet) NodeHealth(ctx context.Context) error {
	b := w.live.Load()
	if b == nil {
		return ErrNotRunning
	}
	return b.link.client.Health(ctx)
}

// Refresh lists the backend's keys now.
func (w *Wallet) Refresh(ctx context.Context) (keywallet.Report, error) {
	return via(w, func(b *binding) (keywallet.Report, error) { return b.keys.Refresh(ctx) })
}

// Reload takes over the accounts that another process has stored.
func (w *Wallet) Reload(ctx context.Context) error {
	_, err := via(w, func(b *binding) (struct{}, error) { return struct{}{}, b.keys.Reload(ctx) })
	return err
}
