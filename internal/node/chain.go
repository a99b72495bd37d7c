// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
)

// Chain tells one chain from another. Two chains may share an id (a fork, or
// a development chain started anew), but then not their first block.
type Chain struct {
	ID      uint64 // EIP-155
	Genesis common.Hash
}

// pin is what is known of the node's chain.
type pin struct {
	id    atomic.Uint64 // 0: not yet known
	mu    sync.Mutex
	chain *Chain
}

// foreign says why a chain is not the pinned one; nil if it is, as far as is
// known.
func (p *pin) foreign(chain Chain) error {
	if id := p.id.Load(); id != 0 && id != chain.ID {
		return &ChainMismatchError{Want: id, Got: chain.ID}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chain != nil && p.chain.Genesis != chain.Genesis {
		return &fault{ErrUnavailable, "serves a chain with another first block"}
	}
	return nil
}

// adopt pins a chain, if none is.
func (p *pin) adopt(chain Chain) {
	p.id.CompareAndSwap(0, chain.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chain == nil && chain.ID == p.id.Load() {
		p.chain = &chain
	}
}

// Identity returns the chain that the node serves. The first answer is
// remembered for the life of the client; see FreshIdentity.
func (c *Client) Identity(ctx context.Context) (Chain, error) {
	c.pin.mu.Lock()
	known := c.pin.chain
	c.pin.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	chain, err := c.FreshIdentity(ctx)
	if err != nil {
		return Chain{}, err
	}
	c.pin.mu.Lock()
	defer c.pin.mu.Unlock()
	if c.pin.chain == nil {
		c.pin.chain = &chain
	}
	return *c.pin.chain, nil
}

// FreshIdentity asks the node now, whatever was known before. It is how a
// chain that was started anew is noticed: its genesis differs from Identity's.
// An id other than the pinned one is a *ChainMismatchError.
func (c *Client) FreshIdentity(ctx context.Context) (Chain, error) {
	chain, err := c.active().identity(ctx)
	if err == nil {
		err = c.agree(chain.ID)
	}
	if err != nil {
		return Chain{}, err
	}
	return chain, nil
}

// identity asks which chain the endpoint serves, and compares it with nothing.
func (e *endpoint) identity(ctx context.Context) (Chain, error) {
	var id Uint64
	var genesis Head
	calls := []*Call{
		{Method: "eth_chainId", Result: &id},
		{Method: "eth_getBlockByNumber", Params: []any{"0x0", false}, Result: &genesis},
	}
	if err := e.all(ctx, calls); err != nil {
		return Chain{}, err
	}
	if genesis.Hash == (common.Hash{}) {
		return Chain{}, fmt.Errorf("node: eth_getBlockByNumber: %w", badResponse("no block 0"))
	}
	return Chain{ID: uint64(id), Genesis: genesis.Hash}, nil
}

// VerifyChain asks for the chain id and returns a *ChainMismatchError if it is
// not the pinned one. Callers share a request, but only one that started after
// they called: an answer from before says nothing about now. Thus any number
// of concurrent senders costs two requests.
//
// Where there are several endpoints it fails also while the active one is
// known to serve another chain and no other can take its place.
func (c *Client) VerifyChain(ctx context.Context) error { return c.active().verify.do(ctx) }

func (e *endpoint) checkChain() error {
	ctx, cancel := context.WithTimeout(context.Background(), e.c.cfg.Timeout)
	defer cancel()
	var id Uint64
	if err := e.call(ctx, &id, "eth_chainId"); err != nil {
		return err
	}
	err := e.c.agree(uint64(id))
	if e.watch != nil {
		if err != nil {
			e.watch.look()
			return err
		}
		return e.watch.foreign()
	}
	return err
}

// agree compares an answered chain id with the pinned one, or pins it.
func (c *Client) agree(id uint64) error {
	if id == 0 {
		return fmt.Errorf("node: eth_chainId: %w", badResponse("chain id 0"))
	}
	if !c.pin.id.CompareAndSwap(0, id) {
		if want := c.pin.id.Load(); want != id {
			return &ChainMismatchError{Want: want, Got: id}
		}
	}
	return nil
}

// coalescer lets concurrent callers share a check that starts after all of
// them have called.
type coalescer struct {
	check   func() error
	mu      sync.Mutex
	running bool
	next    *sharedCheck // not started yet; nil: nobody waits
}

type sharedCheck struct {
	done chan struct{}
	err  error
}

func (c *coalescer) do(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return connectionFault(ctx, err)
	}
	c.mu.Lock()
	if c.next == nil {
		c.next = &sharedCheck{done: make(chan struct{})}
	}
	mine := c.next
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return connectionFault(ctx, ctx.Err())
	}
}

// run does checks one after the other as long as somebody waits. It is
// bounded by the check's own timeout, not by any caller's context, since
// the callers have nothing in common.
func (c *coalescer) run() {
	for {
		c.mu.Lock()
		current := c.next
		c.next = nil
		if current == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		current.err = c.check()
		close(current.done)
	}
}
