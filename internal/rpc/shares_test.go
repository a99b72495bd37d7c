// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const (
	hangs = `{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}`
	easy  = `{"jsonrpc":"2.0","id":2,"method":"eth_accounts"}`
)

// as sends a request as a tenant, to the tenant's wallet.
func as(user string) func(*http.Request) {
	return func(q *http.Request) {
		q.SetBasicAuth(user, user)
		q.URL.Path = "/" + strings.ReplaceAll(user, " ", "-")
	}
}

// taken is what is taken of the pools.
type taken struct{ requests, sockets, memory int64 }

func (r *rig) used() taken {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	p := &r.srv.pools
	return taken{p.requests.used, p.sockets.used, p.memory.used}
}

// of is what a membership has, and how many of its requests wait.
func (r *rig) of(membership string) (has taken, waiting int) {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	sh := r.srv.shares[membership]
	if sh == nil {
		return taken{}, 0
	}
	return taken{sh.requests, sh.sockets, sh.memory}, sh.waiting.Len()
}

// gate lets the node hang at eth_gasPrice and eth_call until it is opened,
// which happens at the end of the test at the latest.
func (r *rig) gate() (open func()) {
	shut := make(chan struct{})
	r.wire.answers(func(method string, _ json.RawMessage) string {
		if method == "eth_gasPrice" || method == "eth_call" {
			<-shut
		}
		return `"result":"0x1"`
	})
	done := false
	open = func() {
		if !done {
			done = true
			close(shut)
		}
	}
	r.t.Cleanup(open)
	return open
}

// many posts the body n times at once, and hands out the answers' statuses as
// they come.
func (r *rig) many(n int, body, user string) <-chan int {
	statuses := make(chan int, n)
	for range n {
		go func() {
			resp, _ := r.do(body, as(user))
			statuses <- resp.StatusCode
		}()
	}
	return statuses
}

