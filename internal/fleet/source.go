// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// source is a key backend and the wallets that use it: all of one configuration,
// or a single one.
type source struct {
	fleet     *Fleet
	id        string // of the configuration; empty: a wallet's own
	structure string // what cannot be changed under its wallets
	users     int    // guarded by Fleet.mu
	log       *slog.Logger
	opening   Opening

	opened    chan struct{} // closed when what follows is set
	err       error
	shared    *key.Shared
	hold      key.Backend // ours, for as long as the source exists
	signs     *key.Quota
	discovery *keywallet.Discovery // nil: each wallet has its own

	asking sync.Once
	proven chan struct{} // closed when it has said once that it would work
	closed chan struct{} // closed when nobody uses it any more

	mu       sync.Mutex
	reads    *key.Quota
	replicas int    // among which quotas are divided
	wanted   string // version of the credentials that are to be used
	since    time.Time
	waiting  bool  // they are not in use yet
	failure  error // why
	checked  time.Time
	rotation context.CancelFunc // ends the one under way
	rotated  chan struct{}      // closed when it has ended
}

const (
	patience    = 30 * time.Second // for calls on a backend that was replaced
	askTimeout  = 10 * time.Second // for a new credential to show that it works
	rotatePause = 30 * time.Second // the longest between two tries to use it
)

// source gives the backend that spec wants, which release gives back. One with
// other credentials that is in use already is changed: its wallets go over to the
// new ones as soon as those work.
func (f *Fleet) source(ctx context.Context, spec Spec, log *slog.Logger) (*source, error) {
	structure := structureOf(spec)
	f.mu.Lock()
	s := f.sources[spec.Backend.ID]
	if s == nil || spec.Backend.ID == "" || s.structure != structure {
		return f.newSource(ctx, spec, structure, log) // unlocks
	}
	s.users++
	f.mu.Unlock()
	select {
	case <-s.opened:
	case <-ctx.Done():
		f.releaseSource(s)
		return nil, ctx.Err()
	}
	err := s.err
	if err == nil {
		err = s.use(ctx, spec.Backend.Version, spec.Wallet.Details, false)
	}
	if err != nil {
		f.releaseSource(s)
		return nil, err
	}
	return s, nil
}

// newSource opens a backend. It is called with f.mu held, and unlocks it.
func (f *Fleet) newSource(ctx context.Context, spec Spec, structure string, log *slog.Logger) (*source, error) {
	s := &source{
		fleet: f, id: spec.Backend.ID, structure: structure, users: 1, log: log, opened: make(chan struct{}), wanted: spec.Backend.Version,
		proven: make(chan struct{}), closed: make(chan struct{}),
		opening: Opening{Details: spec.Wallet.Details, Membership: spec.Membership, Dial: spec.Dial, Logger: log},
	}
	if s.id != "" {
		s.log = f.cfg.Logger.With("configuration", s.id)
		s.opening.Logger = s.log
		f.sources[s.id] = s
	}
	n := f.replicas
	f.mu.Unlock()
	s.err = s.open(ctx, spec.Wallet.Refresh)
	close(s.opened)
	if s.err != nil {
		f.releaseSource(s)
		return nil, s.err
	}
	s.share(n)
	return s, nil
}

func (s *source) open(ctx context.Context, interval time.Duration) error {
	b, err := s.fleet.cfg.Open(ctx, s.opening)
	if err != nil {
		return err
	}
	s.signs, s.reads = b.Signs, b.Reads
	s.shared = key.NewShared(b.Backend, patience)
	s.since = time.Now()
	if s.hold, err = s.shared.Hold(); err != nil || s.id == "" {
		return err
	}
	listed, err := s.shared.Hold()
	if err != nil {
		return errors.Join(err, s.hold.Close())
	}
	s.discovery = keywallet.NewDiscovery(keywallet.DiscoveryConfig{Backend: listed, Interval: interval, Logger: s.log})
	return nil
}

// backend is a wallet's hold on it, within the quota of signatures.
func (s *source) backend() (key.Backend, error) {
	b, err := s.shared.Hold()
	if err != nil || s.signs == nil {
		return b, err
	}
	return key.Limit(b, s.signs), nil
}

// use has the credentials of details used from now on, if they are not those that
// are wanted already, or if it is to be connected anew. It returns once the
// backend is opened with them; that they work is seen beside.
func (s *source) use(ctx context.Context, version string, details config.Details, anew bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == s.wanted && !anew {
		return nil
	}
	opening := s.opening
	opening.Details = details
	next, err := s.fleet.cfg.Open(ctx, opening)
	if err != nil {
		return err
	}
	// What holds back the signatures stays; what is read is counted anew, if these
	// credentials are of another account.
	s.reads = next.Reads
	s.reads.Share(s.replicas)
	s.opening, s.wanted = opening, version
	s.waiting, s.failure, s.checked = true, nil, time.Time{}
	before, ended := s.rotated, make(chan struct{})
	if s.rotation != nil {
		s.rotation()
	}
	rotation, cancel := context.WithCancel(s.fleet.ctx)
	s.rotation, s.rotated = cancel, ended
	settled := s.shared.Expect()
	s.fleet.wg.Go(func() {
		defer close(ended)
		defer cancel()
		defer settled()
		if before != nil {
			<-before
		}
		s.rotate(rotation, next.Backend, settled)
	})
	return nil
}

