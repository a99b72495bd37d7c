// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func heads(t *testing.T, c *node.Client) (*node.Subscription, chan uint64) {
	t.Helper()
	ch := make(chan uint64, 100)
	sub, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(result json.RawMessage) {
		var h node.Head
		if err := json.Unmarshal(result, &h); err != nil {
			t.Errorf("%s: %v", result, err)
		}
		ch <- h.Number
	})
	if err != nil {
		t.Fatal(err)
	}
	return sub, ch
}

func next(t *testing.T, ch chan uint64) uint64 {
	t.Helper()
	select {
	case n := <-ch:
		return n
	case <-time.After(time.Minute):
		t.Fatal("no event")
		return 0
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("never:", what)
}

func TestSubscriptionsShareOneConnectionAndEndAtTheNode(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	a, chA := heads(t, c)
	b, chB := heads(t, c)
	if n := chain.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for want := uint64(1); want <= 20; want++ {
		chain.Mine()
		if x, y := next(t, chA), next(t, chB); x != want || y != want {
			t.Fatalf("heads %d and %d, want %d", x, y, want)
		}
	}
	a.Unsubscribe()
	a.Unsubscribe()
	eventually(t, "one subscription left", func() bool { return chain.Subscriptions() == 1 })
	chain.Mine()
	next(t, chB)
	select {
	case <-chA:
		t.Error("event after Unsubscribe")
	case <-a.Done():
	}
	if a.Err() != nil {
		t.Error(a.Err())
	}
	b.Unsubscribe()
	eventually(t, "none left", func() bool { return chain.Subscriptions() == 0 })
	_, again := heads(t, c) // after the last one the socket is gone; a new one is made
	chain.Mine()
	next(t, again)
}

func TestBrokenConnectionIsMendedWithItsSubscriptions(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	_, chA := heads(t, c)
	_, chB := heads(t, c)
	for round := range 3 {
		chain.CutConnections()
		eventually(t, "renewed", func() bool { return renewed(chain, 2*(round+2)) })
		chain.Mine()
		next(t, chA)
		next(t, chB)
	}
	asked := chain.Calls("eth_subscribe")
	chain.RefuseConn(true)
	time.Sleep(300 * time.Millisecond)
	if _, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) {}); !errors.Is(err, node.ErrUnavailable) {
		t.Error("subscribe while the node is away:", err)
	}
	chain.RefuseConn(false)
	eventually(t, "renewed after an outage", func() bool { return renewed(chain, asked+2) })
	chain.Mine()
	next(t, chA)
}

// renewed waits for new subscriptions, not for those of the cut connection,
// which the chain may not have noticed yet.
func renewed(chain *nodetest.Chain, asked int) bool {
	return chain.Calls("eth_subscribe") >= asked && chain.Subscriptions() == 2
}

func TestRenewalRefusedByTheNodeEndsTheSubscription(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	sub, _ := heads(t, c)
	chain.Fail("eth_subscribe", &nodetest.RPCError{Code: -32000, Message: "no more"}, nodetest.Forever)
	chain.CutConnections()
	select {
	case <-sub.Done():
	case <-time.After(time.Minute):
		t.Fatal("still alive")
	}
	var e *node.Error
	if !errors.As(sub.Err(), &e) || e.Message != "no more" {
		t.Error(sub.Err())
	}
}

func TestNodesRefusalOfASubscriptionIsItsOwn(t *testing.T) {
	_, c := pair(t, nodetest.Options{})
	_, err := c.Subscribe(ctx(t), []byte(`["nonsense"]`), func(json.RawMessage) {})
	var e *node.Error
	if !errors.As(err, &e) || e.Code != -32601 {
		t.Error(err)
	}
}

func TestNodeWithoutWebSocketIsNamed(t *testing.T) {
	chain, c := pair(t, nodetest.Options{NoWebSocket: true})
	_, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) {})
	if !errors.Is(err, node.ErrNoSubscriptions) {
		t.Error(err)
	}
	noAddress(t, err, chain.URL())
}

func TestWebSocketHasItsOwnAddress(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c := client(t, node.Config{URL: "http://127.0.0.1:1", WSURL: chain.WSURL()})
	_, ch := heads(t, c)
	chain.Mine()
	next(t, ch)
}

func TestSlowConsumerIsCutAndOthersAreNot(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	release := make(chan struct{})
	slow, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) { <-release })
	if err != nil {
		t.Fatal(err)
	}
	defer close(release)
	var got atomic.Int64
	if _, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) { got.Add(1) }); err != nil {
		t.Fatal(err)
	}
	for i := range int64(1200) {
		chain.Mine()
		eventually(t, "the quick one has it", func() bool { return got.Load() > i })
	}
	select {
	case <-slow.Done():
	case <-time.After(time.Minute):
		t.Fatal("the slow one is still there")
	}
	if !errors.Is(slow.Err(), node.ErrSlow) {
		t.Error(slow.Err())
	}
}

func TestSubscriptionHangsNoLongerThanTheTimeout(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c := client(t, node.Config{URL: chain.URL(), Timeout: 150 * time.Millisecond})
	release := chain.Hang("eth_subscribe")
	_, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) {})
	if !errors.Is(err, node.ErrTimeout) {
		t.Error(err)
	}
	release()
	eventually(t, "nothing is left at the node", func() bool { return chain.Subscriptions() == 0 })
}

func TestCloseEndsSubscriptions(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	c, err := node.New(node.Config{URL: chain.URL()})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := c.Subscribe(ctx(t), []byte(`["newHeads"]`), func(json.RawMessage) {})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-sub.Done()
	if !errors.Is(sub.Err(), node.ErrClosed) {
		t.Error(sub.Err())
	}
}
