// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// bindAgain binds the rig's wallet once more.
func (r *rig) bindAgain() *Wallet {
	return r.mgr.Bind(Binding{Name: "main", Keys: r.wallet, Node: r.node, ChainID: 1337, Settings: r.set})
}

func (r *rig) unbind(w *Wallet, wait time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r.must(w.Unbind(ctx))
}

// nothingLeft asserts that the manager holds nothing of anybody.
func (r *rig) nothingLeft() {
	r.t.Helper()
	r.mgr.mu.Lock()
	defer r.mgr.mu.Unlock()
	if n := len(r.mgr.wallets) + len(r.mgr.bound) + len(r.mgr.chains) + len(r.mgr.senders) + len(r.mgr.keys); n != 0 {
		r.t.Errorf("left behind: wallets %d, memberships %d, chains %d, senders %d, keys %d",
			len(r.mgr.wallets), len(r.mgr.bound), len(r.mgr.chains), len(r.mgr.senders), len(r.mgr.keys))
	}
}

// begun sends from account 0 and waits until its row is in the state.
func (r *rig) begun(state store.TxState) (outcome chan result) {
	r.t.Helper()
	outcome = make(chan result, 1)
	go func() {
		hash, err := r.w.Send(context.Background(), caller, SendRequest{Args: transfer(0, 1)})
		outcome <- result{hash, err}
	}()
	r.waitFor("row is "+string(state), func() bool {
		rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{state}})
		return err == nil && len(rows) > 0
	})
	return outcome
}

func TestUnboundWalletRefusesEveryRequest(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	row, err := r.db.TxByHash(t.Context(), hash)
	r.must(err)
	r.must(r.mgr.Unbind(t.Context(), "main"))
	r.must(r.mgr.Unbind(t.Context(), "main")) // is unbound already
	full := transfer(0, 1)
	full.Nonce = new(uint64)
	k, _ := nodetest.Key(0)
	raw, err := types.MustSignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.LegacyTx{Nonce: 7, Gas: 21000, GasPrice: big.NewInt(1)}).MarshalBinary()
	r.must(err)
	for name, call := range map[string]func() error{
		"send":    func() error { _, err := r.send(transfer(0, 1)); return err },
		"raw":     func() error { _, _, err := r.w.SendRaw(t.Context(), caller, raw); return err },
		"sign":    func() error { _, err := r.w.SignTransaction(t.Context(), caller, full); return err },
		"fill":    func() error { _, err := r.w.Fill(t.Context(), transfer(0, 1)); return err },
		"pending": func() error { _, err := r.w.PendingNonce(t.Context(), addr(0)); return err },
		"operate": func() error {
			_, err := r.w.Operate(t.Context(), row.ID, Operation{Action: Cancel})
			return err
		},
	} {
		var unbound *UnboundError
		var refused *RefusedError
		if err := call(); !errors.As(err, &unbound) || !errors.As(err, &refused) || refused.Code != codeRefused {
			t.Errorf("%s through an unbound wallet: %v", name, err)
		}
	}
	r.nothingLeft()
}

