// SPDX-License-Identifier: Apache-2.0

// Package wallet is one configuration of a key backend bound to one chain,
// with its accounts. It discovers the accounts, keeps the last good snapshot
// of them, and is the only caller of [key.Backend].
//
// Every signature passes one function, which authorises, writes the audit
// intent, asks the backend, makes the answer canonical and checks that it
// recovers to the account, and writes the outcome. It guarantees that a
// signature which is not audited, or not by the account's key, never leaves
// this package, and that nobody outside chooses the 32 bytes that are signed:
// they are always the digest of a transaction, of an EIP-191 message, of
// EIP-712 typed data, or of the package's own challenge.
//
// It never holds a private key, assigns no nonces, and talks to no node.
package wallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Snapshots keeps what discovery last found, so that a start does not wait
// for it.
type Snapshots interface {
	// Accounts returns the stored accounts of a wallet; none is no error.
	Accounts(ctx context.Context, wallet string) ([]store.Account, error)
	// SaveAccounts replaces the stored accounts of a wallet.
	SaveAccounts(ctx context.Context, wallet string, accounts []store.Account) error
}

// Observer is told what the wallet does, for metrics. Its methods are called
// on the signing path: they return at once and are safe for concurrent use.
type Observer interface {
	// Signature reports one request to sign: outcome is "ok", "denied by
	// policy", "unusable", "audit", "other" or a [BackendError] kind; d runs
	// from the policy to the recorded outcome.
	Signature(wallet, outcome string, d time.Duration)
	// BackendCall reports one signing call to the backend; several belong to
	// one signature when the backend was busy or away.
	BackendCall(wallet, outcome string, d time.Duration)
	// BackendUp reports what the last health check or discovery showed.
	BackendUp(wallet string, up bool)
	// Accounts reports the size of the snapshot.
	Accounts(wallet string, usable, unusable int)
}

// Config is what a wallet is made of.
type Config struct {
	Name    string        // unique in the deployment; stands in audit rows and metrics
	ChainID *big.Int      // the pinned chain; no transaction for another is signed
	Backend key.Backend   // with its quota, if it has one ([key.Limit]); closed by [Wallet.Close]
	Owner   policy.Owner  // where it stands; its Wallet is Name if it says nothing else
	Policy  policy.Policy // required; [policy.AllowAll] where there are no rules
	// Freeze says what may not be signed now. Nil: nothing is ever frozen.
	Freeze    *freeze.Switch
	Log       audit.Log    // required
	Snapshots Snapshots    // required
	Logger    *slog.Logger // nil discards
	Observer  Observer     // nil discards

	// Discovery lists the keys for several wallets on one backend. It is closed
	// after them. Nil: the wallet has one of its own.
	Discovery *Discovery

	RefreshInterval time.Duration // between discoveries, where Discovery is nil; default 5 min
	SignTimeout     time.Duration // of one backend call; default 10 s
	Concurrency     int           // how many signing calls at once; default 64

	// Include and Exclude are patterns (* and ?) on a key's name, its address
	// (0x…, any case) or a tag written key=value. A key is taken when one of
	// Include matches, or Include is empty, and none of Exclude does.
	Include, Exclude []string
	// RequireHSM refuses every key that the backend does not report as
	// protected by hardware.
	RequireHSM bool
}

// Missing is the state of an account that the last discovery did not find.
const Missing key.State = "missing"

// Account is one account of a wallet.
type Account struct {
	Address    common.Address
	Ref        key.Ref
	Name       string
	Protection key.Protection
	State      key.State // as the backend has it, or [Missing]
	Reason     string    // why it is not enabled
	Tags       map[string]string
	Seen       time.Time // when discovery last found it
}

// Report is what a discovery found.
type Report struct {
	Found    int // keys in the backend that the filters let through
	Added    int // of those, addresses not known before
	Missing  int // known addresses whose key was not found
	Problems []key.Problem
}

// Defaults of Config.
const (
	defaultRefreshInterval = 5 * time.Minute
	defaultSignTimeout     = 10 * time.Second
	defaultConcurrency     = 64
)

// Wallet is safe for concurrent use.
type Wallet struct {
	cfg      Config
	snapshot atomic.Pointer[snapshot]
	problems atomic.Pointer[[]key.Problem]
	ready    atomic.Bool
	listed   atomic.Bool // what a discovery has found was taken

	quota   *key.Quota    // never nil; shared with whoever asks the same service
	slots   chan struct{} // one element for each signing call in progress
	queued  atomic.Int64  // callers who wait for a slot
	waiting atomic.Int64  // callers who wait for a signature, for whatever reason
	breaker *breaker
	stats   stats
	whole   key.TransactionSigner // nil: the backend signs digests

	discovery *Discovery
	taking    sync.Mutex // held while accounts are taken over
	stored    stored     // guarded by taking

	life  context.Context // done when no signing call may begin any more
	end   context.CancelFunc
	close func() error
}

