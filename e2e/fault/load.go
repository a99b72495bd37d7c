// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Load is what the clients send.
type Load struct {
	Requests int           // default 300
	Clients  int           // default 24; a third over WebSocket, a quarter in batches
	Spread   time.Duration // over which a client's requests begin; default 1 s
	Patience time.Duration // how long a client with a key asks again; default 30 s
	Keyless  float64       // share without idempotency key; default 0.1
	Explicit bool          // all name gas and fees
}

func (l Load) withDefaults() Load {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Requests, 300)
	def(&l.Clients, 24)
	if l.Spread == 0 {
		l.Spread = time.Second
	}
	if l.Patience == 0 {
		l.Patience = 90 * time.Second
	}
	if l.Keyless == 0 {
		l.Keyless = 0.1
	}
	return l
}

// balancer hands the replicas out in turn. A client whose connection broke asks
// for the next one.
type balancer struct {
	urls []string
	next atomic.Uint64
}

func (b *balancer) url() string { return b.urls[b.next.Add(1)%uint64(len(b.urls))] }

// client sends its requests one after another, or in batches.
type client struct {
	id       int
	way      string // http, ws or batch
	balancer *balancer
	http     *http.Client
	dice     *rand.Rand
	end      time.Time // when those with a key give up
	ws       *websocket.Conn
	seq      int
	explicit bool
}

// send runs the whole load and returns what every client was told.
func send(ctx context.Context, l Load, seed uint64, urls []string, senders []common.Address) []*Request {
	l = l.withDefaults()
	dice := rand.New(rand.NewPCG(seed, 2))
	requests := make([]*Request, l.Requests)
	for i := range requests {
		requests[i] = &Request{Index: i, From: senders[dice.IntN(len(senders))], Tag: tag(seed, i)}
		if dice.Float64() >= l.Keyless {
			requests[i].Key = fmt.Sprintf("%d-%d", seed, i)
		}
	}
	b := &balancer{urls: urls}
	transport := &http.Transport{MaxIdleConnsPerHost: l.Clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for n := range l.Clients {
		c := &client{
			id: n, balancer: b, http: &http.Client{Transport: transport, Timeout: 40 * time.Second},
			dice: rand.New(rand.NewPCG(seed, uint64(100+n))), end: time.Now().Add(l.Patience), way: "http", explicit: l.Explicit,
		}
		switch n % 12 {
		case 0, 3, 6, 9:
			c.way = "ws"
		case 1, 5, 10:
			c.way = "batch"
		}
		var mine []*Request
		for i := n; i < len(requests); i += l.Clients {
			mine = append(mine, requests[i])
		}
		all.Go(func() { c.work(ctx, mine, l.Spread) })
	}
	all.Wait()
	return requests
}

func tag(seed uint64, i int) []byte {
	t := make([]byte, 16)
	binary.BigEndian.PutUint64(t, seed)
	binary.BigEndian.PutUint64(t[8:], uint64(i))
	return t
}

// work sends a client's requests, spread over a time.
func (c *client) work(ctx context.Context, mine []*Request, spread time.Duration) {
	defer func() {
		if c.ws != nil {
			_ = c.ws.CloseNow()
		}
	}()
	size := 1
	if c.way == "batch" {
		size = 5
	}
	pause := spread * time.Duration(size) / time.Duration(max(1, len(mine)))
	for len(mine) > 0 && ctx.Err() == nil {
		part := mine[:min(size, len(mine))]
		mine = mine[len(part):]
		begun := time.Now()
		c.ask(ctx, part)
		if rest := pause - time.Since(begun); rest > 0 {
			sleep(ctx, rest)
		}
	}
}

// ask repeats requests until each has an answer or, without a key, may not be
// repeated.
func (c *client) ask(ctx context.Context, open []*Request) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		replies := c.once(ctx, open)
		var again []*Request
		for i, r := range open {
			r.Asked++
			if r.take(replies[i]) {
				again = append(again, r)
			}
		}
		// Now and then one asks again although it knows the answer.
		for _, r := range open {
			if len(r.Hashes) == 1 && r.Key != "" && c.dice.IntN(20) == 0 {
				again = append(again, r)
			}
		}
		if open = again; len(open) == 0 {
			return
		}
		if time.Now().After(c.end) || ctx.Err() != nil {
			return
		}
		sleep(ctx, wait/2+time.Duration(c.dice.Int64N(int64(wait))))
	}
}

// reply is what one request was told: a hash, an error object, or neither,
// because the connection or the server broke.
type reply struct {
	hash    common.Hash
	code    int
	message string
	broken  error
}

// take notes a reply and says whether to ask again.
func (r *Request) take(got reply) (again bool) {
	switch {
	case got.broken != nil:
		r.Unknown = got.broken.Error()
		return r.Key != ""
	case got.code == 0:
		r.Unknown = ""
		r.Hashes = append(r.Hashes, got.hash)
		return false
	case got.code == -32005: // promises that nothing is stored, to those without a key too
		r.Unknown = ""
		if r.Key == "" {
			return true
		}
		r.Unknown = got.message
		return true
	case got.code == -32011, got.code == -32002, got.code == -32603:
		r.Unknown = fmt.Sprintf("%d %s", got.code, got.message)
		return r.Key != ""
	default:
		r.Unknown = ""
		r.Failures = append(r.Failures, fmt.Sprintf("%d %s", got.code, got.message))
		return false
	}
}

