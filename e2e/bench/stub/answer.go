// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"encoding/hex"
	"encoding/json"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
)

// quiet is what a receipt says of logs: none.
var quiet = `"logs":[],"logsBloom":"0x` + string(make512()) + `",`

func make512() []byte {
	zeros := make([]byte, 512)
	for i := range zeros {
		zeros[i] = '0'
	}
	return zeros
}

// answer appends the answer to a whole body, a request or a batch of them.
func (c *Chain) answer(out, body []byte) []byte {
	s := scan{b: body}
	if !s.take('[') {
		r, ok := s.next()
		if !ok {
			return append(out, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}`...)
		}
		return c.one(out, r)
	}
	out = append(out, '[')
	for i := 0; !s.take(']'); i++ {
		r, ok := s.next()
		if !ok {
			break
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = c.one(out, r)
		s.take(',')
	}
	return append(out, ']')
}

func (c *Chain) one(out []byte, r request) []byte {
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	if r.id == nil {
		out = append(out, "null"...)
	}
	out = append(append(out, r.id...), ',')
	before := len(out)
	out = append(out, `"result":`...)
	out, code, err := c.result(out, r)
	if err != "" {
		out = append(out[:before], `"error":{"code":`...)
		out = strconv.AppendInt(out, int64(code), 10)
		out = append(out, `,"message":`...)
		out = strconv.AppendQuote(out, err)
		out = append(out, '}')
	}
	return append(out, '}')
}

func (c *Chain) result(out []byte, r request) (_ []byte, code int, err string) {
	switch string(r.method) {
	case "eth_sendRawTransaction":
		raw, ok := unhex(make([]byte, 0, len(r.params[0])/2), r.params[0])
		if !ok {
			return out, -32602, "invalid argument 0: want the hex of a transaction"
		}
		hash, err := c.send(raw)
		if err != nil {
			return out, -32000, err.Error()
		}
		return appendHex(out, hash[:]), 0, ""
	case "eth_chainId":
		return appendNumber(out, c.id), 0, ""
	case "net_version":
		return append(strconv.AppendUint(append(out, '"'), c.id, 10), '"'), 0, ""
	case "web3_clientVersion":
		return append(out, `"bench/stub"`...), 0, ""
	case "eth_syncing":
		return append(out, "false"...), 0, ""
	case "eth_getBalance":
		return append(out, `"0xd3c21bcecceda1000000"`...), 0, "" // a million ether
	case "eth_call":
		return append(out, `"0x"`...), 0, ""
	case "eth_getCode": // a contract may be called at every address
		return append(out, `"0x00"`...), 0, ""
	case "eth_gasPrice":
		return append(out, `"0x3b9aca08"`...), 0, ""
	case "eth_maxPriorityFeePerGas":
		return append(out, `"0x1"`...), 0, ""
	case "eth_estimateGas":
		return append(out, `"0x5208"`...), 0, ""
	case "bench_setNonce":
		n, _ := number(r.params[1])
		c.SetNonce(address(r.params[0]), n)
		return append(out, "true"...), 0, ""
	case "bench_check":
		text, err := json.Marshal(c.Check())
		if err != nil {
			return out, -32603, err.Error()
		}
		return append(out, text...), 0, ""
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	head := c.blocks[len(c.blocks)-1]
	switch string(r.method) {
	case "eth_blockNumber":
		return appendNumber(out, head.number), 0, ""
	case "eth_getTransactionCount":
		acc := c.accounts[address(r.params[0])]
		switch {
		case acc == nil:
			return append(out, `"0x0"`...), 0, ""
		case string(r.params[1]) == `"pending"`:
			return appendNumber(out, acc.next), 0, ""
		}
		return appendNumber(out, acc.mined), 0, ""
	case "eth_getBlockByNumber", "eth_getBlockByHash":
		if b := c.find(r.params[0]); b != nil {
			return c.appendBlock(out, b), 0, ""
		}
		return append(out, "null"...), 0, ""
	case "eth_getBlockReceipts":
		b := c.find(r.params[0])
		if b == nil {
			return append(out, "null"...), 0, ""
		}
		out = append(out, '[')
		for i, t := range b.txs {
			if i > 0 {
				out = append(out, ',')
			}
			out = t.appendReceipt(out)
		}
		return append(out, ']'), 0, ""
	case "eth_getTransactionReceipt":
		if t := c.byHash[hash(r.params[0])]; t != nil && t.block != nil {
			return t.appendReceipt(out), 0, ""
		}
		return append(out, "null"...), 0, ""
	case "eth_getTransactionByHash":
		if t := c.byHash[hash(r.params[0])]; t != nil {
			out = appendHex(append(out, `{"hash":`...), t.hash[:])
			out = appendHex(append(out, `,"from":`...), t.from[:])
			return append(appendNumber(append(out, `,"nonce":`...), t.nonce), '}'), 0, ""
		}
		return append(out, "null"...), 0, ""
	case "eth_getRawTransactionByHash":
		if t := c.byHash[hash(r.params[0])]; t != nil {
			return appendHex(out, t.raw), 0, ""
		}
		return append(out, "null"...), 0, ""
	}
	return out, -32601, "the bench's node has no method " + string(r.method)
}

// find is the block at a tag, number or hash.
func (c *Chain) find(which []byte) *block {
	if len(which) == 2+2+64 {
		return c.byBlock[hash(which)]
	}
	n, ok := number(which)
	switch {
	case ok && n < uint64(len(c.blocks)):
		return c.blocks[n]
	case ok:
		return nil
	case string(which) == `"earliest"`:
		return c.blocks[0]
	}
	return c.blocks[len(c.blocks)-1]
}

func (c *Chain) appendBlock(out []byte, b *block) []byte {
	out = appendNumber(append(out, `{"number":`...), b.number)
	out = appendHex(append(out, `,"hash":`...), b.hash[:])
	out = appendHex(append(out, `,"parentHash":`...), b.parent[:])
	out = appendNumber(append(out, `,"timestamp":`...), b.time)
	out = append(out, `,"baseFeePerGas":"0x7","gasLimit":"0x3b9aca00","gasUsed":`...)
	out = appendNumber(out, 21000*uint64(len(b.txs)))
	out = append(out, `,"transactions":[`...)
	for i, t := range b.txs {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendHex(out, t.hash[:])
	}
	return append(out, `],"uncles":[]}`...)
}

func (t *transaction) appendReceipt(out []byte) []byte {
	out = appendHex(append(out, `{"blockHash":`...), t.block.hash[:])
	out = appendNumber(append(out, `,"blockNumber":`...), t.block.number)
	out = append(out, `,"contractAddress":null,"cumulativeGasUsed":`...)
	out = appendNumber(out, 21000*uint64(t.index+1))
	out = append(out, `,"effectiveGasPrice":"0x8","gasUsed":"0x5208",`...)
	out = append(out, quiet...)
	out = appendHex(append(out, `"from":`...), t.from[:])
	out = appendHex(append(out, `,"to":`...), t.to[:])
	out = append(out, `,"status":"0x1","transactionHash":`...)
	out = appendHex(out, t.hash[:])
	out = appendNumber(append(out, `,"transactionIndex":`...), uint64(t.index))
	return append(out, `,"type":"0x2"}`...)
}

func appendHex(out, b []byte) []byte {
	out = hex.AppendEncode(append(out, `"0x`...), b)
	return append(out, '"')
}

func appendNumber(out []byte, n uint64) []byte {
	out = strconv.AppendUint(append(out, `"0x`...), n, 16)
	return append(out, '"')
}

// unhex appends the bytes of a quoted 0x string.
func unhex(out, quoted []byte) ([]byte, bool) {
	if len(quoted) < 4 || quoted[0] != '"' || quoted[1] != '0' || quoted[2] != 'x' {
		return out, false
	}
	out, err := hex.AppendDecode(out, quoted[3:len(quoted)-1])
	return out, err == nil
}

func address(quoted []byte) common.Address {
	var b [20]byte
	got, _ := unhex(b[:0], quoted)
	return common.BytesToAddress(got)
}

func hash(quoted []byte) common.Hash {
	var b [32]byte
	got, _ := unhex(b[:0], quoted)
	return common.BytesToHash(got)
}

func number(quoted []byte) (uint64, bool) {
	if len(quoted) < 5 || string(quoted[:3]) != `"0x` {
		return 0, false
	}
	n, err := strconv.ParseUint(string(quoted[3:len(quoted)-1]), 16, 64)
	return n, err == nil
}