func wantStatuses(t testing.TB, from <-chan int, n, status int) {
	t.Helper()
	for range n {
		select {
		case got := <-from:
			if got != status {
				t.Errorf("got status %d, want %d", got, status)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no answer with status %d", status)
		}
	}
}

// answered fails unless each of these users is answered over HTTP.
func (r *rig) answered(users ...string) {
	r.t.Helper()
	for _, user := range users {
		if resp, body := r.do(easy, as(user)); resp.StatusCode != http.StatusOK {
			r.t.Errorf("%s: %d %s", user, resp.StatusCode, body)
		}
	}
}

func TestRequestsThatHangTakeNoMoreThanTheirMembershipsShare(t *testing.T) {
	r := tenanted(t, func(c *Config) { c.Limits.Concurrent = 8 })
	open := r.gate()
	neighbours := r.many(7, hangs, "neighbour")
	wantStatuses(t, neighbours, 3, http.StatusServiceUnavailable)
	r.answered("one", "other stage", "anybody")

	resp, body := r.do(easy, as("neighbour"))
	want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"too busy: 4 requests of this membership are at work"}}`
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" || body != want {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	// Another that hangs, too, leaves something as well. Environments of one
	// membership have one share.
	ones := r.many(3, hangs, "one")
	wantStatuses(t, ones, 1, http.StatusServiceUnavailable)
	if resp, body := r.do(easy, as("other stage")); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "2 requests of this membership") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	r.answered("anybody")

	open()
	wantStatuses(t, neighbours, 4, http.StatusOK)
	wantStatuses(t, ones, 2, http.StatusOK)
	eventually(t, "everything given back", func() bool { return r.used() == taken{} })
	r.answered("neighbour")
}

func TestWebSocketsWaitForTheirMembershipsShareOnly(t *testing.T) {
	r := tenanted(t, func(c *Config) { c.Limits.Concurrent = 8 })
	open := r.gate()
	var hung []*client
	for range 3 {
		c := r.socketAt("neighbour")
		for range 10 {
			c.send(hangs)
		}
		hung = append(hung, c)
	}
	eventually(t, "4 requests at work and 26 that wait", func() bool {
		has, waiting := r.of("u0member02")
		return has.requests == 4 && waiting == 26
	})
	r.answered("one", "anybody")
	if got := r.socketAt("one").ask(easy); !strings.Contains(got, "result") {
		t.Error(got)
	}
	// Who goes away waits no longer, and gives back what it had.
	_ = hung[2].ws.CloseNow()
	eventually(t, "the third socket's requests gone", func() bool {
		_, waiting := r.of("u0member02")
		return waiting <= 20
	})
	open()
	for _, c := range hung[:2] {
		for range 10 {
			if got := c.read(); !strings.Contains(got, `"result":"0x1"`) {
				t.Error(got)
			}
		}
	}
	eventually(t, "everything given back", func() bool { return r.used() == taken{sockets: 3} })
}

func (r *rig) socketAt(user string) *client {
	r.t.Helper()
	c, _, err := r.dialAs(user)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) dialAs(user string) (*client, *http.Response, error) {
	q := http.Request{Header: http.Header{}, URL: new(url.URL)}
	as(user)(&q)
	ws, resp, err := websocket.Dial(limited(r.t), strings.Replace(r.http.URL, "http", "ws", 1)+q.URL.Path,
		&websocket.DialOptions{HTTPClient: r.http.Client(), HTTPHeader: q.Header})
	if err != nil {
		return nil, resp, err
	}
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{r.t, ws}, resp, nil
}

func TestOneMembershipCannotOpenAllWebSockets(t *testing.T) {
	r := tenanted(t, func(c *Config) { c.Limits.Sockets = 4 })
	first := r.socketAt("neighbour")
	r.socketAt("neighbour")
	_, resp, err := r.dialAs("neighbour")
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" {
		t.Fatalf("the third: %v %v", err, resp)
	}
	if got := r.socketAt("one").ask(easy); !strings.Contains(got, "result") {
		t.Error(got)
	}
	_ = first.ws.CloseNow()
	eventually(t, "the first socket gone", func() bool { return r.used().sockets == 2 })
	r.socketAt("neighbour")
}

func TestLargeRequestsOfOneMembershipLeaveMemoryToOthers(t *testing.T) {
	r := tenanted(t, func(c *Config) { c.Limits.Memory = 2 << 20 })
	open := r.gate()
	large := func(method string, bytes int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":["0x` + strings.Repeat("00", bytes) + `"]}`
	}
	neighbours := r.many(10, large("eth_call", 100_000), "neighbour")
	var has taken
	eventually(t, "all at work or refused", func() bool {
		has, _ = r.of("u0member02")
		return int(has.requests)+len(neighbours) == 10
	})
	// How much each takes depends on the buffer that it found.
	if has.requests < 2 || has.requests > 5 || has.memory > 1<<20 {
		t.Errorf("the membership has %+v", has)
	}
	wantStatuses(t, neighbours, 10-int(has.requests), http.StatusServiceUnavailable)
	for _, user := range []string{"one", "anybody"} {
		if resp, body := r.do(large("eth_estimateGas", 100_000), as(user)); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %.200s", user, resp.StatusCode, body)
		}
	}
	r.answered("neighbour") // what is small is not counted

	c := r.socketAt("neighbour")
	c.send(large("eth_call", 500_000))
	if code, reason := c.closed(); code != websocket.StatusTryAgainLater || reason != "too many large requests at once" {
		t.Errorf("%d %s", code, reason)
	}
	if got := r.socketAt("one").ask(large("eth_estimateGas", 100_000)); !strings.Contains(got, "result") {
		t.Errorf("%.200s", got)
	}
	open()
	wantStatuses(t, neighbours, int(has.requests), http.StatusOK)
	eventually(t, "everything given back", func() bool { return r.used().memory == 0 })
}

