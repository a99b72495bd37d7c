// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
)

const putEntry = `{"type":"function","name":"put","stateMutability":"nonpayable","inputs":[{"name":"b","type":"bytes"}],"outputs":[]}`

// large has all transactions of a chain be calls of put with so many bytes, and its
// next block have so many events: of one transaction, or each of its own.
func (c *testChain) large(size, events int, one bool) {
	input := append(crypto.Keccak256([]byte("put(bytes)"))[:4], common.BigToHash(common.Big32).Bytes()...)
	input = append(input, common.HexToHash(fmt.Sprintf("0x%x", size)).Bytes()...)
	input = append(input, make([]byte, (size+31)/32*32)...)
	c.set(func() { c.input = input })
	values := make([]int, events)
	for i := range values {
		if !one {
			values[i] = i
		}
	}
	c.mine(values...)
}

func (r *rig) subscribeToInputs(stream string) {
	r.t.Helper()
	_, err := r.Subscribe(r.t.Context(), who, place, wallet, eventstream.Wanted{
		Stream: stream, Event: json.RawMessage(changed), Methods: []json.RawMessage{json.RawMessage(putEntry)}, FromBlock: "0",
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// However many events one block has, and however much their transactions were called
// with: what waits to be delivered takes little memory. Not parallel, since it is
// measured.
func TestWhatWaitsIsBounded(t *testing.T) {
	const size = 100 << 10
	for name, one := range map[string]bool{"one transaction": true, "many transactions": false} {
		t.Run(name, func(t *testing.T) {
			chain := newChain(t)
			chain.large(size, 200, one) // 40 MB as they are delivered
			rec := receive(t, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusServiceUnavailable)
				return false
			})
			cfg := fast(openStore(t, t.TempDir()), openNode(t, chain.url))
			cfg.QueueBytes = 4 << 20
			r := start(t, cfg)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			id := r.create(`{"type":"webhook","inputs":true,"batchSize":1000,"webhook":{"url":%q}}`, rec.url)
			r.aside(id, func() { r.subscribeToInputs(id) })
			eventually(t, "a batch is tried", func() bool { return r.stream(id).Trouble == "the webhook answered with status 503" })
			// A try of the batch has memory of its own meanwhile; what waits is there at
			// every look.
			eventually(t, "no more than 24 MiB are held", func() bool {
				runtime.GC()
				runtime.ReadMemStats(&after)
				return (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>20 <= 24
			})
			if n := chain.count("eth_getTransactionByHash"); one && n > 2 || n > 120 { // the stream began twice
				t.Errorf("%d transactions were read", n)
			}
		})
	}
}

// A block that has more than may wait is read in parts, over a restart too: no event
// is lost, none comes twice, and each has its inputs.
func TestLargeBlockIsReadInParts(t *testing.T) {
	const size, events = 10 << 10, 400 // 8 MB as they are delivered
	for name, one := range map[string]bool{"one transaction": true, "many transactions": false} {
		t.Run(name, func(t *testing.T) {
			chain := newChain(t)
			chain.mine(7)
			chain.large(size, events, one)
			chain.mine(8)
			entered, release := make(chan struct{}), make(chan struct{})
			rec := receive(t, func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 6 { // in the midst of the block
					close(entered)
					select {
					case <-release:
					case <-r.Context().Done():
					}
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return n != 6
			})
			db := openStore(t, t.TempDir())
			small := func() eventstream.Config {
				cfg := fast(db, openNode(t, chain.url))
				cfg.QueueBytes = 600 << 10 // some 30 events at a time
				return cfg
			}
			r := start(t, small())
			id := r.create(`{"type":"webhook","inputs":true,"batchSize":1000,"batchTimeoutMS":10,"webhook":{"url":%q}}`, rec.url)
			r.aside(id, func() { r.subscribeToInputs(id) })
			<-entered
			r.stop()
			close(release)
			chain.mine(9)
			start(t, small())
			eventually(t, "all are told", func() bool { return len(rec.events()) >= events+3 })
			want := []string{"1 1"}
			for i := range events {
				want = append(want, "2 "+strconv.Itoa(2*i+1))
			}
			want = append(want, "3 1", "4 1")
			got := rec.events()
			if len(got) != len(want) {
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			zeros := "0x" + strings.Repeat("00", size)
			for i, e := range got {
				if place := e.BlockNumber + " " + e.LogIndex; place != want[i] || e.InputMethod != "put" || e.InputArgs["b"] != zeros || e.InputSigner == "" || e.Removed {
					t.Fatalf("event %d is at %s, want %s; %s of %d bytes, by %s", i, place, want[i], e.InputMethod, len(e.InputArgs["b"]), e.InputSigner)
				}
			}
		})
	}
}
