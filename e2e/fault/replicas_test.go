// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// Scenario 3: two daemons, one database, the same keys.
func TestScenario03TwoDaemonsOnOneDatabaseLeaveNoGap(t *testing.T) {
	c := begin(t, Options{Postgres: postgres(t), Replicas: 2})
	requests := send(t.Context(), Load{Requests: 600, Clients: 60, Spread: time.Millisecond}, c.seed, c.urls(), c.Senders)
	wantAllMined(t, c.judge(t, requests))
}

// Scenario 13: one idempotency key, a hundred callers at once, three replicas: one
// signature, one hash, a hundred equal answers. Another body under it is an error.
func TestScenario13OneKeyThroughThreeReplicasIsOneTransaction(t *testing.T) {
	c := begin(t, Options{Postgres: postgres(t), Replicas: 3, Senders: 1})
	first := c.request(0)
	if got := c.sendOne(t, 0, first); got.code != 0 || got.broken != nil { // the proof of possession is behind us
		t.Fatalf("%+v", got)
	}
	signed := func() (n int) {
		for _, r := range c.Replicas {
			n += r.hits(t, faultpoint.Sign)
		}
		return n
	}
	before := signed()
	r := c.request(1)
	r.Key = "the same"
	params := (&client{}).params(&Request{From: r.From, Tag: r.Tag, Key: r.Key}, true)
	replies := make([]reply, 100)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() {
			for range 40 { // what is pending is asked for again
				replies[i] = ask(t, c.Replicas[i%3].URL, "eth_sendTransaction", params...)
				if code := replies[i].code; replies[i].broken == nil && code != -32011 && code != -32005 {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	all.Wait()
	for i, got := range replies {
		r.take(got)
		if got.code != 0 || got.broken != nil || got.hash != replies[0].hash {
			t.Errorf("answer %d: %+v, want %s", i, got, replies[0].hash)
		}
	}
	if n := signed() - before; n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}
	other := params[0].(map[string]any)
	other["value"] = "0x2"
	if got := ask(t, c.Replicas[1].URL, "eth_sendTransaction", other, params[1]); got.code != -32000 {
		t.Errorf("another body under the key: %+v, want -32000", got)
	}
	c.judge(t, []*Request{first, r})
}

// Scenario 20: PostgreSQL dies as by a power cut and comes back, with every
// connection reset. No nonce twice, and writes go on within seconds.
func TestScenario20DatabaseFailoverDoublesNothing(t *testing.T) {
	server := postgres(t)
	c := begin(t, Options{Postgres: server, Replicas: 3})
	done := make(chan []*Request, 1)
	go func() {
		done <- send(context.WithoutCancel(t.Context()), Load{Requests: 400, Clients: 40, Spread: 3 * time.Second, Keyless: noKeyless, Patience: 3 * time.Minute}, c.seed, c.urls(), c.Senders)
	}()
	time.Sleep(700 * time.Millisecond)
	if err := server.Down(); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Replicas {
		r.Link.Set(LinkCut)
	}
	time.Sleep(time.Second)
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Replicas {
		r.Link.Set(LinkUp)
	}
	back := time.Now()
	probe := c.request(1_000)
	waitFor(t, "a transaction after the database is back", time.Minute, func() bool {
		probe.Tag = tag(c.seed, 1_000+probe.Asked)
		got := c.sendOne(t, 1, probe)
		probe.Hashes, probe.Failures, probe.Unknown = nil, nil, ""
		return got.code == 0 && got.broken == nil
	})
	t.Logf("first transaction %s after the database was back", time.Since(back).Round(time.Millisecond))
	requests := <-done
	e := c.judge(t, requests)
	for _, r := range e.Requests {
		if len(r.Hashes) == 0 {
			t.Errorf("request %d: refused %v, unknown %q", r.Index, r.Failures, r.Unknown)
		}
	}
}

// Scenario 21: without the database nothing is signed, and what needs no database
// goes on.
func TestScenario21DatabaseDownSignsNothingAndReadsGoOn(t *testing.T) {
	server := postgres(t)
	c := begin(t, Options{Postgres: server, Senders: 1, Timeout: time.Second})
	daemon := c.Replicas[0]
	var requests []*Request
	waitFor(t, "a transaction", time.Minute, func() bool {
		r := c.request(10_000 + len(requests))
		requests = append(requests, r)
		got := c.sendOne(t, 0, r)
		return got.code == 0 && got.broken == nil
	})
	if err := c.settle(t.Context()); err != nil { // so that nothing waits for its signature
		t.Fatal(err)
	}
	if err := server.Down(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Up(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	signed := daemon.hits(t, faultpoint.Sign)
	for i := 1; i <= 5; i++ {
		r := c.request(i)
		requests = append(requests, r)
		if got := c.sendOne(t, 0, r); got.code == 0 && got.broken == nil {
			t.Errorf("a hash without a database: %+v", got)
		}
		if got := ask(t, daemon.URL, "personal_sign", "0x00", c.Senders[0], ""); got.code == 0 {
			t.Errorf("a message signed without a database: %+v", got)
		}
	}
	if n := daemon.hits(t, faultpoint.Sign) - signed; n != 0 {
		t.Errorf("the backend was asked %d times without a database", n)
	}
	for _, method := range []string{"eth_blockNumber", "eth_accounts", "eth_gasPrice"} {
		if got := ask(t, daemon.URL, method); got.code != 0 || got.broken != nil {
			t.Errorf("%s: %+v", method, got)
		}
	}
	waitFor(t, "/readyz 503", time.Minute, func() bool { return daemon.Ready(t.Context()) == http.StatusServiceUnavailable })
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := c.request(100)
	waitFor(t, "a transaction after the database is back", time.Minute, func() bool {
		last.Tag = tag(c.seed, 100+last.Asked)
		got := c.sendOne(t, 0, last)
		last.Hashes, last.Failures, last.Unknown = nil, nil, ""
		return got.code == 0 && got.broken == nil
	})
	c.judge(t, requests)
}

// A holder that is stopped for longer than its lease wakes up among bytes that it
// was about to send and rows that another has taken over. It does no harm.
func TestStoppedHolderThatWakesDoesNoHarm(t *testing.T) {
	for _, point := range []string{faultpoint.Nonce, faultpoint.Signed, faultpoint.CommitBefore, faultpoint.Store, faultpoint.Send, faultpoint.Sent, faultpoint.Receipt} {
		t.Run(point, func(t *testing.T) {
			nth := uint64(8)
			if point == faultpoint.Send || point == faultpoint.Sent {
				nth = 2 // many go in one batch
			}
			// How many share a batch, and so how often each point comes, is up to the
			// machine.
			for stopped := false; !stopped && !t.Failed(); nth /= 2 {
				if nth == 0 {
					t.Fatal("no holder was stopped")
				}
				t.Run(fmt.Sprint(nth), func(t *testing.T) { stopped = stopAHolder(t, point, nth) })
			}
		})
	}
}

// stopAHolder stops each replica as it passes the point for the nth time, or a later
// one, judges the run, and reports whether any was.
func stopAHolder(t *testing.T, point string, nth uint64) bool {
	s := &Schedule{Nap: 2500 * time.Millisecond}
	for i := range uint64(3) { // whoever holds a lease, and seldom all
		s.Rules = append(s.Rules, []faultpoint.Rule{{Point: point, Action: faultpoint.Stop, Nth: nth * (1 + 2*i)}})
	}
	c := begin(t, Options{Postgres: postgres(t), Replicas: 3, Schedule: s})
	requests := send(t.Context(), Load{Requests: 200, Clients: 40, Spread: 500 * time.Millisecond, Keyless: noKeyless}, c.seed, c.urls(), c.Senders)
	c.judge(t, requests)
	return c.Replicas[0].napped()+c.Replicas[1].napped()+c.Replicas[2].napped() > 0
}

// Every replica is stopped politely and started again, one after another, while
// callers without any key send. A balancer that goes to the next replica when one
// does not take the connection is all they need: nobody sees an error.
func TestRollingRestartFailsNoRequest(t *testing.T) {
	c := begin(t, Options{Postgres: postgres(t), Replicas: 3, Timeout: 20 * time.Second})
	stop := make(chan struct{})
	var next atomic.Int64
	var mu sync.Mutex
	var requests []*Request
	var all sync.WaitGroup
	for n := range 24 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := c.request(int(next.Add(1)))
				for i := range 6 {
					got := c.sendTo(t, c.Replicas[(n+i)%3], r)
					if !errors.Is(got.broken, syscall.ECONNREFUSED) && got.code != -32005 {
						r.take(got)
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				mu.Lock()
				requests = append(requests, r)
				mu.Unlock()
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	for i, r := range c.Replicas {
		begun := time.Now()
		if code, ended := r.Term(); code != 0 || !ended {
			t.Errorf("replica %d ended with %d", i, code)
		}
		t.Logf("replica %d stopped within %s", i, time.Since(begun).Round(time.Millisecond))
		time.Sleep(100 * time.Millisecond) // for the watcher, who starts it again
		if err := r.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	all.Wait()
	t.Logf("%d transactions during the restart of three replicas", len(requests))
	for _, r := range requests {
		if len(r.Hashes) != 1 || r.Hashes[0] == (common.Hash{}) {
			t.Errorf("request %d: refused %v, unknown %q", r.Index, r.Failures, r.Unknown)
		}
	}
	c.judge(t, requests)
}
