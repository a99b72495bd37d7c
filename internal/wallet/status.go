// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Status is how a wallet's backend stands, for health checks, the console, the
// CLI and metrics.
type Status struct {
	Breaker string // one of the Breaker constants

	LastSuccess time.Time     // of a signing call; zero: none yet
	LastFailure time.Time     // of a signing call that gave no signature; zero: none yet
	LastError   *BackendError // of that call; its cause is for the operator only
	Latency     time.Duration // moving average of the signing calls that gave a signature

	Checked      time.Time     // last health check; zero: none yet
	CheckLatency time.Duration // how long it took
	CheckError   *BackendError // what it found; nil: the backend is well

	Waiting  int            // callers who wait for a signature
	InFlight int            // signing calls in progress
	Quota    key.QuotaState // what is asked of the service, and what it may be asked

	Discovery Progress
}

// Status returns how the backend stands. It makes no call.
func (w *Wallet) Status() Status {
	s := w.stats.snapshot()
	s.Breaker = w.breaker.state()
	s.Waiting = int(w.waiting.Load())
	s.InFlight = len(w.slots)
	s.Quota = w.quota.State()
	s.Discovery = w.Progress()
	return s
}

// latencyWeight is the weight of the newest call in the moving average.
const latencyWeight = 0.1

// stats is what is remembered of the calls.
type stats struct {
	mu  sync.Mutex
	now Status // its part that has to do with calls and checks
}

func (s *stats) call(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.now.LastFailure, s.now.LastError = time.Now(), backendError(err)
		return
	}
	s.now.LastSuccess = time.Now()
	if s.now.Latency == 0 {
		s.now.Latency = took
		return
	}
	s.now.Latency += time.Duration(latencyWeight * float64(took-s.now.Latency))
}

func (s *stats) check(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Checked, s.now.CheckLatency, s.now.CheckError = time.Now(), took, nil
	if err != nil {
		s.now.CheckError = backendError(err)
	}
}

func (s *stats) latency() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Latency
}

func (s *stats) snapshot() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// lost and regained are what the operator hears of the breaker.
func (w *Wallet) lost(cause error, failures int) {
	w.cfg.Observer.BackendUp(w.cfg.Name, false)
	w.cfg.Logger.Error("the key backend is away; calls are held back until it answers one",
		"failures", failures, "err", cause)
}

func (w *Wallet) regained(cause error, failures int) {
	w.cfg.Observer.BackendUp(w.cfg.Name, true)
	w.cfg.Logger.Info("the key backend is back", "failures", failures, "last_err", cause)
}

// requestID finds the provider's id of a call that failed.
func requestID(err error) string {
	var failed *key.CallError
	if errors.As(err, &failed) {
		return failed.RequestID
	}
	return ""
}
