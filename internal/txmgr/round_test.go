// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// sendMany sends n transfers by so many callers at once and returns their hashes.
func (r *rig) sendMany(n, callers int) []common.Hash {
	r.t.Helper()
	hashes := make([]common.Hash, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				hash, err := r.send(transfer(0, i))
				if err != nil {
					r.t.Error(err)
				}
				hashes[i] = hash
			}
		})
	}
	all.Wait()
	return hashes
}

// No. 12: while one batch is committed the next one gathers, and bytes that are
// in it do not leave with what the first one has settled.
func TestBytesLeaveOnlyAfterTheirCommit(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	var early atomic.Int64
	r.chain.OnSend(func(signed *types.Transaction) *nodetest.RPCError {
		raw, err := signed.MarshalBinary()
		if err != nil {
			t.Error(err)
		}
		if a, err := r.db.AttemptByHash(context.Background(), signed.Hash()); err != nil || !bytes.Equal(a.Raw, raw) {
			early.Add(1)
		}
		return nil
	})
	hashes := r.sendMany(300, 32)
	if n := early.Load(); n > 0 {
		t.Errorf("%d of 300 transactions left before their bytes were stored", n)
	}
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) == len(hashes) })
	r.checkChain(0, len(hashes), hashes)
}

// A block of many transactions is taken in beside the requests, not before them.
func TestRequestsDoNotWaitForALongBlock(t *testing.T) {
	set := fast()
	set.Window = 4096
	r := newRig(t, nodetest.Options{}, set)
	const many = 900
	hashes := r.sendMany(many, 64)
	r.chain.Mine()
	r.waitFor("the block to be read", func() bool { return r.mined(hashes) > 0 })
	_, err := r.send(transfer(0, many))
	r.must(err)
	if n := r.mined(hashes); n == many {
		t.Errorf("all %d transactions of the block were taken in before one request was answered", n)
	}
	r.waitFor("all of the block", func() bool { return r.mined(hashes) == many })
}

// mined counts how many of the account's rows are mined or confirmed.
func (r *rig) mined(hashes []common.Hash) int {
	r.t.Helper()
	rows, err := r.db.List(context.Background(), store.TxFilter{
		Sender: r.senderID(0), States: []store.TxState{store.Mined, store.Confirmed}, Limit: len(hashes) + 1,
	})
	r.must(err)
	return len(rows)
}

// What a reorganisation takes back it takes back after everything that the chain
// had told before, however much of that still waits.
func TestReorganisationDoesNotOvertakeItsBlocks(t *testing.T) {
	set := fast()
	set.Window, set.Confirmations = 4096, 3
	r := newRig(t, nodetest.Options{}, set)
	const many = 600
	hashes := r.sendMany(many, 64)
	r.chain.Mine()
	r.waitFor("the block to be read", func() bool { return r.mined(hashes) > 0 })
	r.must(r.chain.Reorg(1, true)) // while most of its receipts wait
	r.waitFor("sent again", func() bool { return len(r.chain.Pool(addr(0))) == many })
	r.waitFor("taken back", func() bool { return r.mined(hashes) == 0 })
	for range 6 {
		r.chain.Mine()
		time.Sleep(20 * time.Millisecond)
	}
	for _, h := range hashes {
		r.waitFor("confirmed", func() bool { return r.state(h) == store.Confirmed })
	}
	r.checkChain(0, many, hashes)
}
