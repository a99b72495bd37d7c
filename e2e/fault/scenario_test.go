// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// noKeyless is a share of requests without key that is none.
const noKeyless = 1e-9

// Scenario 2: 64 callers, 256 transfers each, one key and no nonce: 16,384
// nonces without a gap. FAULT_ROUNDS is the 256.
func TestScenario02ManyCallersOfOneKeyLeaveNoGap(t *testing.T) {
	rounds := number(t, "FAULT_ROUNDS", 256)
	c := begin(t, Options{Senders: 1, Wallet: "window: 4096", Timeout: 30 * time.Second, Settle: 5 * time.Minute})
	requests := send(t.Context(), Load{Requests: 64 * rounds, Clients: 64, Spread: time.Millisecond, Keyless: 0.5, Patience: 5 * time.Minute}, c.seed, c.urls(), c.Senders)
	wantAllMined(t, c.judge(t, requests))
}

// Scenario 4: killed between signing and sending. What goes out after the restart
// are the very bytes that were stored, and there is one hash.
func TestScenario04KilledBetweenSignAndSendResendsTheSameBytes(t *testing.T) {
	c := begin(t, Options{Senders: 1, Schedule: rules(faultpoint.Rule{Point: faultpoint.Store, Action: faultpoint.Kill, Nth: 1})})
	r := c.request(0)
	if got := c.sendOne(t, 0, r); got.broken == nil {
		t.Fatalf("the daemon was not killed: %+v", got)
	}
	e := c.judge(t, []*Request{r})
	if len(e.Wire) != 1 || len(e.Chain) != 1 || e.Chain[0].Hash != e.Wire[0].Hash {
		t.Errorf("shown to the node %v, mined %v: want the same one", e.Wire, e.Chain)
	}
	if n := c.Replicas[0].hits(t, faultpoint.Sign); n != 2 { // the proof of possession, and the transaction
		t.Errorf("the backend was asked %d times, want 2", n)
	}
}

// Scenario 5: the node takes the bytes and its reply is lost, again and again. The
// same hash comes back, and nothing is sent twice.
func TestScenario05LostRepliesOfTheNodeDoubleNothing(t *testing.T) {
	c := begin(t, Options{})
	c.Replicas[0].Node.Set(DropReply, 0.25)
	requests := send(t.Context(), Load{Requests: 60, Clients: 20, Spread: 300 * time.Millisecond, Keyless: noKeyless}, c.seed, c.urls(), c.Senders)
	wantAllMined(t, c.judge(t, requests))
	if c.Replicas[0].Node.Struck()[DropReply] == 0 {
		t.Error("no reply was lost")
	}
}

// Scenario 8: "underpriced" raises no fee by itself.
func TestScenario08UnderpricedRaisesNoFeeInSilence(t *testing.T) {
	c := begin(t, Options{})
	c.Replicas[0].Node.Set(Underpriced, 0.4)
	requests := send(t.Context(), Load{Requests: 20, Clients: 20, Spread: 100 * time.Millisecond, Keyless: noKeyless}, c.seed, c.urls(), c.Senders)
	e := c.judge(t, requests)
	wantAllMined(t, e)
	if len(e.Wire) != len(e.Requests) {
		t.Errorf("%d different transactions were shown to the node, want %d", len(e.Wire), len(e.Requests))
	}
}

// Scenario 9: the node takes bytes and forgets them; the same ones go out again.
func TestScenario09DroppedTransactionsGoOutAgain(t *testing.T) {
	c := begin(t, Options{})
	c.Replicas[0].Node.Set(LostAndKnown, 1)
	requests := send(t.Context(), Load{Requests: 60, Clients: 20, Spread: 100 * time.Millisecond, Keyless: noKeyless}, c.seed, c.urls(), c.Senders)
	healed := time.Now()
	e := c.judge(t, requests)
	wantAllMined(t, e)
	if took := time.Since(healed); took > 2*time.Minute || len(e.Wire) != len(e.Requests) {
		t.Errorf("mined after %s as %d different transactions, want two minutes and %d", took, len(e.Wire), len(e.Requests))
	}
}