// rotate lets next take over as soon as it works. settled is called when that was
// tried once.
func (s *source) rotate(ctx context.Context, next key.Backend, settled func()) {
	for wait := time.Second; ; wait = min(2*wait, rotatePause) {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		err := s.shared.Replace(asking, next)
		cancel()
		settled()
		if ctx.Err() != nil && err != nil {
			break
		}
		s.mu.Lock()
		s.waiting, s.failure, s.checked = err != nil, err, time.Now()
		if err == nil {
			s.since = time.Now()
		}
		s.mu.Unlock()
		if err == nil {
			s.log.Info("key backend connected anew")
			return
		}
		s.log.Warn("the new credentials of a key backend do not work; the old ones stay in use", "err", err, "retry_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			continue
		}
		break
	}
	if err := next.Close(); err != nil {
		s.log.Warn("cannot close a key backend", "err", err)
	}
}

func (s *source) share(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicas = n
	s.signs.Share(n)
	s.reads.Share(n)
}

// releaseSource closes the backend once nobody uses it. It does not wait for more
// than calls under way.
func (f *Fleet) releaseSource(s *source) {
	f.mu.Lock()
	s.users--
	last := s.users == 0
	if last && f.sources[s.id] == s {
		delete(f.sources, s.id)
	}
	f.mu.Unlock()
	if !last || s.err != nil && s.shared == nil {
		return
	}
	close(s.closed)
	s.mu.Lock()
	rotated := s.rotated
	if s.rotation != nil {
		s.rotation()
	}
	s.mu.Unlock()
	if rotated != nil {
		<-rotated
	}
	var errs []error
	if s.discovery != nil {
		errs = append(errs, s.discovery.Close())
	}
	if s.hold != nil {
		errs = append(errs, s.hold.Close())
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("cannot close a key backend", "err", err)
	}
}

// shown reports whether the backend has said once that it would work.
func (s *source) shown() bool {
	select {
	case <-s.proven:
		return true
	default:
		return false
	}
}

// show has the backend asked until it says that it would work.
func (s *source) show() {
	s.asking.Do(func() {
		s.fleet.wg.Go(func() {
			for wait := time.Second; !s.answers(); wait = min(2*wait, rotatePause) {
				select {
				case <-time.After(wait):
				case <-s.closed:
					return
				case <-s.fleet.ctx.Done():
					return
				}
			}
			close(s.proven)
		})
	})
}

func (s *source) answers() bool {
	ctx, cancel := context.WithTimeout(s.fleet.ctx, askTimeout)
	defer cancel()
	err := s.hold.Health(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting, s.failure, s.checked = err != nil, err, time.Now()
	return err == nil
}

// pending is why the backend is not in use yet.
func (s *source) pending() Dependency {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Dependency{Err: s.failure, Checked: s.checked}
}

// status is how the backend was when a wallet last heard of it. listed says that
// its keys were listed with the credentials that are wanted.
func (s *source) status(w *keywallet.Wallet) (listed bool, d Dependency) {
	is := w.Status()
	found := is.Discovery
	s.mu.Lock()
	waiting, failure, checked, since := s.waiting, s.failure, s.checked, s.since
	s.mu.Unlock()
	if waiting {
		return false, Dependency{Err: failure, Checked: checked}
	}
	listed = !found.Finished.IsZero() && !found.Finished.Add(-found.Took).Before(since)
	d = Dependency{OK: listed && found.Err == nil, Err: found.Err, Checked: latest(found.Finished, is.LastSuccess, is.LastFailure)}
	switch {
	case is.Breaker != keywallet.BreakerClosed:
		d.OK = false
		if is.LastError != nil {
			d.Err = is.LastError
		}
	case is.LastError != nil && is.LastFailure.After(found.Finished) && is.LastFailure.After(is.LastSuccess) && is.LastError.Transient():
		d.OK, d.Err = false, is.LastError
	case !listed && found.Err == nil && found.Running && time.Since(found.Started) > askTimeout && found.Pages == 0:
		d.Err = fmt.Errorf("no answer since %s: %w", found.Started.UTC().Format(time.TimeOnly), context.DeadlineExceeded)
		d.Checked = time.Now()
	}
	return listed, d
}

func latest(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// structureOf is everything about a backend but what proves who we are: where it
// differs, another backend is meant.
func structureOf(spec Spec) string {
	return fmt.Sprintf("%s %s %s", spec.Membership, spec.Wallet.Refresh, spec.Wallet.Details.Backend())
}
