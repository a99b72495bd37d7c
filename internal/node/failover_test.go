// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// served is a chain with several nodes, and a client of all of them.
type served struct {
	chain *nodetest.Chain
	nodes []*nodetest.Endpoint
	c     *node.Client
	log   *logText
}

// several is a chain with n nodes and a client that looks at them often, and has
// enough patience with each look for a machine that stands still at times.
func several(t *testing.T, n int, change ...func(*node.Config)) *served {
	t.Helper()
	s := &served{chain: nodetest.New(t, nodetest.Options{}), log: &logText{}}
	s.nodes = append(s.nodes, s.chain.Endpoint)
	for range n - 1 {
		s.nodes = append(s.nodes, s.chain.AddEndpoint(t))
	}
	for range 10 {
		s.chain.Mine()
	}
	cfg := node.Config{
		ChainID: 1337, Check: 20 * time.Millisecond, DownAfter: 3 * time.Second, Dwell: time.Millisecond,
		Timeout: time.Minute, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	for _, e := range s.nodes {
		cfg.Endpoints = append(cfg.Endpoints, node.Endpoint{URL: e.URL()})
	}
	for _, f := range change {
		f(&cfg)
	}
	s.c = client(t, cfg)
	return s
}

// healthy waits until the client has found all nodes to be well.
func (s *served) healthy(t *testing.T) *served {
	t.Helper()
	eventually(t, "all healthy", func() bool {
		for _, e := range s.c.Endpoints() {
			if !e.Healthy {
				return false
			}
		}
		return true
	})
	return s
}

func (s *served) active(t *testing.T) string {
	t.Helper()
	for _, e := range s.c.Endpoints() {
		if e.Active {
			return e.Name
		}
	}
	t.Fatal("no node is active")
	return ""
}

func (s *served) becomes(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" takes over", func() bool { return s.active(t) == name })
}

// stays makes sure that nothing changes for the time of fifteen checks.
func (s *served) stays(t *testing.T, name string) {
	t.Helper()
	before := s.c.Generation()
	for range 30 {
		if now := s.active(t); now != name {
			t.Fatalf("%s is active, want %s\n%s", now, name, s.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if now := s.c.Generation(); now != before {
		t.Fatalf("generation %d, was %d\n%s", now, before, s.log)
	}
}

func (s *served) status(t *testing.T, name string) node.EndpointStatus {
	t.Helper()
	for _, e := range s.c.Endpoints() {
		if e.Name == name {
			return e
		}
	}
	t.Fatal("no node", name)
	return node.EndpointStatus{}
}

// logText is a log that is written and read at the same time.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestNodeThatIsCutIsLeftAndNotReturnedTo(t *testing.T) {
	s := several(t, 3).healthy(t)
	var told atomic.Int64
	s.c.OnChange(func() { told.Add(int64(s.c.Generation())) })
	if g := s.c.Generation(); g != 1 || s.active(t) != "node-1" {
		t.Fatalf("generation %d, %s active", g, s.active(t))
	}
	s.nodes[0].RefuseConn(true)
	s.becomes(t, "node-2")
	if g := s.c.Generation(); g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
	eventually(t, "told", func() bool { return told.Load() == 2 })
	before := s.nodes[1].Calls("eth_gasPrice")
	if _, err := s.c.GasPrice(ctx(t)); err != nil {
		t.Error(err)
	}
	if got := s.nodes[1].Calls("eth_gasPrice") - before; got != 1 {
		t.Errorf("%d calls at the new node", got)
	}
	s.nodes[0].RefuseConn(false)
	s.healthy(t)
	s.stays(t, "node-2")
	s.nodes[1].RefuseConn(true)
	s.becomes(t, "node-1") // the first in configured order
	log := s.log.String()
	if !strings.Contains(log, `msg="node changed" from=node-1 to=node-2 reason="node-1 does not answer" generation=2`) {
		t.Error(log)
	}
	if strings.Contains(log, "127.0.0.1") {
		t.Errorf("an address is in the log:\n%s", log)
	}
}

func TestNodeThatHangsIsLeft(t *testing.T) {
	s := several(t, 2).healthy(t)
	release := s.nodes[0].Hang(nodetest.Any)
	defer release()
	s.becomes(t, "node-2")
	if r := s.status(t, "node-1").Reason; r != "node timed out" {
		t.Error(r)
	}
}

func TestShortOutageIsSatOut(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) { cfg.DownAfter = 20 * time.Second }).healthy(t)
	for range 5 {
		s.nodes[0].RefuseConn(true)
		time.Sleep(100 * time.Millisecond)
		s.nodes[0].RefuseConn(false)
		s.healthy(t)
	}
	s.stays(t, "node-1")
}

