// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// NodeFault is something that goes wrong between the daemon and its node.
type NodeFault string

// What happens to a request on its way, whatever it asks.
const (
	DropReply NodeFault = "drop-reply" // the node does it, and the connection breaks before the answer
	Cut       NodeFault = "cut"        // it breaks in the middle of the answer
	Slow      NodeFault = "slow"       // the answer comes late
	Twice     NodeFault = "twice"      // the node gets it twice
	Refuse    NodeFault = "refuse"     // it breaks before the node gets it
)

// What the node says that is not so.
const (
	CountLow     NodeFault = "count-low"     // eth_getTransactionCount up to 5 below
	CountHigh    NodeFault = "count-high"    // or up to 12 above, another number each time
	Stale        NodeFault = "stale"         // the latest block, and counts at it, are those of some blocks ago
	OtherChain   NodeFault = "other-chain"   // eth_chainId is another
	NotKnown     NodeFault = "not-known"     // "already known" of bytes that it has never seen
	NoReceipts   NodeFault = "no-receipts"   // null for receipts of the latest blocks
	TooLow       NodeFault = "too-low"       // "nonce too low" of bytes that it has not looked at
	PoolFull     NodeFault = "pool-full"     // "txpool is full"
	Underpriced  NodeFault = "underpriced"   // "transaction underpriced"
	Insufficient NodeFault = "insufficient"  // "insufficient funds for gas * price + value"
	WrongAnswer  NodeFault = "wrong-answer"  // no JSON-RPC answer at all
	OnlyHTTP503  NodeFault = "status-503"    // an HTTP error of a gateway in between
	LostAndKnown NodeFault = "lost-and-back" // bytes are answered with their hash and thrown away
)

// What no node says in a random run, since it would take too long.
const (
	Huge NodeFault = "huge" // 100 MB
	Deep NodeFault = "deep" // a million brackets
)

// NodeFaults lists all of them.
func NodeFaults() []NodeFault {
	return []NodeFault{
		DropReply, Cut, Slow, Twice, Refuse, CountLow, CountHigh, Stale, OtherChain, NotKnown, NoReceipts, TooLow,
		PoolFull, Underpriced, Insufficient, WrongAnswer, OnlyHTTP503, LostAndKnown,
	}
}

// NodeProxy stands between one daemon and the node. It is safe for concurrent use.
type NodeProxy struct {
	URL    string
	target string
	depth  uint64 // NoReceipts and Stale reach less far back than this many blocks
	server *http.Server
	client *http.Client

	mu     sync.Mutex
	dice   *rand.Rand
	faults map[NodeFault]float64
	struck map[NodeFault]int
	head   uint64            // the highest block number that was seen
	lies   map[string]uint64 // the last CountHigh of each address
	wire   map[common.Hash]Wire
}

// NewNodeProxy starts a proxy on loopback. Lies about blocks reach at most depth
// blocks back, which must be below the daemon's confirmations: what a node says
// consistently of its deep blocks is the only proof there is.
func NewNodeProxy(target string, depth, seed uint64) (*NodeProxy, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault: node proxy: %w", err)
	}
	p := &NodeProxy{
		URL: "http://" + l.Addr().String(), target: target, depth: depth,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, Timeout: 30 * time.Second},
		dice:   rand.New(rand.NewPCG(seed, 1)), faults: map[NodeFault]float64{}, struck: map[NodeFault]int{}, lies: map[string]uint64{}, wire: map[common.Hash]Wire{},
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = p.server.Serve(l) }()
	return p, nil
}

// Close stops the proxy and breaks its connections.
func (p *NodeProxy) Close() {
	_ = p.server.Close()
	p.client.CloseIdleConnections()
}

// Set makes a fault happen to a request, or an item of a batch, with the given
// probability; 0 ends it.
func (p *NodeProxy) Set(f NodeFault, probability float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if probability == 0 {
		delete(p.faults, f)
	} else {
		p.faults[f] = probability
	}
}

// Heal ends all faults.
func (p *NodeProxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
}

// Struck is how often each fault has happened.
func (p *NodeProxy) Struck() map[NodeFault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[NodeFault]int{}
	for f, n := range p.struck {
		out[f] = n
	}
	return out
}

// strikes decides whether f happens now.
func (p *NodeProxy) strikes(f NodeFault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if prob := p.faults[f]; prob == 0 || p.dice.Float64() >= prob {
		return false
	}
	p.struck[f]++
	return true
}

func (p *NodeProxy) roll(n uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dice.Uint64N(n)
}

// ServeHTTP passes one request on, as far as the faults in force allow.
func (p *NodeProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch {
	case p.strikes(Refuse):
		panic(http.ErrAbortHandler)
	case p.strikes(OnlyHTTP503):
		http.Error(w, "upstream connect error", http.StatusServiceUnavailable)
		return
	}
	items, batch, ok := split(body)
	if !ok {
		http.Error(w, "not JSON-RPC", http.StatusBadRequest)
		return
	}
	answers, err := p.do(r.Context(), items, batch)
	if err == nil && p.strikes(Twice) {
		answers, err = p.do(r.Context(), items, batch)
	}
	switch {
	case err != nil || p.strikes(DropReply):
		panic(http.ErrAbortHandler)
	case p.strikes(Slow):
		time.Sleep(time.Duration(20+p.roll(300)) * time.Millisecond)
	}
	text := join(answers, batch)
	if p.strikes(Huge) {
		text = append(append([]byte(`{"jsonrpc":"2.0","id":1,"result":"`), bytes.Repeat([]byte("f"), 100<<20)...), '"', '}')
	}
	if p.strikes(Deep) {
		text = append([]byte(`{"jsonrpc":"2.0","id":1,"result":`), bytes.Repeat([]byte("["), 1<<20)...)
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case p.strikes(WrongAnswer):
		_, _ = io.WriteString(w, `<html>please log in</html>`)
	case p.strikes(Cut):
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = w.Write(text[:len(text)/2])
		panic(http.ErrAbortHandler)
	default:
		_, _ = w.Write(text)
	}
}

// do has the items answered: by a lie, or by the node.
func (p *NodeProxy) do(ctx context.Context, items []*item, batch bool) ([]answer, error) {
	answers := make([]answer, len(items))
	var asked []*item
	var at []int
	for i, it := range items {
		if text, lied := p.before(it); lied {
			answers[i] = answer{ID: it.ID, Version: "2.0"}
			answers[i].set(text)
			continue
		}
		asked, at = append(asked, it), append(at, i)
	}
	if len(asked) == 0 {
		return answers, nil
	}
	got, err := p.ask(ctx, asked, batch)
	if err != nil {
		return nil, err
	}
	for i := range got {
		p.after(asked[i], &got[i])
		answers[at[i]] = got[i]
	}
	return answers, nil
}

func (p *NodeProxy) ask(ctx context.Context, items []*item, batch bool) ([]answer, error) {
	var body []byte
	if batch {
		body, _ = json.Marshal(items)
	} else {
		body, _ = json.Marshal(items[0])
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, p.target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if !batch {
		var a answer
		err := json.Unmarshal(text, &a)
		return []answer{a}, err
	}
	var list []answer
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	byID := map[string]answer{}
	for _, a := range list {
		byID[string(a.ID)] = a
	}
	answers := make([]answer, len(items))
	for i, it := range items {
		answers[i] = byID[string(it.ID)]
	}
	return answers, nil
}
