// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// begin starts daemons to which nothing happens but what the test does. They are
// gone when the test ends; of a test that failed the folder stays.
func begin(t *testing.T, o Options) *Case {
	t.Helper()
	if o.Schedule == nil {
		o.Schedule = new(Schedule)
	}
	c, err := rig(t).setUp(t.Context(), uint64(time.Now().UnixNano())>>8, o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var failed error
		if t.Failed() {
			failed = fmt.Errorf("failed")
			t.Logf("kept in %s", c.dir)
		}
		if err := c.tearDown(new(Report), failed); err != nil {
			t.Error(err)
		}
	})
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// judge waits for the end of everything and fails the test for every violation.
func (c *Case) judge(t *testing.T, requests []*Request) Evidence {
	t.Helper()
	e := Evidence{Senders: c.Senders, Requests: requests}
	if err := c.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.gather(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	for _, v := range Judge(e) {
		t.Error(v)
	}
	return e
}

// wantAllMined demands that nobody was refused or left alone.
func wantAllMined(t *testing.T, e Evidence) {
	t.Helper()
	for _, r := range e.Requests {
		if len(r.Hashes) == 0 {
			t.Errorf("request %d: refused %v, unknown %q", r.Index, r.Failures, r.Unknown)
		}
	}
	if len(e.Chain) != len(e.Requests) {
		t.Errorf("%d mined, want %d", len(e.Chain), len(e.Requests))
	}
}

// ask sends one JSON-RPC request to a replica.
func ask(t *testing.T, url, method string, params ...any) reply {
	t.Helper()
	a, err := tryAsk(t.Context(), url, method, params...)
	if err != nil {
		return reply{broken: err}
	}
	r := a.reply()
	if r.code == 0 && len(a.Result) > 0 { // not every result is a hash
		r.broken, r.message = nil, string(a.Result)
	}
	return r
}

func tryAsk(ctx context.Context, url, method string, params ...any) (a answer, err error) {
	it := item{Version: "2.0", ID: json.RawMessage("1"), Method: method, Params: []json.RawMessage{}}
	for _, p := range params {
		text, err := json.Marshal(p)
		if err != nil {
			return a, err
		}
		it.Params = append(it.Params, text)
	}
	body, err := json.Marshal(it)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(text, &a)
}

// transfer is the argument of a transfer that says everything itself.
func (c *Case) transfer(r *Request) map[string]any {
	return (&client{}).params(&Request{From: r.From, Tag: r.Tag}, false)[0].(map[string]any)
}

// request is one that the test sends by itself.
func (c *Case) request(i int) *Request {
	return &Request{Index: i, From: c.Senders[i%len(c.Senders)], Tag: tag(c.seed, i)}
}

// sendTo sends a request to a replica and leaves what to make of it to the caller.
func (c *Case) sendTo(t *testing.T, replica *Replica, r *Request) reply {
	t.Helper()
	r.Asked++
	return ask(t, replica.URL, "eth_sendTransaction", c.transfer(r))
}

// sendOne sends a request once, through a replica.
func (c *Case) sendOne(t *testing.T, replica int, r *Request) reply {
	t.Helper()
	r.Asked++
	got := ask(t, c.Replicas[replica].URL, "eth_sendTransaction", c.transfer(r))
	r.take(got)
	return got
}

// hits counts how often a replica, over all its processes, has passed a point.
func (r *Replica) hits(t *testing.T, point string) int {
	t.Helper()
	text, err := os.ReadFile(r.path(".hits"))
	if err != nil && !os.IsNotExist(err) { // none is there before the first hit
		t.Fatal(err)
	}
	return strings.Count("\n"+string(text), "\n"+point+"\n")
}

// waitFor gives the system time to come to a state.
func waitFor(t *testing.T, what string, within time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// rules of one replica's first process.
func rules(r ...faultpoint.Rule) *Schedule { return &Schedule{Rules: [][]faultpoint.Rule{r}} }

func httpClient() *http.Client { return &http.Client{Timeout: 40 * time.Second} }

func newDice(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 3)) }