func TestRowsOfAnUnboundWalletStayAndGoOnWhenItIsBoundAgain(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	sid := r.senderID(0)
	if n, err := r.w.Live(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d unfinished transactions, %v", n, err)
	}
	r.unbind(r.w, time.Second)
	r.nothingLeft()
	if _, left, err := r.db.LeaseOf(t.Context(), sid); err != nil || left > 0 {
		t.Errorf("the lease was not given back: %s left, %v", left, err)
	}
	r.chain.Mine()
	r.chain.Mine()
	r.chain.Mine()
	if state := r.state(hash); state.Final() {
		t.Errorf("the row is %s: somebody still works on it", state)
	}
	r.w = r.bindAgain()
	r.waitFor("confirmed", func() bool { r.chain.Mine(); return r.state(hash) == store.Confirmed })
	if n, err := r.w.Live(t.Context()); err != nil || n != 0 {
		t.Errorf("%d unfinished transactions, %v", n, err)
	}
	second, err := r.send(transfer(0, 2))
	r.must(err)
	r.waitFor("mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 2 })
	r.checkChain(0, 2, []common.Hash{hash, second})
}

func TestUnbindWaitsForTheAnswersOfCallers(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	go func() { gate <- struct{}{} }() // the proof of possession
	outcome := r.begun(store.Assigned)
	unbound := make(chan struct{})
	go func() { r.unbind(r.w, 10*time.Second); close(unbound) }()
	r.waitFor("unbinding", func() bool { _, err := r.w.PendingNonce(t.Context(), addr(0)); return err != nil })
	select {
	case <-unbound:
		t.Error("did not wait")
	case gate <- struct{}{}:
	}
	if got := <-outcome; got.err != nil {
		t.Errorf("a caller under way got %v", got.err)
	}
	<-unbound
	r.nothingLeft()
}

func TestCallersWhoseTimeIsUpAtUnbindLearnWhatIsCertain(t *testing.T) {
	t.Run("stored, not signed", func(t *testing.T) {
		r := newRig(t, nodetest.Options{}, fast())
		gate := make(chan struct{})
		r.hsm.set(func(h *hsm) { h.gate = gate })
		go func() { gate <- struct{}{} }()
		outcome := r.begun(store.Assigned)
		r.unbind(r.w, 10*time.Millisecond)
		var pending *PendingError
		if got := <-outcome; !errors.As(got.err, &pending) {
			t.Fatalf("%v", got.err)
		}
		r.hsm.set(func(h *hsm) { h.gate = nil })
		r.w = r.bindAgain()
		r.waitFor("mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 1 })
		r.checkChain(0, 1, nil)
	})
	t.Run("signed, not taken by the node", func(t *testing.T) {
		r := newRig(t, nodetest.Options{}, fast())
		release := r.chain.Hang("eth_sendRawTransaction")
		defer release()
		outcome := r.begun(store.Signed)
		r.unbind(r.w, 10*time.Millisecond)
		got := <-outcome
		if got.err != nil {
			t.Fatalf("%v", got.err)
		}
		release()
		r.w = r.bindAgain()
		r.waitFor("mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 1 })
		r.checkChain(0, 1, []common.Hash{got.hash})
	})
	t.Run("not stored", func(t *testing.T) {
		r := newRig(t, nodetest.Options{}, fast())
		release := r.chain.Hang("eth_getTransactionCount")
		defer release()
		outcome := make(chan result, 1)
		go func() {
			hash, err := r.send(transfer(0, 1))
			outcome <- result{hash, err}
		}()
		r.waitFor("sender", func() bool { return len(r.mgr.sendersIn("default")) == 1 })
		begun := time.Now()
		r.unbind(r.w, 10*time.Millisecond)
		var unbound *UnboundError
		if got := <-outcome; !errors.As(got.err, &unbound) {
			t.Errorf("%v", got.err)
		}
		if took := time.Since(begun); took > 8*time.Second { // its calls would end after 10
			t.Errorf("a node that hangs made it take %s", took)
		}
		r.nothingLeft()
	})
}

// The wallet through which a sender works goes away, again and again, while
// another one of the membership, over another node of the chain, sends.
func TestUnbindingAWalletDoesNotDisturbAnotherOfTheSameSender(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	second, err := node.New(node.Config{URL: r.chain.AddEndpoint(t).URL(), ChainID: 1337, Timeout: 10 * time.Second})
	r.must(err)
	defer second.Close()
	bind := func(name string) *Wallet {
		return r.mgr.Bind(Binding{Name: name, Keys: r.wallet, Node: second, ChainID: 1337, Settings: r.set})
	}
	var mu sync.Mutex
	var hashes []common.Hash
	var refused atomic.Int64
	send := func(w *Wallet) error {
		hash, err := w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 1)})
		if err == nil {
			mu.Lock()
			hashes = append(hashes, hash)
			mu.Unlock()
		}
		return err
	}
	r.unbind(r.w, time.Second)
	leaving := bind("a-0")
	r.must(send(leaving)) // so it is the one through which the sender works
	stay := bind("m-stays")
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := send(stay); err != nil {
					t.Errorf("the wallet that stays: %v", err)
				}
			}
		})
	}
	for i := range 20 {
		// The first by name is the one that the sender turns to: the next to go,
		// and sometimes the one that stays.
		next := bind(fmt.Sprintf("%c-%d", "az"[i%3/2], i+1))
		var some sync.WaitGroup
		for range 4 {
			some.Go(func() {
				var unbound *UnboundError
				if err := send(leaving); errors.As(err, &unbound) {
					refused.Add(1)
				} else if err != nil {
					t.Errorf("a wallet that goes: %v", err)
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		r.unbind(leaving, 10*time.Second)
		some.Wait()
		leaving = next
	}
	close(stop)
	all.Wait()
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) >= len(hashes) })
	r.checkChain(0, len(hashes), hashes)
	t.Logf("%d sent, %d refused as unbound", len(hashes), refused.Load())
}

