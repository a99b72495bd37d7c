// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// Endpoint is one node of a chain: an address with connections, faults, counts
// and lies of its own. Blocks and pool are the chain's, as if all nodes heard
// of everything at once.
type Endpoint struct {
	chain  *Chain
	addr   string
	ln     net.Listener
	srv    *http.Server
	faults faults
	conns  atomic.Int64 // accepted connections

	mu   sync.Mutex
	view view
	raws [][]byte
}

// view is how a node sees the chain, or says that it does.
type view struct {
	stalled bool
	height  uint64 // the last block that it has, if stalled
	higher  uint64 // what it adds to heights
	deep    bool   // also to those of blocks that are asked for by hash
	genesis *common.Hash
	chainID uint64
	swallow bool
}

// AddEndpoint starts another node of the chain, until the chain is closed.
func (c *Chain) AddEndpoint(t TB) *Endpoint {
	t.Helper()
	e, err := c.open("127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return e
}

func (c *Chain) open(address string) (*Endpoint, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("nodetest: %w", err)
	}
	if !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
		ln.Close()
		return nil, fmt.Errorf("nodetest: %s is not a loopback address", address)
	}
	e := &Endpoint{chain: c, addr: ln.Addr().String()}
	e.faults.init()
	e.ln = &listener{Listener: ln, at: e}
	c.mu.Lock()
	c.nodes = append(c.nodes, e)
	c.mu.Unlock()
	e.serve()
	return e, nil
}

// URL is the node's HTTP address.
func (e *Endpoint) URL() string { return "http://" + e.addr }

// WSURL is the node's WebSocket address.
func (e *Endpoint) WSURL() string { return "ws://" + e.addr }

// Calls counts how often a method was called, whatever came of it.
func (e *Endpoint) Calls(method string) int { return e.faults.calls(method) }

// Requests counts the HTTP requests, a batch as one.
func (e *Endpoint) Requests() int { return int(e.faults.requests.Load()) }

// Connections counts the accepted TCP connections.
func (e *Endpoint) Connections() int { return int(e.conns.Load()) }

// Sent returns every raw transaction that was ever sent to this node, in the
// order of arrival, repeated, refused and swallowed ones included.
func (e *Endpoint) Sent() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([][]byte(nil), e.raws...)
}

// StallHead keeps the node at the block that is the newest now, until it is
// called with false. The chain goes on without it.
func (e *Endpoint) StallHead(stall bool) {
	height, _ := e.chain.Head()
	e.look(func(v *view) { v.stalled, v.height = stall, height })
}

// LieHeight makes the node add n to the heights of its newest blocks, and if
// deep, of blocks that are asked for by hash too; 0 ends it. Blocks are found
// at their true numbers only.
func (e *Endpoint) LieHeight(n uint64, deep bool) {
	e.look(func(v *view) { v.higher, v.deep = n, deep })
}

// LieGenesis makes the node show another first block, until it is called with
// false.
func (e *Endpoint) LieGenesis(lie bool) {
	e.look(func(v *view) {
		if v.genesis = nil; lie {
			other := crypto.Keccak256Hash([]byte(e.addr))
			v.genesis = &other
		}
	})
}

// LieChainID makes the node answer another chain id; 0 ends it.
func (e *Endpoint) LieChainID(id uint64) { e.look(func(v *view) { v.chainID = id }) }

// Swallow makes the node answer transactions with their hash and keep them to
// itself, as one does that goes down before it has told others; until it is
// called with false.
func (e *Endpoint) Swallow(swallow bool) { e.look(func(v *view) { v.swallow = swallow }) }

func (e *Endpoint) look(change func(*view)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.view)
}

// sees says whether the node has the block at a height.
func (e *Endpoint) sees(height uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.view.stalled || height <= e.view.height
}

// call carries out a method as this node sees the chain.
func (e *Endpoint) call(method string, raw json.RawMessage, via *feed) (any, *RPCError) {
	e.mu.Lock()
	v := e.view
	e.mu.Unlock()
	if method == "eth_sendRawTransaction" {
		var p []hexutil.Bytes
		if json.Unmarshal(raw, &p) == nil && len(p) > 0 {
			e.mu.Lock()
			e.raws = append(e.raws, p[0])
			e.mu.Unlock()
			if parsed := e.chain.parse(p[0]); v.swallow && parsed.err == nil {
				return parsed.tx.Hash(), nil
			}
		}
	}
	if v.stalled {
		raw = pinTags(method, raw, v.height)
	}
	result, err := e.chain.call(method, raw, via)
	if err != nil {
		return nil, err
	}
	return v.tint(method, raw, result), nil
}

// blockParam is where a method has its block parameter.
var blockParam = map[string]int{
	"eth_getBlockByNumber": 0, "eth_getTransactionCount": 1, "eth_getBalance": 1, "eth_getCode": 1, "eth_call": 1,
}

// pinTags puts a height in place of the tags that mean the newest block.
func pinTags(method string, raw json.RawMessage, height uint64) json.RawMessage {
	at, ok := blockParam[method]
	var p params
	if !ok || json.Unmarshal(raw, &p) != nil || at >= len(p) {
		return raw
	}
	if tag := string(p[at]); tag == `"latest"` || tag == `"pending"` {
		p[at] = marshal(hexutil.Uint64(height))
	}
	return marshal(p)
}

// tint puts the node's lies, and its ignorance, into an answer.
func (v view) tint(method string, raw json.RawMessage, result any) any {
	switch method {
	case "eth_chainId":
		if v.chainID != 0 {
			return hexutil.Uint64(v.chainID)
		}
	case "eth_blockNumber":
		if v.stalled {
			return hexutil.Uint64(v.height + v.higher)
		}
		return result.(hexutil.Uint64) + hexutil.Uint64(v.higher)
	case "eth_getBlockByNumber", "eth_getBlockByHash", "eth_getTransactionReceipt":
		out, ok := result.(map[string]any)
		if !ok {
			return result
		}
		var where struct{ Number, BlockNumber hexutil.Uint64 }
		if json.Unmarshal(marshal(out), &where) != nil {
			return result
		}
		if v.stalled && uint64(max(where.Number, where.BlockNumber)) > v.height {
			return nil
		}
		var p params
		_ = json.Unmarshal(raw, &p) // it was read before
		byTag := method == "eth_getBlockByNumber" && len(p) > 0 && len(p[0]) > 2 && p[0][1] != '0'
		if byTag && where.Number > 0 || v.deep && method == "eth_getBlockByHash" {
			out["number"] = where.Number + hexutil.Uint64(v.higher)
		}
		if v.genesis != nil && method != "eth_getTransactionReceipt" && where.Number == 0 {
			out["hash"] = *v.genesis
		}
	}
	return result
}
