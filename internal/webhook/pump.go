// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// ahead is how many events are read at a time.
	ahead = 64
	// maxPause bounds how long a receiver that fails is left alone for the sake
	// of one event; it may ask for more by Retry-After.
	maxPause      = time.Minute
	maxRetryAfter = 24 * time.Hour
)

// pump delivers the events of one hook. Its receiver may be slow, or gone:
// nobody else waits for it.
type pump struct {
	h      *Hooks
	hook   Hook
	key    string
	client *http.Client
	kick   chan struct{}

	// Of run's goroutine:
	queue    []store.Event
	inFlight map[string]bool
	done     chan ended
	failures int       // in a row
	paused   time.Time // until then nothing is tried
}

// ended says how a try did.
type ended struct {
	id     string
	failed bool
	pause  time.Duration // that the receiver asks for
}

func newPump(h *Hooks, hook Hook, plain bool) *pump {
	return &pump{
		h: h, hook: hook, key: hook.key(), client: newClient(h.cfg, hook, plain),
		kick: make(chan struct{}, 1), inFlight: make(map[string]bool), done: make(chan ended, h.cfg.Concurrency),
	}
}

func (p *pump) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run delivers until soft ends, and then waits for the tries that are on their
// way, which hard ends.
func (p *pump) run(soft, hard context.Context) {
	defer p.client.CloseIdleConnections()
	defer func() {
		for len(p.inFlight) > 0 {
			delete(p.inFlight, (<-p.done).id)
		}
		p.queue, p.failures, p.paused = nil, 0, time.Time{}
	}()
	poll := time.NewTicker(p.h.cfg.Poll)
	defer poll.Stop()
	look := true // there may be more in the store
	for {
		if look && len(p.queue) == 0 && !p.resting() {
			look = p.read(soft)
		}
		p.start(soft, hard)
		select {
		case <-soft.Done():
			return
		case <-poll.C:
			look = true
		case <-p.kick:
			look = true
		case e := <-p.done:
			p.took(e)
		}
	}
}

func (p *pump) resting() bool { return time.Now().Before(p.paused) }

// read fills the queue, and reports whether there may be more.
func (p *pump) read(ctx context.Context) bool {
	limit := ahead + len(p.inFlight)
	events, err := p.h.cfg.Store.DueEvents(ctx, []string{p.key}, time.Now(), limit)
	if err != nil {
		if ctx.Err() == nil {
			p.h.log.Warn("events are not read", "hook", p.key, "err", err)
		}
		return false
	}
	for _, e := range events {
		if !p.inFlight[e.ID] {
			p.queue = append(p.queue, e)
		}
	}
	return len(events) == limit
}

func (p *pump) start(soft, hard context.Context) {
	for len(p.queue) > 0 && len(p.inFlight) < p.h.cfg.Concurrency && !p.resting() && soft.Err() == nil {
		e := p.queue[0]
		p.queue = p.queue[1:]
		p.inFlight[e.ID] = true
		go func() { p.done <- p.deliver(hard, e) }()
	}
}

// took makes room for the next try. A receiver that fails is left alone for a
// while: all that waits for it would only fail too.
func (p *pump) took(e ended) {
	delete(p.inFlight, e.id)
	if !e.failed {
		p.failures = 0
		return
	}
	if !p.resting() { // else it failed together with another
		p.failures++
	}
	pause := max(min(p.h.backoff(max(p.failures-1, 0)), maxPause), min(e.pause, p.h.cfg.MaxBackoff))
	if until := time.Now().Add(pause); until.After(p.paused) {
		p.paused = until
	}
}

// deliver makes one try and stores what came of it. If ctx ends meanwhile, the
// event stays as it is and will be tried again.
func (p *pump) deliver(ctx context.Context, e store.Event) ended {
	result := ended{id: e.ID}
	err := p.post(ctx, e)
	var failed *tryError
	switch {
	case err == nil:
		p.h.obs.Delivered(p.key, time.Since(e.Created))
		result.failed = !p.forget(ctx, e)
		return result
	case ctx.Err() != nil:
		return result
	case !errors.As(err, &failed):
		failed = &tryError{kind: "connect", err: err}
	}
	log := p.h.log.With("hook", p.key, "event", e.ID, "tx", e.Tx, "try", e.Tries+1, "err", failed)
	p.h.obs.Failed(p.key, failed.kind)
	if failed.status == http.StatusGone {
		p.drop(ctx, e, log, slog.LevelWarn, "event dropped: its receiver does not want it")
		return result
	}
	result.failed, result.pause = true, failed.retryAfter
	if age := time.Since(e.Created); age >= p.h.cfg.GiveUp {
		p.drop(ctx, e, log, slog.LevelError, "event dropped: it could not be delivered in time")
		return result
	}
	wait := max(p.h.backoff(e.Tries), min(failed.retryAfter, maxRetryAfter))
	log.Warn("event not delivered", "again_in", wait.Round(time.Millisecond))
	err = p.h.cfg.Store.EventFailed(ctx, e.ID, failed.Error(), time.Now().Add(wait))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		p.h.log.Warn("failed event not put off", "hook", p.key, "event", e.ID, "err", err)
	}
	return result
}

func (p *pump) drop(ctx context.Context, e store.Event, log *slog.Logger, level slog.Level, message string) {
	log.Log(ctx, level, message) //nolint:sloglint // the messages are the constants above
	p.h.obs.Dropped(p.key)
	p.forget(ctx, e)
}

// forget deletes an event that is done with. Should that fail it will be
// delivered once more.
func (p *pump) forget(ctx context.Context, e store.Event) bool {
	err := p.h.cfg.Store.EventsDelivered(context.WithoutCancel(ctx), []string{e.ID})
	if err != nil {
		p.h.log.Warn("delivered event not deleted", "hook", p.key, "event", e.ID, "err", err)
	}
	return err == nil
}

// backoff is how long to wait after so many tries have failed before: twice as
// long each time, and up to half of that less, so that events which failed
// together do not come back together.
func (h *Hooks) backoff(failed int) time.Duration {
	d := h.cfg.MaxBackoff
	if failed < 30 {
		d = min(d, h.cfg.Backoff<<failed)
	}
	return d - time.Duration(rand.Int64N(int64(d/2)+1))
}
