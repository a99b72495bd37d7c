// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	maxQueue      = 1000    // events that wait before no more are read
	maxBatchBytes = 4 << 20 // of one batch, unless one event has more
	lastPause     = 30 * time.Second
)

// runner delivers one stream, as long as its lease is held.
type runner struct {
	s        *Streams
	row      store.Stream // as it was when the lease was taken
	settings Settings
	log      *slog.Logger
	cancel   context.CancelFunc
	ended    chan struct{}
	began    time.Time   // when the lease had been taken
	lapse    *time.Timer // stops the runner when the lease ends without a renewal

	// Of run's goroutine:
	reader  *reader
	subs    []*subscription
	turn    int    // which subscription is read first
	target  uint64 // the newest block that was seen
	post    *poster
	queue   []*step
	events  int // in queue
	size    int // their bytes
	since   time.Time
	failing time.Duration // pause after reading failed; 0: it did not
	again   time.Time     // when to read again
	saved   time.Time
	trouble string // as it is stored
}

// open reads what there is to deliver.
func (r *runner) open(ctx context.Context) error {
	var err error
	if r.settings, err = decodeSettings(r.row.Settings); err != nil {
		return err
	}
	rows, err := r.s.cfg.Store.Subscriptions(ctx, store.StreamFilter{Stream: r.row.ID, Limit: MaxSubscriptions})
	if err != nil {
		return err
	}
	for _, row := range rows {
		u, err := openSubscription(row)
		if err != nil {
			return fmt.Errorf("subscription %s: %w", row.ID, err)
		}
		r.subs = append(r.subs, u)
	}
	if w := r.settings.Webhook; w != nil {
		headers, err := r.s.openHeaders(ctx, r.row)
		if err != nil {
			return err
		}
		r.post = r.s.newPoster(r.row.ID, w, headers)
	}
	return nil
}

// openHeaders reads the sealed headers of a stream.
func (s *Streams) openHeaders(ctx context.Context, row store.Stream) (headers map[string]string, err error) {
	if row.Secret == nil {
		return nil, nil
	}
	if s.cfg.Sealer == nil {
		return nil, errors.New("its headers are sealed, and no key is configured")
	}
	plain, err := s.cfg.Sealer.Open(ctx, seal.OfStream(row), row.Secret)
	if err != nil {
		return nil, fmt.Errorf("its headers cannot be opened: %w", err)
	}
	defer clear(plain)
	return headers, json.Unmarshal(plain, &headers)
}

// run delivers until ctx ends.
func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	defer r.lapse.Stop()
	for pause := r.s.cfg.Backoff; ; pause = min(2*pause, lastPause) {
		r.subs = nil
		err := r.open(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			r.log.Error("event stream cannot be delivered", "err", err)
			r.note(ctx, "the stream cannot be read: see the signer's log")
		}
		if !sleep(ctx, pause) {
			r.end()
			return
		}
	}
	if r.post != nil {
		defer r.post.client.CloseIdleConnections()
	}
	r.reader = &reader{settings: r.settings, log: r.log}
	r.trouble = r.row.Trouble
	r.saved = time.Now()
	for ctx.Err() == nil {
		more := r.fill(ctx)
		r.pass()
		if due := r.due(); due <= 0 {
			r.deliver(ctx)
			continue
		} else if !more {
			sleep(ctx, min(due, r.s.cfg.Poll))
		}
		if time.Since(r.saved) >= r.s.cfg.SaveEvery {
			_ = r.save(ctx)
		}
	}
	r.end()
}

// end stores what was delivered and lets go of the stream. If the lease is lost
// both do nothing.
func (r *runner) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_ = r.save(ctx)
	if err := r.s.cfg.Store.ReleaseStream(ctx, r.row.ID, r.s.cfg.Owner, r.row.Epoch); err != nil {
		r.log.Warn("event stream is not released", "err", err)
	}
}

// fill reads on, and reports whether there is more to read at once.
func (r *runner) fill(ctx context.Context) (more bool) {
	if r.full() || len(r.subs) == 0 || time.Now().Before(r.again) {
		return false
	}
	more, err := r.read(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errMoved):
		return false // again at the next poll
	case err != nil:
		if r.failing == 0 {
			r.log.Warn("event stream cannot read the chain", "err", trouble(err))
		}
		r.failing = min(max(2*r.failing, r.s.cfg.Poll), lastPause)
		r.again = time.Now().Add(r.failing)
		r.note(ctx, "the chain cannot be read: "+trouble(err))
		return false
	case r.failing > 0:
		r.failing = 0
		r.note(ctx, "")
	}
	return more
}

// read reads one range of each subscription.
func (r *runner) read(ctx context.Context) (more bool, err error) {
	node := r.s.cfg.Node(r.row.Wallet)
	if node == nil {
		return false, errors.New("the service does not run in this process")
	}
	r.reader.chain = chain{node}
	target, ok, err := r.reader.target(ctx)
	if err != nil || !ok {
		return false, err
	}
	r.target = target + uint64(r.settings.Confirmations)
	r.turn++
	for i := range r.subs {
		u := r.subs[(r.turn+i)%len(r.subs)]
		steps, rest, err := r.reader.read(ctx, u, target, r.s.cfg.QueueBytes-r.size)
		if err != nil {
			return more, err
		}
		for _, s := range steps {
			u.read.apply(s)
			if s.event() {
				if r.events == 0 {
					r.since = time.Now()
				}
				r.events++
				r.size += s.size()
			}
		}
		r.queue = append(r.queue, steps...)
		if more = more || rest; r.full() {
			return false, nil
		}
	}
	return more, nil
}

func (r *runner) full() bool { return r.events >= maxQueue || r.size >= r.s.cfg.QueueBytes }

