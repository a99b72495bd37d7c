// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

func TestHundredRotationsFailNoSignature(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 4, 0)
	specs := make([]fleet.Spec, 8)
	for i := range specs {
		specs[i] = r.spec(fmt.Sprintf("s%d", i), "a")
	}
	r.serve(specs...)
	var signed atomic.Int64
	stop := make(chan struct{})
	var signers sync.WaitGroup
	for i := range 64 {
		w := r.fleet.Wallet(specs[i%8].Wallet.Name)
		signers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.SignMessage(t.Context(), caller, v.address(i%4), fmt.Append(nil, n)); err != nil {
					t.Errorf("signature %d: %v: %v", n, err, errors.Unwrap(err))
					return
				}
				signed.Add(1)
			}
		})
	}
	for n := 1; n <= 100; n++ {
		v.newest.Store(int64(n))
		for _, s := range specs {
			r.must(r.fleet.Open(t.Context(), with(s, n)))
		}
		r.waitFor("the new credential is in use", func() bool {
			s, _ := r.fleet.Status("s0")
			return s.Backend.Err == nil && v.opened.Load() == int64(n+1) && r.takenOver("s0")
		})
		v.oldest.Store(int64(n)) // the old one is revoked at once
		before := signed.Load()
		r.waitFor("signatures with the new one", func() bool { return signed.Load() > before+8 || t.Failed() })
	}
	close(stop)
	signers.Wait()
	r.ready("s7")
	t.Logf("%d signatures across 100 rotations", signed.Load())
}

// takenOver reports whether the credential of the spec is the one in use: what is
// not yet is said to be unlisted with neither error nor time.
func (r *rig) takenOver(name string) bool {
	s, _ := r.fleet.Status(name)
	return !s.Backend.Checked.IsZero()
}