func TestTheOnlyMembershipMayUseEverything(t *testing.T) {
	only := func(c *Config) {
		c.Limits.Concurrent, c.Limits.Sockets, c.Limits.ConcurrentEach = 4, 3, 2
		delete(c.Services, "neighbour")
		delete(c.Services, "anybody")
	}
	r := tenanted(t, only)
	open := r.gate()
	ones, others := r.many(2, hangs, "one"), r.many(2, hangs, "other stage")
	eventually(t, "4 requests at work", func() bool { return r.used().requests == 4 })
	if resp, body := r.do(easy, as("one")); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "too busy: 4 requests are at work") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for range 3 {
		r.socketAt("one")
	}
	if _, resp, err := r.dialAs("one"); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the fourth socket: %v %v", err, resp)
	}
	open()
	wantStatuses(t, ones, 2, http.StatusOK)
	wantStatuses(t, others, 2, http.StatusOK)
}

func TestSharesFollowTheServices(t *testing.T) {
	r := tenanted(t, func(c *Config) { c.Limits.Concurrent = 4 })
	open := r.gate()
	c := r.socketAt("neighbour")
	for range 4 {
		c.send(hangs)
	}
	waiting := func(n int) func() bool {
		return func() bool { _, have := r.of("u0member02"); return have == n }
	}
	eventually(t, "2 requests that wait", waiting(2))
	for _, name := range []string{"one", "other-stage"} {
		r.srv.RemoveService(name)
	}
	eventually(t, "still 2 that wait", waiting(2))
	r.srv.RemoveService("anybody")
	if !waiting(0)() {
		t.Error("requests wait though the others are gone")
	}

	// With another there it has more than its share, and gets nothing new.
	one := *r.cfg.Services["one"]
	if err := r.srv.SetService(&one); err != nil {
		t.Fatal(err)
	}
	// Nor does it by taking its service away and bringing it back.
	r.srv.RemoveService("neighbour")
	own := *r.cfg.Services["neighbour"]
	if err := r.srv.SetService(&own); err != nil {
		t.Fatal(err)
	}
	if resp, _ := r.do(easy, as("neighbour")); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got status %d beyond the share", resp.StatusCode)
	}
	open()
	eventually(t, "everything given back", func() bool { return r.used().requests == 0 })
	r.answered("one", "neighbour")
}

func TestSharesOfThoseWhoAreGoneAreForgotten(t *testing.T) {
	r := tenanted(t)
	for i := range 50 {
		svc := *r.cfg.Services["one"]
		svc.Name, svc.Membership = "passing", fmt.Sprintf("u0passin%02d", i)
		if err := r.srv.SetService(&svc); err != nil {
			t.Fatal(err)
		}
		if err := r.srv.SetService(&Service{Name: "one", Aliases: []string{"passing"}, Membership: svc.Membership + "x"}); err == nil {
			t.Fatal("a name was given twice")
		}
	}
	r.srv.RemoveService("passing")
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	if len(r.srv.shares) != 3 {
		t.Errorf("%d shares for 3 memberships", len(r.srv.shares))
	}
}

func TestShareOfAPool(t *testing.T) {
	for _, tt := range []struct {
		limit, each int64
		several     bool
		want        []int64 // what memberships get that take all they can, one after the other
	}{
		{1024, 0, true, []int64{512, 256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 0}},
		{1, 0, true, []int64{1, 0}},
		{3, 0, true, []int64{2, 1, 0}},
		{1024, 0, false, []int64{1024, 0}},
		{1024, 100, false, []int64{1024, 0}},
		{1024, 800, true, []int64{800, 224, 0}},
		{1024, 5000, true, []int64{1024, 0}},
	} {
		p := pool{limit: tt.limit, each: tt.each}
		for i, want := range tt.want {
			var have int64
			for p.take(&have, 1, tt.several) {
			}
			if have != want {
				t.Errorf("%+v: membership %d has %d, want %d", tt, i, have, want)
			}
		}
	}
}

