// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// The chain makes a block as soon as a transaction comes: looked at once per
// poll, it would let a window through every three seconds, which takes thirty here.
func TestFullWindowOnAnAutominingChainDoesNotWaitForThePoll(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, Settings{Poll: 3 * time.Second, Window: 4})
	const n = 40
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := r.send(transfer(0, int64(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("%d transactions took %s", n, took)
	}
	r.checkChain(0, n, nil)
}

func TestSenderWithRoomInItsWindowKeepsToThePoll(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, Settings{Poll: 500 * time.Millisecond, Window: 64})
	_, err := r.send(transfer(0, 1))
	r.must(err)
	before, begun := r.chain.Calls("eth_getBlockByNumber"), time.Now()
	for i := range 50 {
		_, err := r.send(transfer(0, int64(i)))
		r.must(err)
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(begun)
	if n := r.chain.Calls("eth_getBlockByNumber") - before; n > 10*int(1+took.Seconds()) {
		t.Errorf("the head was asked for %d times in %s", n, took)
	}
}
