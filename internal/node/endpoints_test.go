// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestMistakenEndpointsAreRefused(t *testing.T) {
	two := []node.Endpoint{{URL: "http://a"}, {URL: "http://b"}}
	for _, c := range []struct {
		cfg  node.Config
		want string
	}{
		{node.Config{URL: "http://a", Endpoints: two}, `node: URL, credentials and headers belong to each endpoint where there are several`},
		{node.Config{Password: "hunter2", Endpoints: two}, `node: URL, credentials and headers belong to each endpoint where there are several`},
		{node.Config{Endpoints: []node.Endpoint{{URL: "http://a", Name: "x"}, {URL: "http://b", Name: "x"}}}, `node: two endpoints are called "x"`},
		{node.Config{Endpoints: []node.Endpoint{{URL: "http://a"}, {URL: "ftp://k3y"}}}, `node-2: node url: scheme "ftp"; want http or https`},
		{node.Config{Endpoints: two, Check: -1}, `node: check, down after and dwell must not be negative`},
	} {
		if _, err := node.New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.want)
		}
	}
}

func TestEachEndpointHasItsOwnCredentials(t *testing.T) {
	a, b := nodetest.New(t, nodetest.Options{}), nodetest.New(t, nodetest.Options{})
	c := client(t, node.Config{Endpoints: []node.Endpoint{
		{Name: "own", URL: strings.Replace(a.URL(), "http://", "http://u:hunter2@", 1)},
		{Name: "hosted", URL: b.URL(), Headers: map[string]string{"X-Api-Key": "k3y"}},
	}})
	for _, e := range c.Endpoints() {
		if strings.Contains(e.Name+e.Reason, "127.0.0.1") {
			t.Errorf("%+v", e)
		}
	}
}

func TestSingleNodeIsNotWatched(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	remove := c.OnChange(func() { t.Error("told of a change") })
	if s := c.Endpoints(); len(s) != 1 || s[0].Name != "node-1" || !s[0].Active || s[0].Healthy || s[0].Reason != "not asked yet" {
		t.Errorf("%+v", s)
	}
	chain.Mine()
	if _, err := c.HeadAt(ctx(t), "latest"); err != nil {
		t.Fatal(err)
	}
	if s := c.Endpoints(); !s[0].Healthy || s[0].Head != 1 || s[0].Stats.Requests != 1 {
		t.Errorf("%+v", s)
	}
	if n := chain.Requests(); n != 1 {
		t.Errorf("%d requests, want the one that was asked for", n)
	}
	chain.RefuseConn(true)
	_, _ = c.HeadAt(ctx(t), "latest")
	if s := c.Endpoints(); s[0].Healthy || s[0].Reason == "" || c.Generation() != 1 {
		t.Errorf("%+v", s)
	}
	remove()
}

func TestCallInFlightRunsToItsEndWhereItBegan(t *testing.T) {
	s := several(t, 2).healthy(t)
	release := s.nodes[0].Hang("eth_gasPrice")
	before := s.c.Generation()
	answered := make(chan error, 1)
	go func() {
		_, err := s.c.GasPrice(context.WithoutCancel(t.Context()))
		answered <- err
	}()
	eventually(t, "the call is there", func() bool { return s.nodes[0].Calls("eth_gasPrice") == 1 })
	s.nodes[0].LieChainID(5)
	s.becomes(t, "node-2")
	release()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if s.nodes[1].Calls("eth_gasPrice") != 0 {
		t.Error("the call was repeated at the other node")
	}
	if s.c.Generation() == before {
		t.Error("the generation does not tell that the answer is an old one")
	}
}

func TestNothingSentIsRepeatedAtTheOtherNode(t *testing.T) {
	s := several(t, 2).healthy(t)
	key, rich := nodetest.Key(0)
	s.chain.SetBalance(rich, nodetest.Ether(1))
	s.nodes[0].Swallow(true)
	bytes := raw(t, transfer(t, key, 0))
	if errs := s.c.SendRaw(ctx(t), [][]byte{bytes}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	s.nodes[0].RefuseConn(true)
	s.becomes(t, "node-2")
	if len(s.nodes[0].Sent()) != 1 || len(s.nodes[1].Sent()) != 0 {
		t.Errorf("%d and %d sent", len(s.nodes[0].Sent()), len(s.nodes[1].Sent()))
	}
	if known, err := s.c.Known(ctx(t), []common.Hash{transfer(t, key, 0).Hash()}); err != nil || known[0] {
		t.Error(known, err)
	}
	if errs := s.c.SendRaw(ctx(t), [][]byte{bytes}); errs[0] != nil || len(s.nodes[1].Sent()) != 1 {
		t.Error(errs[0])
	}
}

func TestSubscriptionFollowsTheActiveNode(t *testing.T) {
	s := several(t, 2).healthy(t)
	_, chA := heads(t, s.c)
	_, chB := heads(t, s.c)
	for round := range 3 {
		from, to := s.nodes[round%2], s.nodes[(round+1)%2]
		if round == 1 {
			from.LieChainID(5) // its connection goes on well
		} else {
			from.RefuseConn(true)
		}
		eventually(t, "subscribed at the other", func() bool { return to.Subscriptions() == 2 && from.Subscriptions() == 0 })
		s.chain.Mine()
		if a, b := next(t, chA), next(t, chB); a != b || a != uint64(11+round) {
			t.Fatalf("heads %d and %d", a, b)
		}
		from.RefuseConn(false)
		from.LieChainID(0)
		s.healthy(t)
	}
	_, ch := heads(t, s.c)
	s.chain.Mine()
	next(t, ch)
}

func TestSubscriptionsMadeDuringChangesSurvive(t *testing.T) {
	s := several(t, 2).healthy(t)
	var channels []chan uint64
	for round := range 6 {
		s.nodes[round%2].LieChainID(5)
		for range 5 {
			_, ch := heads(t, s.c)
			channels = append(channels, ch)
		}
		eventually(t, "changed", func() bool { return s.c.Generation() == uint64(round+2) })
		s.nodes[round%2].LieChainID(0)
		s.healthy(t)
	}
	eventually(t, "all are at the active node", func() bool { return s.nodes[0].Subscriptions() == len(channels) && s.nodes[1].Subscriptions() == 0 })
	s.chain.Mine()
	for _, ch := range channels {
		next(t, ch)
	}
}

func TestCloseEndsTheWatchInTheMidstOfACheck(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	other := chain.AddEndpoint(t)
	release := other.Hang(nodetest.Any)
	defer release()
	c, err := node.New(node.Config{
		Endpoints: []node.Endpoint{{URL: chain.URL()}, {URL: other.URL()}},
		Check:     10 * time.Millisecond, DownAfter: time.Hour, Timeout: time.Hour, // so that only Close can end the check that hangs
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "checks", func() bool { return chain.Requests() > 3 && other.Requests() > 0 })
	start := time.Now()
	c.Close()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("Close took %s", took)
	}
	if err := c.Call(ctx(t), nil, "eth_chainId"); !errors.Is(err, node.ErrClosed) {
		t.Error(err)
	}
}

func TestCountsOfAllNodesTogetherOnlyRise(t *testing.T) {
	s := several(t, 2).healthy(t)
	before := s.c.Stats().Requests
	s.nodes[0].RefuseConn(true)
	s.becomes(t, "node-2")
	after := s.c.Stats()
	if after.Requests <= before || after.Failures == 0 {
		t.Errorf("%d requests, then %+v", before, after)
	}
}
