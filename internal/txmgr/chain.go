// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// ringSize is how many blocks back a reorganisation can be followed. A deeper
// one is treated like a chain that was reset.
const ringSize = 256

// maxCatchUp is how many missed blocks are read one by one. After a longer
// absence the senders ask for their receipts by hash instead.
const maxCatchUp = 128

// idlePoll is how often a node is asked for its head when nothing is under
// way: often enough for the health page, seldom enough to cost nothing.
const idlePoll = 5 * time.Second

// chain follows one node's head and tells the senders what was mined. Blocks
// are read once for all senders (TXMGR.md no. 25).
type chain struct {
	m    *Manager
	node *node.Client
	poll time.Duration
	kick chan struct{} // asks for a poll now

	mu      sync.Mutex
	head    node.Head
	ring    map[uint64]common.Hash // hashes of the last ringSize blocks
	watched map[common.Hash]*sender
	busy    map[*sender]struct{} // senders that want to hear of heads
	fees    cachedFees
	err     error // of the last poll
}

func newChain(m *Manager, n *node.Client, set Settings) *chain {
	return &chain{
		m: m, node: n, poll: set.Poll, kick: make(chan struct{}, 1),
		ring: map[uint64]common.Hash{}, watched: map[common.Hash]*sender{}, busy: map[*sender]struct{}{},
	}
}

// watch makes the chain report the block in which hash is mined.
func (c *chain) watch(hash common.Hash, s *sender) {
	c.mu.Lock()
	c.watched[hash] = s
	c.mu.Unlock()
}

func (c *chain) unwatch(hash common.Hash) {
	c.mu.Lock()
	delete(c.watched, hash)
	c.mu.Unlock()
}

// attend says whether a sender wants to hear of every head.
func (c *chain) attend(s *sender, yes bool) {
	c.mu.Lock()
	_, was := c.busy[s]
	if yes {
		c.busy[s] = struct{}{}
	} else {
		delete(c.busy, s)
	}
	first := yes && !was && len(c.busy) == 1
	c.mu.Unlock()
	if first {
		c.pollNow()
	}
}

func (c *chain) pollNow() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *chain) current() node.Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head
}

func (c *chain) names() []string {
	var names []string
	c.m.mu.Lock()
	for _, w := range c.m.wallets {
		if w.chain == c {
			names = append(names, w.name)
		}
	}
	c.m.mu.Unlock()
	return names
}

// follow polls the head until the manager stops.
func (c *chain) follow() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.m.ctx.Done():
			return
		case <-timer.C:
		case <-c.kick:
		}
		err := c.step(c.m.ctx)
		c.mu.Lock()
		changed := (err == nil) != (c.err == nil)
		c.err = err
		wait := idlePoll
		if len(c.busy) > 0 {
			wait = c.poll
		}
		c.mu.Unlock()
		if err != nil && c.m.ctx.Err() == nil {
			for _, name := range c.names() {
				c.m.obs.NodeError(name)
			}
			if changed {
				c.m.log.Warn("node does not answer", "wallets", c.names(), "err", err)
			}
		}
		timer.Reset(wait)
	}
}

// step looks at the head once and reports what is new.
func (c *chain) step(ctx context.Context) error {
	head, err := c.node.HeadAt(ctx, "latest")
	if err != nil {
		return err
	}
	c.mu.Lock()
	old := c.head
	c.mu.Unlock()
	if head.Hash == old.Hash {
		c.announce(head, false)
		return nil
	}
	for _, name := range c.names() {
		c.m.obs.NodeHead(name, head.Number)
	}
	if old.Hash == (common.Hash{}) || head.Number > old.Number+maxCatchUp {
		c.jump(head)
		c.announce(head, true)
		return nil
	}
	if head.Number < old.Number {
		c.mu.Lock()
		same := c.ring[head.Number] == head.Hash
		c.mu.Unlock()
		if same {
			return nil // a lagging node, nothing else
		}
	}
	if err := c.connect(ctx, head); err != nil {
		return err
	}
	c.announce(head, true)
	return nil
}

// jump takes head without reading the blocks before it.
func (c *chain) jump(head node.Head) {
	c.mu.Lock()
	c.head = head
	c.ring = map[uint64]common.Hash{head.Number: head.Hash}
	busy := c.senders()
	c.mu.Unlock()
	for _, s := range busy {
		s.post(func() { s.reconcileAll() })
	}
}

// connect reads the blocks between the one last seen and head, oldest first.
// Blocks that turn out to have been replaced are taken back first.
func (c *chain) connect(ctx context.Context, head node.Head) error {
	var blocks []node.Block
	b, err := c.node.BlockByHash(ctx, head.Hash)
	if err != nil {
		return err
	}
	c.mu.Lock()
	lowest := c.head.Number
	for n := range c.ring {
		lowest = min(lowest, n)
	}
	last := c.head.Number
	c.mu.Unlock()
	for {
		blocks = append(blocks, b)
		if b.Number == 0 || b.Number <= lowest {
			break
		}
		c.mu.Lock()
		known := c.ring[b.Number-1]
		c.mu.Unlock()
		if known == b.ParentHash {
			break
		}
		if b, err = c.node.BlockByHash(ctx, b.ParentHash); err != nil {
			return err
		}
	}
	oldest := blocks[len(blocks)-1]
	if oldest.Number <= last {
		c.takeBack(oldest.Number)
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		if err := c.include(ctx, blocks[i]); err != nil {
			return err
		}
	}
	return nil
}

