// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// at posts a ping to a path and returns the status.
func (r *rig) at(path string) int {
	r.t.Helper()
	resp, _ := r.do(ping, func(q *http.Request) { q.URL.Path = path })
	return resp.StatusCode
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestServicesComeAndGoWhileServing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Services = nil })
	if status := r.at("/"); status != 404 {
		t.Errorf("the default before it is there: %d", status)
	}
	svc := r.service(dial(t, r.wire.URL))
	svc.Aliases = []string{"s0treasury", "treasury"}
	if err := r.srv.SetService(svc); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 200, "/treasury": 200, "/s0treasury": 200, "/s0treasury/": 200, "/other": 404} {
		if status := r.at(path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if r.srv.RemoveService("other") != nil {
		t.Error("removed what is not there")
	}
	if idle := r.srv.RemoveService("s0treasury"); !closed(idle) {
		t.Error("a service that nobody uses is not idle")
	}
	for _, path := range []string{"/", "/treasury", "/s0treasury"} {
		if status := r.at(path); status != 404 {
			t.Errorf("%s of the removed: %d", path, status)
		}
	}
	if err := r.srv.SetService(svc); err != nil || r.at("/s0treasury") != 200 {
		t.Errorf("the same again: %v", err)
	}
}

func TestServiceThatCannotBeIsRefusedAndNothingChanges(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Services["treasury"].Aliases = []string{"s0treasury"} })
	for name, c := range map[string]struct {
		change func(*Service)
		want   string
	}{
		"alias is another's name":   {func(s *Service) { s.Aliases = []string{"treasury"} }, `the name "treasury" is that of wallet treasury`},
		"alias is another's alias":  {func(s *Service) { s.Aliases = []string{"s0treasury"} }, `the name "s0treasury" is that of wallet treasury`},
		"name is another's alias":   {func(s *Service) { s.Name = "s0treasury" }, `the name "s0treasury" is that of wallet treasury`},
		"no name":                   {func(s *Service) { s.Name = "" }, `the name "" cannot be`},
		"a path":                    {func(s *Service) { s.Name = "a/b" }, `the name "a/b" cannot be`},
		"a method that would sign":  {func(s *Service) { s.ExtraMethods = []string{"eth_signX"} }, "eth_signX"},
		"a method that is a prefix": {func(s *Service) { s.ExtraMethods = []string{"debug_*"} }, "debug_*"},
	} {
		svc := r.service(nil)
		svc.Name = "other"
		c.change(svc)
		if err := r.srv.SetService(svc); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(Config{Auth: r.cfg.Auth, Services: map[string]*Service{"treasury": r.cfg.Services["treasury"], svc.Name: svc}}); err == nil && svc.Name != "treasury" {
			t.Errorf("%s: New takes it", name)
		}
		if r.at("/treasury") != 200 || r.at("/s0treasury") != 200 || r.at("/other") != 404 {
			t.Errorf("%s: something has changed", name)
		}
	}
}

