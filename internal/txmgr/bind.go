// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// Binding names what [Manager.Bind] binds.
type Binding struct {
	Name       string
	Keys       *wallet.Wallet
	Node       *node.Client // wallets with the same client share all that follows its chain
	ChainID    uint64       // pinned
	Membership string       // default "default"
	Settings   Settings
}

// Bind makes a wallet known, at any time; what the store holds of its senders
// is taken up. It does not wait for the node. Where the name is bound already the
// new wallet takes it over, and the former one serves on until it is unbound by
// [Wallet.Unbind]: so one can take another's place without a request refused.
func (m *Manager) Bind(b Binding) *Wallet {
	if b.Membership == "" {
		b.Membership = "default"
	}
	w := &Wallet{
		m: m, name: b.Name, keys: b.Keys, node: b.Node, membership: b.Membership,
		chainID: new(big.Int).SetUint64(b.ChainID), set: b.Settings.withDefaults(),
		quiet: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancelCause(m.ctx)
	// What is filled in, self-transfers too, has to be something that can be signed.
	w.set.Limits.Legacy = b.Keys.LegacyOnly()
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.chains[b.Node]
	if c == nil {
		c = newChain(m, b.Node)
		m.chains[b.Node] = c
		if m.started && !m.stopping {
			m.wg.Go(c.follow)
		}
	}
	w.chain = c
	c.join(w)
	m.wallets[b.Name] = w
	if m.bound[b.Membership] == nil {
		m.bound[b.Membership] = map[*Wallet]struct{}{}
	}
	m.bound[b.Membership][w] = struct{}{}
	m.lookAround()
	return w
}

// UnboundError refuses a request through a wallet that was unbound. Nothing of
// it was stored.
type UnboundError struct{ Wallet string }

func (e *UnboundError) Error() string {
	return fmt.Sprintf("wallet %s is no longer served here", e.Wallet)
}

// Unwrap is what a front end tells the caller.
func (e *UnboundError) Unwrap() error { return &RefusedError{Code: codeRefused, Msg: e.Error()} }

// Unbind is [Wallet.Unbind] of the wallet with that name. One that is not bound
// is unbound already.
func (m *Manager) Unbind(ctx context.Context, name string) error {
	m.mu.Lock()
	w := m.wallets[name]
	m.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Unbind(ctx)
}

// leaveTime bounds what happens once nobody is waited for any more.
const leaveTime = 10 * time.Second

// Unbind ends a wallet: new requests through it get an *UnboundError. It waits
// for the answers of those under way until ctx is done; who has none then gets
// the hash of what is signed, a *PendingError for what is stored, an
// *UnboundError for the rest. Its senders go on through another wallet of the
// membership that has their account; those that no other wallet serves stop and
// give their leases back. Their rows stay, and are taken up when such a wallet is
// bound again. Afterwards nothing uses the wallet's keys or node on its behalf;
// an error says what still does.
func (w *Wallet) Unbind(ctx context.Context) error {
	m := w.m
	m.mu.Lock()
	if w.unbinding {
		m.mu.Unlock()
		return nil // somebody else does it
	}
	w.unbinding = true
	if m.wallets[w.name] == w {
		delete(m.wallets, w.name)
	}
	if w.callers == 0 {
		close(w.quiet)
	}
	m.mu.Unlock()

	select {
	case <-w.quiet:
	case <-ctx.Done():
	}
	// Not before: a sender whose own wallet ends meanwhile goes on through this one,
	// for the callers who are waited for.
	m.mu.Lock()
	delete(m.bound[w.membership], w)
	if len(m.bound[w.membership]) == 0 {
		delete(m.bound, w.membership)
	}
	m.mu.Unlock()
	w.cancel(&UnboundError{w.name})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	for _, s := range m.sendersIn(w.membership) {
		if err := s.quit(ctx, w); err != nil {
			return fmt.Errorf("txmgr: unbind wallet %s: sender %s still works through it: %w", w.name, s.id, err)
		}
	}
	select {
	case <-w.quiet:
	case <-ctx.Done():
		return fmt.Errorf("txmgr: unbind wallet %s: a caller is still under way: %w", w.name, ctx.Err())
	}
	if c := m.part(w); c != nil {
		c.cancel()
		select {
		case <-c.ended:
		case <-ctx.Done():
			return fmt.Errorf("txmgr: unbind wallet %s: its node is still followed: %w", w.name, ctx.Err())
		}
	}
	return nil
}

// part takes the wallet from its chain. What it returns is the chain if that
// serves no other, and has to end.
func (m *Manager) part(w *Wallet) *chain {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := w.chain
	if c.part(w) > 0 {
		return nil
	}
	delete(m.chains, c.node)
	if !m.started || m.stopping {
		c.cancel()
		return nil // nobody follows it, or Stop ends it
	}
	return c
}

// sendersIn lists the senders of a membership that are at work.
func (m *Manager) sendersIn(membership string) []*sender {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*sender
	for _, s := range m.senders {
		if s.membership == membership {
			list = append(list, s)
		}
	}
	return list
}

// over is why nothing may be done through the wallet any more.
func (w *Wallet) over() error {
	if w.m.ctx.Err() == nil && w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return errStopping
}

// enter counts a caller whom Unbind waits for. The context ends with the wallet.
func (w *Wallet) enter(ctx context.Context) (context.Context, func(), error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err := w.admit(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(w.ctx, cancel)
	return ctx, func() { stop(); cancel(); w.left() }, nil
}

// enterWork is enter for what Stop waits for too, and what watches the wallet's
// context by itself.
func (w *Wallet) enterWork() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.m.stopping {
		return errStopping
	}
	if err := w.admit(); err != nil {
		return err
	}
	w.m.wg.Add(1)
	return nil
}

func (w *Wallet) leftWork() {
	w.left()
	w.m.wg.Done()
}

func (w *Wallet) admit() error {
	if w.unbinding {
		return &UnboundError{w.name}
	}
	w.callers++
	return nil
}

func (w *Wallet) left() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.callers--; w.callers == 0 && w.unbinding {
		close(w.quiet)
	}
}

// Owns reports whether an account of any wallet of this wallet's membership has
// this address. Of other memberships nobody here can see anything.
func (w *Wallet) Owns(addr common.Address) bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for other := range w.m.bound[w.membership] {
		if _, ok := other.keys.Account(addr); ok {
			return true
		}
	}
	return false
}
