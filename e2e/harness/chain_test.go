// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func TestCheckSequenceFindsAGapAndAWrongStart(t *testing.T) {
	sender := common.Address{1}
	h := &History{bySender: map[common.Address][]Mined{sender: {{Nonce: 3}, {Nonce: 4}, {Nonce: 5}}}}
	if err := h.CheckSequence(sender, 3); err != nil {
		t.Errorf("3, 4, 5 from 3: %v", err)
	}
	if h.CheckSequence(sender, 2) == nil {
		t.Error("3, 4, 5 from 2: no error")
	}
	h.bySender[sender] = []Mined{{Nonce: 3}, {Nonce: 5}}
	if h.CheckSequence(sender, 3) == nil {
		t.Error("3, 5 from 3: no error")
	}
}

func TestCheckHashesFindsDoublesAndLosses(t *testing.T) {
	mined, lost := common.Hash{1}, common.Hash{2}
	h := &History{byHash: map[common.Hash]Mined{mined: {}}}
	if err := h.CheckHashes([]common.Hash{mined}); err != nil {
		t.Errorf("one mined hash: %v", err)
	}
	if h.CheckHashes([]common.Hash{mined, mined}) == nil {
		t.Error("the same hash twice: no error")
	}
	if h.CheckHashes([]common.Hash{mined, lost}) == nil {
		t.Error("a hash that is not mined: no error")
	}
}
