// SPDX-License-Identifier: Apache-2.0

// Package fleet is the wallets that run in this process: those of the config file
// and the services of the management API, opened, changed and closed while others
// serve.
//
// It guarantees that what several wallets have in common exists once: a node's
// client for each node, a key backend and its discovery for each configuration;
// and that nothing else is common, so that a backend or node which hangs is felt
// by its own wallets only. A credential is replaced, and a wallet changed, without
// a request failing for it. Opening waits for no backend and no node, and idle
// wallets have no goroutine of their own.
//
// It never decides who may open what, and it knows no provider: what opens a
// backend is given to it. It holds no keys and stores nothing itself.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// ErrNotRunning says that no wallet of that name runs in this process.
var ErrNotRunning = errors.New("the wallet does not run in this process")

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Version names a configuration or a node, and the version of its credentials.
type Version struct{ ID, Version string }

// Spec is all that a wallet needs to run.
type Spec struct {
	// Wallet is its settings, node and backend. The Name is the wallet's in store,
	// txmgr, audit and metrics: a service's id, or what the config file says.
	Wallet config.Wallet
	// ID is the id of the service; it finds the wallet beside its name.
	ID          string
	Consortium  string // where it stands, by id; empty for the wallets of the config file
	Membership  string // whose it is, by id
	Environment string
	// Backend and Node say with whom the wallet shares them: with all whose ID is
	// the same. Without an ID it shares with nobody.
	Backend, Node Version
	Resets        uint64 // when it rises, backend and node are connected anew
	Draining      bool   // takes nothing new and finishes what it has
	Dial          Dial   // how node and backend are reached; nil: directly
}

// Backend is a key backend as it was opened, with the quotas that it is asked
// within; nil: none.
type Backend struct {
	key.Backend
	Signs, Reads *key.Quota // Signs is not yet in force: see key.Limit
}

// Opening is what a backend is opened by.
type Opening struct {
	Details    config.Details
	Membership string // whose quota it is asked within
	Dial       Dial   // nil: directly
	Logger     *slog.Logger
}

// Metrics is told of the wallets. Its methods return at once and are safe for
// concurrent use. *metrics.Registry is one.
type Metrics interface {
	keywallet.Observer
	WatchBackend(wallet string, status func() keywallet.Status)
	WatchNode(wallet string, stats func() node.Stats)
	WatchEndpoints(wallet string, endpoints func() []node.EndpointStatus)
	Forget(wallet string) // takes all of a wallet away
}

// Config is what a [Fleet] is made of.
type Config struct {
	Store   *store.DB
	Manager *txmgr.Manager
	// Open opens a backend and asks nothing of the provider yet. An error is a
	// mistake in the details.
	Open func(ctx context.Context, o Opening) (Backend, error)
	// Operator is the membership whose senders are the operator's own, as they
	// were before there were memberships.
	Operator    string
	Policy      policy.Policy  // nil: everything is allowed
	Freeze      *freeze.Switch // nil: nothing is ever frozen
	SendTimeout time.Duration  // how long a caller waits for a transaction's outcome
	Metrics     Metrics        // nil: none
	Logger      *slog.Logger   // nil discards
}

// Fleet is safe for concurrent use.
type Fleet struct {
	cfg    Config
	ctx    context.Context // of what goes on beside the calls
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// mu guards what follows and is never held while anything is opened or asked.
	mu       sync.Mutex
	closing  bool
	wallets  map[string]*Wallet // by name
	ids      map[string]*Wallet // by id
	sources  map[string]*source // by the configuration's id: the newest
	links    map[Version]*link  // by the node's version: the newest
	replicas int                // among which quotas are divided
	opened   func(*Wallet) error
	closed   func(*Wallet) <-chan struct{}
}

