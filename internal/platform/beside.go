// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// atOnce is for how many services of one lane something is done at a time.
	atOnce = 8
	// gather is how long the loop waits for other answers after one.
	gather = 10 * time.Millisecond
	// stopWithin is how long Run waits at its end for what is being done.
	stopWithin = 10 * time.Second
)

// lane is what services wait for each other by: those of one configuration and
// one node, which can be as slow as those are.
type lane struct{ membership, configuration, node string }

func (r row) lane() lane {
	c, _ := r.data.Details["cloudhsm_id"].(string)
	n, _ := r.data.Details["node_id"].(string)
	return lane{r.Membership, c, n}
}

// crew does what may take its time, beside the loop: one thing at a time for a
// service, and a few for a lane. Whatever a backend, a node or a key service
// keeps waiting, it is the services that use it which wait, and not the loop.
type crew struct {
	wg    sync.WaitGroup
	lanes map[lane]chan struct{} // the loop's
	done  chan struct{}          // one slot: there are answers

	mu      sync.Mutex
	answers []func(now time.Time)
}

func newCrew() *crew { return &crew{lanes: make(map[lane]chan struct{}), done: make(chan struct{}, 1)} }

// start has something done for a service, which must have nothing being done for
// it. The loop calls the answer; there is none if ctx ends first.
func (c *crew) start(ctx context.Context, s *served, do func(context.Context) (answer func(now time.Time))) {
	slots := c.lanes[s.row.lane()]
	if slots == nil {
		slots = make(chan struct{}, atOnce)
		c.lanes[s.row.lane()] = slots
	}
	s.busy = true
	c.wg.Go(func() {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		answer := do(ctx)
		<-slots
		c.mu.Lock()
		c.answers = append(c.answers, func(now time.Time) {
			s.busy = false
			answer(now)
		})
		c.mu.Unlock()
		select {
		case c.done <- struct{}{}:
		default:
		}
	})
}

// heard calls the answers that there are, and reports whether there were any.
func (c *crew) heard(now time.Time) bool {
	c.mu.Lock()
	answers := c.answers
	c.answers = nil
	c.mu.Unlock()
	for _, answer := range answers {
		answer(now)
	}
	return len(answers) > 0
}

// keep drops the lanes of services that are gone.
func (c *crew) keep(services map[string]*served) {
	used := make(map[lane]bool)
	for _, s := range services {
		used[s.row.lane()] = true
	}
	for l := range c.lanes {
		if !used[l] {
			delete(c.lanes, l)
		}
	}
}

// stop waits a while for what is being done, whose ctx has ended.
func (c *crew) stop() {
	ended := make(chan struct{})
	go func() {
		c.wg.Wait()
		close(ended)
	}()
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	}
}

// fill opens the secrets that a service needs, or takes them from memory where
// another service has needed them, and has it run so.
func (k *keeper) fill(ctx context.Context, w wanted) error {
	backend, err := k.backends.get(ctx, w.spec.Backend, func() (config.Details, error) {
		return k.p.detailsOf(ctx, w.configuration, k.p.imposed(w.environment))
	})
	if err != nil {
		return err
	}
	at, err := k.nodes.get(ctx, w.spec.Node, func() (config.Node, error) { return k.p.nodeOf(ctx, w.node) })
	if err != nil {
		return err
	}
	w.spec.Wallet = config.ServiceWallet(w.service, at, backend)
	return k.p.cfg.Runtime.Open(ctx, w.spec)
}

// end closes a service that runs.
func (k *keeper) end(ctx context.Context, id string) {
	if err := k.p.cfg.Runtime.Close(ctx, id); err != nil {
		k.p.cfg.Logger.WarnContext(ctx, "a deleted service was not closed in order", "service", id, "err", err)
	}
}

// takeAway removes a deleted service if it has nothing under way: its row only
// when it is closed.
func (k *keeper) takeAway(ctx context.Context, s *served) {
	r, open := s.row, s.key != ""
	k.crew.start(ctx, s, func(ctx context.Context) func(time.Time) {
		if live, err := k.p.live(ctx, r); err != nil || live > 0 {
			return func(time.Time) {}
		}
		if open {
			k.end(ctx, r.ID)
		}
		err := ctx.Err() // then it may not be closed
		event := eventOf(auth.System, "removed", r, nil)
		if err == nil {
			err = k.p.cfg.Store.Write(ctx, func(w *store.Writer) error {
				if err := w.DeleteResource(r.ID); err != nil {
					return err
				}
				if err := w.DeleteSealedKey(importKeyOf(r.ID)); err != nil {
					return err
				}
				if err := w.DeleteStreamsOf(r.wallet()); err != nil {
					return err
				}
				return w.AuditEvent(event)
			})
		}
		return func(time.Time) {
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				k.p.cfg.Logger.WarnContext(ctx, "a deleted service cannot be removed yet", "service", r.ID, "err", err)
				s.key = "" // it was closed, so it has to be opened again
				return
			}
			delete(k.services, r.ID)
			k.p.record(ctx, auth.Access{Principal: auth.System}, "removed", r, nil)
		}
	})
}