// Where one wallet takes another's name nobody is refused, if the front end
// turns to the new one first.
func TestWalletTakesAnothersPlaceWithoutARequestRefused(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	var serving atomic.Pointer[Wallet]
	serving.Store(r.w)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var sent atomic.Int64
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := serving.Load()
				wait := w.Begin(t.Context(), caller, SendRequest{Args: transfer(0, 1)})
				if _, err := wait(t.Context()); err != nil {
					var unbound *UnboundError
					if errors.As(err, &unbound) && serving.Load() != w {
						continue // it had read the old one just before: a door holds a lock there
					}
					t.Errorf("refused: %v", err)
				}
				sent.Add(1)
			}
		})
	}
	for range 10 {
		old := serving.Load()
		serving.Store(r.bindAgain())
		time.Sleep(10 * time.Millisecond)
		r.unbind(old, 10*time.Second)
	}
	close(stop)
	all.Wait()
	r.waitFor("mined", func() bool { return int64(len(r.chain.Mined(addr(0)))) == sent.Load() })
	r.mgr.mu.Lock()
	defer r.mgr.mu.Unlock()
	if r.mgr.wallets["main"] != serving.Load() || len(r.mgr.bound["default"]) != 1 {
		t.Error("the newest is not the one that has the name")
	}
}