// However greedy some are, whoever has nothing soon gets something, as what is
// done is done and nobody gets back what it had.
func TestSharesEvenOut(t *testing.T) {
	p := pool{limit: 100}
	have := make([]int64, 4)
	for range 10_000 {
		i := rand.IntN(len(have))
		if have[i] > 0 && rand.IntN(2) == 0 {
			p.give(&have[i], 1)
		}
		for p.take(&have[i], 1, true) {
		}
	}
	var sum int64
	for i, n := range have {
		sum += n
		if n < 18 || n > 23 { // 100 / 5, and one is left free
			t.Errorf("membership %d has %d of 100: %v", i, n, have)
		}
	}
	if sum != p.used {
		t.Errorf("%v are %d, and %d are used", have, sum, p.used)
	}
}

// Those who wait get places by turns, whoever came first with how many.
func TestMembershipsTakeTurns(t *testing.T) {
	s, a, b := pair(t, Limits{Concurrent: 1, ConcurrentEach: 1})
	if e := s.begin(context.Background(), a, false); e != nil {
		t.Fatal(e)
	}
	order := make(chan *share, 4)
	for i, sh := range []*share{a, a, a, b} {
		go func() {
			if e := s.begin(context.Background(), sh, true); e == nil {
				order <- sh
			}
		}()
		eventually(t, "one more that waits", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return a.waiting.Len()+b.waiting.Len() == i+1
		})
	}
	s.end(a)
	for i, want := range []*share{a, b, a, a} {
		if got := <-order; got != want {
			t.Errorf("turn %d went to the other", i)
		}
		s.end(want)
	}
	if s.pools.requests.used != 0 || s.work != 0 || s.turns.Len() != 0 {
		t.Errorf("left over: %+v, %d at work, %d wait", s.pools.requests, s.work, s.turns.Len())
	}
}

// pair is a door, not served, with a service of each of two memberships.
func pair(t testing.TB, l Limits) (s *Server, a, b *share) {
	t.Helper()
	s, err := New(Config{Auth: basicAuth, Limits: l, Services: map[string]*Service{
		"a": {Name: "a", Membership: "a"}, "b": {Name: "b", Membership: "b"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.shares["a"], s.shares["b"]
}

func TestWhoeverIsAtItsShareKeepsNobodyElseWaiting(t *testing.T) {
	s, a, b := pair(t, Limits{Concurrent: 4})
	for _, sh := range []*share{a, a, b} {
		if e := s.begin(t.Context(), sh, false); e != nil {
			t.Fatal(e)
		}
	}
	first, _ := s.place(a, true)
	second, _ := s.place(b, true)
	if first == nil || second == nil {
		t.Fatal("got more than a share")
	}
	s.end(b)
	if first.at == nil || second.at != nil || b.requests != 1 {
		t.Errorf("%d and %d at work", a.requests, b.requests)
	}
	// Whoever gives up a moment too late has its place and must give it back.
	if e := s.giveUp(b, second); e != nil || s.work != 4 {
		t.Errorf("%v, %d at work or waiting", e, s.work)
	}
	if e := s.giveUp(a, first); e == nil || s.work != 3 || s.turns.Len() != 0 {
		t.Errorf("%v, %d at work or waiting", e, s.work)
	}
}

func TestShareOutlivesTheServicesWhileSomethingIsAtWork(t *testing.T) {
	s, a, _ := pair(t, Limits{})
	if e := s.begin(t.Context(), a, false); e != nil {
		t.Fatal(e)
	}
	for again := range 2 {
		s.RemoveService("a")
		if err := s.SetService(&Service{Name: "a", Membership: "a"}); err != nil {
			t.Fatal(err)
		}
		if (s.shares["a"] == a) != (again == 0) {
			t.Errorf("time %d: the wrong share", again)
		}
		if again == 0 {
			s.end(a)
		}
	}
}

func TestEachLimitIsThatOfItsPool(t *testing.T) {
	l := Limits{Concurrent: 1, ConcurrentEach: 2, Sockets: 3, SocketsEach: 4, Memory: 5, MemoryEach: 6}
	want := pools{requests: pool{limit: 1, each: 2}, sockets: pool{limit: 3, each: 4}, memory: pool{limit: 5, each: 6}}
	if got := l.pools(); got != want {
		t.Errorf("got %+v", got)
	}
}
