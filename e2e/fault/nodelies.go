// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// item is one JSON-RPC request, and answer what it gets.
type item struct {
	Version string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method"`
	Params  []json.RawMessage `json:"params"`
}

type answer struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// set takes a result, or an error if it is an object with a code.
func (a *answer) set(text string) {
	if strings.HasPrefix(text, `{"code"`) {
		a.Result, a.Error = nil, json.RawMessage(text)
	} else {
		a.Result, a.Error = json.RawMessage(text), nil
	}
}

// split reads a request or a batch.
func split(body []byte) (items []*item, batch, ok bool) {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		err := json.Unmarshal(body, &items)
		return items, true, err == nil && len(items) > 0
	}
	one := new(item)
	err := json.Unmarshal(body, one)
	return []*item{one}, false, err == nil
}

func join(answers []answer, batch bool) []byte {
	var text []byte
	if batch {
		text, _ = json.Marshal(answers)
	} else {
		text, _ = json.Marshal(answers[0])
	}
	return text
}

// refusals are what a node says of bytes that it does not take, and that may
// become valid nonetheless.
var refusals = []struct {
	fault NodeFault
	text  string
}{
	{NotKnown, `{"code":-32000,"message":"already known"}`},
	{TooLow, `{"code":-32000,"message":"nonce too low: next nonce 9999, tx nonce 1"}`},
	{PoolFull, `{"code":-32000,"message":"txpool is full"}`},
	{Underpriced, `{"code":-32000,"message":"transaction underpriced"}`},
	{Insufficient, `{"code":-32000,"message":"insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1"}`},
}

// before answers an item in the node's place, or changes what it will be asked.
func (p *NodeProxy) before(it *item) (text string, lied bool) {
	switch it.Method {
	case "eth_sendRawTransaction":
		p.note(it)
		for _, r := range refusals {
			if p.strikes(r.fault) {
				return r.text, true
			}
		}
		if p.strikes(LostAndKnown) && len(it.Params) > 0 {
			var raw hexutil.Bytes
			if json.Unmarshal(it.Params[0], &raw) == nil {
				return quoted(crypto.Keccak256Hash(raw).Hex()), true
			}
		}
	case "eth_chainId":
		if p.strikes(OtherChain) {
			return `"0x7a69"`, true
		}
	case "eth_getTransactionCount":
		if len(it.Params) == 2 && string(it.Params[1]) == `"latest"` && p.strikes(Stale) {
			it.Params[1] = json.RawMessage(quoted(hexutil.EncodeUint64(p.earlier())))
		}
	case "eth_getBlockByNumber":
		if len(it.Params) == 2 && string(it.Params[0]) == `"latest"` && p.strikes(Stale) {
			it.Params[0] = json.RawMessage(quoted(hexutil.EncodeUint64(p.earlier())))
		}
	case "eth_blockNumber":
		if p.strikes(Stale) {
			return quoted(hexutil.EncodeUint64(p.earlier())), true
		}
	}
	return "", false
}

// Wire is a signed transaction that the daemon showed to the node.
type Wire struct {
	Hash  common.Hash
	From  common.Address
	Nonce uint64
}

// note remembers signed bytes, once for each hash.
func (p *NodeProxy) note(it *item) {
	var raw hexutil.Bytes
	if len(it.Params) == 0 || json.Unmarshal(it.Params[0], &raw) != nil {
		return
	}
	hash := crypto.Keccak256Hash(raw)
	p.mu.Lock()
	_, known := p.wire[hash]
	p.mu.Unlock()
	t := new(types.Transaction)
	if known || t.UnmarshalBinary(raw) != nil {
		return
	}
	from, err := types.Sender(types.LatestSignerForChainID(t.ChainId()), t)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.wire[hash] = Wire{Hash: hash, From: from, Nonce: t.Nonce()}
	p.mu.Unlock()
}

// Shown lists what the daemon has shown to the node, whatever became of it.
func (p *NodeProxy) Shown() []Wire {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.wire))
}

// after changes what the node has answered.
func (p *NodeProxy) after(it *item, a *answer) {
	switch it.Method {
	case "eth_getTransactionCount":
		tag := `"latest"`
		if len(it.Params) == 2 {
			tag = string(it.Params[1])
		}
		if tag != `"latest"` && tag != `"pending"` {
			return
		}
		var n hexutil.Uint64
		if json.Unmarshal(a.Result, &n) != nil {
			return
		}
		switch {
		case p.strikes(CountLow):
			a.set(quoted(hexutil.EncodeUint64(uint64(n) - min(uint64(n), 1+p.roll(5)))))
		case p.strikes(CountHigh):
			a.set(quoted(hexutil.EncodeUint64(p.above(string(it.Params[0]), uint64(n)))))
		}
	case "eth_getBlockByNumber", "eth_getBlockByHash":
		var b struct{ Number *hexutil.Uint64 }
		if json.Unmarshal(a.Result, &b) == nil && b.Number != nil {
			p.saw(uint64(*b.Number))
		}
	case "eth_getTransactionReceipt":
		var r struct{ BlockNumber *hexutil.Uint64 }
		if json.Unmarshal(a.Result, &r) == nil && r.BlockNumber != nil && p.young(uint64(*r.BlockNumber)) && p.strikes(NoReceipts) {
			a.set("null")
		}
	case "eth_getBlockReceipts":
		var r []struct{ BlockNumber *hexutil.Uint64 }
		if json.Unmarshal(a.Result, &r) == nil && len(r) > 0 && r[0].BlockNumber != nil && p.young(uint64(*r[0].BlockNumber)) && p.strikes(NoReceipts) {
			a.set("null")
		}
	}
}

// above is a count above n, and another than the last one for this address: what
// a node says twice in a row is believed by design (TXMGR.md no. 7).
func (p *NodeProxy) above(address string, n uint64) uint64 {
	lie := n + 1 + p.roll(12)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lies[address] == lie {
		lie++
	}
	p.lies[address] = lie
	return lie
}

func (p *NodeProxy) saw(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.head = max(p.head, number)
}

// young reports whether a block is so near the head that a node's index may lag
// behind it.
func (p *NodeProxy) young(number uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return number+p.depth > p.head
}

// earlier is the number of a block that a lagging node may think is the latest.
func (p *NodeProxy) earlier() uint64 {
	back := 1 + p.roll(p.depth)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head - min(p.head, back)
}

func quoted(s string) string { return `"` + s + `"` }
