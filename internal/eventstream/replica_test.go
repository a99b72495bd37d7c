// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// Of two processes on one store one delivers at a time; when it ends, the other goes
// on where it was.
func TestOneReplicaDeliversAtATime(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	var (
		mu      sync.Mutex
		present = map[int]bool{} // requests that are answered, and whether another came meanwhile
		beside  atomic.Int32
	)
	rec := receive(t, func(n int, _ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		for other := range present {
			present[other] = true
		}
		present[n] = false
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		met := present[n]
		delete(present, n)
		mu.Unlock()
		if met {
			select {
			case <-r.Context().Done(): // who has sent it was stopped, and the other came after it
			case <-time.After(5 * time.Second):
				beside.Add(1)
			}
		}
		return true
	})
	db := openStore(t, t.TempDir())
	client := openNode(t, chain.url)
	replicas := []*rig{start(t, fast(db, client)), start(t, fast(db, client))}
	id := replicas[0].create(hook, 2, rec.url)
	replicas[1].subscribe(id, "0")
	var want []string
	for i := range 60 {
		chain.mine(i)
		want = append(want, strconv.Itoa(i))
		if i%15 == 14 {
			n := i / 15 % 2
			replicas[n].stop()
			replicas[n] = start(t, fast(db, client))
		}
		time.Sleep(3 * time.Millisecond)
	}
	eventually(t, "all are told", func() bool { return slices.Contains(rec.values(), "59") })
	got := rec.values()
	slices.SortFunc(got, byNumber)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if n := beside.Load(); n != 0 {
		t.Errorf("%d batches beside another", n)
	}
}

// stuck is a node whose calls wait, once it is told so.
type stuck struct {
	eventstream.Node
	mu sync.RWMutex
}

func (s *stuck) Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.Node.Forward(ctx, method, params, header)
}

// A process that stops for longer than its lease, as by SIGSTOP or a long pause, and
// then wakes, writes no checkpoint over the other's.
func TestStoppedHolderThatWakesDoesNoHarm(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	db := openStore(t, t.TempDir())
	client := &stuck{Node: openNode(t, chain.url)}
	r := start(t, fast(db, client))
	id := r.follow("0", hook, 1, rec.url)
	sub := r.only(id).ID
	chain.mine(1)
	wantValues(t, rec, "1")
	// Another takes the stream, as if the lease had lapsed unnoticed.
	row, err := db.Stream(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	client.mu.Lock()
	if err := db.ReleaseStream(t.Context(), id, row.Holder, row.Epoch); err != nil {
		t.Fatal(err)
	}
	took, err := db.AcquireStream(t.Context(), id, "another", time.Minute)
	if err != nil || took.Epoch <= row.Epoch {
		t.Fatal(took, err)
	}
	chain.mine(2)
	client.mu.Unlock()
	time.Sleep(400 * time.Millisecond)
	u, err := r.Subscription(t.Context(), place, wallet, sub)
	if err != nil || u.Block > 2 {
		t.Errorf("the checkpoint is at %d, %v", u.Block, err)
	}
	if s := r.stream(id); !s.Held {
		t.Errorf("got %+v", s)
	}
	chain.mine(3)
	time.Sleep(100 * time.Millisecond)
	if slices.Contains(rec.values(), "3") {
		t.Error("it goes on without a lease")
	}
	if err := db.ReleaseStream(t.Context(), id, "another", took.Epoch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are told", func() bool { v := rec.values(); return slices.Contains(v, "2") && slices.Contains(v, "3") })
}

// A stream of WebSockets goes to the process to which its clients are connected.
func TestStreamFollowsItsListeners(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	db := openStore(t, t.TempDir())
	client := openNode(t, chain.url)
	a, b := start(t, fast(db, client)), start(t, fast(db, client))
	id := a.create(socket, 1, "workloadDistribution")
	a.subscribe(id, "0")
	for i := range 4 {
		r := []*rig{a, b}[i%2]
		chain.mine(i)
		c := r.connect(nil)
		c.wants(t, fmt.Sprint(i))
		r.stored(id, uint64(i)+1)
		c.Close()
	}
}
