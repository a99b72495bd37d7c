// SPDX-License-Identifier: Apache-2.0

// Package stub is the bench's Ethereum node: it takes signed transactions, mines
// all that have their turn every 100 ms, and answers what the daemon asks, for a
// few microseconds of processor time per transaction. The bench, the daemon and
// the node share one machine, and what a node costs is not the daemon's.
//
// It guarantees that nonces of a sender are taken without a gap or a double, as a
// node does. The one thing that it believes while the clock runs is who the sender
// is: the bench sends to an address that is the sender's, inverted ([Receiver]).
// [Chain.Check] recovers every sender afterwards and compares. Anything else than
// legacy-free plain JSON-RPC over HTTP it refuses.
package stub

import (
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Interval between two blocks.
const Interval = 100 * time.Millisecond

// Receiver is where a sender's transactions must go, so that the stub knows the
// sender without recovering it: the same bytes, inverted. It is its own inverse.
func Receiver(sender common.Address) (to common.Address) {
	for i, b := range sender {
		to[i] = ^b
	}
	return to
}

// Chain is the node's state. Its methods are safe for concurrent use.
type Chain struct {
	id uint64

	mu       sync.RWMutex
	accounts map[common.Address]*account
	byHash   map[common.Hash]*transaction
	blocks   []*block
	byBlock  map[common.Hash]*block
	refused  []string // what a sound signer never does
}

type account struct {
	mined uint64 // the count at latest
	next  uint64 // the count at pending
	pool  map[uint64]*transaction
	jumps map[uint64]uint64 // by SetNonce, from and to
}

type transaction struct {
	hash  common.Hash
	raw   []byte
	from  common.Address
	to    common.Address
	nonce uint64
	block *block // nil: not mined
	index int
}

// block is not changed once it is in Chain.blocks.
type block struct {
	number       uint64
	hash, parent common.Hash
	time         uint64
	txs          []*transaction
}

// New makes a chain with a genesis block of its own.
func New(chainID uint64) *Chain {
	c := &Chain{
		id: chainID, accounts: map[common.Address]*account{}, byHash: map[common.Hash]*transaction{}, byBlock: map[common.Hash]*block{},
	}
	seed := fmt.Appendf(nil, "%d", time.Now().UnixNano())
	c.add(&block{hash: crypto.Keccak256Hash(seed), time: uint64(time.Now().Unix())})
	return c
}

func (c *Chain) add(b *block) {
	c.blocks = append(c.blocks, b)
	c.byBlock[b.hash] = b
}

func (c *Chain) account(a common.Address) *account {
	got := c.accounts[a]
	if got == nil {
		got = &account{pool: map[uint64]*transaction{}, jumps: map[uint64]uint64{}}
		c.accounts[a] = got
	}
	return got
}

// SetNonce says how many transactions an address has had, which the chain does not
// show. It must have none that wait.
func (c *Chain) SetNonce(a common.Address, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	acc := c.account(a)
	acc.jumps[acc.mined] = n
	acc.mined, acc.next = n, n
}

// Errors of Send, in geth's words (core/txpool).
var (
	errKnown     = errors.New("already known")
	errNonceLow  = errors.New("nonce too low")
	errUnderpaid = errors.New("replacement transaction underpriced")
)

// send takes a signed transaction. raw is copied.
func (c *Chain) send(raw []byte) (common.Hash, error) {
	hash := crypto.Keccak256Hash(raw)
	nonce, to, err := peek(raw)
	if err != nil {
		return hash, err
	}
	t := &transaction{hash: hash, raw: append([]byte(nil), raw...), from: Receiver(to), to: to, nonce: nonce}
	c.mu.Lock()
	defer c.mu.Unlock()
	acc := c.account(t.from)
	switch other := acc.pool[nonce]; {
	case c.byHash[hash] != nil:
		return hash, errKnown
	case nonce < acc.mined:
		c.refused = append(c.refused, fmt.Sprintf("%s nonce %d: a second transaction after the first was mined", t.from, nonce))
		return hash, errNonceLow
	case other != nil:
		c.refused = append(c.refused, fmt.Sprintf("%s nonce %d: two transactions", t.from, nonce))
		return hash, errUnderpaid
	}
	acc.pool[nonce], c.byHash[hash] = t, t
	for acc.pool[acc.next] != nil {
		acc.next++
	}
	return hash, nil
}

// Mine makes a block of everything whose turn it is.
func (c *Chain) Mine() {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent := c.blocks[len(c.blocks)-1]
	b := &block{number: parent.number + 1, parent: parent.hash, time: uint64(time.Now().Unix())}
	b.hash = crypto.Keccak256Hash(parent.hash[:], []byte{byte(b.number)})
	for _, acc := range c.accounts {
		for ; acc.mined < acc.next; acc.mined++ {
			t := acc.pool[acc.mined]
			delete(acc.pool, acc.mined)
			t.block, t.index = b, len(b.txs)
			b.txs = append(b.txs, t)
		}
	}
	c.add(b)
}

// peek reads nonce and receiver out of an EIP-1559 transaction, without checking
// the rest: [2]‖rlp([chain, nonce, tip, cap, gas, to, …]).
func peek(raw []byte) (nonce uint64, to common.Address, err error) {
	bad := func(why string) (uint64, common.Address, error) {
		return 0, to, fmt.Errorf("the bench's node takes EIP-1559 transfers only: %s in 0x%s", why, hex.EncodeToString(raw))
	}
	if len(raw) < 2 || raw[0] != 2 {
		return bad("another type")
	}
	_, rest, ok := item(raw[1:], true)
	if !ok {
		return bad("no list")
	}
	for i := range 6 {
		var field []byte
		if field, rest, ok = item(rest, false); !ok {
			return bad("no RLP")
		}
		switch i {
		case 1:
			for _, b := range field {
				nonce = nonce<<8 | uint64(b)
			}
		case 5:
			if len(field) != len(to) {
				return bad("no receiver")
			}
			copy(to[:], field)
		}
	}
	return nonce, to, nil
}

// item cuts one RLP item off: its content, and what follows it. Of a list, what
// follows is the content itself.
func item(b []byte, list bool) (content, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	first, base := b[0], byte(0x80)
	if list {
		base = 0xc0
	}
	switch {
	case first < base:
		return b[:1], b[1:], !list
	case first <= base+55:
		n := int(first - base)
		b = b[1:]
		if n > len(b) {
			return nil, nil, false
		}
		if list {
			return nil, b[:n], true
		}
		return b[:n], b[n:], true
	case list && int(first-base-55) < len(b):
		return nil, b[1+int(first-base-55):], true
	}
	return nil, nil, false
}
