// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// leaseTime is short, so that a test sees leases end.
const leaseTime = 1500 * time.Millisecond

// replica is one process among several on one store.
type replica struct {
	node   *node.Client
	wallet *wallet.Wallet
	freeze *freeze.Switch // hears of what another one froze by Load alone
	mgr    *Manager
	w      *Wallet
	dead   atomic.Bool
}

// fleet is several replicas in front of one fake chain.
type fleet struct {
	*rig
	mu  sync.Mutex
	all []*replica
}

func (f *fleet) replicas() []*replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*replica(nil), f.all...)
}

// wire lets the replicas ask each other; a dead one does not answer.
type wire struct{ f *fleet }

func (p wire) holder(owner string) *replica {
	for _, r := range p.f.replicas() {
		if r.mgr.owner == owner && !r.dead.Load() {
			return r
		}
	}
	return nil
}

func (p wire) Await(_ context.Context, owner, sender, id string, deadline time.Time) (common.Hash, error) {
	r := p.holder(owner)
	if r == nil {
		return common.Hash{}, ErrPeer
	}
	return r.mgr.Outcome(context.Background(), sender, id, deadline)
}

func (p wire) Submit(_ context.Context, owner, sender string, items []Handover, taken func(), outcome func(int, common.Hash, error)) error {
	r := p.holder(owner)
	if r == nil {
		return ErrPeer
	}
	return r.mgr.Take(sender, items, taken, outcome)
}

func (p wire) Mend(ctx context.Context, owner, sender string, op Operation) (Report, error) {
	r := p.holder(owner)
	if r == nil {
		return Report{}, ErrPeer
	}
	return r.mgr.OperateHere(ctx, sender, op)
}

func newFleet(t *testing.T, n int, peers bool, opts nodetest.Options, set Settings) *fleet {
	t.Helper()
	return newFleetOf(t, policy.AllowAll{}, n, peers, opts, set)
}

func newFleetOf(t *testing.T, rules policy.Policy, n int, peers bool, opts nodetest.Options, set Settings) *fleet {
	t.Helper()
	if opts.DefaultBalance == nil {
		opts.DefaultBalance = nodetest.Ether(1000)
	}
	f := &fleet{rig: &rig{t: t, dir: t.TempDir(), chain: nodetest.New(t, opts), hsm: newHSM(3), set: set, policy: rules}}
	var err error
	f.db, err = store.OpenSQLite(context.Background(), store.Config{Dir: f.dir, Logger: f.logger()})
	f.must(err)
	for range n {
		f.all = append(f.all, f.replica(peers))
	}
	f.node = f.all[0].node
	for _, r := range f.all {
		r.mgr.Start()
	}
	t.Cleanup(func() {
		for _, r := range f.all {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			r.mgr.Stop(ctx)
			cancel()
			f.must(r.wallet.Close())
			r.node.Close()
		}
		f.must(f.db.Close())
	})
	return f
}

func (f *fleet) replica(peers bool) *replica {
	f.t.Helper()
	ctx := context.Background()
	r := &replica{}
	var err error
	r.node, err = node.New(node.Config{URL: f.chain.URL(), ChainID: 1337, Timeout: 10 * time.Second, Logger: f.logger()})
	f.must(err)
	r.freeze = freeze.New(freeze.Config{Store: f.db})
	f.must(r.freeze.Load(ctx))
	r.wallet, err = wallet.Open(ctx, wallet.Config{
		Name: "main", ChainID: big.NewInt(1337), Backend: f.hsm, Policy: f.policy, Freeze: r.freeze, Log: f.db,
		Snapshots: f.db, Logger: f.logger(), SignTimeout: 5 * time.Second,
	})
	f.must(err)
	_, err = r.wallet.Refresh(ctx)
	f.must(err)
	cfg := Config{Store: f.db, Logger: f.logger(), Shared: true, LeaseTTL: leaseTime, Freeze: r.freeze, Owner: fmt.Sprintf("replica-%s", store.NewID())}
	if peers {
		cfg.Peers = wire{f}
	}
	r.mgr = New(cfg)
	r.w = r.mgr.Bind(Binding{Name: "main", Keys: r.wallet, Node: r.node, ChainID: 1337, Settings: f.set})
	return r
}

// kill ends a replica's work as kill -9 would: its lease runs out by itself.
func (f *fleet) kill(r *replica) {
	r.dead.Store(true)
	r.mgr.cancel()
	r.mgr.wg.Wait()
}

func (f *fleet) holder() *replica {
	for _, r := range f.all {
		r.mgr.mu.Lock()
		for _, s := range r.mgr.senders {
			if s.held.Load() != nil && !r.dead.Load() {
				r.mgr.mu.Unlock()
				return r
			}
		}
		r.mgr.mu.Unlock()
	}
	return nil
}

func (f *fleet) sendBy(r *replica, args tx.Args, key string) (common.Hash, error) {
	return r.w.Send(context.Background(), caller, SendRequest{Args: args, IdempotencyKey: key})
}