// Open loads the last snapshot and returns; a [Discovery] goes on in the
// background. ctx bounds only the loading. The wallet owns the backend from then
// on; on an error the caller still does.
func Open(ctx context.Context, cfg Config) (*Wallet, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("wallet %s: %w", cfg.Name, err)
	}
	rows, err := cfg.Snapshots.Accounts(ctx, cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("wallet %s: load accounts: %w", cfg.Name, err)
	}
	accounts := make([]Account, 0, len(rows))
	for _, row := range rows {
		// The filters may have changed since the snapshot was taken.
		if a := fromRow(row); cfg.selected(a.Name, a.Address, a.Tags) {
			accounts = append(accounts, a)
		}
	}
	w := &Wallet{slots: make(chan struct{}, cfg.Concurrency), stored: loaded(accounts, len(rows))}
	if cfg.Backend, w.quota = key.Unlimit(cfg.Backend); w.quota == nil {
		w.quota = key.NewQuota(math.Inf(1))
	}
	w.cfg = cfg
	w.whole, _ = cfg.Backend.(key.TransactionSigner)
	w.breaker = &breaker{opened: w.lost, closed: w.regained}
	w.life, w.end = context.WithCancel(context.WithoutCancel(ctx))
	w.close = sync.OnceValue(w.shutDown)
	w.publish(newSnapshot(accounts))
	w.ready.Store(len(accounts) > 0)

	w.discovery = cfg.Discovery
	if w.discovery == nil {
		w.discovery = newDiscovery(DiscoveryConfig{Backend: cfg.Backend, Interval: cfg.RefreshInterval, Logger: cfg.Logger})
	}
	w.discovery.join(w)
	if cfg.Discovery == nil {
		w.discovery.start(context.WithoutCancel(ctx))
	}
	return w, nil
}

// complete checks the configuration and fills its defaults.
func (c *Config) complete() error {
	switch {
	case c.Name == "":
		return errors.New("a name is required")
	case c.ChainID == nil || c.ChainID.Sign() <= 0:
		return errors.New("a chain id above zero is required")
	case c.Backend == nil:
		return errors.New("a key backend is required")
	case c.Policy == nil:
		return errors.New("a policy is required")
	case c.Log == nil:
		return errors.New("an audit log is required")
	case c.Snapshots == nil:
		return errors.New("a store for the accounts is required")
	}
	c.ChainID = new(big.Int).Set(c.ChainID)
	if c.Owner.Wallet == "" {
		c.Owner.Wallet = c.Name
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = unobserved{}
	}
	if c.RefreshInterval <= 0 {
		c.RefreshInterval = defaultRefreshInterval
	}
	if c.SignTimeout <= 0 {
		c.SignTimeout = defaultSignTimeout
	}
	if c.Concurrency <= 0 {
		c.Concurrency = defaultConcurrency
	}
	return nil
}

// Name returns the wallet's name.
func (w *Wallet) Name() string { return w.cfg.Name }

// ChainID returns the chain that the wallet signs for.
func (w *Wallet) ChainID() *big.Int { return new(big.Int).Set(w.cfg.ChainID) }

// Ready reports whether the accounts are known: a snapshot was stored, or the
// first discovery has succeeded.
func (w *Wallet) Ready() bool { return w.ready.Load() }

// Health asks the backend whether it would sign now. An error is a
// [*BackendError].
func (w *Wallet) Health(ctx context.Context) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, w.cfg.SignTimeout)
	defer cancel()
	_, err := guarded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, w.cfg.Backend.Health(ctx)
	})
	w.stats.check(time.Since(started), err)
	w.cfg.Observer.BackendUp(w.cfg.Name, err == nil)
	if err != nil {
		return backendError(err)
	}
	w.breaker.hint()
	return nil
}

// Close refuses new signatures, waits for those in progress (at most the
// timeout of one call), and closes the backend. Further calls return what the
// first did.
func (w *Wallet) Close() error { return w.close() }

func (w *Wallet) shutDown() error {
	w.end()
	if w.cfg.Discovery == nil {
		w.discovery.end()
	}
	w.taking.Lock() // nothing is stored for it from now on
	w.discovery.leave(w)
	w.taking.Unlock()
	patience := time.NewTimer(w.cfg.SignTimeout)
	defer patience.Stop()
	for range cap(w.slots) {
		select {
		case w.slots <- struct{}{}:
			continue
		case <-patience.C:
			w.cfg.Logger.Warn("a key backend still has a signing call in progress at closing")
		}
		break
	}
	if err := w.cfg.Backend.Close(); err != nil {
		return fmt.Errorf("wallet %s: close backend: %w", w.cfg.Name, err)
	}
	return nil
}

// unobserved is the Observer of those who want none.
type unobserved struct{}

func (unobserved) Signature(string, string, time.Duration)   {}
func (unobserved) BackendCall(string, string, time.Duration) {}
func (unobserved) BackendUp(string, bool)                    {}
func (unobserved) Accounts(string, int, int)                 {}
