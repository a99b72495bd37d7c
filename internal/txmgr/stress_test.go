// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	stressRounds = 200
	stressTime   = 20 * time.Second
)

// order is one request of the stress test.
type order struct {
	from   int
	value  int64
	key    string
	answer <-chan answerOf
	hash   common.Hash // what the caller was told; zero if an error
	err    error
}

// The guarantees under random faults: nonces are contiguous, each key is
// mined at most once, each hash that was told is mined or its row says why
// not, and what was definitely refused is not mined. TXMGR_SEED repeats a run.
func TestRandomFaultsLoseAndDoubleNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("TXMGR_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("TXMGR_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	set := fast()
	set.Window, set.Confirmations, set.SendTimeout = 8, 3, 4*time.Second
	r := newRig(t, nodetest.Options{}, set)
	var orders []*order
	end := time.Now().Add(stressTime)
	for round := 0; round < stressRounds && time.Now().Before(end); round++ {
		for range rng.IntN(4) {
			o := &order{from: rng.IntN(3), value: int64(len(orders) + 1), key: fmt.Sprint("key ", len(orders))}
			o.answer = r.begin(transfer(o.from, o.value), o.key)
			orders = append(orders, o)
		}
		r.disturb(rng)
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
	}
	r.calm()
	r.settle(orders)
	for from := range 3 {
		r.checkChain(from, len(r.chain.Mined(addr(from))), nil)
	}
	answers := map[string]int{}
	for _, o := range orders {
		r.judge(o)
		answers[fmt.Sprintf("%T", o.err)]++
	}
	t.Logf("%d requests: %v", len(orders), answers)
}

// disturb makes one fault.
func (r *rig) disturb(rng *rand.Rand) {
	switch rng.IntN(13) {
	case 0:
		r.chain.Drop([]string{sendRaw, "eth_getTransactionCount", "eth_getBlockReceipts"}[rng.IntN(3)], 1+rng.IntN(2))
	case 1:
		r.chain.Delay(nodetest.Any, time.Duration(rng.IntN(20))*time.Millisecond)
	case 2:
		r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1+rng.IntN(5))
	case 3:
		r.chain.Forget(1 + rng.IntN(2))
	case 4:
		if head, _ := r.chain.Head(); head > 3 {
			r.must(r.chain.Reorg(1+rng.IntN(2), rng.IntN(2) == 0))
		}
	case 5:
		if rng.IntN(4) == 0 {
			r.restart()
		}
	case 6:
		n := rng.IntN(3)
		r.hsm.set(func(h *hsm) {
			h.fail = func(call int, _ [32]byte) error {
				if call%8 < n {
					return key.ErrDenied
				}
				return nil
			}
		})
	case 7:
		r.hsm.set(func(h *hsm) { h.fail = nil })
	case 8:
		from := rng.IntN(3)
		if r.mgr.loaded(r.senderID(from), "default") != nil {
			r.stealLease(from)
		}
	case 9:
		if pool := r.chain.Pool(addr(rng.IntN(3))); len(pool) > 0 {
			r.chain.DropFromPool(pool[rng.IntN(len(pool))].Hash())
		}
	default:
		r.chain.Mine()
	}
}

// calm ends all faults.
func (r *rig) calm() {
	r.chain.ClearFaults()
	r.chain.Forget(0)
	r.hsm.set(func(h *hsm) { h.fail = nil })
}

// settle waits until every caller has an answer and every row is final.
func (r *rig) settle(orders []*order) {
	r.t.Helper()
	for _, o := range orders {
		o.hash, o.err = r.result(o.answer)
	}
	r.waitFor("every row final", func() bool {
		r.chain.Mine()
		counts, err := r.db.Counts(context.Background())
		r.must(err)
		return len(counts) == 0
	})
}

// judge compares what a caller was told with what happened.
func (r *rig) judge(o *order) {
	r.t.Helper()
	mined := r.values(o.from)[o.value]
	if mined > 1 {
		r.t.Errorf("%s was mined %d times", o.key, mined)
	}
	var pending *PendingError
	switch {
	case o.err == nil:
		if s := r.state(o.hash); s == store.Confirmed != (mined == 1) {
			r.t.Errorf("%s was told %s, is %s and was mined %d times", o.key, o.hash, s, mined)
		}
	case errors.As(o.err, &pending), errors.Is(o.err, errNotStored):
	case mined != 0:
		r.t.Errorf("%s was refused (%v) and was mined", o.key, o.err)
	}
	// Asked again, it is told the same, and nothing is paid twice.
	row, known, err := r.db.Idempotent(context.Background(), "main", caller.Name, o.key)
	r.must(err)
	if !known {
		if mined != 0 || o.err == nil {
			r.t.Errorf("%s has no row, was told %v and mined %d times", o.key, o.err, mined)
		}
		return
	}
	if row.State == store.Confirmed != (mined == 1) {
		r.t.Errorf("%s is %s and was mined %d times", o.key, row.State, mined)
	}
}