// Nos. 5 and 21: whichever replica takes a request, there is one sequence of
// nonces.
func TestReplicasShareOneSequenceOfNonces(t *testing.T) {
	for _, peers := range []bool{true, false} {
		t.Run(fmt.Sprintf("peers=%t", peers), func(t *testing.T) {
			f := newFleet(t, 3, peers, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
			const n = 120
			var wg sync.WaitGroup
			hashes := make([]common.Hash, n)
			for i := range n {
				wg.Go(func() {
					var err error
					if hashes[i], err = f.sendBy(f.all[i%3], transfer(0, int64(i)), ""); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			f.waitFor("all mined", func() bool { return len(f.chain.Mined(addr(0))) == n })
			f.checkChain(0, n, hashes)
		})
	}
}

// No. 1 among replicas: one key is one transaction, whoever is asked.
func TestOneKeyAtManyReplicasIsOneTransaction(t *testing.T) {
	f := newFleet(t, 3, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	var wg sync.WaitGroup
	hashes := make([]common.Hash, 60)
	for i := range hashes {
		wg.Go(func() {
			var err error
			if hashes[i], err = f.sendBy(f.all[i%3], transfer(0, 1), "same"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, h := range hashes {
		if h != hashes[0] {
			t.Fatalf("answers differ: %s and %s", h, hashes[0])
		}
	}
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 1 })
	_, err := f.sendBy(f.all[1], transfer(0, 2), "same")
	wantRefused(t, err, "another request")
}

// No. 22: the replica that takes over goes on where the dead one ended, within
// the time of a lease, and the callers of the others notice nothing.
func TestAnotherReplicaTakesOverFromADeadHolder(t *testing.T) {
	f := newFleet(t, 3, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	first, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	holder := f.holder()
	var wg sync.WaitGroup
	var mu sync.Mutex
	hashes := []common.Hash{first}
	for i := range 40 {
		r := f.all[i%3]
		if r == holder {
			continue
		}
		wg.Go(func() {
			h, err := f.sendBy(r, transfer(0, int64(i+2)), fmt.Sprint("k", i))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			hashes = append(hashes, h)
			mu.Unlock()
		})
	}
	time.Sleep(10 * time.Millisecond)
	begun := time.Now()
	f.kill(holder)
	wg.Wait()
	if took := time.Since(begun); took > 12*leaseTime {
		t.Errorf("the fail-over took %s", took)
	}
	f.waitFor("all mined", func() bool { return len(f.chain.Mined(addr(0))) == len(hashes) })
	f.checkChain(0, len(hashes), hashes)
}

// No. 20: a holder that slept through its lease does no harm when it wakes.
func TestHolderThatLostItsLeaseWritesNothingAndFollows(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	gate := make(chan struct{})
	f.hsm.set(func(h *hsm) { h.gate = gate })
	slept := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(f.all[0], transfer(0, 2), "k")
		slept <- answerOf{h, err}
	}()
	f.waitFor("assigned", func() bool { return f.count(store.Assigned) == 1 })
	// Somebody else has the lease now; the holder has not heard of it.
	lease := f.steal(t)
	f.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate) // the signature comes under a lease that is lost
	time.Sleep(2 * leaseTime)
	if n := len(f.chain.Mined(addr(0))); n != 1 {
		t.Fatalf("%d mined although the lease was lost", n)
	}
	f.must(f.db.ReleaseLease(context.Background(), lease))
	a := <-slept
	f.must(a.err)
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 2 })
	if f.values(0)[2] != 1 {
		t.Errorf("values mined: %v", f.values(0))
	}
}

// No. 20: nor does it refuse anybody by what it knew before it slept. Here it would
// say that the account is parked.
func TestHolderThatLostItsLeaseRefusesNobody(t *testing.T) {
	f := newFleet(t, 1, true, nodetest.Options{Automine: true}, fast())
	hash, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	f.chain.Mine()
	f.chain.Mine()
	f.waitFor("nothing left to write", func() bool { return f.state(hash) == store.Confirmed })
	time.Sleep(accountAge) // the next request has the account asked for
	f.chain.LieNonce(addr(0), 30, 30)
	lease := f.steal(t)
	sent := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(f.all[0], transfer(0, 2), "")
		sent <- answerOf{h, err}
	}()
	f.waitFor("the lie to be heard", func() bool { return f.chain.Calls("eth_getTransactionCount") > 1 && f.holder() == nil })
	f.chain.TellTruth(addr(0))
	f.must(f.db.ReleaseLease(context.Background(), lease))
	a := <-sent
	f.must(a.err)
	f.waitFor("mined", func() bool { return f.values(0)[2] == 1 })
}

// No. 20: a holder that has nothing to write finds out too, and lets others know
// by holding no more.
func TestIdleHolderNoticesThatItsLeaseIsGone(t *testing.T) {
	f := newFleet(t, 1, true, nodetest.Options{Automine: true}, fast())
	hash, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	f.chain.Mine()
	f.chain.Mine()
	f.waitFor("nothing left to write", func() bool { return f.state(hash) == store.Confirmed })
	f.steal(t)
	f.waitFor("noticed", func() bool { return f.holder() == nil })
}

// steal takes the lease of the first sender away, as one who waited for it to
// run out.
func (f *fleet) steal(t *testing.T) store.Fence {
	t.Helper()
	id := f.senderID(0)
	owner, _, err := f.db.LeaseOf(context.Background(), id)
	f.must(err)
	f.must(f.db.ReleaseLeases(context.Background(), owner))
	lease, err := f.db.AcquireLease(context.Background(), id, "thief", time.Hour)
	f.must(err)
	return store.Fence{Sender: id, Owner: lease.Owner, Epoch: lease.Epoch}
}

// No. 8 at a replica that does not hold the lease.
func TestExplicitNoncesAndRawTransactionsGoThroughAnyReplica(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	first, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	guest := f.all[0]
	if guest == f.holder() {
		guest = f.all[1]
	}
	args := transfer(0, 2)
	two := uint64(2)
	args.Nonce = &two
	ahead := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(guest, args, "")
		ahead <- answerOf{h, err}
	}()
	f.waitFor("held", func() bool { return f.count(store.Held) == 1 })
	zero := uint64(0)
	taken := transfer(0, 3)
	taken.Nonce = &zero
	_, err = f.sendBy(guest, taken, "")
	wantRefused(t, err, "nonce")
	raw := transfer(0, 4)
	one := uint64(1)
	raw.Nonce = &one
	signed, err := guest.w.SignTransaction(context.Background(), caller, raw)
	f.must(err)
	bytes, err := signed.MarshalBinary()
	f.must(err)
	hash, handled, err := guest.w.SendRaw(context.Background(), caller, bytes)
	f.must(err)
	if !handled || hash != signed.Hash() {
		t.Errorf("raw: %s, handled %t", hash, handled)
	}
	third := <-ahead
	f.must(third.err)
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 3 })
	f.checkChain(0, 3, []common.Hash{first, hash, third.hash})
}