func TestRemovedServiceFinishesWhatItBegan(t *testing.T) {
	r, chain := chained(t)
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	r.hand.hold = func(context.Context) error { entered <- struct{}{}; <-leave; return nil }
	c, quiet := r.socket(), r.socket()
	for _, k := range []*client{c, quiet} {
		result(t, k.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	}
	send := `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`
	c.send(send)
	answer := make(chan string, 1)
	go func() { _, body := r.do(send); answer <- body }()
	<-entered
	<-entered

	idle := r.srv.RemoveService("treasury")
	if code, reason := quiet.closed(); code != websocket.StatusGoingAway || reason != "the wallet was removed" {
		t.Errorf("a socket without requests: %d %s", code, reason)
	}
	if status := r.at("/"); status != 404 {
		t.Errorf("a new request: %d", status)
	}
	if _, resp, err := r.dial(); err == nil || resp.StatusCode != 404 {
		t.Errorf("a new socket: %v", err)
	}
	eventually(t, "no subscription is left at the node", func() bool { return chain.Subscriptions() == 0 })
	if got, want := c.ask(`{"jsonrpc":"2.0","id":"late","method":"eth_gasPrice"}`), `{"jsonrpc":"2.0","id":"late","error":{"code":-32600,"message":"invalid request: there is no wallet at this path"}}`; got != want {
		t.Errorf("a new message: %s", got)
	}
	if closed(idle) {
		t.Error("idle with two requests under way")
	}
	close(leave)
	result(t, <-answer)
	result(t, c.read())
	if code, reason := c.closed(); code != websocket.StatusGoingAway || reason != "the wallet was removed" {
		t.Errorf("%d %s", code, reason)
	}
	select {
	case <-idle:
	case <-time.After(10 * time.Second):
		t.Error("never idle")
	}
}

func TestNodeThatIsClosedWithItsServiceCutsOffNoAnswer(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	upstream := dial(t, chain.URL())
	r := newRig(t, func(c *Config) { c.Services["treasury"].Node = upstream })
	entered, leave := make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; return nil }
	c := r.socket()
	result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	c.send(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`)
	<-entered
	r.srv.RemoveService("treasury")
	upstream.Close() // which ends the subscription with an error
	time.Sleep(50 * time.Millisecond)
	close(leave)
	result(t, c.read())
	if code, reason := c.closed(); code != websocket.StatusGoingAway {
		t.Errorf("%d %s", code, reason)
	}
}

func TestReplacedServiceKeepsItsSockets(t *testing.T) {
	r := newRig(t)
	c := r.socket()
	before := result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}`))
	_, second := nodetest.Key(1)
	svc := r.service(dial(t, r.wire.URL))
	svc.Accounts = &hand{address: second}
	if err := r.srv.SetService(svc); err != nil {
		t.Fatal(err)
	}
	after := result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}`))
	if before == after || after != `["`+strings.ToLower(second.Hex())+`"]` {
		t.Errorf("accounts %s, then %s", before, after)
	}
	if got := result(t, r.call("eth_accounts", "[]")); got != after {
		t.Errorf("over HTTP %s", got)
	}
	moved := *svc
	moved.Membership = "u0other000"
	if err := r.srv.SetService(&moved); err != nil {
		t.Fatal(err)
	}
	if code, reason := c.closed(); code != websocket.StatusGoingAway || reason != "the wallet was removed" {
		t.Errorf("another membership's: %d %s", code, reason)
	}
}

func TestReplacingAServiceFailsNoRequest(t *testing.T) {
	r := newRig(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			if err := r.srv.SetService(r.service(r.cfg.Services["treasury"].Node)); err != nil {
				t.Errorf("change %d: %v", i, err)
			}
			other := r.service(nil)
			other.Name = fmt.Sprint("other", i)
			if err := r.srv.SetService(other); err != nil {
				t.Error(err)
			}
			if idle := r.srv.RemoveService(other.Name); !closed(idle) {
				t.Error("not idle")
			}
			time.Sleep(time.Millisecond)
		}
		close(stop)
	})
	for range 3 {
		c := r.socket()
		wg.Go(func() {
			for !closed(stop) {
				if got := c.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
					t.Error(got)
					return
				}
			}
		})
		wg.Go(func() {
			for !closed(stop) {
				if status := r.at("/treasury"); status != 200 {
					t.Error(status)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestIdleDoorLetsNobodyIn(t *testing.T) {
	d := &door{idle: make(chan struct{})}
	for range 2 {
		if !d.enter() {
			t.Fatal("an open door lets nobody in")
		}
	}
	d.leave()
	d.retire()
	if d.enter() || closed(d.idle) {
		t.Error("a removed one lets somebody in, or is idle with a request under way")
	}
	d.leave()
	if !closed(d.idle) {
		t.Error("not idle after the last one")
	}
	for range 3 {
		if d.enter() {
			t.Error("an idle one lets somebody in")
		}
	}
}

// used is a wallet that notices when it is used after it was given up.
type used struct {
	*hand
	over, after atomic.Bool
}

func (u *used) Accounts() []common.Address {
	if u.over.Load() {
		u.after.Store(true)
	}
	return nil
}

type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.Reader.Read(p)
}

func TestNothingUsesARemovedServiceOnceItIsIdle(t *testing.T) {
	r := newRig(t)
	ask := func() int {
		q := httptest.NewRequest(http.MethodPost, "http://localhost/treasury", slowly{strings.NewReader(text)})
		q.ContentLength = int64(len(text))
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.srv.ServeHTTP(w, q)
		return w.Code
	}
	for range 50 {
		u := &used{hand: r.hand}
		svc := r.service(nil)
		svc.Accounts = u
		if err := r.srv.SetService(svc); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for !closed(stop) {
					if status := ask(); status != 200 && status != 404 {
						t.Error(status)
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		select {
		case <-r.srv.RemoveService("treasury"):
			u.over.Store(true)
		case <-time.After(10 * time.Second):
			t.Error("never idle")
		}
		close(stop)
		wg.Wait()
		if u.after.Load() {
			t.Fatal("it was used after it was idle")
		}
	}
}
