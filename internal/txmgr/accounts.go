// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// accounts asks the node about many addresses at a time. With every head all
// busy senders want to know their counts; one request each would be most of
// what the node and the network have to do.
type accounts struct {
	mu      sync.Mutex
	waiting []accountAsk
	asking  int
}

type accountAsk struct {
	addr common.Address
	done func(node.AccountAnswer)
}

const (
	askTogether = 32 // addresses in one request
	askAtOnce   = 4  // requests under way
)

// account asks for an address's counts and balance; done is called with the
// answer, from another goroutine. A question that comes while others are under
// way waits for one of them to end, and goes with those that wait too.
func (c *chain) account(addr common.Address, done func(node.AccountAnswer)) {
	a := &c.accounts
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, accountAsk{addr, done})
	if a.asking < askAtOnce {
		a.asking++
		c.m.wg.Go(c.askAccounts)
	}
}

func (c *chain) askAccounts() {
	a := &c.accounts
	for {
		a.mu.Lock()
		n := min(len(a.waiting), askTogether)
		if n == 0 {
			a.asking--
			a.mu.Unlock()
			return
		}
		asks := a.waiting[:n:n]
		a.waiting = a.waiting[n:]
		a.mu.Unlock()
		addrs := make([]common.Address, n)
		for i, ask := range asks {
			addrs[i] = ask.addr
		}
		for i, answer := range c.node.Accounts(c.ctx, addrs) {
			asks[i].done(answer)
		}
	}
}
