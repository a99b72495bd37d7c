// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// ringSize is how many blocks back a reorganisation can be followed. After a
// deeper one the senders ask for their receipts by hash.
const ringSize = 256

// maxCatchUp is how many missed blocks are read one by one. After a longer
// absence the senders ask for their receipts by hash instead.
const maxCatchUp = 128

// idlePoll is how often a node is asked for its head when nothing is under
// way: often enough for the health page, seldom enough to cost nothing.
const idlePoll = 5 * time.Second

// hungryPoll is the shortest pause between two looks at the head. They come
// so often only while requests of a sender wait and its window is full: on a
// chain that makes a block as soon as transactions come, the window would
// otherwise empty once per poll.
const hungryPoll = 50 * time.Millisecond

// chain follows one node's head and tells the senders what was mined. Blocks
// are read once for all senders (TXMGR.md no. 25).
type chain struct {
	m    *Manager
	node *node.Client
	kick chan struct{}              // asks for a poll now
	id   atomic.Pointer[node.Chain] // nil until the node has said it

	ctx    context.Context // ends with the last wallet
	cancel context.CancelFunc
	ended  chan struct{} // closed when it is followed no longer

	wallets map[*Wallet]struct{} // bound to it; guarded by Manager.mu

	mu      sync.Mutex
	poll    time.Duration // the shortest that one of the wallets asks for
	head    node.Head
	ring    map[uint64]common.Hash // hashes of the last ringSize blocks
	watched map[common.Hash]*sender
	busy    map[*sender]bool // senders that want to hear of heads; true: one that can do nothing before the next
	fees    cachedFees

	accounts accounts
	err      error // of the last poll
}

func newChain(m *Manager, n *node.Client) *chain {
	c := &chain{
		m: m, node: n, kick: make(chan struct{}, 1), ended: make(chan struct{}), wallets: map[*Wallet]struct{}{},
		ring: map[uint64]common.Hash{}, watched: map[common.Hash]*sender{}, busy: map[*sender]bool{},
	}
	c.ctx, c.cancel = context.WithCancel(m.ctx)
	return c
}

// join adds a wallet. Manager.mu is held.
func (c *chain) join(w *Wallet) {
	c.wallets[w] = struct{}{}
	c.setPoll()
}

// part takes a wallet away and says how many are left. Manager.mu is held.
func (c *chain) part(w *Wallet) int {
	delete(c.wallets, w)
	c.setPoll()
	return len(c.wallets)
}

func (c *chain) setPoll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poll = idlePoll
	for w := range c.wallets {
		c.poll = min(c.poll, w.set.Poll)
	}
}

// learn notes which chain it is.
func (c *chain) learn(id node.Chain) {
	if c.id.CompareAndSwap(nil, &id) {
		c.m.lookAround()
	}
}

// watch makes the chain report the block in which hash is mined.
func (c *chain) watch(hash common.Hash, s *sender) {
	c.mu.Lock()
	c.watched[hash] = s
	c.mu.Unlock()
}

// unwatch ends that, unless another sender object watches by now: one for the
// same address that took over.
func (c *chain) unwatch(hash common.Hash, s *sender) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched[hash] == s {
		delete(c.watched, hash)
	}
}

// attend says whether a sender wants to hear of every head, and whether it is
// hungry: requests wait that only a block can make room for.
func (c *chain) attend(s *sender, yes, hungry bool) {
	c.mu.Lock()
	was, there := c.busy[s]
	if yes {
		c.busy[s] = hungry
	} else {
		delete(c.busy, s)
	}
	sooner := yes && (!there && len(c.busy) == 1 || hungry && !was)
	c.mu.Unlock()
	if sooner {
		c.pollNow()
	}
}

// pause is how long to wait until the next look at the head.
func (c *chain) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.busy) == 0 {
		return idlePoll
	}
	for _, hungry := range c.busy {
		if hungry {
			return c.shortest()
		}
	}
	return c.poll
}

// shortest is the least pause between two looks at the head, whoever asks. c.mu
// is held.
func (c *chain) shortest() time.Duration {
	return min(c.poll, max(hungryPoll, c.poll/10))
}

func (c *chain) least() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shortest()
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
	for w := range c.wallets {
		names = append(names, w.name)
	}
	c.m.mu.Unlock()
	return names
}

// follow polls the head until the manager stops or no wallet is left.
func (c *chain) follow() {
	defer close(c.ended)
	defer c.node.OnChange(c.moved)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.kick:
			// A sender may be hungry and fed many times a second.
			if early := c.least() - time.Since(last); early > 0 {
				timer.Reset(early)
				continue
			}
		}
		last = time.Now()
		if c.id.Load() == nil {
			if id, err := c.node.Identity(c.ctx); err == nil {
				c.learn(id)
			}
		}
		err := c.step(c.ctx)
		c.mu.Lock()
		changed := (err == nil) != (c.err == nil)
		c.err = err
		c.mu.Unlock()
		if err != nil && c.ctx.Err() == nil {
			for _, name := range c.names() {
				c.m.obs.NodeError(name)
			}
			if changed {
				c.m.log.Warn("node does not answer", "wallets", c.names(), "err", err)
			}
		}
		timer.Reset(c.pause())
	}
}

