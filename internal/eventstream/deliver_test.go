// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const hook = `{"name":"s","type":"webhook","batchSize":%d,"batchTimeoutMS":20,"retryTimeoutSec":0,"blockedRetryDelaySec":1,"webhook":{"url":%q}}`

func TestAnEventIsToldWithAllThatTheChainSaysOfIt(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.mine()
	chain.mine(7, 8)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(`{"name":"s","type":"webhook","timestamps":true,"inputs":true,"batchSize":10,"batchTimeoutMS":20,"webhook":{"url":%q}}`, rec.url)
	r.aside(id, func() { r.subscribe(id, "0") })
	sub := r.only(id).ID
	wantValues(t, rec, "7", "8")
	got := rec.events()[1]
	if got.Address != "0x00000000000000000000000000000000000000a1" || got.BlockNumber != "2" || got.BlockHash != chain.blocks[2].hash ||
		got.TransactionHash != txHash(8) || got.TransactionIndex != "0x1" || got.LogIndex != "3" || got.SubID != sub ||
		got.Signature != "Changed(address,uint256)" || got.Data["from"] != got.Address || got.Timestamp != "1700000002" ||
		got.InputMethod != "set" || got.InputArgs["value"] != "1" || got.InputSigner != "0x00000000000000000000000000000000000000b2" || got.Removed {
		t.Fatalf("got %+v", got)
	}
	if len(rec.batches) != 1 || rec.headers[0].Get("Content-Type") != "application/json" || rec.headers[0].Get("X-HSMSigner-Stream") != id {
		t.Fatalf("%d batches, %v", len(rec.batches), rec.headers)
	}
	if s := r.stream(id); !s.Held || s.Trouble != "" {
		t.Errorf("%+v", s)
	}
}

func TestLatestMissesNothingThatComesAfterTheSubscription(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.mine(1)
	db := openStore(t, t.TempDir())
	s, err := eventstream.New(fast(db, openNode(t, chain.url))) // nobody delivers yet
	if err != nil {
		t.Fatal(err)
	}
	early := &rig{t: t, Streams: s}
	early.subscribe(early.create(hook, 5, rec.url), "latest")
	chain.mine(2)
	chain.mine(3)
	start(t, fast(db, openNode(t, chain.url)))
	wantValues(t, rec, "2", "3")
}

func TestBatchesAreFilledUpToTheirSize(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	for i := range 10 {
		chain.mine(3*i, 3*i+1, 3*i+2)
	}
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 7, rec.url)
	eventually(t, "all are told", func() bool { return len(rec.events()) == 30 })
	for i, b := range rec.batches {
		if len(b) != min(7, 30-7*i) {
			t.Errorf("batch %d has %d", i, len(b))
		}
	}
	if got := rec.values(); !slices.IsSortedFunc(got, byNumber) {
		t.Errorf("got %v", got)
	}
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x - y
}

func TestConfirmationsHoldEventsBack(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", `{"type":"webhook","confirmations":2,"batchTimeoutMS":10,"webhook":{"url":%q}}`, rec.url)
	chain.mine(1)
	chain.mine(2)
	wantValues(t, rec)
	chain.mine()
	wantValues(t, rec, "1")
	chain.mine()
	wantValues(t, rec, "1", "2")
}

// A node that takes narrow ranges only is asked for narrower ones.
func TestNodeThatRefusesWideRangesIsAskedForLess(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.widest = 7
	var want []string
	for i := range 100 {
		chain.mine(i)
		want = append(want, strconv.Itoa(i))
	}
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 50, rec.url)
	wantValues(t, rec, want...)
	if n := chain.count("eth_getLogs"); n > 150 {
		t.Errorf("%d calls", n)
	}
}

func TestNodeAwayIsTroubleAndNothingIsLost(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 5, rec.url)
	chain.set(func() { chain.down = true })
	chain.mine(1)
	eventually(t, "it is trouble", func() bool { return r.stream(id).Trouble != "" })
	if got := r.stream(id).Trouble; got != "the chain cannot be read: node unavailable" {
		t.Errorf("got %q", got)
	}
	chain.set(func() { chain.down = false })
	wantValues(t, rec, "1")
	eventually(t, "no trouble", func() bool { return r.stream(id).Trouble == "" })
}

