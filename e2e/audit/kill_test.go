// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// rounds is how often something is tried, by default and by an environment
// variable.
func rounds(t *testing.T, name string, by int) int {
	t.Helper()
	if s := os.Getenv(name); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number from 1", name, s)
		}
		return n
	}
	return by
}

// The daemon is killed in the middle of bursts; every transaction on the chain has
// its intent and its outcome in the log.
func TestKilledInBurstsEveryTransactionOnChainHasItsIntent(t *testing.T) {
	r := newRig(t)
	r.mustStart()
	var returned []common.Hash
	for round := range rounds(t, "E2E_AUDIT_KILLS", 4) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		var clients []harness.Client
		var work [][]harness.Transfer
		for range 20 {
			c, err := harness.NewHTTPClient(r.url)
			must(t, err)
			clients = append(clients, c)
			var some []harness.Transfer
			for range 6 {
				some = append(some, harness.Transfer{From: r.from, To: harness.Fresh()})
			}
			work = append(work, some)
		}
		var killed sync.WaitGroup
		killed.Go(func() {
			time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
			r.daemon.Kill9()
		})
		outcomes := harness.Burst(ctx, clients, work, nil)
		killed.Wait()
		cancel()
		for i, o := range outcomes {
			if o.Err == nil {
				returned = append(returned, o.Hash)
			} else if i == 0 {
				t.Logf("round %d: %v", round, o.Err)
			}
		}
		for _, c := range clients {
			c.Close()
		}
		r.mustStart()
		if err := r.sign(fmt.Sprintf("round %d", round)); err != nil {
			t.Errorf("round %d: personal_sign: %v", round, err)
		}
	}
	time.Sleep(2 * time.Second) // for what is under way to be mined
	r.judge(returned)
}