// moved is told that another node serves the chain from now on. It may lag, and
// it has none of what the one before had in its pool: what was mined is looked
// at again, and everything unmined goes out first (TXMGR.md no. 22).
func (c *chain) moved() {
	c.m.log.Warn("another node serves the chain now", "wallets", c.names())
	for _, s := range c.m.sendersOf(c) {
		// At once, for nothing new may go to the other node before what it lacks;
		// and after everything that the first one has told.
		s.post(func() {
			s.takeAllBlocks()
			s.nodeChanged()
		})
	}
	c.pollNow()
}

// step looks at the head once and reports what is new. A step that was answered
// by two nodes counts for nothing; what it has told the senders is true of
// either.
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
	switch {
	case old.Hash == (common.Hash{}):
		c.jump(head)
	case head.Number > old.Number+maxCatchUp:
		if err := c.skip(ctx, head); err != nil {
			return err
		}
	case head.Number < old.Number && c.lags(head):
		return nil
	case head.Number < old.Number && !c.remembers(head.Number):
		// Too far back to compare: a lagging node, unless it is another chain.
		reset, err := c.wasReset(ctx)
		if err != nil || !reset {
			return err
		}
		c.restart(head)
	default:
		if err := c.connect(ctx, head); err != nil {
			return err
		}
	}
	c.announce(head, true)
	return nil
}

// lags reports whether a head below the last one is a block that we know: a
// lagging node, nothing else.
func (c *chain) lags(head node.Head) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ring[head.Number] == head.Hash
}

func (c *chain) remembers(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.ring[number]
	return ok
}

// jump takes head without reading the blocks before it. What was mined has to
// be looked at again, since a reorganisation may have been among them.
func (c *chain) jump(head node.Head) {
	c.mu.Lock()
	c.head = head
	c.ring = map[uint64]common.Hash{head.Number: head.Hash}
	c.mu.Unlock()
	c.tell(func(s *sender) { s.blocksMissed() })
}

func (c *chain) skip(ctx context.Context, head node.Head) error {
	reset, err := c.wasReset(ctx)
	if err != nil {
		return err
	}
	if reset {
		c.restart(head)
	} else {
		c.jump(head)
	}
	return nil
}

// wasReset reports whether the node serves a chain with another first block
// than the one that our rows are of.
func (c *chain) wasReset(ctx context.Context) (bool, error) {
	was, err := c.node.Identity(ctx)
	if err != nil {
		return false, err
	}
	is, err := c.node.FreshIdentity(ctx)
	if err != nil {
		return false, err
	}
	return is.Genesis != was.Genesis, nil
}

// restart follows another chain under the same id. Nothing of the old one
// goes out on it unless an operator says so.
func (c *chain) restart(head node.Head) {
	c.mu.Lock()
	c.head = head
	c.ring = map[uint64]common.Hash{head.Number: head.Hash}
	c.mu.Unlock()
	c.m.log.Error("the node serves another chain: its first block has another hash", "wallets", c.names())
	c.tell(func(s *sender) { s.chainReset() })
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
	lowest, last := c.head.Number, c.head.Number
	for n := range c.ring {
		lowest = min(lowest, n)
	}
	c.mu.Unlock()
	met := false
	for {
		blocks = append(blocks, b)
		if b.Number == 0 || b.Number <= lowest {
			break
		}
		c.mu.Lock()
		met = c.ring[b.Number-1] == b.ParentHash
		c.mu.Unlock()
		if met {
			break
		}
		if b, err = c.node.BlockByHash(ctx, b.ParentHash); err != nil {
			return err
		}
	}
	if !met {
		reset, err := c.wasReset(ctx)
		if err != nil {
			return err
		}
		if reset {
			c.restart(head)
			return nil
		}
	}
	if oldest := blocks[len(blocks)-1]; oldest.Number <= last {
		c.takeBack(oldest.Number)
	}
	if !met { // the reorganisation may go deeper than what is remembered
		c.tell(func(s *sender) { s.blocksMissed() })
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
	c.mu.Unlock()
	c.m.log.Warn("chain reorganised", "from_block", number, "depth", depth)
	c.tell(func(s *sender) { s.reorganised(number) })
}

// tell posts an event to every sender on this chain.
func (c *chain) tell(event func(*sender)) {
	for _, s := range c.m.sendersOf(c) {
		c.post(s, event)
	}
}

// post tells a sender what this chain brought, unless it has gone over to another
// by the time it hears of it: what one node has in its blocks proves nothing there.
func (c *chain) post(s *sender, event func(*sender)) {
	s.postBlock(func() {
		if s.chain == c {
			event(s)
		}
	})
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
		receipts, err := c.node.ReceiptsIn(ctx, b.Hash, func(h common.Hash) bool { return owners[h] != nil })
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
			for part := range slices.Chunk(rs, blockShare) {
				c.post(s, func(s *sender) { s.minedAll(part) })
			}
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
		c.post(s, func(s *sender) { s.headSeen(head, moved) })
	}
}

func (c *chain) senders() []*sender {
	list := make([]*sender, 0, len(c.busy))
	for s := range c.busy {
		list = append(list, s)
	}
	return list
}