// Scenario 10: the backend fails after nonces were assigned. They are used by
// others, and the next transaction is mined within seconds.
func TestScenario10NonceOfAFailedSignatureIsUsedByAnother(t *testing.T) {
	c := begin(t, Options{Senders: 1})
	if err := c.Replicas[0].Rules(faultpoint.Rule{Point: faultpoint.Sign, Action: faultpoint.Fail, Kind: "denied", P: 0.3, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	requests := send(t.Context(), Load{Requests: 60, Clients: 30, Spread: 50 * time.Millisecond}, c.seed, c.urls(), c.Senders)
	if err := c.Replicas[0].Rules(); err != nil {
		t.Fatal(err)
	}
	last := c.request(1000)
	if got := c.sendOne(t, 0, last); got.code != 0 || got.broken != nil {
		t.Fatalf("after the backend is well again: %+v", got)
	}
	begun := time.Now()
	e := c.judge(t, append(requests, last))
	if took := time.Since(begun); took > 40*time.Second {
		t.Errorf("everything was final after %s, want seconds", took)
	}
	refused := 0
	for _, r := range requests {
		refused += len(r.Failures)
	}
	if refused == 0 || len(e.Chain) != len(requests)+1-refused {
		t.Errorf("%d refused, %d mined of %d", refused, len(e.Chain), len(requests)+1)
	}
}

// Scenario 24: the clock jumps an hour while the daemon is down, as its rows see
// it. Forward, what was never sent may expire; nothing is lost or sent twice.
func TestScenario24ClockThatJumpsLosesAndDoublesNothing(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			c := begin(t, Options{Senders: 1, Wallet: "window: 8", Schedule: &Schedule{}})
			c.Replicas[0].Node.Set(LostAndKnown, 1) // so that everything stays open
			answered := make(chan []*Request, 1)
			go func() {
				answered <- send(context.WithoutCancel(t.Context()), Load{Requests: 40, Clients: 40, Spread: time.Millisecond, Keyless: noKeyless}, c.seed, c.urls(), c.Senders)
			}()
			waitFor(t, "as many shown to the node as the window takes", time.Minute, func() bool { return c.Replicas[0].Node.Struck()[LostAndKnown] >= 8 })
			time.Sleep(200 * time.Millisecond)
			c.Replicas[0].Down(false)
			shiftClock(t, filepath.Join(c.data, "hsmsigner.db"), jump)
			c.Replicas[0].Node.Heal()
			if err := c.Replicas[0].Start(nil, time.Second); err != nil {
				t.Fatal(err)
			}
			e := c.judge(t, <-answered)
			if len(e.Chain) < 8 {
				t.Errorf("%d mined, want at least the window of 8", len(e.Chain))
			}
			if jump < 0 {
				wantAllMined(t, e)
			}
		})
	}
}

// shiftClock makes all rows older by d, which to a daemon that starts then is the
// same as a clock that has jumped by d.
func shiftClock(t *testing.T, path string, d time.Duration) {
	t.Helper()
	db, err := sql.Open(sqlite.Driver, "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, column := range []string{"tx.expires", "tx.created", "tx.updated", "attempt.created", "idempotency.created", "lease.expires", "audit_intent.at", "audit_outcome.at"} {
		table, name, _ := strings.Cut(column, ".")
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(`UPDATE %s SET %s = %s - $1 WHERE %s IS NOT NULL`, table, name, name, name), d.Microseconds()); err != nil {
			t.Fatalf("%s: %v", column, err)
		}
	}
}

// Scenario 25: SIGTERM under load. Whoever has got in gets an answer, the daemon
// ends by itself with exit code 0 within 30 s, and nothing is lost.
func TestScenario25StopUnderLoadAnswersEverybody(t *testing.T) {
	c := begin(t, Options{Timeout: 20 * time.Second})
	slow := faultpoint.Rule{Point: faultpoint.Sign, Action: faultpoint.Delay, Delay: 200 * time.Millisecond, Limit: 16}
	if err := c.Replicas[0].Rules(slow); err != nil {
		t.Fatal(err)
	}
	var requests []*Request
	for i := range 150 {
		requests = append(requests, c.request(i))
	}
	var all sync.WaitGroup
	late := make([]bool, len(requests)) // those who came when the door was closed
	for i, r := range requests {
		all.Go(func() {
			got := c.sendTo(t, c.Replicas[0], r)
			if late[i] = errors.Is(got.broken, syscall.ECONNREFUSED); !late[i] {
				r.take(got)
			}
		})
	}
	waitFor(t, "the first signatures", time.Minute, func() bool { return c.Replicas[0].hits(t, faultpoint.Sign) > 20 })
	accepted := c.Replicas[0].hits(t, faultpoint.Accept)
	begun := time.Now()
	code, ended := c.Replicas[0].Term()
	if took := time.Since(begun); code != 0 || !ended || took > 30*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	all.Wait()
	requests = slices.DeleteFunc(requests, func(r *Request) bool { return late[r.Index] })
	answered := 0
	for _, r := range requests {
		if len(r.Hashes) > 0 {
			answered++
		}
		if r.Unknown != "" {
			t.Errorf("request %d got in and has no answer: %s", r.Index, r.Unknown)
		}
	}
	if answered < accepted {
		t.Errorf("%d were accepted before SIGTERM, %d have a hash", accepted, answered)
	}
	c.judge(t, requests)
}

// Scenario 30: huge, deep, slow and senseless replies of the node cost less than
// 64 MiB, and every request gets its error in time.
func TestScenario30MonstrousRepliesCostLittleMemory(t *testing.T) {
	c := begin(t, Options{Senders: 1})
	r := c.request(0)
	if got := c.sendOne(t, 0, r); got.code != 0 || got.broken != nil {
		t.Fatalf("%+v", got)
	}
	daemon := c.Replicas[0]
	base := peakMemory(t, daemon.Pid())
	for _, f := range []NodeFault{Huge, Deep, WrongAnswer, Slow, Cut} {
		daemon.Node.Set(f, 1)
		for range 5 {
			begun := time.Now()
			got := ask(t, daemon.URL, "eth_getBlockByNumber", "latest", true)
			if took := time.Since(begun); took > 30*time.Second || got.broken != nil || f != Slow && got.code == 0 {
				t.Errorf("%s: %.80v after %s", f, got, took)
			}
		}
		daemon.Node.Set(f, 0)
		t.Logf("%s: resident memory at most %d MiB above the start", f, (peakMemory(t, daemon.Pid())-base)>>20)
	}
	if grown := peakMemory(t, daemon.Pid()) - base; grown > 64<<20 {
		t.Errorf("resident memory rose by %d MiB", grown>>20)
	}
	c.judge(t, []*Request{r})
}