// params are those of eth_sendTransaction; some clients fill everything in, some
// nothing.
func (c *client) params(r *Request, withKey bool) []any {
	args := map[string]any{"from": r.From, "to": common.BytesToAddress(append([]byte{0xfa}, r.Tag[8:]...)), "value": "0x1", "data": hexutil.Bytes(r.Tag)}
	index := r.Index
	if c.explicit {
		index = 0
	}
	switch index % 4 { // the same each time: another request under the same key is refused
	case 0:
		args["gas"], args["maxFeePerGas"], args["maxPriorityFeePerGas"] = "0x7530", "0x4a817c800", "0x3b9aca00"
	case 1:
		args["gas"], args["gasPrice"] = "0x7530", "0x4a817c800"
	case 2:
		args["gas"] = "0x7530"
	}
	if withKey && r.Key != "" {
		return []any{args, map[string]string{"idempotencyKey": r.Key}}
	}
	return []any{args}
}

// once asks for all of them, and returns a reply for each.
func (c *client) once(ctx context.Context, open []*Request) []reply {
	replies := make([]reply, len(open))
	fail := func(err error) []reply {
		for i := range replies {
			replies[i] = reply{broken: err}
		}
		return replies
	}
	switch {
	case c.way == "batch":
		items := make([]item, len(open))
		for i, r := range open {
			items[i] = call(i+1, c.params(r, true))
		}
		body, _ := json.Marshal(items)
		text, err := c.post(ctx, body, "")
		if err != nil {
			return fail(err)
		}
		var answers []answer
		if json.Unmarshal(text, &answers) != nil {
			var whole answer // the batch was refused as one
			if err := json.Unmarshal(text, &whole); err != nil {
				return fail(err)
			}
			for range open {
				answers = append(answers, whole)
			}
			for i := range answers {
				answers[i].ID = json.RawMessage(fmt.Sprint(i + 1))
			}
		}
		_ = fail(fmt.Errorf("the batch's answer lacks it"))
		for _, a := range answers {
			var id int
			if json.Unmarshal(a.ID, &id) == nil && id >= 1 && id <= len(open) {
				replies[id-1] = a.reply()
			}
		}
	case c.way == "ws":
		for i, r := range open {
			replies[i] = c.socket(ctx, r)
		}
	default:
		for i, r := range open {
			body, _ := json.Marshal(call(1, c.params(r, false)))
			text, err := c.post(ctx, body, r.Key)
			var a answer
			if err == nil {
				err = json.Unmarshal(text, &a)
			}
			if replies[i] = a.reply(); err != nil {
				replies[i] = reply{broken: err}
			}
		}
	}
	return replies
}

func call(id int, params []any) item {
	it := item{Version: "2.0", ID: json.RawMessage(fmt.Sprint(id)), Method: "eth_sendTransaction"}
	for _, p := range params {
		text, _ := json.Marshal(p)
		it.Params = append(it.Params, text)
	}
	return it
}

func (a answer) reply() reply {
	if len(a.Error) > 0 && string(a.Error) != "null" {
		var e struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(a.Error, &e); err != nil || e.Code == 0 {
			return reply{broken: fmt.Errorf("an error without code: %s", a.Error)}
		}
		return reply{code: e.Code, message: e.Message}
	}
	var h common.Hash
	if err := json.Unmarshal(a.Result, &h); err != nil {
		return reply{broken: fmt.Errorf("no hash: %s", a.Result)}
	}
	return reply{hash: h}
}

func (c *client) post(ctx context.Context, body []byte, key string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.balancer.url(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // net/http must not repeat it by itself
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 1<<20))
}

// socket asks over the client's WebSocket, which is opened anew when it broke.
func (c *client) socket(ctx context.Context, r *Request) reply {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	lost := func(err error) reply {
		if c.ws != nil {
			_ = c.ws.CloseNow()
			c.ws = nil
		}
		return reply{broken: err}
	}
	if c.ws == nil {
		conn, resp, err := websocket.Dial(ctx, "ws"+c.balancer.url()[len("http"):], nil)
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		if err != nil {
			return lost(err)
		}
		c.ws = conn
	}
	c.seq++
	body, _ := json.Marshal(call(c.seq, c.params(r, true)))
	if err := c.ws.Write(ctx, websocket.MessageText, body); err != nil {
		return lost(err)
	}
	_, text, err := c.ws.Read(ctx)
	if err != nil {
		return lost(err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return lost(err)
	}
	if string(a.ID) != fmt.Sprint(c.seq) {
		return lost(fmt.Errorf("answer %s to question %d", a.ID, c.seq))
	}
	return a.reply()
}

// sleep waits, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
