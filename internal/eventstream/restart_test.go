// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// deliverUntilKilled is the child of TestKilledAgainAndAgainLosesNothing.
func deliverUntilKilled(dir, url string) {
	db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir, Exclusive: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client, err := node.New(node.Config{ChainID: 1337, URL: url})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cfg := fast(db, client)
	cfg.LeaseTTL = 5 * time.Second // the last one waits for it
	s, err := eventstream.New(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Run(context.Background())
}

// A process that delivers is killed at any moment, again and again, while events
// come and the receiver fails now and then: every event arrives, and their order
// at first sight is the chain's.
func TestKilledAgainAndAgainLosesNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fails := rand.New(rand.NewPCG(seed, 1)) // of the receiver, which has one request at a time
	chain := newChain(t)
	rec := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		chain.mu.Lock()
		fail := fails.IntN(10) == 0
		chain.mu.Unlock()
		if fail {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return !fail
	})
	dir := t.TempDir()
	func() {
		db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := eventstream.New(fast(db, openNode(t, chain.url)))
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, Streams: s}
		r.subscribe(r.create(`{"type":"webhook","batchSize":3,"batchTimeoutMS":5,"retryTimeoutSec":60,"webhook":{"url":%q}}`, rec.url), "0")
	}()
	const rounds, each = 4, 25
	for round := range rounds {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), "EVENTSTREAM_TEST_CHILD="+dir, "EVENTSTREAM_TEST_NODE="+chain.url)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range each {
			chain.mine(round*each + i)
			time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond)
		}
		eventually(t, "it delivers", func() bool { return len(rec.values()) > round*each })
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	db := openStore(t, dir)
	start(t, fast(db, openNode(t, chain.url)))
	seen := func() (all []int) {
		known := map[string]bool{}
		for _, v := range rec.values() {
			if !known[v] {
				known[v] = true
				n, _ := strconv.Atoi(v)
				all = append(all, n)
			}
		}
		return all
	}
	eventually(t, "all are told", func() bool { return len(seen()) == rounds*each })
	for i, v := range seen() {
		if v != i {
			t.Fatalf("event %d came in place %d", v, i)
		}
	}
	if again := len(rec.values()) - rounds*each; again > 3*(rounds+1)*2 {
		t.Errorf("%d events came more than once", again)
	}
}
