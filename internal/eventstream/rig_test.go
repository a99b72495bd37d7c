// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("EVENTSTREAM_TEST_CHILD"); dir != "" {
		deliverUntilKilled(dir, os.Getenv("EVENTSTREAM_TEST_NODE"))
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	wallet   = "treasury"
	changed  = `{"type":"event","name":"Changed","inputs":[{"name":"from","type":"address","indexed":true},{"name":"value","type":"uint256"}]}`
	setEntry = `{"type":"function","name":"set","stateMutability":"nonpayable","inputs":[{"name":"value","type":"uint256"}],"outputs":[]}`
)

var (
	place    = eventstream.Place{Environment: "e1", Membership: "m1"}
	who      = auth.Principal{Name: "app:shop"}
	shop     = common.HexToAddress("0x00000000000000000000000000000000000000a1")
	other    = common.HexToAddress("0x00000000000000000000000000000000000000b2")
	topic    = crypto.Keccak256Hash([]byte("Changed(address,uint256)"))
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// testChain is a node at the wire with a chain of blocks that have logs, and
// nothing else. Its chain can be cut and go on otherwise.
type testChain struct {
	url string

	mu     sync.Mutex
	blocks []testBlock
	fork   int // salts the hashes
	calls  map[string]int
	widest uint64           // range that eth_getLogs takes; 0: any
	down   bool             // every call is answered with status 503
	during func()           // called once, in the middle of the next eth_getLogs
	spoil  func(l *testLog) // lies about logs
	input  hexutil.Bytes    // what all transactions were called with; nil: set(1)
}

type testBlock struct {
	hash, parent common.Hash
	logs         []testLog
}

type testLog struct {
	Address     common.Address `json:"address"`
	Topics      []common.Hash  `json:"topics"`
	Data        hexutil.Bytes  `json:"data"`
	BlockNumber hexutil.Uint64 `json:"blockNumber"`
	BlockHash   common.Hash    `json:"blockHash"`
	TxHash      common.Hash    `json:"transactionHash"`
	TxIndex     hexutil.Uint64 `json:"transactionIndex"`
	Index       hexutil.Uint64 `json:"logIndex"`
}

func newChain(t *testing.T) *testChain {
	t.Helper()
	c := &testChain{calls: map[string]int{}}
	c.mine()
	srv := httptest.NewServer(c)
	c.url = srv.URL
	t.Cleanup(srv.Close)
	return c
}

// mine adds a block with an event of each of these values, and an event of nobody's
// interest before each.
func (c *testChain) mine(values ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.blocks)
	b := testBlock{hash: crypto.Keccak256Hash(fmt.Appendf(nil, "block %d %d", n, c.fork))}
	if n > 0 {
		b.parent = c.blocks[n-1].hash
	}
	for i, v := range values {
		for _, is := range []struct {
			address common.Address
			topic   common.Hash
		}{{other, crypto.Keccak256Hash([]byte("Noise()"))}, {shop, topic}} {
			b.logs = append(b.logs, testLog{
				Address: is.address, Topics: []common.Hash{is.topic, common.BytesToHash(shop[:])}, Data: common.BigToHash(common.Big0).Bytes(),
				BlockNumber: hexutil.Uint64(n), BlockHash: b.hash, TxHash: txHash(v), TxIndex: hexutil.Uint64(i), Index: hexutil.Uint64(len(b.logs)),
			})
		}
		last := &b.logs[len(b.logs)-1]
		last.Data = common.BytesToHash(hexutil.MustDecode(fmt.Sprintf("0x%08x", v))).Bytes()
	}
	c.blocks = append(c.blocks, b)
}

func txHash(v int) common.Hash { return crypto.Keccak256Hash(fmt.Appendf(nil, "tx %d", v)) }

// cut forgets the newest blocks; what is mined from now on has other hashes.
func (c *testChain) cut(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks = c.blocks[:len(c.blocks)-n]
	c.fork++
}

