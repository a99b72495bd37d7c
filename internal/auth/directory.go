// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	lookEvery = 500 * time.Millisecond // for changes that other replicas made
	lookTime  = 5 * time.Second        // one look may take
)

// DirectoryConfig says what a [Directory] checks against.
type DirectoryConfig struct {
	Store    *store.DB
	Verifier *Verifier
	People   People // who has signed in elsewhere; nil: nobody
	Guard    *Guard // nil: one of its own, whose Run the directory's does
	// Secure says that people reach the admin listener by https, so that their
	// cookies may go over nothing else.
	Secure  bool
	Session time.Duration // how long a sign-in lasts; default 8h
	// ScopeOf says to which membership and environment the service at a path of
	// the RPC door belongs, empty if there is none; nil: nobody knows.
	ScopeOf func(path string) (membership, environment string)
	// Rules stands for how people come to what they may do. A session that was
	// begun under others is none.
	Rules  string
	Limits Limits // zero: none
	// Record puts an event on the audit trail, and returns once it is there; nil: to
	// the log. A sign-in that cannot be put on record does not happen.
	Record func(context.Context, Event) error
	Logger *slog.Logger // nil: silent
}

// Limits are how many requests per second are taken, and at once after a pause
// of a second. Zero is no limit.
type Limits struct {
	Credential int // of one app credential, or one API key
	Membership int // of all app credentials and API keys of a membership together
}

// People vouches for people: package oidc.
type People interface {
	// Identify checks a token that a person has from the identity provider.
	// ErrCredentials if it is not good, ErrUnavailable if that cannot be told.
	Identify(ctx context.Context, token string) (Person, error)
}

// Person is somebody whom the identity provider knows.
type Person struct {
	Subject string // stable, and unique at the provider
	Name    string // for people
	Grants  []Grant
}

func (p Person) access() Access {
	return Access{Principal: Principal{Name: "person:" + p.Subject}, Grants: p.Grants}
}

// Directory knows who may come in: app credentials, identities of client
// certificates, API keys and people's sessions.
//
// It holds all live credentials in memory, so that checking one costs no read of
// the database. A credential that is revoked stops working when Changed returns
// on the replica that revoked it, and on the others within a second after that:
// no later than two, as long as they reach the database. One that does not reach
// it goes on with what it knew; it cannot sign then either, since no audit
// intent can be written. Sessions are looked up in the database.
//
// All methods are safe for concurrent use.
type Directory struct {
	cfg      DirectoryConfig
	log      *slog.Logger
	guard    *Guard
	ownGuard bool
	start    time.Time
	now      atomic.Pointer[snapshot]
	nobody   *credential // stands in for one that is not there, and takes as long
	noKey    *apiKey

	asked   atomic.Int64 // calls of Changed
	loading sync.Mutex
	covered int64 // those that the last load came after; with loading held
	away    bool  // the store did not answer last time; with loading held

	mu      sync.Mutex
	revoked func(Principal)
}

// NewDirectory reads the live credentials. Run keeps it up to date.
func NewDirectory(ctx context.Context, cfg DirectoryConfig) (*Directory, error) {
	if cfg.Store == nil || cfg.Verifier == nil {
		return nil, errors.New("auth: a directory needs a store and a verifier")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Record == nil {
		write := LogEvents(cfg.Logger)
		cfg.Record = func(ctx context.Context, e Event) error { write(ctx, e); return nil }
	}
	if cfg.Session <= 0 {
		cfg.Session = 8 * time.Hour
	}
	d := &Directory{cfg: cfg, log: cfg.Logger, guard: cfg.Guard, start: time.Now()}
	if d.guard == nil {
		d.guard, d.ownGuard = NewGuard(d.tried, nil), true
	}
	hash := cfg.Verifier.Hash("nothing", "", NewSecret()) // which no secret has
	d.nobody, d.noKey = &credential{hash: hash}, &apiKey{hash: hash}
	d.now.Store(new(snapshot))
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// OnRevoke sets what is told of each principal whose credential has stopped
// being valid: deleted, or given another secret or scope. It is called after
// that took effect, from the goroutines of Changed and Run, and must not block
// nor call Changed. What was checked just before and is still on its way (an
// upgrade to a WebSocket) is for the door to check again.
func (d *Directory) OnRevoke(f func(Principal)) {
	d.mu.Lock()
	d.revoked = f
	d.mu.Unlock()
}

// Guard is what slows those who guess.
func (d *Directory) Guard() *Guard { return d.guard }

// Run looks for changes until ctx ends.
func (d *Directory) Run(ctx context.Context) {
	var guard sync.WaitGroup
	defer guard.Wait()
	if d.ownGuard {
		guard.Go(func() { d.guard.Run(ctx) })
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look loads if something has changed.
func (d *Directory) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	asked := d.asked.Load()
	d.loading.Lock()
	defer d.loading.Unlock()
	version, err := d.cfg.Store.ResourceVersion(ctx)
	if err == nil && version == d.now.Load().version && d.covered >= asked {
		d.reached(nil)
		return
	}
	if err == nil {
		err = d.load(ctx)
	}
	if err == nil {
		d.covered = max(d.covered, asked)
	}
	d.reached(err)
}

// Changed loads the credentials now: to be called when one of them was made,
// changed or deleted here. When it returns, the change has taken effect, unless
// the store did not answer, which is logged and tried again by Run. Callers who
// come together share a load.
func (d *Directory) Changed() {
	asked := d.asked.Add(1)
	d.loading.Lock()
	defer d.loading.Unlock()
	if d.covered >= asked {
		return
	}
	covers := d.asked.Load()
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	err := d.load(ctx)
	if err == nil {
		d.covered = covers
	}
	d.reached(err)
}

// reached says once that the store does not answer, and once that it does again.
func (d *Directory) reached(err error) {
	switch {
	case err != nil && !d.away && !errors.Is(err, context.Canceled):
		d.away = true
		d.log.Warn("credentials cannot be read; going on with those that are known", "err", err)
	case err == nil && d.away:
		d.away = false
		d.log.Info("credentials are read again")
	}
}

// load reads all live credentials and tells of those that are gone.
func (d *Directory) load(ctx context.Context) error {
	was := d.now.Load()
	is, err := readSnapshot(ctx, d.cfg.Store, d.cfg.Verifier, was)
	if err != nil {
		return err
	}
	d.now.Store(is)
	for p := range is.bad {
		if !was.bad[p] { // each is said once
			d.log.Error("a stored credential cannot be used", "id", p.id, "reason", p.reason)
		}
	}
	for _, who := range was.goneIn(is) {
		d.tried(ctx, Event{At: time.Now(), Kind: Revoked, Who: who.Name, Count: 1})
		d.tell(who)
	}
	return nil
}

// tried records what has happened already, whether it can be put on record or
// not.
func (d *Directory) tried(ctx context.Context, e Event) {
	if err := d.cfg.Record(ctx, e); err != nil {
		d.log.ErrorContext(ctx, "an event cannot be put on record", "event", string(e.Kind), "err", err)
	}
}

func (d *Directory) tell(who Principal) {
	d.mu.Lock()
	f := d.revoked
	d.mu.Unlock()
	if f != nil {
		f(who)
	}
}

// clock is monotonic: a clock that is set changes no limit.
func (d *Directory) clock() int64 { return int64(time.Since(d.start)) }
