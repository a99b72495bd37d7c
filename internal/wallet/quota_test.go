// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

// service is a key service at the other end of a wire: POST / with a digest
// is answered with r and s, unless admit has something against it.
type service struct {
	*httptest.Server
	wire   *wire
	keys   *vault
	admit  admission
	mu     sync.Mutex
	calls  atomic.Int64
	signed atomic.Int64
}

func newService(t *testing.T, keys *vault, admit admission) *service {
	t.Helper()
	s := &service{keys: keys, admit: admit}
	s.Server = httptest.NewUnstartedServer(s)
	s.Listener.Close()
	s.wire = &wire{conns: make(chan net.Conn), done: make(chan struct{})}
	s.Listener = s.wire
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// admission is what a service says to a call before it signs.
type admission func(now time.Time) (status int, after time.Duration)

// wire carries HTTP inside the process, so that time can be made to fly.
type wire struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case w.conns <- theirs:
		return ours, nil
	case <-w.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := fmt.Sprintf("call-%d", s.calls.Add(1))
	w.Header().Set("X-Request-Id", id)
	var q struct{ Ref, Digest string }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	status, after := s.admit(time.Now())
	s.mu.Unlock()
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	select {
	case <-time.After(15*time.Millisecond + rand.N(10*time.Millisecond)):
	case <-r.Context().Done():
		return
	}
	var digest [32]byte
	hex.Decode(digest[:], []byte(q.Digest))
	sig, err := s.keys.honest(key.Ref(q.Ref), digest)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.signed.Add(1)
	fmt.Fprintf(w, `{"r":"%x","s":"%x"}`, sig.R, sig.S)
}

// remote is the adapter of a service: one call for one signature.
type remote struct {
	*vault // lists the keys
	url    string
	client *http.Client
}

func (s *service) backend() *remote {
	return &remote{vault: s.keys, url: s.URL, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: s.wire.dial}}}
}

func (r *remote) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	body, _ := json.Marshal(map[string]string{"Ref": string(ref), "Digest": hex.EncodeToString(digest[:])})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return key.Signature{}, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return key.Signature{}, ctx.Err()
		}
		return key.Signature{}, &key.CallError{Op: "sign", Ref: ref, Kind: key.ErrUnavailable, Why: "the service is not reached"}
	}
	defer resp.Body.Close()
	id := resp.Header.Get("X-Request-Id")
	fail := func(kind error) (key.Signature, error) {
		return key.Signature{}, &key.CallError{Op: "sign", Ref: ref, Kind: kind, RequestID: id}
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return fail(&key.ThrottledError{RetryAfter: time.Duration(seconds) * time.Second})
	case http.StatusNotFound:
		return fail(key.ErrNotFound)
	default:
		return fail(key.ErrUnavailable)
	}
	var answer struct{ R, S string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fail(key.ErrBadResponse)
	}
	sig := key.Signature{RequestID: id}
	hex.Decode(sig.R[:], []byte(answer.R))
	hex.Decode(sig.S[:], []byte(answer.S))
	return sig, nil
}

func (r *remote) Close() error {
	r.client.CloseIdleConnections()
	return r.vault.Close()
}

// The ways in which services count what they allow.
func fixedWindow(perWindow int, window time.Duration, tell bool) admission {
	var current time.Time
	served := 0
	return func(now time.Time) (int, time.Duration) {
		if begun := now.Truncate(window); begun != current {
			current, served = begun, 0
		}
		if served == perWindow {
			if tell {
				return http.StatusTooManyRequests, current.Add(window).Sub(now)
			}
			return http.StatusTooManyRequests, 0
		}
		served++
		return http.StatusOK, 0
	}
}

func tokenBucket(perSecond, size float64) admission {
	tokens, filled := size, time.Now()
	return func(now time.Time) (int, time.Duration) {
		tokens = min(size, tokens+perSecond*now.Sub(filled).Seconds())
		filled = now
		if tokens < 1 {
			return http.StatusTooManyRequests, 0
		}
		tokens--
		return http.StatusOK, 0
	}
}

