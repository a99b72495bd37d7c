// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestTransferIsMinedAndConfirmed(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.waitFor("confirmed", func() bool { return r.state(hash) == store.Confirmed })
	r.checkChain(0, 1, []common.Hash{hash})
}

func TestConcurrentSendersOfOneAddressGetContiguousNonces(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 50 * time.Millisecond}, fast())
	const n = 300
	hashes := make([]common.Hash, n)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 50 {
		wg.Go(func() {
			for i := range work {
				h, err := r.send(transfer(0, int64(i)))
				if err != nil {
					t.Errorf("send %d: %v", i, err)
				}
				hashes[i] = h
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	r.waitFor("all mined", func() bool { return len(r.chain.Mined(addr(0))) == n })
	r.checkChain(0, n, hashes)
}