func (c *testChain) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *testChain) count(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

func (c *testChain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ID     json.RawMessage
		Method string
		Params []json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[q.Method]++
	if c.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": q.ID}
	switch q.Method {
	case "eth_chainId":
		answer["result"] = "0x539"
	case "eth_getBlockByNumber":
		answer["result"] = c.block(q.Params[0])
	case "eth_getTransactionByHash":
		input := c.input
		if input == nil {
			input = append(crypto.Keccak256([]byte("set(uint256)"))[:4], common.BigToHash(common.Big1).Bytes()...)
		}
		answer["result"] = map[string]any{"from": other, "input": input}
	case "eth_getLogs":
		logs, err := c.logs(q.Params[0])
		if err != "" {
			answer["error"] = map[string]any{"code": -32005, "message": err}
		} else {
			answer["result"] = logs
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (c *testChain) block(which json.RawMessage) any {
	n := uint64(len(c.blocks) - 1)
	if text := strings.Trim(string(which), `"`); text != "latest" {
		n = hexutil.MustDecodeUint64(text)
	}
	if n >= uint64(len(c.blocks)) {
		return nil
	}
	b := c.blocks[n]
	return map[string]any{"number": hexutil.Uint64(n), "hash": b.hash, "parentHash": b.parent, "timestamp": hexutil.Uint64(1_700_000_000 + n), "gasLimit": "0x1", "gasUsed": "0x0"}
}

func (c *testChain) logs(filter json.RawMessage) ([]testLog, string) {
	var f struct {
		FromBlock, ToBlock hexutil.Uint64
		Address            *common.Address
		Topics             []common.Hash
	}
	if err := json.Unmarshal(filter, &f); err != nil {
		return nil, err.Error()
	}
	if c.widest > 0 && uint64(f.ToBlock-f.FromBlock)+1 > c.widest {
		return nil, "query returned more than 10000 results"
	}
	found := []testLog{}
	for n := uint64(f.FromBlock); n <= uint64(f.ToBlock) && n < uint64(len(c.blocks)); n++ {
		for _, l := range c.blocks[n].logs {
			if l.Topics[0] == f.Topics[0] && (f.Address == nil || *f.Address == l.Address) {
				if c.spoil != nil {
					c.spoil(&l)
				}
				found = append(found, l)
			}
		}
	}
	if during := c.during; during != nil {
		c.during = nil
		c.mu.Unlock()
		during()
		c.mu.Lock()
	}
	return found, ""
}

func openNode(t testing.TB, url string) *node.Client {
	t.Helper()
	client, err := node.New(node.Config{ChainID: 1337, Endpoints: []node.Endpoint{{Name: "n", URL: url}}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func openStore(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// fast is a configuration for tests.
func fast(db *store.DB, n eventstream.Node) eventstream.Config {
	return eventstream.Config{
		Store: db, Node: func(name string) eventstream.Node {
			if name != wallet {
				return nil
			}
			return n
		},
		Egress: dialrule.Config{Rules: dialrule.Rules{Allow: loopback}},
		Poll:   20 * time.Millisecond, LeaseTTL: 20 * time.Second, SaveEvery: 50 * time.Millisecond, Backoff: 10 * time.Millisecond,
	}
}

// rig is one process that delivers.
type rig struct {
	t *testing.T
	*eventstream.Streams
	db   *store.DB
	stop func()
}

// afresh does what changes a stream, and waits until it is delivered as changed.
func (r *rig) afresh(id string, change func() error) {
	r.t.Helper()
	epoch := func() int64 {
		row, err := r.db.Stream(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		return row.Epoch
	}
	was := epoch()
	if err := change(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "it is delivered afresh", func() bool { return epoch() > was && r.stream(id).Held })
}

func start(t *testing.T, cfg eventstream.Config) *rig {
	t.Helper()
	s, err := eventstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	r := &rig{t: t, Streams: s, db: cfg.Store, stop: func() {
		cancel()
		<-done
	}}
	t.Cleanup(r.stop)
	return r
}

func parse(t testing.TB, text string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (r *rig) create(format string, args ...any) string {
	r.t.Helper()
	s, err := r.Create(r.t.Context(), who, place, wallet, parse(r.t, fmt.Sprintf(format, args...)))
	if err != nil {
		r.t.Fatal(err)
	}
	return s.ID
}

func (r *rig) subscribe(stream, from string) string {
	r.t.Helper()
	u, err := r.Subscribe(r.t.Context(), who, place, wallet, eventstream.Wanted{
		Stream: stream, Event: json.RawMessage(changed), Methods: []json.RawMessage{json.RawMessage(setEntry)}, FromBlock: from,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return u.ID
}

// aside does what changes a stream while nobody delivers it, and waits until it is
// delivered as changed: none that is still about to end has read the change.
func (r *rig) aside(stream string, change func()) {
	r.t.Helper()
	if _, err := r.Suspend(r.t.Context(), who, place, wallet, stream); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "nobody delivers", func() bool { return !r.stream(stream).Held })
	change()
	if _, err := r.Resume(r.t.Context(), who, place, wallet, stream); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "it is delivered", func() bool { return r.stream(stream).Held })
}

// follow makes a stream with a subscription, and waits until it is delivered as it
// is to stay.
func (r *rig) follow(from, format string, args ...any) (stream string) {
	r.t.Helper()
	stream = r.create(format, args...)
	r.aside(stream, func() { r.subscribe(stream, from) })
	return stream
}

// only is the one subscription of a stream.
func (r *rig) only(stream string) eventstream.Subscription {
	r.t.Helper()
	all, err := r.Subscriptions(r.t.Context(), place, wallet, stream, "", 0)
	if err != nil || len(all) != 1 {
		r.t.Fatal(all, err)
	}
	return all[0]
}

// stored waits until the checkpoint of a stream's one subscription is behind a block:
// from then on no restart tells its events again.
func (r *rig) stored(stream string, block uint64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("block %d is stored", block), func() bool { return r.only(stream).Block > block })
}

// told is an event as a receiver reads it.
type told struct {
	Address          string            `json:"address"`
	BlockNumber      string            `json:"blockNumber"`
	BlockHash        common.Hash       `json:"blockHash"`
	TransactionHash  common.Hash       `json:"transactionHash"`
	TransactionIndex string            `json:"transactionIndex"`
	LogIndex         string            `json:"logIndex"`
	Data             map[string]string `json:"data"`
	SubID            string            `json:"subId"`
	Signature        string            `json:"signature"`
	Removed          bool              `json:"removed"`
	Timestamp        string            `json:"timestamp"`
	InputMethod      string            `json:"inputMethod"`
	InputArgs        map[string]string `json:"inputArgs"`
	InputSigner      string            `json:"inputSigner"`
	Error            string            `json:"error"`
}

// short is an event as tests compare it: its value, with a minus if it vanished.
func (e told) short() string {
	if e.Removed {
		return "-" + e.Data["value"]
	}
	return e.Data["value"]
}

func shortOf(events []told) (all []string) {
	for _, e := range events {
		all = append(all, e.short())
	}
	return all
}

// receiver is the other side of a webhook.
type receiver struct {
	url string

	mu      sync.Mutex
	batches [][]told
	headers []http.Header
}

// receive starts a receiver that answers as answer does; it is given the number of
// the request, from 0, and returns false if the batch is not to count.
func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request) bool) *receiver {
	t.Helper()
	rec := &receiver{}
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var batch []told
		if err != nil {
			return // who has sent it was stopped
		}
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Errorf("%v in %.200s", err, body)
		}
		rec.mu.Lock()
		i := n
		n++
		rec.headers = append(rec.headers, r.Header.Clone())
		rec.mu.Unlock()
		if answer == nil || answer(i, w, r) {
			rec.mu.Lock()
			rec.batches = append(rec.batches, batch)
			rec.mu.Unlock()
		}
	}))
	t.Cleanup(srv.Close)
	rec.url = srv.URL
	return rec
}

func (r *receiver) events() (all []told) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		all = append(all, b...)
	}
	return all
}

func (r *receiver) values() []string { return shortOf(r.events()) }

func (r *receiver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.headers)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func wantValues(t *testing.T, rec *receiver, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v", want), func() bool { return len(rec.values()) >= len(want) })
	time.Sleep(40 * time.Millisecond) // for what must not come
	if got := rec.values(); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func (r *rig) stream(id string) eventstream.Stream {
	r.t.Helper()
	s, err := r.Stream(r.t.Context(), place, wallet, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}
