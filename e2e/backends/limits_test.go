// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"context"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// The limits of a service, met by the real adapter under the real wallet. All
// runs in one process and in the time of a synctest bubble: what is measured is
// what the quota allows, whatever else the machine does. The adapter of Google's
// service takes no dialer from outside its package, so the same two tests of it
// stand there, in wallet_test.go.

// limited is a service that enforces a quota on signatures.
type limited struct {
	perSecond float64 // signatures that the service allows
	hints     bool    // a refusal says when to come again
	addresses []common.Address
	// open opens the adapter on the service, inside the bubble; signs is the
	// quota that its signatures are asked within.
	open  func(t *testing.T, signs *key.Quota) key.Backend
	calls func() int // that asked for a signature so far
	// throttleHalf refuses half of all calls from now on, at random.
	throttleHalf func()
}

// latency is that of each answer.
const latency = 20 * time.Millisecond

// limitedServices start a service each, outside the bubble.
func limitedServices() map[string]func(t *testing.T) limited {
	return map[string]func(t *testing.T) limited{
		"aws_kms":           limitedAWS,
		"azure":             func(t *testing.T) limited { return limitedAzure(t, "") },
		"azure with a hint": func(t *testing.T) limited { return limitedAzure(t, "1") },
		"hashicorp":         limitedVault,
	}
}

// Twice the quota is offered for 10 s by callers with 30 s: nobody fails, the
// quota is used, and hardly a call is wasted.
func TestTwiceTheQuotaIsServedWithinTheQuota(t *testing.T) {
	for name, start := range limitedServices() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			synctest.Test(t, func(t *testing.T) {
				w := s.wallet(t, s.perSecond)
				before, begun := s.calls(), time.Now()
				n := int(2 * s.perSecond * 10)
				failed := s.offer(t, w, n, 10*time.Second)
				took := time.Since(begun)
				used := float64(n) / (s.perSecond * took.Seconds())
				calls := float64(s.calls()-before) / float64(n)
				t.Logf("%d signatures in %s: %.3f of the quota, %.3f calls for each", n, took, used, calls)
				if failed != 0 || used < 0.9 || calls > 1.1 {
					t.Errorf("%d callers failed, %.3f of the quota was used, with %.3f calls for a signature", failed, used, calls)
				}
				if calls < 1 {
					t.Errorf("%.3f calls for a signature: they were not counted", calls)
				}
			})
		})
	}
}

// A service that allows half of what it documents, or that somebody else takes
// half of: nobody fails, and few calls are wasted.
func TestHalfOfTheQuotaIsFound(t *testing.T) {
	for name, start := range limitedServices() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			synctest.Test(t, func(t *testing.T) {
				w := s.wallet(t, 2*s.perSecond)
				before, begun := s.calls(), time.Now()
				n := int(1.5 * s.perSecond * 10)
				failed := s.offer(t, w, n, 10*time.Second)
				calls := float64(s.calls()-before) / float64(n)
				t.Logf("%d signatures in %s with %.3f calls for each", n, time.Since(begun), calls)
				if failed != 0 || calls > 1.25 {
					t.Errorf("%d callers failed, with %.3f calls for a signature", failed, calls)
				}
			})
		})
	}
}

// Half of all calls are refused for now, at random, which is no quota at all:
// nobody fails all the same.
func TestThrottlingAtRandomFailsNobodyBeforeHisDeadline(t *testing.T) {
	for name, start := range limitedServices() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			synctest.Test(t, func(t *testing.T) {
				w := s.wallet(t, s.perSecond)
				s.throttleHalf()
				before, begun := s.calls(), time.Now()
				n := int(1.2 * s.perSecond)
				if s.hints { // everybody keeps away for a second after each refusal: fewer can be served in 30 s
					n = 10
				}
				if failed := s.offer(t, w, n, 3*time.Second); failed != 0 {
					t.Errorf("%d of %d callers failed", failed, n)
				}
				calls := float64(s.calls()-before) / float64(n)
				t.Logf("%d signatures in %s with %.2f calls for each", n, time.Since(begun), calls)
				if !s.hints && calls < 1.3 {
					t.Errorf("%.2f calls for a signature: the service has not thrown its dice", calls)
				}
			})
		})
	}
}

// disk is a store as the daemon gives it to a wallet.
type disk struct{ *store.DB }

func (d disk) SaveAccounts(ctx context.Context, wallet string, accounts []store.Account) error {
	return d.Write(ctx, func(w *store.Writer) error { return w.PutAccounts(wallet, accounts) })
}

// wallet opens the service as the daemon does that was told its quota, and
// discovers its keys.
func (s limited) wallet(t *testing.T, told float64) *wallet.Wallet {
	t.Helper()
	signs := key.NewQuota(told * key.DefaultShare)
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir(), Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w, err := wallet.Open(t.Context(), wallet.Config{
		Name: "treasury", ChainID: big.NewInt(1337), Backend: key.Limit(s.open(t, signs), signs), Policy: policy.AllowAll{},
		Log: db, Snapshots: disk{db}, RefreshInterval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	if _, err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// offer has n transactions signed, begun evenly over a time, by callers with
// 30 s, and returns how many failed.
func (s limited) offer(t *testing.T, w *wallet.Wallet, n int, over time.Duration) int64 {
	t.Helper()
	var failed atomic.Int64
	var callers sync.WaitGroup
	begun, to := time.Now(), common.Address{0xbb}
	for i := range n {
		time.Sleep(time.Until(begun.Add(over * time.Duration(i) / time.Duration(n))))
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, _, err := w.SignAccepted(ctx, &wallet.Accepted{
				Principal: auth.Principal{Name: "app:alice"}, Intent: "intent", Action: audit.SendTransaction, Address: s.addresses[i%len(s.addresses)],
				Unsigned: types.NewTx(&types.DynamicFeeTx{
					ChainID: big.NewInt(1337), Nonce: uint64(i), To: &to, Gas: 21000, GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1e9),
				}),
			})
			if err != nil && failed.Add(1) <= 3 {
				t.Errorf("caller %d after %s: %v", i, time.Since(begun), err)
			}
		})
	}
	callers.Wait()
	return failed.Load()
}
