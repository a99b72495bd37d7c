// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// 300 transfers without nonce, gas or fees, for one address, from 50 programs that
// know nothing of each other. (The best of the signing proxies that we measured
// got 42 of them mined.)
func Test300ConcurrentSendsFromOneAddress(t *testing.T) {
	t.Run("devnet with 2 s blocks", func(t *testing.T) {
		bin, keys := binaries(t), harness.NewKeys(t, 1)
		node := harness.StartDevnet(t, bin, 2*time.Second, keys.Addresses...)
		send300(t, bin, node, keys)
	})
	t.Run("anvil with a block per transaction", func(t *testing.T) {
		bin, keys := binaries(t), harness.NewKeys(t, 1)
		node := harness.StartAnvil(t, 0, keys.Addresses...)
		send300(t, bin, node, keys)
	})
	t.Run("anvil with 1 s blocks", func(t *testing.T) {
		bin, keys := binaries(t), harness.NewKeys(t, 1)
		node := harness.StartAnvil(t, time.Second, keys.Addresses...)
		send300(t, bin, node, keys)
	})
}

func send300(t *testing.T, bin harness.Binaries, node *harness.Node, keys harness.Keys) {
	t.Helper()
	d := harness.StartDaemon(t, bin, node.Options(keys))
	clients := make([]harness.Client, 50)
	work := make([][]harness.Transfer, len(clients))
	for i := range clients {
		clients[i] = dial(t, harness.NewHTTPClient, d.URL)
		work[i] = transfers(keys.Addresses[:1], 6)
	}
	allMined(t, node, clients, work)
}

// 2,000 transfers from 200 programs over 10 addresses: 80 programs send over HTTP,
// 80 over WebSocket, 40 in batches of 10 that mix the addresses.
func Test2000SendsOver10AddressesMixedTransports(t *testing.T) {
	bin, keys := binaries(t), harness.NewKeys(t, 10)
	node := harness.StartDevnet(t, bin, 2*time.Second, keys.Addresses...)
	d := harness.StartDaemon(t, bin, node.Options(keys))
	clients := make([]harness.Client, 200)
	work := make([][]harness.Transfer, len(clients))
	for i := range clients {
		switch i % 5 {
		case 0, 1:
			clients[i] = dial(t, harness.NewHTTPClient, d.URL)
		case 2, 3:
			clients[i] = dial(t, func(url string) (harness.Client, error) {
				return harness.NewWSClient(t.Context(), url)
			}, d.WSURL)
		default:
			clients[i] = dial(t, harness.NewBatchClient, d.URL)
		}
		work[i] = transfers(keys.Addresses, 10)
	}
	allMined(t, node, clients, work)
}

// allMined sends everything at once and demands that each transfer was accepted
// and is mined exactly once, and that the chain has nothing else of the senders.
func allMined(t *testing.T, node *harness.Node, clients []harness.Client, work [][]harness.Transfer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	wanted := make(map[common.Address]int)
	total := 0
	for _, w := range work {
		for _, x := range w {
			wanted[x.From]++
			total++
		}
	}
	nonces := make(map[common.Address]uint64, len(wanted))
	for sender := range wanted {
		nonces[sender] = node.Nonce(t, sender)
	}
	before, started := node.Head(t), time.Now()
	outcomes := harness.Burst(ctx, clients, work, nil)
	answered := time.Since(started)
	if n, first := harness.Errors(outcomes); n > 0 {
		t.Fatalf("%d of %d transfers were refused; the first: %v", n, total, first)
	}
	for sender, n := range wanted {
		harness.WaitNonce(t, node, sender, nonces[sender]+uint64(n), 5*time.Minute)
	}
	mined := time.Since(started)

	history := readHistory(t, node, before)
	if err := history.CheckHashes(harness.Hashes(outcomes)); err != nil {
		t.Error(err)
	}
	for _, o := range outcomes {
		if err := minedOnce(history, o); err != nil {
			t.Error(err)
		}
	}
	for sender, n := range wanted {
		if err := history.CheckSequence(sender, nonces[sender]); err != nil {
			t.Error(err)
		}
		if got := history.Count(sender); got != n {
			t.Errorf("sender %s: %d transactions mined, want %d", sender, got, n)
		}
	}
	t.Logf("%d transfers from %d clients over %d addresses: %d accepted (all answers after %s), %d mined (after %s)",
		total, len(clients), len(wanted), len(harness.Hashes(outcomes)), answered.Round(time.Millisecond), total, mined.Round(time.Millisecond))
}

// minedOnce demands that the receiver, which no other request names, got exactly
// the transaction whose hash the caller was given.
func minedOnce(history *harness.History, o harness.Outcome) error {
	got := history.To(o.To)
	switch {
	case len(got) == 0:
		return fmt.Errorf("the transfer to %s (%s) is not mined", o.To, o.Hash)
	case len(got) > 1:
		return fmt.Errorf("the transfer to %s is mined %d times: %s, %s …", o.To, len(got), got[0].Hash, got[1].Hash)
	case got[0].Hash != o.Hash:
		return fmt.Errorf("the transfer to %s is mined as %s, but the caller was given %s", o.To, got[0].Hash, o.Hash)
	}
	return nil
}

// transfers makes n transfers, each to a receiver of its own, with the senders
// taking turns.
func transfers(senders []common.Address, n int) []harness.Transfer {
	all := make([]harness.Transfer, n)
	for i := range all {
		all[i] = harness.Transfer{From: senders[i%len(senders)], To: harness.Fresh()}
	}
	return all
}

func dial(t *testing.T, connect func(string) (harness.Client, error), url string) harness.Client {
	t.Helper()
	c, err := connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