// Logs that nobody asked for, of other blocks, or twice, are no answer.
func TestLyingNodeIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testLog){
		"another block":   func(l *testLog) { l.BlockNumber += 1000 },
		"another address": func(l *testLog) { l.Address = other },
		"another event":   func(l *testLog) { l.Topics = []common.Hash{txHash(1)} },
		"twice":           func(l *testLog) { l.Index = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			chain, rec := newChain(t), receive(t, nil)
			chain.mine(1, 2)
			chain.spoil = spoil
			r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
			id := r.create(hook, 5, rec.url)
			r.aside(id, func() {
				u, err := r.Subscribe(t.Context(), who, place, wallet, eventstream.Wanted{Stream: id, Event: []byte(changed), Address: &shop, FromBlock: "0"})
				if err != nil || u.Block != 0 {
					t.Fatal(u, err)
				}
			})
			eventually(t, "it is trouble", func() bool { return r.stream(id).Trouble != "" })
			wantValues(t, rec)
			chain.set(func() { chain.spoil = nil })
			wantValues(t, rec, "1", "2")
		})
	}
}

// An event that has the same signature and other indexed parameters is another one;
// data that is not as the interface says is told as it is.
func TestWhatIsNoSuchEvent(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.mine(1, 2, 3)
	chain.spoil = func(l *testLog) {
		switch l.TxHash {
		case txHash(1):
			l.Topics = l.Topics[:1]
		case txHash(2):
			l.Data = l.Data[:5]
		}
	}
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", hook, 5, rec.url)
	wantValues(t, rec, "", "3")
	if got := rec.events()[0]; got.Error == "" || got.TransactionHash != txHash(2) {
		t.Errorf("got %+v", got)
	}
}

func TestBlockedStreamWaitsAndSkippedBatchIsGone(t *testing.T) {
	t.Parallel()
	for _, handling := range []string{"block", "skip"} {
		t.Run(handling, func(t *testing.T) {
			var good atomic.Bool
			chain, rec := newChain(t), receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				takes := good.Load()
				if !takes {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return takes
			})
			r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
			id := r.follow("0", `{"type":"webhook","errorHandling":%q,"batchTimeoutMS":10,"retryTimeoutSec":0,"blockedRetryDelaySec":1,"webhook":{"url":%q}}`, handling, rec.url)
			chain.mine(1)
			eventually(t, "it is tried", func() bool { return rec.requests() > 0 })
			eventually(t, "it is trouble", func() bool { return r.stream(id).Trouble == "the webhook answered with status 500" })
			at := func() uint64 { return r.only(id).Block }
			if handling == "skip" {
				eventually(t, "it is skipped", func() bool { return at() == 2 })
			} else if at() > 1 {
				t.Errorf("went on to block %d", at())
			}
			good.Store(true)
			chain.mine(2)
			if handling == "skip" {
				wantValues(t, rec, "2")
			} else {
				wantValues(t, rec, "1", "2")
			}
			eventually(t, "no trouble", func() bool { return r.stream(id).Trouble == "" })
		})
	}
}

func TestFailedBatchIsTriedAgainUntilItIsTaken(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n < 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
		return n >= 3
	})
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	r.follow("0", `{"type":"webhook","errorHandling":"skip","batchTimeoutMS":10,"retryTimeoutSec":300,"webhook":{"url":%q}}`, rec.url)
	chain.mine(1)
	wantValues(t, rec, "1")
	if n := rec.requests(); n != 4 {
		t.Errorf("%d tries", n)
	}
}

func TestSuspendedStreamKeepsItsPlace(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 1, rec.url)
	chain.mine(1)
	wantValues(t, rec, "1")
	r.stored(id, 1)
	if s, err := r.Suspend(t.Context(), who, place, wallet, id); err != nil || !s.Suspended {
		t.Fatal(s, err)
	}
	eventually(t, "nobody delivers", func() bool { return !r.stream(id).Held })
	chain.mine(2)
	wantValues(t, rec, "1")
	if s, err := r.Resume(t.Context(), who, place, wallet, id); err != nil || s.Suspended {
		t.Fatal(s, err)
	}
	wantValues(t, rec, "1", "2")
}