// Twice the quota is offered for 10 s by callers with a 30 s deadline: none
// fails, the quota is used, and hardly a call is wasted.
func TestTwiceTheQuotaIsServedWithinTheQuota(t *testing.T) {
	const quota = 50 // calls a second, as documented
	for name, c := range map[string]struct {
		allowed float64
		admit   func() admission
	}{
		"by the second":            {quota, func() admission { return fixedWindow(quota, time.Second, false) }},
		"by the second, told":      {quota, func() admission { return fixedWindow(quota, time.Second, true) }},
		"by ten seconds":           {quota, func() admission { return fixedWindow(10*quota, 10*time.Second, false) }},
		"token bucket of a second": {quota, func() admission { return tokenBucket(quota, quota) }},
		"token bucket of a tenth":  {quota, func() admission { return tokenBucket(quota, quota/10) }},
		"less than documented":     {quota / 2, func() admission { return tokenBucket(quota/2, quota/2) }}, // an operator's mistake must be no disaster
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, newVault(t, 4), c.admit())
				w := openWallet(t, key.Limit(s.backend(), key.NewQuota(quota*key.DefaultShare)), newDisk(t), nil)
				begun := time.Now()
				failed := offer(t, w, s.keys, int(2*c.allowed*10), 10*time.Second, 30*time.Second)
				took := time.Since(begun)
				used := float64(s.signed.Load()) / (c.allowed * took.Seconds())
				perSignature := float64(s.calls.Load()) / float64(s.signed.Load())
				t.Logf("%d signatures in %s: %.3f of the quota, %.3f calls for each", s.signed.Load(), took, used, perSignature)
				if failed != 0 || used < 0.9 || perSignature > 1.1 {
					t.Errorf("%d callers failed, %.3f of the quota was used, with %.3f calls for a signature", failed, used, perSignature)
				}
			})
		})
	}
}

// offer has n transactions signed, begun evenly over a time, and returns how
// many failed.
func offer(t *testing.T, w *Wallet, keys *vault, n int, over, deadline time.Duration) int64 {
	t.Helper()
	var failed atomic.Int64
	var callers sync.WaitGroup
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(over * time.Duration(i) / time.Duration(n))))
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			started := time.Now()
			addr := keys.address(fmt.Sprintf("key-%d", i%4))
			_, _, err := w.SignAccepted(ctx, acceptedTx(alice, "intent", audit.SendTransaction, addr, transfer(uint64(i))))
			if err != nil && failed.Add(1) <= 3 {
				t.Errorf("after %s: %v (%v)", time.Since(started), err, errors.Unwrap(err))
			}
		})
	}
	callers.Wait()
	return failed.Load()
}

func TestThrottlingAtRandomFailsNobodyBeforeHisDeadline(t *testing.T) {
	for _, c := range []struct {
		after  time.Duration
		offers int
	}{{0, 100}, {time.Second, 10}} {
		t.Run(c.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2)) // the same every time
				s := newService(t, newVault(t, 4), func(time.Time) (int, time.Duration) {
					if random.IntN(2) == 0 {
						return http.StatusTooManyRequests, c.after
					}
					return http.StatusOK, 0
				})
				w := openWallet(t, key.Limit(s.backend(), key.NewQuota(200)), newDisk(t), nil)
				if failed := offer(t, w, s.keys, c.offers, 3*time.Second, 30*time.Second); failed != 0 {
					t.Errorf("%d callers failed", failed)
				}
				t.Logf("%d calls for %d signatures", s.calls.Load(), s.signed.Load())
			})
		})
	}
}

// Where the slots are what there is too little of, waiting for one must not cost
// a turn at the quota.
func TestScarceSlotsLeaveTheQuotaAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := failing(t, hung)
		w := openWallet(t, key.Limit(v, key.NewQuota(60)), newDisk(t), func(c *Config) { c.Concurrency = 1 })
		begun := time.Now()
		var callers sync.WaitGroup
		for range 200 {
			callers.Go(func() {
				if err := accepted(t, w, v, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if took := time.Since(begun); took > 4500*time.Millisecond { // 20 ms each
			t.Errorf("200 signatures took %s", took)
		}
	})
}
