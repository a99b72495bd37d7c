// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
)

const socket = `{"type":"websocket","batchSize":%d,"batchTimeoutMS":10,"retryTimeoutSec":0,"blockedRetryDelaySec":1,"websocket":{"topic":"orders","distributionMode":%q}}`

// client is a WebSocket's client that answers as answer does.
type client struct {
	*eventstream.Listener
	mu  sync.Mutex
	got []told
}

func (c *client) values() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return shortOf(c.got)
}

// connect listens to the topic orders. answer returns whether the client answers, and
// what; nil: it takes everything.
func (r *rig) connect(answer func(n int) (bool, error)) *client {
	r.t.Helper()
	l, err := r.Listen(place, wallet)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{Listener: l}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case d := <-l.Deliveries():
				var batch []told
				if err := json.Unmarshal(d.Body, &batch); err != nil {
					r.t.Error(err)
				}
				c.mu.Lock()
				c.got = append(c.got, batch...)
				c.mu.Unlock()
				d.Written(nil)
				if answer == nil {
					l.Answer(d.Topic, nil)
				} else if does, err := answer(n); does {
					l.Answer(d.Topic, err)
				}
			case <-l.Gone():
				return
			}
		}
	}()
	r.t.Cleanup(func() {
		l.Close()
		<-done
	})
	if err := l.Subscribe("orders"); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (c *client) wants(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprint(want), func() bool { return len(c.values()) >= len(want) })
	time.Sleep(40 * time.Millisecond)
	if got := c.values(); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestNothingIsLostWhileNobodyListens(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(socket, 1, "workloadDistribution")
	r.subscribe(id, "0")
	chain.mine(1)
	time.Sleep(50 * time.Millisecond)
	if r.stream(id).Held {
		t.Error("it is held though nobody listens")
	}
	c := r.connect(nil)
	c.wants(t, "1")
	r.stored(id, 1)
	c.Close()
	chain.mine(2)
	eventually(t, "nobody holds it", func() bool { return !r.stream(id).Held })
	r.connect(nil).wants(t, "2")
}

// Without an answer there is no next batch; after an error it comes again; when the
// client goes, another gets it.
func TestAnswersOfClients(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(socket, 1, "workloadDistribution")
	r.subscribe(id, "0")
	chain.mine(1)
	chain.mine(2)
	silent := r.connect(func(int) (bool, error) { return false, nil })
	silent.wants(t, "1")
	seen := make(chan struct{})
	second := r.connect(func(n int) (bool, error) {
		switch n {
		case 0:
			return true, errors.New("not now")
		case 1: // what is taken is no trouble any more
			select {
			case <-seen:
			case <-t.Context().Done():
			}
		}
		return true, nil
	})
	second.wants(t)
	silent.Close()
	eventually(t, "it was refused", func() bool { return r.stream(id).Trouble == "not now" })
	close(seen)
	second.wants(t, "1", "1", "2")
	if second.Answer("orders", nil) || second.Answer("", nil) {
		t.Error("an answer counts to which there is no batch")
	}
}

// The answer to a batch that is not waited for any more does not count for the next.
func TestLateAnswerIsNotForTheNextBatch(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(socket, 1, "workloadDistribution")
	r.subscribe(id, "0")
	chain.mine(1)
	chain.mine(2)
	c := r.connect(func(int) (bool, error) { return false, nil })
	c.wants(t, "1")
	r.afresh(id, func() error {
		_, err := r.Update(t.Context(), who, place, wallet, id, parse(t, `{"name":"x"}`))
		return err
	})
	c.wants(t, "1") // the client has one that it has not answered
	c.Answer("orders", nil)
	c.wants(t, "1", "1") // whose answer was for who does not wait any more
	c.Answer("", nil)
	c.wants(t, "1", "1", "2")
}

func TestClientThatNeverAnswersLosesItsSocket(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.subscribe(r.create(`{"type":"websocket","batchTimeoutMS":10,"websocket":{"topic":"orders","ackTimeoutSec":1}}`), "0")
	silent := r.connect(func(int) (bool, error) { return false, nil })
	chain.mine(1)
	silent.wants(t, "1")
	second := r.connect(func(int) (bool, error) {
		select {
		case <-silent.Gone():
		default:
			t.Error("it still listens")
		}
		return true, nil
	})
	second.wants(t, "1")
}

// The work is shared: each batch goes to one client, and all of them get some.
func TestWorkloadIsDistributed(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	var want []string
	for i := range 30 {
		chain.mine(i)
		want = append(want, fmt.Sprint(i))
	}
	clients := []*client{r.connect(nil), r.connect(nil), r.connect(nil)}
	r.follow("0", socket, 2, "workloadDistribution")
	got := func() (all []string) {
		for _, c := range clients {
			all = append(all, c.values()...)
		}
		slices.SortFunc(all, byNumber)
		return all
	}
	eventually(t, "all are told", func() bool { return len(got()) >= 30 })
	if !slices.Equal(got(), want) {
		t.Fatalf("got %v", got())
	}
	for i, c := range clients {
		if n := len(c.values()); n != 10 {
			t.Errorf("client %d got %d", i, n)
		}
	}
}

func TestBroadcastReachesAllWhoListen(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	a := r.connect(func(int) (bool, error) { return false, nil }) // nobody need answer
	b := r.connect(nil)
	r.follow("0", socket, 1, "broadcast")
	chain.mine(1)
	a.wants(t, "1")
	b.wants(t, "1")
	b.Close()
	chain.mine(2)
	a.wants(t, "1", "2")
	b.wants(t, "1")
}

// Two streams of one topic share the clients; other wallets and places hear nothing.
func TestTopicsAreApart(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	c := r.connect(nil)
	for _, at := range []struct {
		place  eventstream.Place
		wallet string
	}{{eventstream.Place{}, wallet}, {eventstream.Place{Environment: "e1", Membership: "m2"}, wallet}, {place, "other"}} {
		l, err := r.Listen(at.place, at.wallet)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.Subscribe("orders"); err != nil {
			t.Fatal(err)
		}
		go func() {
			select {
			case <-l.Deliveries():
				t.Error("another hears it")
			case <-l.Gone():
			}
		}()
	}
	first, second := r.follow("0", socket, 1, "workloadDistribution"), r.follow("0", socket, 1, "workloadDistribution")
	one, two := r.only(first).ID, r.only(second).ID
	chain.mine(7)
	c.wants(t, "7", "7")
	subs := []string{c.got[0].SubID, c.got[1].SubID}
	if !slices.Contains(subs, one) || !slices.Contains(subs, two) {
		t.Errorf("got %v", subs)
	}
}

func TestListenersAreBounded(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	for range eventstream.MaxListeners {
		l, err := r.Listen(place, wallet)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	var full *eventstream.ConflictError
	if _, err := r.Listen(place, wallet); !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
	l, err := r.Listen(place, "other")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range eventstream.MaxTopics {
		if err := l.Subscribe(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Subscribe("0"); err != nil { // it does already
		t.Error(err)
	}
	if err := l.Subscribe("more"); !errors.As(err, &full) {
		t.Errorf("got %v", err)
	}
	var bad *eventstream.InputError
	for _, topic := range []string{"", "a\nb", string(make([]byte, 200))} {
		if err := l.Subscribe(topic); !errors.As(err, &bad) {
			t.Errorf("%q: %v", topic, err)
		}
	}
}