func TestResetDeliversAgain(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 1, rec.url)
	sub := r.only(id).ID
	chain.mine(1)
	chain.mine(2)
	wantValues(t, rec, "1", "2")
	if u, err := r.Reset(t.Context(), who, place, wallet, sub, "2"); err != nil || u.FromBlock != "2" || u.Block != 2 {
		t.Fatal(u, err)
	}
	wantValues(t, rec, "1", "2", "2")
	r.stored(id, 2)
	r.afresh(id, func() error { return r.Unsubscribe(t.Context(), who, place, wallet, sub) })
	chain.mine(3)
	wantValues(t, rec, "1", "2", "2")
}

func TestChangedStreamGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	chain, first, second := newChain(t), receive(t, nil), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 1, first.url)
	chain.mine(1)
	wantValues(t, first, "1")
	r.afresh(id, func() error {
		u, err := r.Update(t.Context(), who, place, wallet, id, parse(t, `{"name":"other","webhook":{"url":"`+second.url+`"}}`))
		if err == nil && (u.Name != "other" || u.Settings.BatchTimeout != 20 || u.Settings.Webhook.URL != second.url) {
			t.Errorf("got %+v", u)
		}
		return err
	})
	chain.mine(2)
	eventually(t, "the second hears it", func() bool { return slices.Contains(second.values(), "2") })
	wantValues(t, first, "1")
	if err := r.Delete(t.Context(), who, place, wallet, id); err != nil {
		t.Fatal(err)
	}
	var none *eventstream.NotFoundError
	if _, err := r.Stream(t.Context(), place, wallet, id); !errors.As(err, &none) {
		t.Error(err)
	}
}

// What is another's is not there.
func TestPlacesAreApart(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.create(hook, 1, rec.url)
	sub := r.subscribe(id, "0")
	for _, at := range []struct {
		place  eventstream.Place
		wallet string
	}{{eventstream.Place{Environment: "e1", Membership: "m2"}, wallet}, {eventstream.Place{Environment: "e2", Membership: "m1"}, wallet}, {eventstream.Place{}, wallet}, {place, "other"}} {
		ctx := t.Context()
		_, e1 := r.Stream(ctx, at.place, at.wallet, id)
		_, e2 := r.Update(ctx, who, at.place, at.wallet, id, parse(t, `{}`))
		_, e3 := r.Subscription(ctx, at.place, at.wallet, sub)
		_, e4 := r.Reset(ctx, who, at.place, at.wallet, sub, "0")
		_, e5 := r.Subscribe(ctx, who, at.place, at.wallet, eventstream.Wanted{Stream: id, Event: []byte(changed), FromBlock: "0"})
		for i, err := range []error{e1, e2, e3, e4, e5, r.Delete(ctx, who, at.place, at.wallet, id), r.Unsubscribe(ctx, who, at.place, at.wallet, sub)} {
			var none *eventstream.NotFoundError
			if !errors.As(err, &none) {
				t.Errorf("%v, call %d: %v", at, i, err)
			}
		}
		streams, err1 := r.Streams.Streams(ctx, at.place, at.wallet, "", 0)
		subs, err2 := r.Subscriptions(ctx, at.place, at.wallet, "", "", 0)
		if err1 != nil || err2 != nil || len(streams)+len(subs) != 0 {
			t.Error(streams, subs, err1, err2)
		}
	}
	if l, err := r.Subscriptions(t.Context(), place, wallet, id, "", 0); err != nil || len(l) != 1 || l[0].ID != sub {
		t.Error(l, err)
	}
}

func TestFromBlock(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`"latest"`: "latest", `""`: "latest", `null`: "latest", `12`: "12", `"12"`: "12", `"0x1f"`: "31"} {
		if got, err := eventstream.ReadBlock(parse(t, text)); got != want || err != nil {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{`"earliest"`, `-1`, `1.5`, `1e3`, `"0x"`, `"+1"`, `"0x+1"`, `18446744073709551616`, `9223372036854775808`, `true`, `{}`} {
		if got, err := eventstream.ReadBlock(parse(t, text)); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
	if got, err := eventstream.ReadBlock(strictjson.Value{}); got != "latest" || err != nil {
		t.Error(got, err)
	}
}