func TestCallWithoutAnswerIsLookedIntoAtOnce(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) { cfg.Check = time.Hour }).healthy(t)
	s.nodes[0].RefuseConn(true)
	if _, err := s.c.GasPrice(ctx(t)); !errors.Is(err, node.ErrUnavailable) {
		t.Error(err)
	}
	s.becomes(t, "node-2")
}

func TestNodeThatFallsBehindIsLeft(t *testing.T) {
	s := several(t, 2).healthy(t)
	s.nodes[0].StallHead(true)
	for range 5 { // as many as are allowed
		s.chain.Mine()
		time.Sleep(50 * time.Millisecond)
	}
	s.stays(t, "node-1")
	eventually(t, "node-2 takes over", func() bool {
		s.chain.Mine()
		time.Sleep(20 * time.Millisecond)
		return s.active(t) == "node-2"
	})
	eventually(t, "node-1 is known to be late", func() bool {
		one := s.status(t, "node-1")
		return !one.Healthy && one.Lag >= 6 && strings.HasSuffix(one.Reason, " blocks behind") && one.Head == 10
	})
	s.nodes[0].StallHead(false)
	s.healthy(t)
	s.stays(t, "node-2")
}

func TestLeadOfANodeThatStandsStillCountsForNothing(t *testing.T) {
	s := several(t, 2)
	s.nodes[0].StallHead(true)
	for range 20 {
		s.chain.Mine()
	}
	// From the first look on, node-2 is ahead but does not move.
	eventually(t, "seen", func() bool { return s.status(t, "node-1").Lag == 20 })
	s.stays(t, "node-1")
	s.chain.Mine()
	s.becomes(t, "node-2")
}

func TestFastBlocksAreNoLag(t *testing.T) {
	s := several(t, 3, func(cfg *node.Config) { cfg.DownAfter = time.Minute }).healthy(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // 30 blocks from one check to the next
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Microsecond):
				s.chain.Mine()
			}
		}
	})
	s.stays(t, "node-1")
	close(stop)
	wg.Wait()
}

func TestNodeOfAnotherChainIsLeftAtOnceAndNeverUsed(t *testing.T) {
	for name, lie := range map[string]struct {
		tell   func(*nodetest.Endpoint, bool)
		reason string
	}{
		"chain id": {func(e *nodetest.Endpoint, yes bool) {
			e.LieChainID(map[bool]uint64{true: 5}[yes])
		}, "node serves chain id 5, not 1337"},
		"first block": {func(e *nodetest.Endpoint, yes bool) { e.LieGenesis(yes) }, "node unavailable: serves a chain with another first block"},
	} {
		t.Run(name, func(t *testing.T) {
			s := several(t, 2, func(cfg *node.Config) { cfg.DownAfter, cfg.Dwell = time.Hour, time.Hour }).healthy(t)
			lie.tell(s.nodes[0], true)
			s.becomes(t, "node-2")
			if one := s.status(t, "node-1"); one.Healthy || one.Reason != lie.reason {
				t.Errorf("%+v", one)
			}
			// With both on another chain it stays, and nothing may be sent.
			lie.tell(s.nodes[1], true)
			eventually(t, "noticed", func() bool { return !s.status(t, "node-2").Healthy })
			s.stays(t, "node-2")
			if err := s.c.VerifyChain(ctx(t)); err == nil {
				t.Error("verified, though it serves another chain")
			}
			lie.tell(s.nodes[0], false)
			s.becomes(t, "node-1")
			if err := s.c.VerifyChain(ctx(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNodeOfAnotherChainNeverTakesOver(t *testing.T) {
	for name, lie := range map[string]func(*nodetest.Endpoint){
		"chain id":    func(e *nodetest.Endpoint) { e.LieChainID(5) },
		"first block": func(e *nodetest.Endpoint) { e.LieGenesis(true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := several(t, 3).healthy(t)
			lie(s.nodes[1])
			s.nodes[0].RefuseConn(true)
			s.becomes(t, "node-3")
			s.nodes[2].RefuseConn(true)
			s.stays(t, "node-3")
		})
	}
}

// What the checks have found may be older than the lie: the candidate has to
// show the chain once more.
func TestCandidateIsAskedOnceMore(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) { cfg.Check = time.Hour }).healthy(t)
	s.nodes[1].LieGenesis(true) // not noticed: the next check is in an hour
	s.nodes[0].RefuseConn(true)
	_, _ = s.c.GasPrice(ctx(t))
	eventually(t, "noticed", func() bool { return !s.status(t, "node-2").Healthy })
	s.stays(t, "node-1")
}

func TestNodeThatComesBackMustShowItsChainAnew(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) { cfg.Check = 200 * time.Millisecond }).healthy(t)
	s.nodes[1].RefuseConn(true)
	eventually(t, "it is down", func() bool { return s.status(t, "node-2").Stats.Failures > 0 && !s.status(t, "node-2").Healthy })
	s.nodes[1].LieGenesis(true) // with the same head as before
	down := s.status(t, "node-2").Reason
	s.nodes[1].RefuseConn(false)
	after := down
	eventually(t, "it answers", func() bool {
		after = s.status(t, "node-2").Reason
		return !strings.Contains(after, "connection") && after != "node timed out"
	})
	if after != "node unavailable: serves a chain with another first block" {
		t.Errorf("after %q it is said to be %q", down, after)
	}
}

func TestFirstNodeMayBeDownAtTheStart(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) {
		cfg.ChainID = 0
		cfg.Endpoints = append([]node.Endpoint{{Name: "gone", URL: "http://127.0.0.1:1"}}, cfg.Endpoints...)
	})
	s.becomes(t, "node-2")
	if id, err := s.c.Identity(ctx(t)); err != nil || id != (node.Chain{ID: 1337, Genesis: s.chain.Genesis()}) {
		t.Error(id, err)
	}
}

