// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

const (
	sends   = 1000
	callers = 20
)

// A thousand requests without sync, each with an id of its own and a mark that the
// contract tells in an event. The daemon is killed three times amid them, and started
// again; then every id is sent again, answered or not. The chain has each mark once,
// and each id has its reply.
func TestKill9AmidThousandSendsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	address := w.deploy("shop")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	jobs := make([]job, sends)
	for i := range jobs {
		jobs[i] = job{id: fmt.Sprintf("order-%d-%d", seed, i), mark: i, from: w.from(i % 2)}
	}
	var answered atomic.Int64
	kills := []int64{random.Int64N(200), 200 + random.Int64N(300), 500 + random.Int64N(400)}
	finished := make(chan int64)
	go func() { finished <- w.each(jobs, &answered) }()
	for _, after := range kills {
		for answered.Load() < after {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		r.daemon.Restart()
	}
	lost := <-finished
	if lost > 3*callers {
		t.Errorf("%d requests got no answer, and no more than %d were under way when it was killed", lost, 3*callers)
	}
	again := w.each(jobs, new(atomic.Int64))
	t.Logf("killed after answers %v: %d requests got none, or one that was no answer", kills, lost)
	if again != 0 {
		t.Errorf("%d requests were not answered when they were sent again", again)
	}

	replies := make(map[string]string, sends)
	for _, j := range jobs {
		end := w.settled(j.id)
		if end.say("headers", "type") != "TransactionSuccess" || end.say("headers", "requestId") != j.id {
			t.Errorf("reply %s: %s", j.id, end.text)
		}
		if other, twice := replies[end.say("transactionHash")]; twice {
			t.Errorf("%s and %s are one transaction", j.id, other)
		}
		replies[end.say("transactionHash")] = j.id
	}
	logs, err := r.node.Eth.FilterLogs(r.Context(), ethereum.FilterQuery{
		FromBlock: new(big.Int), Addresses: []common.Address{address}, Topics: [][]common.Hash{{crypto.Keccak256Hash([]byte("Placed(uint256,address,uint256)"))}},
	})
	must(t, err)
	marks := map[string]int{}
	for _, l := range logs {
		mark := new(big.Int).SetBytes(l.Data).String()
		if marks[mark]++; replies[l.TxHash.Hex()] != jobs[new(big.Int).SetBytes(l.Data).Int64()].id {
			t.Errorf("mark %s is in %s, and the reply of %s has that", mark, l.TxHash, replies[l.TxHash.Hex()])
		}
	}
	for i := range jobs {
		if got := marks[fmt.Sprint(i)]; got != 1 {
			t.Errorf("mark %d is in the chain %d times", i, got)
		}
	}
	for i, want := range []uint64{sends/2 + 1, sends / 2} {
		if got := r.node.Nonce(t, w.accounts[i]); got != want {
			t.Errorf("account %d has %d transactions, want %d", i, got, want)
		}
	}
}

// job is one request.
type job struct {
	id   string
	mark int
	from string
}

// each sends all jobs, many at a time, and counts those that got no good answer.
// Busy is an answer that says when to come again.
func (w *wallet) each(jobs []job, answered *atomic.Int64) (failed int64) {
	w.Helper()
	work := make(chan job)
	var bad atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for j := range work {
				if w.send(j) {
					answered.Add(1)
					continue
				}
				bad.Add(1)
				w.back()
			}
		})
	}
	for _, j := range jobs {
		work <- j
	}
	close(work)
	wg.Wait()
	return bad.Load()
}

// back waits until the daemon is there again: else a caller would go through all its
// requests while it is not.
func (w *wallet) back() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if a, err := w.try("GET", "/status", nil); err == nil && a.code == http.StatusOK {
			return
		}
	}
}

func (w *wallet) send(j job) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		a, err := w.try("POST", "/contracts/shop/tick?fly-from="+j.from+"&fly-id="+j.id, map[string]any{"mark": j.mark})
		switch {
		case err != nil:
			return false
		case a.code == http.StatusAccepted:
			if a.say("id") != j.id {
				w.Errorf("the answer to %s: %s", j.id, a.text)
			}
			return true
		case a.code != http.StatusServiceUnavailable && a.code != http.StatusTooManyRequests:
			w.Errorf("%s: %d %s", j.id, a.code, a.text)
			return false
		}
	}
	w.Errorf("%s: busy for %s", j.id, patience)
	return false
}