// takeBack forgets blocks from number upward: the chain was reorganised.
func (c *chain) takeBack(number uint64) {
	c.mu.Lock()
	depth := c.head.Number - number + 1
	for n := range c.ring {
		if n >= number {
			delete(c.ring, n)
		}
	}
	all := c.allSenders()
	c.mu.Unlock()
	c.m.log.Warn("chain reorganised", "from_block", number, "depth", depth)
	for _, s := range all {
		s.post(func() { s.reorganised(number) })
	}
}

// include reads one block's transactions and reports those that are ours.
func (c *chain) include(ctx context.Context, b node.Block) error {
	c.mu.Lock()
	owners := map[common.Hash]*sender{}
	for _, h := range b.Transactions {
		if s := c.watched[h]; s != nil {
			owners[h] = s
		}
	}
	c.mu.Unlock()
	if len(owners) > 0 {
		receipts, err := c.node.BlockReceipts(ctx, b.Hash)
		if err != nil {
			return err
		}
		mined := map[*sender][]*node.Receipt{}
		for _, r := range receipts {
			if s := owners[r.TxHash]; s != nil {
				mined[s] = append(mined[s], r)
			}
		}
		for s, rs := range mined {
			s.post(func() { s.minedAll(rs) })
		}
	}
	c.mu.Lock()
	c.head = b.Head
	c.ring[b.Number] = b.Hash
	delete(c.ring, b.Number-ringSize)
	c.mu.Unlock()
	return nil
}

// announce tells the senders that something may have changed.
func (c *chain) announce(head node.Head, moved bool) {
	c.mu.Lock()
	busy := c.senders()
	c.mu.Unlock()
	for _, s := range busy {
		s.post(func() { s.headSeen(head, moved) })
	}
}

func (c *chain) senders() []*sender {
	list := make([]*sender, 0, len(c.busy))
	for s := range c.busy {
		list = append(list, s)
	}
	return list
}

func (c *chain) allSenders() []*sender {
	var list []*sender
	c.m.mu.Lock()
	for _, s := range c.m.senders {
		if s.chain == c {
			list = append(list, s)
		}
	}
	c.m.mu.Unlock()
	return list
}

// feeAge is how long an answer about fees may serve other requests. It is
// well under a block on any chain, so nobody gets a worse price by it.
const feeAge = time.Second

// cachedFees holds the node's answers that many concurrent requests share.
type cachedFees struct {
	head       memo[tx.Head]
	tip, price memo[*big.Int]
	blob       memo[*big.Int]
}

// memo keeps one answer for feeAge; callers that come while it is fetched
// share the fetch.
type memo[T any] struct {
	mu sync.Mutex
	at time.Time
	v  T
}

func (m *memo[T]) get(ctx context.Context, fetch func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.at) < feeAge {
		return m.v, nil
	}
	v, err := fetch(ctx)
	if err != nil {
		return v, err
	}
	m.v, m.at = v, time.Now()
	return v, nil
}

// The methods below are tx.Chain: what the filling of missing fields asks.

// Head is the node's latest block.
func (c *chain) Head(ctx context.Context) (tx.Head, error) {
	return c.fees.head.get(ctx, func(ctx context.Context) (tx.Head, error) {
		h, err := c.node.HeadAt(ctx, "latest")
		return tx.Head{Number: h.Number, BaseFee: h.BaseFee, GasLimit: h.GasLimit}, err
	})
}

// SuggestTip is the node's eth_maxPriorityFeePerGas, wei per gas.
func (c *chain) SuggestTip(ctx context.Context) (*big.Int, error) {
	return c.fees.tip.get(ctx, func(ctx context.Context) (*big.Int, error) {
		tip, err := c.node.SuggestTip(ctx)
		var nerr *node.Error
		if errors.As(err, &nerr) && nerr.Code == codeNoMethod {
			err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return tip, err
	})
}

// codeNoMethod is JSON-RPC's "method not found".
const codeNoMethod = -32601

// GasPrice is the node's eth_gasPrice, wei per gas.
func (c *chain) GasPrice(ctx context.Context) (*big.Int, error) {
	return c.fees.price.get(ctx, c.node.GasPrice)
}

// BlobBaseFee is the node's eth_blobBaseFee, wei per blob gas.
func (c *chain) BlobBaseFee(ctx context.Context) (*big.Int, error) {
	return c.fees.blob.get(ctx, c.node.BlobBaseFee)
}

// CodeAt is the code at an address in the pending block.
func (c *chain) CodeAt(ctx context.Context, addr common.Address) ([]byte, error) {
	return c.node.CodeAt(ctx, addr, "pending")
}

// EstimateGas is the node's eth_estimateGas in the pending block.
func (c *chain) EstimateGas(ctx context.Context, args tx.Args) (uint64, error) {
	return c.node.EstimateGas(ctx, args.CallJSON(), "pending")
}
