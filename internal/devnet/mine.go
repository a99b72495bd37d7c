// SPDX-License-Identifier: Apache-2.0

package devnet

import (
	"time"

	"github.com/ethereum/go-ethereum/core"
)

// The miners are the only callers of beacon.Commit, which is not made for two.

func (d *Devnet) mineAtIntervals(period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-tick.C:
			d.beacon.Commit()
		}
	}
}

// mineOnDemand makes blocks as long as the pool has transactions that can go
// into one.
func (d *Devnet) mineOnDemand() {
	txs := make(chan core.NewTxsEvent, 1024)
	sub := d.eth.TxPool().SubscribeTransactions(txs, true)
	defer sub.Unsubscribe()
	// Also looks now and then by itself: what could not go into a block (its fee
	// below the base fee) causes no event when it can.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-txs:
		case <-tick.C:
		}
		for d.mineOnce() {
			select {
			case <-d.stop:
				return
			default:
			}
		}
	}
}

// mineOnce makes a block if transactions are pending, and says whether it
// took any.
func (d *Devnet) mineOnce() bool {
	if d.eth.TxPool().Sync() != nil {
		return false // closing
	}
	if pending, _ := d.eth.TxPool().Stats(); pending == 0 {
		return false
	}
	d.beacon.Commit()
	head := d.eth.BlockChain().CurrentBlock()
	return head.GasUsed > 0
}