// No. 3 at a replica that does not hold the lease: what nobody takes up in time
// is cancelled, and never sent later.
func TestOfferThatNobodyTakesUpIsCancelledAtItsDeadline(t *testing.T) {
	set := fast()
	set.SendTimeout = 5 * time.Second
	f := newFleet(t, 2, false, nodetest.Options{Interval: 20 * time.Millisecond}, set)
	_, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	lease := f.steal(t) // by one who does nothing with it
	time.Sleep(50 * time.Millisecond)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			_, err := f.sendBy(f.all[1], transfer(0, int64(10+i)), fmt.Sprint("late", i))
			wantRefused(t, err, "given up unsent")
		})
	}
	wg.Wait()
	f.must(f.db.ReleaseLease(context.Background(), lease))
	last, err := f.sendBy(f.all[1], transfer(0, 20), "")
	f.must(err)
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 2 })
	f.checkChain(0, 2, []common.Hash{last})
}

// An operator may ask any replica.
func TestOperatorsOrderReachesTheHolder(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{}, fast())
	hash, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	for _, r := range f.all {
		report, err := r.mgr.Operate(context.Background(), f.senderID(0), Operation{Action: Explain})
		f.must(err)
		if len(report.Waiting) != 1 || report.Waiting[0].Hashes[0] != hash.Hex() {
			t.Errorf("report %+v", report)
		}
	}
	if _, err := f.all[0].mgr.Operate(context.Background(), "nobody", Operation{Action: Explain}); !errors.Is(err, ErrNoSender) {
		t.Errorf("unknown sender: %v", err)
	}
}

// A rolling restart: each replica in turn stops, as on SIGTERM, and another
// comes in its place. No request fails.
func TestRollingRestartFailsNoRequest(t *testing.T) {
	f := newFleet(t, 3, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	var mu sync.Mutex
	live := append([]*replica(nil), f.all...)
	pick := func(i int) *replica {
		mu.Lock()
		defer mu.Unlock()
		return live[i%len(live)]
	}
	done := make(chan struct{})
	var hashes []common.Hash
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				h, err := f.sendBy(pick(c+i), transfer(0, int64(1000*c+i)), "")
				var busy *BusyError
				if errors.As(err, &busy) && busy == errStopping {
					continue // the balancer asks another one
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				hashes = append(hashes, h)
				mu.Unlock()
			}
		})
	}
	for i := range 3 {
		time.Sleep(300 * time.Millisecond)
		fresh := f.replica(true)
		f.mu.Lock()
		f.all = append(f.all, fresh)
		f.mu.Unlock()
		fresh.mgr.Start()
		mu.Lock()
		old := live[i]
		live[i] = fresh
		mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		old.mgr.Stop(ctx)
		cancel()
	}
	time.Sleep(300 * time.Millisecond)
	close(done)
	wg.Wait()
	f.waitFor("all mined", func() bool { return len(f.chain.Mined(addr(0))) == len(hashes) })
	f.checkChain(0, len(hashes), hashes)
}
