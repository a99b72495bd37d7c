// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"sync"
	"time"
)

// passes counts how often the rows were read, knows for what of them something is
// still being done, and tells everybody who waits for that.
type passes struct {
	mu      sync.Mutex
	started int
	ended   int             // the number of the last that has
	busy    map[string]bool // ids of services that are being changed, and of what they use
	ch      chan struct{}
}

func (p *passes) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started++
}

// end says for what something is still being done, and with read that the rows
// were read before.
func (p *passes) end(read bool, busy map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if read {
		p.ended = p.started
	}
	p.busy = busy
	if p.ch != nil {
		close(p.ch)
		p.ch = nil
	}
}

// begun is the number of the last that has begun. Whatever is stored now is seen
// by all that come after it.
func (p *passes) begun() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// next returns a channel that is closed at the next end, and whether a resource
// is by now as its row said after the pass of that number.
func (p *passes) next(began int, id string) (<-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
	}
	return p.ch, p.ended > began && !p.busy[id]
}

// passWithin bounds how long a change waits for its effect.
const passWithin = 2 * time.Second

// pass waits until what was stored before of a resource is known to what runs
// here: whoever gives a new credential may revoke the old one when he has the
// answer. What is done for other resources is not waited for.
func (p *Platform) pass(ctx context.Context, id string) {
	deadline := time.NewTimer(passWithin)
	defer deadline.Stop()
	began := p.passes.begun()
	for p.running.Load() {
		passed, settled := p.passes.next(began, id)
		if settled {
			return
		}
		select {
		case <-passed:
		case <-deadline.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