// New makes a fleet without wallets.
func New(cfg Config) *Fleet {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Policy == nil {
		cfg.Policy = policy.AllowAll{}
	}
	f := &Fleet{
		cfg: cfg, replicas: 1,
		wallets: map[string]*Wallet{}, ids: map[string]*Wallet{}, sources: map[string]*source{}, links: map[Version]*link{},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Serving shows the wallets to a door: opened is called for each that takes
// requests, now and from now on, and again when it takes them in another way;
// closed when it takes none any more, before anything of it ends. The channel that
// closed returns, if any, is closed when the door has nothing of the wallet under
// way. Serving returns the first error of opened.
func (f *Fleet) Serving(opened func(*Wallet) error, closed func(*Wallet) <-chan struct{}) error {
	f.mu.Lock()
	f.opened, f.closed = opened, closed
	f.mu.Unlock()
	for _, w := range f.Wallets() {
		w.op.Lock()
		err := w.show()
		w.op.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Open starts a wallet, or changes the one that runs under the name so that it is
// as spec says. It returns as soon as spec is checked: Status tells what becomes
// of it. An error is a mistake in spec, and leaves what ran as it was.
func (f *Fleet) Open(ctx context.Context, spec Spec) error {
	for {
		w, err := f.place(spec)
		if err != nil {
			return err
		}
		again, err := w.open(ctx, spec)
		if !again {
			return err
		}
	}
}

// place finds the wallet called so, or makes one that is not open yet.
func (f *Fleet) place(spec Spec) (*Wallet, error) {
	name := spec.Wallet.Name
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil, errors.New("the signer is stopping")
	}
	if w := f.wallets[name]; w != nil {
		return w, nil
	}
	if other := f.find(name); other != nil {
		return nil, fmt.Errorf("wallet %s: the name is another wallet's id", name)
	}
	if spec.ID != "" && spec.ID != name && f.find(spec.ID) != nil {
		return nil, fmt.Errorf("wallet %s: its id %s is another wallet's", name, spec.ID)
	}
	w := &Wallet{fleet: f, name: name, id: spec.ID, log: f.cfg.Logger.With("wallet", name)}
	f.wallets[name] = w
	if spec.ID != "" {
		f.ids[spec.ID] = w
	}
	return w, nil
}

// forget takes a wallet off the lists.
func (f *Fleet) forget(w *Wallet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wallets[w.name] == w {
		delete(f.wallets, w.name)
	}
	if f.ids[w.id] == w {
		delete(f.ids, w.id)
	}
}

// find returns the wallet with a name or id; nil if there is none. f.mu is held.
func (f *Fleet) find(name string) *Wallet {
	if w := f.wallets[name]; w != nil {
		return w
	}
	return f.ids[name]
}

// Wallet finds a wallet by its name or its id; nil if there is none.
func (f *Fleet) Wallet(name string) *Wallet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.find(name); w != nil && w.live.Load() != nil {
		return w
	}
	return nil
}

// Wallets returns those that run, by name.
func (f *Fleet) Wallets() []*Wallet {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*Wallet, 0, len(f.wallets))
	for _, w := range f.wallets {
		if w.live.Load() != nil {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *Wallet) int { return strings.Compare(a.name, b.name) })
	return list
}

// Close ends a wallet: it takes nothing new, and those under way are waited for
// until ctx is done, but no longer than half a minute. What is stored and unfinished stays in the rows.
func (f *Fleet) Close(ctx context.Context, name string) error {
	w := f.Wallet(name)
	if w == nil {
		return fmt.Errorf("%s: %w", name, ErrNotRunning)
	}
	return w.close(ctx)
}

// Share divides what the backends allow among n replicas.
func (f *Fleet) Share(n int) {
	f.mu.Lock()
	f.replicas = n
	var sources []*source
	for _, w := range f.wallets {
		if b := w.live.Load(); b != nil {
			sources = append(sources, b.source)
		}
	}
	f.mu.Unlock()
	for _, s := range sources {
		s.share(n)
	}
}

// Shutdown closes all wallets, once the manager has stopped. It opens none after
// that.
func (f *Fleet) Shutdown() error {
	f.mu.Lock()
	f.closing = true
	list := make([]*Wallet, 0, len(f.wallets))
	for _, w := range f.wallets {
		list = append(list, w)
	}
	f.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, w := range list {
		wg.Go(func() {
			if err := w.drop(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	f.cancel()
	f.wg.Wait()
	return errors.Join(errs...)
}
