// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// progressInterval is how often a discovery that takes long says how far it is.
const progressInterval = 5 * time.Second

// Progress is how far the discovery of accounts is.
type Progress struct {
	Running  bool
	Started  time.Time // of the run that is under way, else of the last; zero: none yet
	Pages    int       // read so far in that run
	Keys     int       // found on them, those included that the filters leave out
	Problems int       // keys that cannot be used
	Calls    int64     // calls that the backend's quota for reading let through

	Finished time.Time     // when a discovery last succeeded; zero: never
	Took     time.Duration // by that one
	Err      error         // of the last run that ended; for the operator only
}

// Progress returns how far the discovery is that is under way, or what the last
// one came to. For a wallet that has just joined others', none has succeeded before
// what it found is its own too: whoever is told that one did sees its accounts.
func (w *Wallet) Progress() Progress {
	listed := w.listed.Load()
	now := w.discovery.going.state()
	if !listed {
		now.Finished, now.Took = time.Time{}, 0
	}
	return now
}

func (p *progress) state() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	if p.watch != nil {
		now.Calls = p.calls + p.watch.Turns()
	}
	return now
}

// progress is kept by the one goroutine that discovers and read by others.
type progress struct {
	mu    sync.Mutex
	now   Progress
	watch *key.Watch // of the page that is being read
	calls int64      // of the pages before it
}

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = Progress{Running: true, Started: time.Now(), Finished: p.now.Finished, Took: p.now.Took, Err: p.now.Err}
	p.watch, p.calls = nil, 0
}

// reading says that a page is being read.
func (p *progress) reading(watch *key.Watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch != nil {
		p.calls += p.watch.Turns()
	}
	p.watch = watch
}

func (p *progress) read(page key.Page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Pages++
	p.now.Keys += len(page.Keys)
	p.now.Problems += len(page.Problems)
}

func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch != nil {
		p.now.Calls = p.calls + p.watch.Turns()
	}
	p.watch = nil
	p.now.Running, p.now.Err = false, err
	if err == nil {
		p.now.Finished, p.now.Took = time.Now(), time.Since(p.now.Started)
	}
}

// report logs the progress of a discovery every few seconds until stop is called.
func (d *Discovery) report() (stop func()) {
	done := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p := d.going.state()
				d.cfg.Logger.Info("account discovery goes on", "keys", p.Keys, "pages", p.Pages,
					"problems", p.Problems, "calls", p.Calls, "since", time.Since(p.Started).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-gone
	}
}