func TestCredentialThatDoesNotWorkLeavesTheOldInUse(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	r.serve(r.spec("s1", "a"), r.spec("s2", "a"))
	r.must(r.fleet.Open(t.Context(), with(r.spec("s1", "a"), 5)))
	r.waitFor("the status says why", func() bool {
		s, _ := r.fleet.Status("s1")
		return errors.Is(s.Backend.Err, key.ErrDenied) && !s.Listed && !s.Backend.OK
	})
	for _, name := range []string{"s1", "s2"} {
		if _, err := r.send(name, v.address(0), 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.newest.Store(6)
	r.must(r.fleet.Open(t.Context(), with(r.spec("s1", "a"), 6)))
	r.must(r.fleet.Open(t.Context(), with(r.spec("s2", "a"), 6)))
	v.oldest.Store(6)
	r.ready("s1")
	r.ready("s2")
	r.waitFor("only the newest backend is open", func() bool { return v.open.Load() == 1 })
}

func TestResetConnectsAnew(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	conns := r.chain.Connections()
	spec.Resets = 1
	r.must(r.fleet.Open(t.Context(), spec))
	r.must(r.fleet.Open(t.Context(), spec)) // once is enough
	r.waitFor("the backend is opened anew", func() bool { return v.opened.Load() == 2 && v.open.Load() == 1 })
	r.ready("s1")
	if _, err := r.send("s1", v.address(0), 1); err != nil {
		t.Error(err)
	}
	if r.chain.Connections() == conns {
		t.Error("the node was not connected anew")
	}
}

func TestChangedNodeAndSettingsFailNoTransaction(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 4, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	var sent atomic.Int64
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for i := range 16 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.send("s1", v.address(i%4), 1); err != nil {
					t.Errorf("transaction %d: %v", n, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	for n := 1; n <= 12; n++ {
		if n%2 == 0 {
			spec.Node.Version = fmt.Sprint(n)
			spec.Wallet.Node.Timeout += time.Second
		} else {
			spec.Wallet.Window++
		}
		r.must(r.fleet.Open(t.Context(), spec))
		before := sent.Load()
		r.waitFor("more are sent", func() bool { return sent.Load() > before+16 || t.Failed() })
	}
	close(stop)
	senders.Wait()
	total := 0
	for i := range 4 {
		mined := r.chain.Mined(v.address(i))
		total += len(mined)
		for n, m := range mined {
			if m.Nonce() != uint64(n) {
				t.Fatalf("transaction %d of account %d has nonce %d", n, i, m.Nonce())
			}
		}
	}
	if int64(total) != sent.Load() {
		t.Errorf("%d were mined, and %d sent", total, sent.Load())
	}
	t.Logf("%d transactions across 12 changes", total)
}

func TestClosingDuringABurstLosesNothing(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 2, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	var mu sync.Mutex
	var hashes []common.Hash
	refused := 0
	var senders sync.WaitGroup
	for i := range 200 {
		senders.Go(func() {
			hash, err := r.send("s1", v.address(i%2), int64(i))
			mu.Lock()
			defer mu.Unlock()
			var unbound *txmgr.UnboundError
			var pending *txmgr.PendingError
			switch {
			case err == nil:
				hashes = append(hashes, hash)
			case errors.As(err, &unbound), errors.Is(err, fleet.ErrNotRunning):
				refused++
			case errors.As(err, &pending):
			default:
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	r.waitFor("the burst is under way", func() bool { return v.signed.Load() > 20 })
	closing, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r.must(r.fleet.Close(closing, "s1"))
	senders.Wait()
	if v.open.Load() != 0 || r.door.count("s1") != 0 || r.fleet.Wallet("s1") != nil {
		t.Error("something of the closed wallet is left")
	}
	r.serve(spec) // whatever is in the rows goes on
	rows := 0
	r.waitFor("all is finished", func() bool {
		n, err := r.fleet.Live(t.Context(), "s1")
		r.must(err)
		r.chain.Mine()
		return n == 0
	})
	at := map[common.Hash]int{}
	for i := range 2 {
		for n, m := range r.chain.Mined(v.address(i)) {
			if m.Nonce() != uint64(n) {
				t.Fatalf("transaction %d of account %d has nonce %d", n, i, m.Nonce())
			}
			at[m.Hash()]++
			rows++
		}
	}
	for _, h := range hashes {
		if at[h] != 1 {
			t.Errorf("%s, which a caller was told, was mined %d times", h, at[h])
		}
	}
	if rows+refused != 200 {
		t.Errorf("%d mined and %d refused of 200", rows, refused)
	}
	t.Logf("%d mined, %d answered with a hash, %d refused", rows, len(hashes), refused)
}

func TestDrainingTakesNothingNewAndFinishesWhatItHas(t *testing.T) {
	r := newRig(t)
	r.chain.Close()
	r.chain = nodetest.New(t, nodetest.Options{DefaultBalance: nodetest.Ether(1000)}) // nothing is mined by itself
	v := r.vault("a", 1, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	for i := range 5 {
		_, err := r.send("s1", v.address(0), int64(i))
		r.must(err)
	}
	spec.Draining = true
	r.must(r.fleet.Open(t.Context(), spec))
	if r.door.count("s1") != 0 {
		t.Error("the door still has it")
	}
	var unbound *txmgr.UnboundError
	if _, err := r.send("s1", v.address(0), 9); !errors.As(err, &unbound) {
		t.Errorf("it took a transaction: %v", err)
	}
	if _, err := r.fleet.Wallet("s1").SignMessage(t.Context(), caller, v.address(0), nil); !errors.As(err, &unbound) {
		t.Errorf("it signed: %v", err)
	}
	if n, err := r.fleet.Live(t.Context(), "s1"); err != nil || n != 5 {
		t.Fatalf("%d unfinished, %v", n, err)
	}
	r.waitFor("all is finished", func() bool {
		r.chain.Mine()
		n, err := r.fleet.Live(t.Context(), "s1")
		r.must(err)
		return n == 0
	})
	spec.Draining = false
	r.serve(spec)
	if _, err := r.send("s1", v.address(0), 10); err != nil || r.door.count("s1") == 0 {
		t.Errorf("it serves no more after all: %v", err)
	}
}

func TestTransactionOfAnotherWalletCannotBeCancelled(t *testing.T) {
	r := newRig(t)
	r.chain.Close()
	r.chain = nodetest.New(t, nodetest.Options{DefaultBalance: nodetest.Ether(1000)})
	v := r.vault("a", 1, 0)
	r.vault("b", 1, 1)
	other := r.spec("s2", "b")
	other.Membership = "m2"
	r.serve(r.spec("s1", "a"), other)
	args := transfer(v.address(0), 1)
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = nil, nil // so that they may be raised
	hash, err := r.fleet.Wallet("s1").Begin(t.Context(), caller, txmgr.SendRequest{Args: args})(t.Context())
	r.must(err)
	row, err := r.db.TxByHash(t.Context(), hash)
	r.must(err)
	if err := r.fleet.Cancel(t.Context(), "s2", row.ID); err == nil {
		t.Error("s2 cancelled a transaction of s1")
	}
	r.waitFor("it can be sped up", func() bool { return r.fleet.SpeedUp(t.Context(), "s1", row.ID, nil, nil) == nil })
	r.waitFor("it can be cancelled", func() bool { return r.fleet.Cancel(t.Context(), "s1", row.ID) == nil })
}

func TestNodeThatHasNotShownItselfDoesNotTakeOver(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	away := nodetest.New(t, nodetest.Options{ChainID: 5})
	changed := spec
	changed.Wallet.Node.URL, changed.Node.Version = r.urlOf(away), "1"
	r.must(r.fleet.Open(t.Context(), changed))
	r.must(r.fleet.Open(t.Context(), changed)) // changes nothing
	r.waitFor("the status says why", func() bool {
		s, _ := r.fleet.Status("s1")
		return s.Node.Err != nil && !s.Verified && !s.Ready
	})
	for range 3 {
		if _, err := r.send("s1", v.address(0), 1); err != nil {
			t.Errorf("through the node from before: %v", err)
		}
	}
	if n := away.Calls("eth_sendRawTransaction"); n != 0 {
		t.Errorf("%d transactions went to the other chain", n)
	}
	spec.Node.Version = "2" // it is given up
	r.serve(spec)
	if _, err := r.send("s1", v.address(0), 1); err != nil {
		t.Error(err)
	}
	r.must(r.fleet.Open(t.Context(), changed))
	r.must(r.fleet.Close(t.Context(), "s1")) // while one waits
}

func TestNothingIsTakenInOnceDrainingHasBegun(t *testing.T) {
	r := newRig(t)
	r.chain.Close()
	r.chain = nodetest.New(t, nodetest.Options{DefaultBalance: nodetest.Ether(1000)}) // so that nothing is ever final
	v := r.vault("a", 4, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	r.chain.Delay("eth_chainId", 20*time.Millisecond) // of each request before it is stored
	var senders sync.WaitGroup
	for i := range 100 {
		senders.Go(func() { _, _ = r.send("s1", v.address(i%4), int64(i)) })
	}
	r.waitFor("some are taken in", func() bool { return v.signed.Load() > 4 })
	spec.Draining = true
	r.must(r.fleet.Open(t.Context(), spec))
	before, err := r.fleet.Live(t.Context(), "s1")
	r.must(err)
	senders.Wait()
	if after, err := r.fleet.Live(t.Context(), "s1"); err != nil || after > before {
		t.Errorf("%d were under way when it drained, and then %d, %v", before, after, err)
	}
	t.Logf("%d of 100 were taken in", before)
}
