// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// bounded lets a limited number of distinct label values through, those that
// come first. It is the second wall: callers pass closed sets.
type bounded struct {
	seen  sync.Map // string → struct{}
	count atomic.Int64
	limit int64
}

func newBounded(limit int64) *bounded { return &bounded{limit: limit} }

func (b *bounded) label(value string) string {
	if _, ok := b.seen.Load(value); ok {
		return value
	}
	if !utf8.ValidString(value) { // Prometheus panics on those
		return other
	}
	if b.count.Add(1) > b.limit {
		b.count.Add(-1)
		return other
	}
	if _, raced := b.seen.LoadOrStore(value, struct{}{}); raced {
		b.count.Add(-1)
	}
	return value
}

// class groups JSON-RPC methods that take about the same time and matter to
// the same people.
func class(method string) string {
	switch method {
	case "eth_sendTransaction", "eth_sendRawTransaction":
		return "send"
	case "eth_signTransaction", "eth_sign", "personal_sign",
		"eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4":
		return "sign"
	case "eth_subscribe", "eth_unsubscribe":
		return "subscribe"
	case "eth_accounts", "personal_listAccounts", "personal_accounts", "health_status":
		return "own"
	}
	for _, prefix := range []string{"eth_", "net_", "web3_"} {
		if strings.HasPrefix(method, prefix) {
			return "read"
		}
	}
	return other
}

// outcome names a JSON-RPC error code. docs/json-rpc.md has the table.
func outcome(code int) string {
	switch code {
	case 0:
		return "ok"
	case -32700, -32600:
		return "invalid"
	case -32601:
		return "no method"
	case -32602:
		return "bad parameters"
	case -32000:
		return "refused"
	case -32002:
		return "node unavailable"
	case -32003:
		return "denied"
	case -32005:
		return "busy"
	case -32010:
		return "backend failed"
	case -32011:
		return "pending"
	case 3:
		return "reverted"
	}
	return "error"
}
