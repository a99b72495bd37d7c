// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Run delivers the streams whose leases this process gets, until ctx ends. Then it
// lets go of them.
func (s *Streams) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.keep(ctx) })
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	defer s.stopAll()
	sighted := make(map[string]int64) // epochs that were tried, by stream
	failing := false
	for {
		err := s.tend(ctx, sighted)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Error("event streams cannot be read", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-s.kick:
		}
	}
}

// tend starts and ends runners as the rows say.
func (s *Streams) tend(ctx context.Context, sighted map[string]int64) error {
	rows := make(map[string]store.Stream)
	for after := ""; ; {
		page, err := s.cfg.Store.Streams(ctx, store.StreamFilter{After: after})
		if err != nil {
			return err
		}
		for _, row := range page {
			rows[row.ID] = row
			after = row.ID
		}
		if len(page) == 0 {
			break
		}
	}
	for id := range sighted {
		if _, some := rows[id]; !some {
			delete(sighted, id)
		}
	}
	s.mu.Lock()
	running := make(map[string]*runner, len(s.runners))
	for id, r := range s.runners {
		running[id] = r
	}
	s.mu.Unlock()
	for id, r := range running {
		row, some := rows[id]
		if !some || !row.Updated.Equal(r.row.Updated) || row.Epoch != r.row.Epoch || !s.wanted(row) || r.over() {
			s.stop(r)
			delete(running, id)
		}
	}
	for id, row := range rows {
		if running[id] != nil || ctx.Err() != nil || !s.wanted(row) {
			continue
		}
		free := row.Holder == "" || row.Holder == s.cfg.Owner || !time.Now().Before(row.Until)
		if was, some := sighted[id]; !free && some && was == row.Epoch {
			continue
		}
		// A stream that another holds is tried once: where nobody else can be alive, it
		// is ours at once.
		sighted[id] = row.Epoch
		if err := s.start(ctx, id); err != nil && !errors.Is(err, store.ErrLeaseHeld) {
			return err
		}
	}
	return nil
}

// wanted reports whether a stream can be delivered here now.
func (s *Streams) wanted(row store.Stream) bool {
	if row.Suspended || s.cfg.Node(row.Wallet) == nil {
		return false
	}
	settings, err := decodeSettings(row.Settings)
	if err != nil {
		return false
	}
	return settings.WebSocket == nil || s.hub.listened(keyOf(row, settings))
}

// start takes the lease of a stream and runs it.
func (s *Streams) start(ctx context.Context, id string) error {
	asked := time.Now()
	row, err := s.cfg.Store.AcquireStream(ctx, id, s.cfg.Owner, s.cfg.LeaseTTL)
	if err != nil {
		return err
	}
	r := &runner{s: s, row: row, began: time.Now(), log: s.log.With("stream", id, "wallet", row.Wallet), ended: make(chan struct{})}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.lapse = time.AfterFunc(time.Until(asked.Add(s.cfg.LeaseTTL)), cancel)
	s.mu.Lock()
	s.runners[id] = r
	s.mu.Unlock()
	r.log.Debug("delivering event stream", "epoch", row.Epoch)
	go r.run(running)
	return nil
}

// over reports whether the runner has ended by itself.
func (r *runner) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (s *Streams) stop(r *runner) {
	r.cancel()
	<-r.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runners[r.row.ID] == r {
		delete(s.runners, r.row.ID)
	}
}

func (s *Streams) stopAll() {
	s.mu.Lock()
	all := make([]*runner, 0, len(s.runners))
	for _, r := range s.runners {
		r.cancel()
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		s.stop(r)
	}
}

// keep renews the leases until ctx ends. A runner whose lease is not renewed in
// time stops by itself.
func (s *Streams) keep(ctx context.Context) {
	for sleep(ctx, s.cfg.LeaseTTL/3) {
		s.mu.Lock()
		idle := len(s.runners) == 0
		s.mu.Unlock()
		if idle {
			continue
		}
		asked := time.Now()
		attempt, cancel := context.WithTimeout(ctx, s.cfg.LeaseTTL/3)
		held, err := s.cfg.Store.RenewStreams(attempt, s.cfg.Owner, s.cfg.LeaseTTL)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("leases of event streams are not renewed", "err", err)
			}
			continue
		}
		s.mu.Lock()
		for id, r := range s.runners {
			switch epoch, some := held[id]; {
			case some && epoch == r.row.Epoch:
				// A timer that has fired has ended the runner already.
				if r.lapse.Stop() {
					r.lapse.Reset(time.Until(asked.Add(s.cfg.LeaseTTL)))
				}
			case r.began.Before(asked):
				r.log.Warn("lease of an event stream is lost")
				r.cancel()
			}
		}
		s.mu.Unlock()
	}
}
