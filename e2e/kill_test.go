// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	burst        = 300
	burstClients = 50
)

// In each round 300 transfers come at once, half of them with an idempotency key.
// After a random number of answers the daemon is killed with SIGKILL and started
// again on its directory (in every fifth round twice); the callers with a key ask
// again, as they should. In the end the chain says whether every returned hash is mined, no nonce is missing, and
// nothing was sent twice.
//
// A caller without key and without answer cannot know; for him the chain may have
// the transfer or not, but never twice.
func TestKill9DuringBurst(t *testing.T) {
	rounds := 20
	if s := os.Getenv("E2E_KILL_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("E2E_KILL_ROUNDS=%q: want a number from 1", s)
		}
		rounds = n
	}
	bin, keys := binaries(t), harness.NewKeys(t, 1)
	node := harness.StartDevnet(t, bin, 250*time.Millisecond, keys.Addresses...)
	d := harness.StartDaemon(t, bin, node.Options(keys))
	from := keys.Addresses[0]

	var all []harness.Outcome
	for round := range rounds {
		all = append(all, killRound(t, d, from, round)...)
	}
	settle(t, node, d, from)

	history := readHistory(t, node, 0)
	if err := history.CheckSequence(from, 0); err != nil {
		t.Error(err)
	}
	if err := history.CheckHashes(harness.Hashes(all)); err != nil {
		t.Error(err)
	}
	certain, unknown := 0, 0
	for _, o := range all {
		if o.Err == nil {
			certain++
			if err := minedOnce(history, o); err != nil {
				t.Error(err)
			}
			continue
		}
		switch got := len(history.To(o.To)); {
		case got > 1:
			t.Errorf("the unanswered transfer to %s is mined %d times", o.To, got)
		case got == 1:
			unknown++
		}
	}
	if got := history.Count(from); got != certain+unknown {
		t.Errorf("%d transactions mined, want %d with an answer and %d without", got, certain, unknown)
	}
	t.Logf("%d rounds, %d transfers: %d answered and mined once, %d more mined without an answer, %d lost by callers without key",
		rounds, len(all), certain, unknown, len(all)-certain-unknown)
}

// killRound returns what the callers know in the end: each transfer once, with a
// hash, or with an error if it was sent without key and got no answer.
func killRound(t *testing.T, d *harness.Daemon, from common.Address, round int) []harness.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	clients, work := burstOf(t, d, from, round)
	killAfter, jitter := rand.Int64N(burst), time.Duration(rand.IntN(30))*time.Millisecond
	var answers atomic.Int64
	var once sync.Once
	now := make(chan struct{})
	enough := func() {
		if answers.Load() >= killAfter {
			once.Do(func() { close(now) })
		}
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-now
		time.Sleep(jitter)
		d.Kill9()
	}()
	enough() // with 0, before any answer
	outcomes := harness.Burst(ctx, clients, work, func(o harness.Outcome) {
		if o.Err == nil {
			answers.Add(1)
		}
		enough()
	})
	once.Do(func() { close(now) }) // the burst was refused as a whole; said below
	<-killed
	for _, o := range outcomes {
		if o.Err != nil && !lostReply(o.Err) {
			t.Fatalf("round %d: a transfer was refused: %v", round, o.Err)
		}
	}
	answered := int(answers.Load())
	d.Restart()
	if round%5 == 4 { // and once more while it recovers
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		d.Restart()
	}
	outcomes = askAgain(t, d, outcomes)
	t.Logf("round %d: killed %s after answer %d; %d answers before the kill", round, jitter, killAfter, answered)
	return outcomes
}

func burstOf(t *testing.T, d *harness.Daemon, from common.Address, round int) ([]harness.Client, [][]harness.Transfer) {
	t.Helper()
	clients := make([]harness.Client, burstClients)
	work := make([][]harness.Transfer, burstClients)
	for i := range clients {
		clients[i] = dial(t, harness.NewHTTPClient, d.URL)
		work[i] = transfers([]common.Address{from}, burst/burstClients)
		for j := range work[i] {
			if j%2 == 0 {
				work[i][j].Key = fmt.Sprintf("round-%d-client-%d-%d", round, i, j)
			}
		}
	}
	return clients, work
}

// lostReply tells an error of the connection from an answer.
func lostReply(err error) bool {
	var answer rpc.Error
	var status rpc.HTTPError
	return !errors.As(err, &answer) && !errors.As(err, &status)
}

// askAgain repeats every transfer that has a key, answered or not. An answer from
// before the kill must come again; one that was missing must come now.
func askAgain(t *testing.T, d *harness.Daemon, outcomes []harness.Outcome) []harness.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var first []harness.Outcome
	var known []harness.Outcome
	for _, o := range outcomes {
		if o.Key == "" {
			known = append(known, o)
		} else {
			first = append(first, o)
		}
	}
	clients := make([]harness.Client, burstClients)
	work := make([][]harness.Transfer, burstClients)
	before := make(map[string]harness.Outcome, len(first))
	for i := range clients {
		clients[i] = dial(t, harness.NewHTTPClient, d.URL)
	}
	for i, o := range first {
		work[i%burstClients] = append(work[i%burstClients], o.Transfer)
		before[o.Key] = o
	}
	for _, o := range harness.Burst(ctx, clients, work, nil) {
		if o.Err != nil {
			t.Fatalf("key %s asked again after the restart: %v", o.Key, o.Err)
		}
		if b := before[o.Key]; b.Err == nil && b.Hash != o.Hash {
			t.Errorf("key %s: %s before the kill, %s after it", o.Key, b.Hash, o.Hash)
		}
		known = append(known, o)
	}
	return known
}

// settle waits until nothing of the sender is under way any more: the door's next
// nonce is the node's count, and has not moved for some blocks.
func settle(t *testing.T, node *harness.Node, d *harness.Daemon, from common.Address) {
	t.Helper()
	door, err := rpc.Dial(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var last uint64
	var since uint64 // block
	for {
		var next hexutil.Uint64
		if err := door.CallContext(ctx, &next, "eth_getTransactionCount", from, "pending"); err != nil {
			t.Fatalf("eth_getTransactionCount: %v", err)
		}
		mined, head := node.Nonce(t, from), node.Head(t)
		if mined != last || mined != uint64(next) {
			last, since = mined, head
		}
		if head >= since+8 {
			return
		}
		time.Sleep(100 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatalf("the sender does not come to rest: %d mined, next nonce %d", mined, next)
		}
	}
}
