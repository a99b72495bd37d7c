// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import "sync"

// given remembers the digests of the last signatures that were given without a
// check. Who asks for one of them once more did not like the first answer.
type given struct {
	mu    sync.Mutex
	last  [1024][32]byte // far more than are under way at once
	next  int
	times map[[32]byte]int // in last
}

func (g *given) add(digest [32]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.times == nil {
		g.times = make(map[[32]byte]int)
	}
	if oldest := g.last[g.next]; g.times[oldest] > 1 {
		g.times[oldest]--
	} else {
		delete(g.times, oldest)
	}
	g.last[g.next] = digest
	g.next = (g.next + 1) % len(g.last)
	g.times[digest]++
}

func (g *given) has(digest [32]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.times[digest] > 0
}
