// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// reorganised takes back what was mined in blocks from number upward.
func (s *sender) reorganised(number uint64) {
	if !s.loadedOK {
		return
	}
	s.forks++
	s.looking = false
	if s.row.ConfirmedHash != (common.Hash{}) && s.row.ConfirmedNumber >= number {
		s.parkForRepair(fmt.Sprintf("block %d, which was confirmed and holds transactions of this account, is no longer on the chain: the chain was reset or reorganised deeper than %d blocks", s.row.ConfirmedNumber, s.w.set.Confirmations))
	}
	var gone []*entry
	for e := range s.mined {
		if e.row.Block >= number {
			gone = append(gone, e)
		}
	}
	s.takeBack(gone)
	if s.doubt.open {
		s.lookAgain()
	}
}

// takeBack makes mined transactions unmined: they go out again.
func (s *sender) takeBack(gone []*entry) {
	if len(gone) == 0 {
		return
	}
	for _, e := range gone {
		delete(s.mined, e)
		e.row.State, e.row.Block, e.row.BlockHash = store.Sent, 0, common.Hash{}
		e.acked, e.noted = false, true
		n, id := e.nonce(), e.row.ID
		s.occupy(n, e)
		s.base = min(s.base, n)
		var block uint64
		var none common.Hash
		s.plan(func(w *store.Writer) error {
			return w.ExpectTx(id, []store.TxState{store.Mined}, store.TxUpdate{State: store.Sent, Block: &block, BlockHash: &none})
		})
	}
	s.hint = s.base
	s.wantAccount()
}

// unmine takes back whatever counts as mined at nonce n.
func (s *sender) unmine(n uint64) {
	for e := range s.mined {
		if e.nonce() == n {
			s.takeBack([]*entry{e})
			return
		}
	}
}

// chainReset parks the sender: the node serves another chain.
func (s *sender) chainReset() {
	if !s.loadedOK {
		return
	}
	s.parkForRepair("the node serves another chain than the one that this account's transactions are of: its first block has another hash")
	s.reorganised(0)
}

// doubt says whether what was mined may not be any more, because blocks were
// not followed one by one. Nothing is confirmed while it is open.
type doubt struct {
	open   bool
	asking bool
}

// blocksMissed is told when a reorganisation may have gone unseen.
func (s *sender) blocksMissed() {
	if !s.loadedOK {
		return
	}
	s.forks++
	s.looking, s.doubt = false, doubt{}
	if len(s.mined) > 0 || s.row.ConfirmedHash != (common.Hash{}) {
		s.lookAgain()
	}
	if s.busy() {
		s.wantAccount()
	}
}

// lookAgain asks whether the mined transactions and the last confirmed block
// are still on the chain.
func (s *sender) lookAgain() {
	s.doubt = doubt{open: true, asking: true}
	var list []*entry
	var hashes []common.Hash
	for e := range s.mined {
		list, hashes = append(list, e), append(hashes, e.row.Hash)
	}
	number, hash, forks, w := s.row.ConfirmedNumber, s.row.ConfirmedHash, s.forks, s.w
	s.work(func() {
		gone, err := confirmedGone(w.ctx, w.node, number, hash)
		var receipts []*node.Receipt
		if err == nil && len(hashes) > 0 {
			receipts, err = w.node.Receipts(w.ctx, hashes)
		}
		s.post(func() {
			if forks != s.forks {
				return // another look is under way, or everything was read anew
			}
			s.doubt.asking = false
			if err != nil {
				return // asked again at the next head
			}
			s.doubt.open = false
			if gone != "" {
				s.parkForRepair(gone)
			}
			s.stillMined(list, receipts)
		})
	})
}

// stillMined takes the receipts of what was mined.
func (s *sender) stillMined(list []*entry, receipts []*node.Receipt) {
	var gone []*entry
	for i, e := range list {
		if _, mined := s.mined[e]; !mined {
			continue
		}
		if receipts[i] == nil {
			gone = append(gone, e)
		} else {
			s.includes(receipts[i])
		}
	}
	s.takeBack(gone)
}
