// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// catalogue remembers what the vault said of its versions, so that a listing
// asks for each only once, and a signature for none.
type catalogue struct {
	mu         sync.RWMutex
	versions   map[key.Ref]entry
	algorithms map[key.Ref]azkeys.SignatureAlgorithm // learnt by signing, before any listing
	pass       uint64                                // of the listing that began last
}

type entry struct {
	described
	listed bool
	seen   attributes // of the last listing that showed it
	pass   uint64
}

func (c *catalogue) init() {
	c.versions = map[key.Ref]entry{}
	c.algorithms = map[key.Ref]azkeys.SignatureAlgorithm{}
}

func (c *catalogue) get(ref key.Ref) (described, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.versions[ref]
	return e.described, ok
}

func (c *catalogue) put(ref key.Ref, d described) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.versions[ref]
	e.described, e.pass = d, c.pass
	c.versions[ref] = e
}

// algorithm returns what the version signs by; known tells whether the vault
// said so.
func (c *catalogue) algorithm(ref key.Ref) (a azkeys.SignatureAlgorithm, known bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, ok := c.versions[ref]; ok && !e.other {
		return e.algorithm, true
	}
	if a, ok := c.algorithms[ref]; ok {
		return a, true
	}
	return azkeys.SignatureAlgorithmES256K, false
}

func (c *catalogue) setAlgorithm(ref key.Ref, a azkeys.SignatureAlgorithm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.algorithms[ref] = a
}

// whyNot says why the version could not sign when it was listed last, judged by
// the time now; empty if nothing is known against it.
func (c *catalogue) whyNot(ref key.Ref, now time.Time) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.versions[ref]
	if !ok || !e.listed {
		return ""
	}
	return e.whyNot(now)
}

func (e entry) whyNot(now time.Time) string {
	if why := e.seen.whyNot(now); why != "" || e.canSign {
		return why
	}
	return noSignOperation
}

// begin starts a listing and returns its number.
func (c *catalogue) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass++
	return c.pass
}

// list notes that the listing has shown the version, and what it is: another
// listing may have ended, and forgotten it, since that was asked for.
func (c *catalogue) list(ref key.Ref, d described, a attributes, pass uint64) entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.versions[ref]
	e.described, e.listed, e.seen, e.pass = d, true, a, max(e.pass, pass)
	c.versions[ref] = e
	return e
}

// end forgets what the whole listing has not shown.
func (c *catalogue) end(pass uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref, e := range c.versions {
		if e.pass < pass {
			delete(c.versions, ref)
		}
	}
	clear(c.algorithms) // the catalogue knows them now
}
