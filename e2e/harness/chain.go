// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// Mined is what a block says of one transaction.
type Mined struct {
	Hash  common.Hash     `json:"hash"`
	From  common.Address  `json:"from"`
	To    *common.Address `json:"to"`
	Nonce hexutil.Uint64  `json:"nonce"`
	Block hexutil.Uint64  `json:"-"`
}

// History is everything that some senders have had mined since a block, in the
// order of the chain.
type History struct {
	byHash   map[common.Hash]Mined
	bySender map[common.Address][]Mined
	byTo     map[common.Address][]Mined
}

// blocksAtOnce is how many blocks one batch asks for.
const blocksAtOnce = 20

// ReadHistory reads the blocks after number `after` up to the head, from the node
// itself: what the daemon believes does not count.
func ReadHistory(ctx context.Context, n *Node, after uint64) (*History, error) {
	head, err := n.Eth.BlockNumber(ctx)
	if err != nil {
		return nil, fmt.Errorf("harness: head: %w", err)
	}
	h := &History{
		byHash:   make(map[common.Hash]Mined),
		bySender: make(map[common.Address][]Mined),
		byTo:     make(map[common.Address][]Mined),
	}
	for first := after + 1; first <= head; first += blocksAtOnce {
		if err := h.read(ctx, n, first, min(head, first+blocksAtOnce-1)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *History) read(ctx context.Context, n *Node, first, last uint64) error {
	type block struct {
		Transactions []Mined `json:"transactions"`
	}
	blocks := make([]*block, last-first+1)
	batch := make([]rpc.BatchElem, len(blocks))
	for i := range batch {
		batch[i] = rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{hexutil.Uint64(first + uint64(i)), true}, Result: &blocks[i]}
	}
	if err := n.RPC.BatchCallContext(ctx, batch); err != nil {
		return fmt.Errorf("harness: blocks %d to %d: %w", first, last, err)
	}
	for i, b := range blocks {
		if batch[i].Error != nil || b == nil {
			return fmt.Errorf("harness: block %d: %v", first+uint64(i), batch[i].Error)
		}
		for _, m := range b.Transactions {
			m.Block = hexutil.Uint64(first + uint64(i))
			if _, twice := h.byHash[m.Hash]; twice {
				return fmt.Errorf("harness: %s is in the chain twice", m.Hash)
			}
			h.byHash[m.Hash] = m
			h.bySender[m.From] = append(h.bySender[m.From], m)
			if m.To != nil {
				h.byTo[*m.To] = append(h.byTo[*m.To], m)
			}
		}
	}
	return nil
}

// Count is how many transactions of a sender were mined.
func (h *History) Count(sender common.Address) int { return len(h.bySender[sender]) }

// To lists what was mined to an address. Tests give each request a receiver of
// its own, which makes "twice" visible.
func (h *History) To(a common.Address) []Mined { return h.byTo[a] }

// Mined returns the mined transaction with a hash.
func (h *History) Mined(hash common.Hash) (Mined, bool) {
	m, ok := h.byHash[hash]
	return m, ok
}

// CheckSequence demands that the nonces of a sender run from start without a gap,
// in the order of the chain.
func (h *History) CheckSequence(sender common.Address, start uint64) error {
	for i, m := range h.bySender[sender] {
		if want := start + uint64(i); uint64(m.Nonce) != want {
			return fmt.Errorf("sender %s: transaction %d after the start has nonce %d, want %d", sender, i, uint64(m.Nonce), want)
		}
	}
	return nil
}

// CheckHashes demands that every hash a caller was given is mined, once, and that
// no two callers were given the same one.
func (h *History) CheckHashes(hashes []common.Hash) error {
	seen := make(map[common.Hash]bool, len(hashes))
	for _, hash := range hashes {
		if seen[hash] {
			return fmt.Errorf("two callers were given %s", hash)
		}
		seen[hash] = true
		if _, ok := h.byHash[hash]; !ok {
			return fmt.Errorf("%s was given to a caller and is not mined", hash)
		}
	}
	return nil
}

// WaitNonce waits until the node counts at least want mined transactions of a
// sender, in blocks that it shows: anvil's latest count rises a moment before its
// head does.
func WaitNonce(t T, n *Node, sender common.Address, want uint64, timeout time.Duration) {
	t.Helper()
	end := time.Now().Add(timeout)
	for {
		var got hexutil.Uint64
		n.call(t, &got, "eth_getTransactionCount", sender, hexutil.Uint64(n.Head(t)))
		if uint64(got) >= want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("sender %s: %d transactions mined within %s, want %d", sender, got, timeout, want)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
