// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// Of those who come with one key at the same moment all but one are answered with
// another's transaction: what was reserved for them is given back at once.
func TestWhoLosesTheRaceForAKeyGivesBackWhatItReserved(t *testing.T) {
	for _, peers := range []bool{true, false} {
		p := newRules()
		f := newFleetOf(t, p, 3, peers, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
		lost := 0
		for key := range 10 {
			var wg sync.WaitGroup
			for _, r := range f.all {
				wg.Go(func() {
					if _, err := f.sendBy(r, transfer(0, 7), fmt.Sprint(key)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		f.waitFor("told", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			kept := 0
			lost = 0
			for id := range p.cleared {
				switch told := p.settled[id]; {
				case slices.Contains(told, policy.Unused):
					lost++
				case slices.Contains(told, policy.Stored):
					kept++
				}
			}
			return kept == 10 && kept+lost == len(p.cleared)
		})
		if lost == 0 {
			t.Error("nobody has lost: the test shows nothing")
		}
	}
}