// pass takes the steps at the front of the queue that are no events.
func (r *runner) pass() {
	for len(r.queue) > 0 && !r.queue[0].event() {
		r.take(r.queue[0])
		r.queue = r.queue[1:]
	}
}

func (r *runner) take(s *step) {
	s.sub.done.apply(s)
	s.sub.dirty = true
}

// due is how long the next batch waits to be filled; a day if there is none.
func (r *runner) due() time.Duration {
	switch {
	case r.events == 0:
		return 24 * time.Hour
	case r.events >= r.settings.BatchSize || r.size >= maxBatchBytes:
		return 0
	}
	return time.Until(r.since.Add(time.Duration(r.settings.BatchTimeout) * time.Millisecond))
}

// deliver delivers the next batch, however long that takes, and takes its steps.
func (r *runner) deliver(ctx context.Context) {
	steps, events, size := 0, 0, 0
	for _, s := range r.queue {
		if s.event() {
			if events == r.settings.BatchSize || events > 0 && size+s.size() > maxBatchBytes {
				break
			}
			events++
			size += s.size()
		}
		steps++
	}
	body := batch(r.queue[:steps], size+events+1)
	if !r.foretell(ctx, r.queue[:steps]) || !r.insist(ctx, body) {
		return
	}
	for _, s := range r.queue[:steps] {
		r.take(s)
	}
	r.queue = append([]*step(nil), r.queue[steps:]...)
	r.events -= events
	r.size -= size
	r.since = time.Now()
	// Until it is stored, a restart would deliver the batch once more.
	r.saveSurely(ctx)
}

// batch is the events among the steps as an array, which has so many bytes.
func batch(steps []*step, size int) []byte {
	body := make([]byte, 0, size)
	for _, s := range steps {
		if s.event() {
			body = s.appendTo(append(body, ','))
		}
	}
	body[0] = '['
	return append(body, ']')
}

// foretell stores which events are about to be sent, where their blocks may still
// vanish: after a crash nobody knows whether they came. It reports whether they may
// be sent.
func (r *runner) foretell(ctx context.Context, steps []*step) bool {
	young := false
	for _, s := range steps {
		if s.kind == deliver && s.number+depth > r.target {
			young = true
			s.sub.done.doubt(s)
			s.sub.dirty = true
		}
	}
	return !young || r.saveSurely(ctx)
}

// saveSurely writes the checkpoints, however long that takes. If the lease is lost,
// another has begun from the last ones: this runner ends.
func (r *runner) saveSurely(ctx context.Context) bool {
	for pause := r.s.cfg.Backoff; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		err := r.save(ctx)
		if err == nil {
			return true
		}
		if errors.Is(err, store.ErrLeaseLost) {
			r.cancel()
			return false
		}
		sleep(ctx, pause)
	}
	return false
}

// insist tries a batch until it was taken or is given up, which it reports.
func (r *runner) insist(ctx context.Context, body []byte) (over bool) {
	begun := time.Now()
	for pause := r.s.cfg.Backoff; ; pause = min(2*pause, lastPause) {
		err := r.attempt(ctx, body)
		switch {
		case err == nil:
			r.note(ctx, "")
			return true
		case ctx.Err() != nil:
			return false
		}
		r.note(ctx, err.Error())
		wait := pause
		if left := time.Until(begun.Add(seconds(r.settings.RetryTimeout))); left < pause {
			if r.settings.ErrorHandling == HandlingSkip {
				r.log.Error("batch of an event stream is skipped", "err", err, "bytes", len(body))
				return true
			}
			wait, pause = seconds(r.settings.BlockedDelay), r.s.cfg.Backoff
			begun = time.Now().Add(wait)
			r.log.Warn("event stream is blocked", "err", err, "again_in", wait)
		}
		if !sleep(ctx, wait) {
			return false
		}
	}
}

func (r *runner) attempt(ctx context.Context, body []byte) error {
	w := r.settings.WebSocket
	switch {
	case w == nil:
		return r.post.post(ctx, body)
	case w.Mode == ModeBroadcast:
		return r.s.hub.broadcast(ctx, r.key(), body)
	}
	return r.s.hub.share(ctx, r.key(), body, seconds(w.AckTimeout))
}

func (r *runner) key() topicKey { return keyOf(r.row, r.settings) }

func keyOf(row store.Stream, settings Settings) topicKey {
	return topicKey{Place{Environment: row.Environment, Membership: row.Membership}, row.Wallet, settings.WebSocket.Topic}
}

// save writes the checkpoints that have advanced.
func (r *runner) save(ctx context.Context) error {
	r.saved = time.Now()
	var all []store.SubscriptionCheckpoint
	for _, u := range r.subs {
		if u.dirty {
			all = append(all, store.SubscriptionCheckpoint{ID: u.row.ID, Updated: u.row.Updated, Checkpoint: u.done.text()})
		}
	}
	if len(all) == 0 {
		return nil
	}
	err := r.s.cfg.Store.SaveCheckpoints(ctx, r.row.ID, r.s.cfg.Owner, r.row.Epoch, all)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("checkpoints of an event stream are not stored", "err", err)
		}
		return err
	}
	for _, u := range r.subs {
		u.dirty = false
	}
	return nil
}

// note stores what is wrong, if that has changed.
func (r *runner) note(ctx context.Context, trouble string) {
	if trouble == r.trouble || ctx.Err() != nil {
		return
	}
	if err := r.s.cfg.Store.SetStreamTrouble(ctx, r.row.ID, r.s.cfg.Owner, r.row.Epoch, trouble); err != nil {
		r.log.Warn("trouble of an event stream is not stored", "err", err)
		return
	}
	r.trouble = trouble
}

// sleep reports whether ctx went on for so long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