func TestBindingAndUnbindingLeavesNothingBehind(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	r.unbind(r.w, time.Second)
	cycle := func(i int) {
		r.w = r.mgr.Bind(Binding{Name: fmt.Sprint("w-", i), Keys: r.wallet, Node: r.node, ChainID: 1337, Membership: "m", Settings: r.set})
		if i%20 == 0 {
			_, err := r.send(transfer(0, 1))
			r.must(err)
		}
		r.unbind(r.w, 10*time.Second)
	}
	measure := func() (goroutines int, heap uint64) {
		var m runtime.MemStats
		time.Sleep(50 * time.Millisecond)
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	for i := range 100 {
		cycle(i)
	}
	goroutines, heap := measure()
	for i := range 1000 {
		cycle(1000 + i)
	}
	r.nothingLeft()
	after, grown := measure()
	for range 200 { // what ends needs its time
		if after <= goroutines+3 && grown <= heap+4<<20 {
			break
		}
		after, grown = measure()
	}
	if after > goroutines+3 {
		t.Errorf("%d goroutines, %d before", after, goroutines)
	}
	if grown > heap+4<<20 {
		t.Errorf("the heap grew by %d KiB", (grown-heap)>>10)
	}
}

// A thousand services over ten nodes cost ten followers of a chain.
func TestIdleWalletsShareWhatFollowsTheirNode(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	var clients []*node.Client
	for range 10 {
		c, err := node.New(node.Config{URL: r.chain.URL(), ChainID: 1337, Timeout: 10 * time.Second})
		r.must(err)
		defer c.Close()
		clients = append(clients, c)
	}
	before := runtime.NumGoroutine()
	begun := time.Now()
	for i := range 1000 {
		r.mgr.Bind(Binding{Name: fmt.Sprint("w-", i), Keys: r.wallet, Node: clients[i%10], ChainID: 1337, Membership: fmt.Sprint("m-", i%50), Settings: r.set})
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("binding took %s", took)
	}
	r.waitFor("all chains are known", func() bool {
		r.mgr.mu.Lock()
		defer r.mgr.mu.Unlock()
		for _, c := range r.mgr.chains {
			if c.id.Load() == nil {
				return false
			}
		}
		return true
	})
	r.waitFor("no more goroutines than ten clients have, with their connections at both ends", func() bool {
		return runtime.NumGoroutine()-before <= 10*5
	})
	polls, begun := r.chain.Requests(), time.Now()
	time.Sleep(time.Second)
	n := r.chain.Requests() - polls
	if took := time.Since(begun); n > 11*int(1+took.Seconds()) {
		t.Errorf("%d requests in %s to follow eleven clients' chain", n, took)
	}
}

// What waits in the rows of one node's wallets does not wait for another node.
func TestNodeThatHangsKeepsNobodyElsesWorkWaiting(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.unbind(r.w, time.Second)
	endpoint := r.chain.AddEndpoint(t)
	for _, method := range []string{"eth_chainId", "eth_getBlockByNumber", "eth_getTransactionCount"} {
		defer endpoint.Hang(method)()
	}
	hung, err := node.New(node.Config{URL: endpoint.URL(), ChainID: 1337, Timeout: 30 * time.Second})
	r.must(err)
	defer hung.Close()
	for i := range 20 {
		r.mgr.Bind(Binding{Name: fmt.Sprint("a-", i), Keys: r.wallet, Node: hung, ChainID: 1337, Settings: r.set})
	}
	time.Sleep(50 * time.Millisecond)
	r.w = r.bindAgain()
	begun := time.Now()
	r.waitFor("confirmed", func() bool { r.chain.Mine(); return r.state(hash) == store.Confirmed })
	if took := time.Since(begun); took > 20*time.Second { // a call of the other ends after 30
		t.Errorf("it waited %s", took)
	}
	release, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r.must(r.mgr.Unbind(release, "a-0"))
}

// Of another membership's accounts nobody here can see anything, not even that
// they are there.
func TestRawTransactionOfAnotherMembershipIsPassedOn(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	k, _ := nodetest.Key(7)
	raw, err := types.MustSignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.LegacyTx{Gas: 21000, GasPrice: big.NewInt(1)}).MarshalBinary()
	r.must(err)
	theirs := r.bindTo("other", "theirs", newHSM(8))
	if !theirs.Owns(addr(7)) || r.w.Owns(addr(7)) {
		t.Error("an account is seen by other memberships than its own")
	}
	if _, handled, err := r.w.SendRaw(t.Context(), caller, raw); handled || err != nil {
		t.Errorf("handled %t, %v", handled, err)
	}
	r.bindTo("default", "sibling", newHSM(8))
	_, handled, err := r.w.SendRaw(t.Context(), caller, raw)
	if !handled {
		t.Error("a sibling's account was passed on")
	}
	wantRefused(t, err, "another wallet of this signer")
}

// The holder of a lease loses the wallet: another replica that has it goes on,
// for callers of both.
func TestUnbindAtTheHolderHandsTheSenderToAnotherReplica(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Automine: true}, fast())
	a, b := f.all[0], f.all[1]
	var hashes []common.Hash
	for _, r := range []*replica{a, b, a} {
		hash, err := r.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 1)})
		f.must(err)
		hashes = append(hashes, hash)
	}
	var all sync.WaitGroup
	results := make(chan result, 20)
	for range 20 {
		all.Go(func() {
			hash, err := b.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 2)})
			results <- result{hash, err}
		})
	}
	f.unbind(a.w, 5*time.Second)
	all.Wait()
	close(results)
	for got := range results {
		f.must(got.err)
		hashes = append(hashes, got.hash)
	}
	hash, err := b.w.Send(t.Context(), caller, SendRequest{Args: transfer(0, 3)})
	f.must(err)
	hashes = append(hashes, hash)
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == len(hashes) })
	f.checkChain(0, len(hashes), hashes)
	if b.mgr.holder(f.senderID(0)) == nil {
		t.Error("the other replica does not hold the lease")
	}
}

// A sender that ends must not take from the chain what another object for the
// same address has begun to watch.
func TestSenderThatEndsLeavesWhatItsSuccessorWatches(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	first, second, hash := new(sender), new(sender), common.Hash{1}
	r.w.chain.watch(hash, first)
	r.w.chain.watch(hash, second)
	r.w.chain.unwatch(hash, first)
	if r.w.chain.watched[hash] != second {
		t.Error("the successor does not hear of its transaction")
	}
	if r.w.chain.unwatch(hash, second); len(r.w.chain.watched) != 0 {
		t.Error("it is watched for ever")
	}
}
