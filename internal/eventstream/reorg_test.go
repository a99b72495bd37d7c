// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What vanished is told as removed, the newest first, and then what came in its
// place.
func TestReorganisationIsTold(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 10, rec.url)
	chain.mine(1)
	chain.mine(2, 3)
	wantValues(t, rec, "1", "2", "3")
	lost := chain.blocks[2].hash
	chain.cut(1)
	chain.mine(3)
	chain.mine(4)
	wantValues(t, rec, "1", "2", "3", "-3", "-2", "3", "4")
	gone, again := rec.events()[4], rec.events()[5]
	if gone.BlockHash != lost || gone.TransactionHash != txHash(2) || gone.LogIndex != "1" || gone.BlockNumber != "2" || again.BlockHash == lost {
		t.Errorf("gone %+v, again %+v", gone, again)
	}
}

// A reorganisation that makes the chain no longer is noticed as well.
func TestReorganisationOfTheHeadAlone(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("latest", hook, 1, rec.url)
	chain.mine(1)
	wantValues(t, rec, "1")
	chain.set(func() { chain.blocks, chain.fork = chain.blocks[:1], chain.fork+1 })
	chain.mine(2)
	wantValues(t, rec, "1", "-1", "2")
}

// What was delivered is known after a restart, but for the data.
func TestReorganisationWhileNobodyDelivers(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	db := openStore(t, t.TempDir())
	r := start(t, fast(db, openNode(t, chain.url)))
	id := r.follow("0", hook, 10, rec.url)
	chain.mine(1)
	chain.mine()
	chain.mine(2)
	wantValues(t, rec, "1", "2")
	r.stored(id, 3)
	lost := chain.blocks[3].hash
	r.stop()
	chain.cut(2)
	chain.mine(3)
	chain.mine(4)
	start(t, fast(db, openNode(t, chain.url)))
	wantValues(t, rec, "1", "2", "-", "3", "4")
	if gone := rec.events()[2]; gone.BlockHash != lost || gone.TransactionHash != txHash(2) || gone.Address != rec.events()[0].Address {
		t.Errorf("got %+v", gone)
	}
}

// Deeper than anything is remembered, as when a development chain began anew: what
// is remembered is told as removed, and the new chain from there on.
func TestChainBegunAnew(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	for range 5 {
		chain.mine()
	}
	chain.mine(1)
	// Followed only now, so that all is read at once and the newest block alone is
	// remembered: of an older one it would be known at once that it is another.
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 10, rec.url)
	wantValues(t, rec, "1")
	chain.set(func() { chain.blocks, chain.fork = nil, chain.fork+1 })
	chain.mine()
	chain.mine(2)
	for range 3 {
		chain.mine()
	}
	wantValues(t, rec, "1") // the chain is shorter than what was read: it may be a node that is behind
	chain.mine(3)
	chain.mine()
	wantValues(t, rec, "1", "-1", "2", "3")
}

// A node that is behind, as after a fail-over, is no reorganisation.
func TestNodeBehindTellsNothingTwice(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 10, rec.url)
	chain.mine(1)
	chain.mine(2)
	wantValues(t, rec, "1", "2")
	var ahead []testBlock
	chain.set(func() { ahead, chain.blocks = chain.blocks, chain.blocks[:2] })
	eventually(t, "it is trouble", func() bool { return r.stream(id).Trouble != "" })
	chain.set(func() { chain.blocks = ahead })
	chain.mine(3)
	wantValues(t, rec, "1", "2", "3")
}

// The chain changes after the logs were read and before the last look: nothing of
// what was read is told.
func TestChainThatMovesWhileItIsRead(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.mine(1)
	chain.mine(2)
	chain.during = func() {
		chain.cut(1)
		chain.mine(3)
	}
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 10, rec.url)
	wantValues(t, rec, "1", "3")
}

// Random growth, cuts and restarts: what a receiver knows at the end, removals
// applied, is what the chain says.
func TestReceiverEndsWithTheChainsEvents(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			chain := newChain(t)
			rec := receive(t, nil)
			db := openStore(t, t.TempDir())
			client := openNode(t, chain.url)
			r := start(t, fast(db, client))
			r.subscribe(r.create(hook, 1+rng.IntN(5), rec.url), "0")
			value := 0
			mine := func() {
				var values []int
				for range rng.IntN(3) {
					value++
					values = append(values, value)
				}
				chain.mine(values...)
			}
			for range 40 {
				switch rng.IntN(12) {
				case 0:
					chain.mu.Lock()
					most := len(chain.blocks) - 1
					chain.mu.Unlock()
					if n := min(rng.IntN(6), most); n > 0 {
						chain.cut(n)
						for range n + 1 {
							mine()
						}
					}
				case 1:
					r.stop()
					r = start(t, fast(db, client))
				default:
					mine()
				}
				time.Sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
			}
			value++
			chain.mine(value)
			eventually(t, "the last is told", func() bool { return slices.Contains(rec.values(), strconv.Itoa(value)) })
			known := map[string]bool{}
			for _, e := range rec.events() {
				if key := e.BlockHash.Hex() + e.LogIndex; e.Removed {
					delete(known, key)
				} else {
					known[key] = true
				}
			}
			for _, b := range chain.blocks {
				for _, l := range b.logs {
					if key := b.hash.Hex() + strconv.FormatUint(uint64(l.Index), 10); l.Address == shop && !known[key] {
						t.Errorf("block %d, log %d is not known", l.BlockNumber, l.Index)
					} else {
						delete(known, key)
					}
				}
			}
			if len(known) > 0 {
				t.Errorf("%d events are known that are not of the chain", len(known))
			}
		})
	}
}

// An event that the receiver has, though nobody heard it say so, is taken back too.
func TestEventThatMayHaveArrivedIsTakenBack(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	rec := receive(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return true
	})
	db := openStore(t, t.TempDir())
	r := start(t, fast(db, openNode(t, chain.url)))
	r.follow("0", strings.Replace(hook, `DelaySec":1`, `DelaySec":600`, 1), 10, rec.url) // not again before the stop
	chain.mine(1, 2)
	wantValues(t, rec, "1", "2")
	lost := chain.blocks[1].hash
	r.stop()
	chain.cut(1)
	chain.mine(3)
	start(t, fast(db, openNode(t, chain.url)))
	wantValues(t, rec, "1", "2", "-", "-", "3")
	if gone := rec.events()[2]; gone.BlockHash != lost || gone.TransactionHash != txHash(2) {
		t.Errorf("got %+v", gone)
	}
}
