// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bytes"
	"fmt"
	"math/big"
	"runtime"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// Verdict is what the chain holds in the end.
type Verdict struct {
	Mined   int         `json:"mined"`
	Pending int         `json:"pending"`
	Senders int         `json:"senders"`
	Digest  common.Hash `json:"digest"` // of the hashes of all that is mined, see Digest
	Wrong   []string    `json:"wrong"`  // empty if all is well
}

// Digest is the keccak256 of hashes in ascending order. It sorts them.
func Digest(hashes []common.Hash) common.Hash {
	slices.SortFunc(hashes, func(a, b common.Hash) int { return bytes.Compare(a[:], b[:]) })
	k := crypto.NewKeccakState()
	for _, h := range hashes {
		k.Write(h[:])
	}
	return common.BytesToHash(k.Sum(nil))
}

// Check reads every mined transaction as a node would have, which [Chain.send] has
// left out: its signature is that of the sender that it was counted for, on this
// chain, and the nonces of each sender run without a gap.
func (c *Chain) Check() Verdict {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v := Verdict{Wrong: slices.Clone(c.refused)}
	var mined []*transaction
	for _, b := range c.blocks {
		mined = append(mined, b.txs...)
	}
	hashes := make([]common.Hash, len(mined))
	next := map[common.Address]uint64{}
	for i, t := range mined {
		hashes[i] = t.hash
		n := next[t.from]
		if to, jumps := c.accounts[t.from].jumps[n]; jumps {
			n = to
		}
		if t.nonce != n {
			v.Wrong = append(v.Wrong, fmt.Sprintf("%s: nonce %d is mined where %d should be", t.from, t.nonce, n))
		}
		next[t.from] = n + 1
	}
	for _, acc := range c.accounts {
		v.Pending += len(acc.pool)
	}
	v.Wrong = append(v.Wrong, c.recover(mined)...)
	v.Mined, v.Senders, v.Digest = len(mined), len(next), Digest(hashes)
	return v
}

// recover compares the senders, on all processors.
func (c *Chain) recover(mined []*transaction) (wrong []string) {
	signer := types.LatestSignerForChainID(new(big.Int).SetUint64(c.id))
	var mu sync.Mutex
	var wg sync.WaitGroup
	size := max(1, len(mined)/runtime.NumCPU()+1)
	for part := range slices.Chunk(mined, size) {
		wg.Go(func() {
			for _, t := range part {
				if err := verify(signer, t); err != nil {
					mu.Lock()
					wrong = append(wrong, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return wrong
}

func verify(signer types.Signer, t *transaction) error {
	var read types.Transaction
	if err := read.UnmarshalBinary(t.raw); err != nil {
		return fmt.Errorf("%s: %w", t.hash, err)
	}
	from, err := types.Sender(signer, &read)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", t.hash, err)
	case from != t.from || read.Nonce() != t.nonce || read.Hash() != t.hash:
		return fmt.Errorf("%s: is from %s with nonce %d, was counted for %s with nonce %d", t.hash, from, read.Nonce(), t.from, t.nonce)
	}
	return nil
}
