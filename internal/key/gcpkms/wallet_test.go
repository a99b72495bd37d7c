// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// disk is a store as the daemon gives it to a wallet.
type disk struct{ *store.DB }

func (d disk) SaveAccounts(ctx context.Context, wallet string, accounts []store.Account) error {
	return d.Write(ctx, func(w *store.Writer) error { return w.PutAccounts(wallet, accounts) })
}

// ring is a wallet over the adapter over the fake, with four keys and all in
// one process, so that the clock of a synctest bubble drives them.
type ring struct {
	*wallet.Wallet
	server    *gcpkmsfake.Server
	addresses []common.Address
}

func newRing(t *testing.T, o gcpkmsfake.Options, quota *key.Quota) *ring {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	o.Listener = l
	s, err := gcpkmsfake.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r := &ring{server: s}
	for i := range 4 {
		_, address := s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
		r.addresses = append(r.addresses, address)
	}
	backend, err := Open(t.Context(), Config{
		KeyRing: s.Ring(), Endpoint: "127.0.0.1:1", Insecure: true, Crypto: quota,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir(), Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r.Wallet, err = wallet.Open(t.Context(), wallet.Config{
		Name: "treasury", ChainID: big.NewInt(1337), Backend: key.Limit(backend, quota), Policy: policy.AllowAll{},
		Log: db, Snapshots: disk{db}, RefreshInterval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if _, err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// offer has n transactions signed, begun evenly over a time, by callers with
// 30 s, and returns how many failed.
func (r *ring) offer(t *testing.T, n int, over time.Duration) int64 {
	t.Helper()
	var failed atomic.Int64
	var callers sync.WaitGroup
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(over * time.Duration(i) / time.Duration(n))))
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			to := common.Address{0xbb}
			_, _, err := r.SignAccepted(ctx, &wallet.Accepted{
				Principal: auth.Principal{Name: "app:alice"}, Intent: "intent", Action: audit.SendTransaction, Address: r.addresses[i%4],
				Unsigned: types.NewTx(&types.DynamicFeeTx{
					ChainID: big.NewInt(1337), Nonce: uint64(i), To: &to, Gas: 21000, GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1e9),
				}),
			})
			if err != nil && failed.Add(1) <= 3 {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	return failed.Load()
}

// Twice the documented quota is offered for 10 s: nobody fails, the quota is
// used, and hardly a call is wasted.
func TestTwiceTheQuotaIsServedWithinTheQuota(t *testing.T) {
	for _, hint := range []time.Duration{0, time.Second} {
		t.Run(hint.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRing(t, gcpkmsfake.Options{CryptoPerSecond: SignPerSecond, RetryInfo: hint, Latency: 20 * time.Millisecond},
					key.NewQuota(SignPerSecond*key.DefaultShare))
				before := r.server.Calls("AsymmetricSign")
				const signatures = 2 * SignPerSecond * 10
				begun := time.Now()
				failed := r.offer(t, signatures, 10*time.Second)
				used := signatures / (SignPerSecond * time.Since(begun).Seconds())
				calls := float64(r.server.Calls("AsymmetricSign")-before) / signatures
				t.Logf("%d signatures in %s: %.3f of the quota, %.3f calls for each", signatures, time.Since(begun), used, calls)
				if failed != 0 || used < 0.9 || calls > 1.1 {
					t.Errorf("%d callers failed, %.3f of the quota was used, %.3f calls for a signature", failed, used, calls)
				}
			})
		})
	}
}

func TestThrottlingAtRandomFailsNobodyBeforeHisDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t, gcpkmsfake.Options{Latency: 20 * time.Millisecond}, key.NewQuota(SignPerSecond))
		random := mathrand.New(mathrand.NewPCG(1, 2))
		var mu sync.Mutex
		r.server.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(2) == 0 {
				return nil
			}
			return &gcpkmsfake.Fault{Err: gcpkmsfake.Error(codes.ResourceExhausted, "Quota exceeded")}
		})
		if failed := r.offer(t, 60, 3*time.Second); failed != 0 {
			t.Errorf("%d of 60 callers failed", failed)
		}
		t.Logf("%d calls for 60 signatures", r.server.Calls("AsymmetricSign"))
	})
}

// The service answers nothing but errors for 5 s in the middle of a burst.
func TestOutageInABurstFailsNobody(t *testing.T) {
	for name, fault := range map[string]*gcpkmsfake.Fault{
		"unavailable": {Err: gcpkmsfake.Error(codes.Unavailable, "")},
		"internal":    {Err: gcpkmsfake.Error(codes.Internal, "")},
		"damaged":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRing(t, gcpkmsfake.Options{Latency: 20 * time.Millisecond}, nil)
				begun := time.Now()
				r.server.Fault("AsymmetricSign", func(call int) *gcpkmsfake.Fault {
					if fault == nil && call%3 == 0 { // once in a while, as damage is
						return &gcpkmsfake.Fault{Answer: gcpkmsfake.CorruptData}
					}
					if since := time.Since(begun); since < time.Second || since > 6*time.Second {
						return nil
					}
					return fault
				})
				if failed := r.offer(t, 200, 8*time.Second); failed != 0 {
					t.Errorf("%d of 200 callers failed", failed)
				}
				// Two seconds of offers follow the outage; all is done soon after it.
				if took := time.Since(begun); took > 11*time.Second {
					t.Errorf("all were served after %s, 5 s after the outage at the latest", took)
				}
			})
		})
	}
}

// However long it was away, what comes back is found within 5 s.
func TestReconnectsSoonAfterALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 20)
		s, err := gcpkmsfake.Start(gcpkmsfake.Options{Listener: l})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		const outage = 10 * time.Minute
		begun := time.Now()
		b, err := Open(t.Context(), Config{
			KeyRing: s.Ring(), Endpoint: "127.0.0.1:1", Insecure: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if time.Since(begun) < outage {
					return nil, &net.OpError{Op: "dial", Err: errors.New("no route to host")}
				}
				return l.DialContext(ctx)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		for b.Health(t.Context()) != nil {
			time.Sleep(100 * time.Millisecond)
			if time.Since(begun) > 2*outage {
				t.Fatal("never")
			}
		}
		if late := time.Since(begun) - outage; late < 0 || late > 5*time.Second {
			t.Errorf("found %s after it came back", late)
		}
	})
}
