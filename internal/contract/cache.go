// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"container/list"
	"sync"
	"time"
)

const (
	// maxCached bounds what parsed interfaces take, by the sizes of their documents.
	maxCached = 32 << 20
	// cacheFresh is how long an interface that another process has deleted may still
	// be found here.
	cacheFresh = 5 * time.Second
)

// cache keeps interfaces parsed, those that were used last. It is safe for
// concurrent use.
type cache struct {
	mu   sync.Mutex
	byID map[string]*list.Element
	used *list.List // of *cached, the last used first
	size int
}

type cached struct {
	at   Place
	abi  ABI
	seen time.Time // when its row was there
	size int
}

func newCache() cache { return cache{byID: make(map[string]*list.Element), used: list.New()} }

// get finds an interface of a place; fresh is false if its row is to be looked for.
func (c *cache) get(at Place, id string, now time.Time) (a ABI, known, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e == nil {
		return ABI{}, false, false
	}
	x := e.Value.(*cached)
	if x.at.Environment != at.Environment || x.at.Membership != at.Membership {
		return ABI{}, false, false
	}
	c.used.MoveToFront(e)
	return x.abi, true, now.Sub(x.seen) < cacheFresh
}

// put keeps an interface whose row was just seen.
func (c *cache) put(at Place, a ABI, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[a.ID]; e != nil {
		e.Value.(*cached).seen = now
		return
	}
	x := &cached{at: at, abi: a, seen: now, size: 1024 + 8*len(a.Document) + len(a.Docs) + len(a.Bytecode)}
	c.byID[a.ID] = c.used.PushFront(x)
	for c.size += x.size; c.size > maxCached && c.used.Len() > 1; {
		c.remove(c.used.Back())
	}
}

func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byID[id]; e != nil {
		c.remove(e)
	}
}

func (c *cache) remove(e *list.Element) {
	x := c.used.Remove(e).(*cached)
	delete(c.byID, x.abi.ID)
	c.size -= x.size
}