func TestWithAllNodesDownItStaysUntilOneIsBack(t *testing.T) {
	s := several(t, 3).healthy(t)
	for _, e := range s.nodes {
		e.RefuseConn(true)
	}
	eventually(t, "all are down", func() bool {
		for _, e := range s.c.Endpoints() {
			if e.Healthy {
				return false
			}
		}
		return true
	})
	s.stays(t, s.active(t))
	s.nodes[2].RefuseConn(false)
	s.becomes(t, "node-3")
}

func TestLieAboutTheHeightIsIgnored(t *testing.T) {
	for name, deep := range map[string]bool{"of the head": false, "of every block by hash": true} {
		t.Run(name, func(t *testing.T) {
			s := several(t, 3).healthy(t)
			s.nodes[1].LieHeight(1_000_000, deep)
			for range 30 { // it advances, too
				s.chain.Mine()
				time.Sleep(10 * time.Millisecond)
			}
			s.stays(t, "node-1")
			eventually(t, "the liar is found out, and nobody else suffers", func() bool {
				one, two := s.status(t, "node-1"), s.status(t, "node-2")
				return one.Healthy && !two.Healthy && two.Reason == "does not have the blocks that it claims"
			})
			s.nodes[0].RefuseConn(true)
			s.becomes(t, "node-3")
		})
	}
}

func TestLiarIsFoundOutWhenAnotherHasToBeChosen(t *testing.T) {
	s := several(t, 3, func(cfg *node.Config) { cfg.Check = 100 * time.Millisecond }).healthy(t)
	s.nodes[1].LieHeight(1_000_000, true)
	s.chain.Mine()
	eventually(t, "node-3 looks late", func() bool { return s.status(t, "node-3").Lag > 100 || !s.status(t, "node-2").Healthy })
	s.nodes[0].RefuseConn(true)
	s.becomes(t, "node-3")
}

func TestActiveNodeThatLiesAboutItsHeightIsLeft(t *testing.T) {
	s := several(t, 2).healthy(t)
	s.nodes[0].LieHeight(7, false)
	s.chain.Mine()
	s.becomes(t, "node-2")
}

func TestLagChangesNothingWithinTheDwellTime(t *testing.T) {
	s := several(t, 2, func(cfg *node.Config) { cfg.Dwell = time.Hour }).healthy(t)
	s.nodes[0].RefuseConn(true)
	s.becomes(t, "node-2") // the first change has nothing to wait for
	s.nodes[0].RefuseConn(false)
	s.healthy(t)
	s.nodes[1].StallHead(true)
	for range 30 {
		s.chain.Mine()
		time.Sleep(10 * time.Millisecond)
	}
	s.stays(t, "node-2")
	s.nodes[1].RefuseConn(true) // but an outage does
	s.becomes(t, "node-1")
}
