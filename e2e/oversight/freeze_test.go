// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// within is how soon a freeze is in force on every replica. A machine that stands
// still meanwhile keeps no time: it has tries, and must have come to rest when it is late.
const (
	within = 2 * time.Second
	late   = 20 * time.Second
	tries  = 3
)

// watched stands before the node, and notes when the last transaction came by.
type watched struct {
	*httptest.Server
	count atomic.Int64
	last  atomic.Int64 // Unix ns
}

func watch(t *testing.T, node string) *watched {
	t.Helper()
	target, err := url.Parse(node)
	must(t, err)
	w := &watched{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	w.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		body, err := io.ReadAll(in.Body)
		if err != nil {
			return
		}
		if n := bytes.Count(body, []byte("eth_sendRawTransaction")); n > 0 {
			w.last.Store(time.Now().UnixNano())
			w.count.Add(int64(n))
		}
		in.Body, in.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		proxy.ServeHTTP(out, in)
	}))
	t.Cleanup(w.Close)
	return w
}

// sent is what became of one payment: each has a receiver of its own.
type sent struct {
	from, to common.Address
	hash     common.Hash
	err      error
	at       time.Time // of the answer
}

// burst sends from all accounts over all daemons until it is told to stop.
type burst struct {
	mu   sync.Mutex
	sent []sent
	stop chan struct{}
	done sync.WaitGroup
}

func (r *rig) burst(senders int) *burst {
	r.Helper()
	b := &burst{stop: make(chan struct{})}
	clients := make([]*rpc.Client, len(r.daemons))
	for i, d := range r.daemons {
		clients[i] = r.dial(d)
	}
	for i := range senders {
		b.done.Go(func() {
			from, c := r.keys.Addresses[i%len(r.keys.Addresses)], clients[i%len(clients)]
			for {
				select {
				case <-b.stop:
					return
				default:
				}
				s := sent{from: from, to: harness.Fresh()}
				s.hash, s.err = r.pay(c, from, s.to, 1)
				s.at = time.Now()
				b.mu.Lock()
				b.sent = append(b.sent, s)
				b.mu.Unlock()
				if s.err != nil {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	return b
}

func (b *burst) end() []sent {
	close(b.stop)
	b.done.Wait()
	return b.sent
}

// since counts the answers of one kind for an account that came after a time.
func (b *burst) since(when time.Time, from common.Address, frozen bool) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sent {
		if s.from == from && s.at.After(when) && (s.err == nil) != frozen {
			n++
		}
	}
	return n
}

// Three replicas are in a burst; everything is frozen through one of them. Within two
// seconds nothing leaves any of them; after the release everything goes on, nothing
// is lost, doubled or left out. Then the same for one account, beside which the
// others go on.
func TestAFreezeHoldsThreeReplicasInABurst(t *testing.T) {
	r := newRig(t, built.Of(t), 4)
	node := watch(t, r.node.URL)
	r.replicas(node.URL, "", "", "")
	r.manage()
	b := r.burst(24)
	time.Sleep(time.Second)

	var released time.Time
	for try := 1; ; try++ {
		r.want(r.daemons[0], http.StatusOK, "PUT", "/freeze", `{"reason":"a test"}`, nil)
		frozen := time.Now()
		r.rests("all that is frozen", node.count.Load)
		last := time.Unix(0, node.last.Load()).Sub(frozen)
		t.Logf("%d transactions had left, the last %s after the freeze was taken", node.count.Load(), last.Round(time.Millisecond))
		r.refused(r.keys.Addresses...)
		r.want(r.daemons[1], http.StatusOK, "DELETE", "/freeze", "", nil)
		released = time.Now()
		for i, from := range r.keys.Addresses {
			took := r.eventually(patience, "it goes on", func() bool { return b.since(released, from, false) > 0 })
			t.Logf("account %d goes on after %s", i, took.Round(time.Millisecond))
		}
		r.rests("refusals", func() (n int64) { // until every replica knows of the release
			for _, from := range r.keys.Addresses {
				n += int64(b.since(released, from, true))
			}
			return n
		})
		if last <= within {
			break
		}
		if try == tries {
			t.Errorf("in none of %d tries nothing left later than %s after the freeze", tries, within)
			break
		}
	}

	one := r.keys.Addresses[0]
	place := r.service + "/accounts/" + one.Hex() + "/freeze"
	r.want(r.daemons[2], http.StatusOK, "PUT", place, `{"reason":"a test"}`, nil)
	r.rests("a frozen account", func() int64 { // what is mined of it, and what is answered with a hash
		return int64(r.node.Nonce(t, one)) + int64(b.since(time.Time{}, one, false))
	})
	began := time.Now()
	r.refused(one)
	for i, from := range r.keys.Addresses[1:] {
		r.eventually(patience, fmt.Sprintf("account %d goes on beside a frozen one", i+1), func() bool { return b.since(began, from, false) > 0 })
		if b.since(began, from, true) > 0 {
			t.Errorf("account %d is held beside a frozen one", i+1)
		}
	}
	r.want(r.daemons[0], http.StatusOK, "DELETE", place, "", nil)
	released = time.Now()
	r.eventually(patience, "it goes on", func() bool { return b.since(released, one, false) > 0 })
	r.sound(b.end())
}

// rests waits until a count of what is done does not grow any more, and demands that
// it stays so. What goes on comes many times a second.
func (r *rig) rests(what string, count func() int64) {
	r.Helper()
	began := time.Now()
	for quiet, n := 0, count(); quiet < 2; {
		time.Sleep(within)
		now := count()
		switch {
		case now == n:
			quiet++
		case quiet > 0 || time.Since(began) > late:
			r.Errorf("%s: %d more, %s later", what, now-n, time.Since(began).Round(time.Millisecond))
			return
		}
		n = now
	}
}

// refused demands that each daemon refuses accounts as frozen.
func (r *rig) refused(accounts ...common.Address) {
	r.Helper()
	for i, d := range r.daemons {
		c := r.dial(d)
		for _, from := range accounts {
			_, err := r.pay(c, from, harness.Fresh(), 1)
			r.deniedBy(err, "frozen")
			var signature hexutil.Bytes
			if err := c.CallContext(r.Context(), &signature, "personal_sign", "0x68656c6c6f", from); !strings.Contains(denied(err), "frozen") {
				r.Errorf("replica %d: a message is signed by a frozen account: %v", i, err)
			}
		}
	}
}

// sound demands that exactly what was answered with a hash is mined, once, and that
// nobody else's payment is.
func (r *rig) sound(all []sent) {
	r.Helper()
	good, refused := 0, 0
	for _, s := range all {
		switch {
		case s.err == nil:
			good++
		case strings.Contains(denied(s.err), "frozen"):
			refused++
		default:
			r.Errorf("neither sent nor frozen: %v", s.err)
		}
	}
	on := r.settle(good, patience)
	r.sum(on)
	paid := map[common.Address][]common.Hash{}
	for _, m := range on {
		paid[*m.To()] = append(paid[*m.To()], m.Hash())
	}
	for _, s := range all {
		if got := paid[s.to]; s.err == nil && (len(got) != 1 || got[0] != s.hash) {
			r.Errorf("%s was answered, %v are mined", s.hash, got)
		} else if s.err != nil && len(got) > 0 {
			r.Errorf("mined although its caller was told %v", s.err)
		}
	}
	if len(on) != good {
		r.Errorf("%d are mined, %d were answered", len(on), good)
	}
	r.Logf("%d sent and mined, %d refused", good, refused)
}
