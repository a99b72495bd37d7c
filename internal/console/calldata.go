// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/hex"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// call is what the data of a transaction asks a contract for, as far as it is one
// of the methods that move tokens (ERC-20, ERC-721, ERC-1155).
type call struct {
	Method string // name; empty: another method
	Means  string // for people
	Args   []argument
	Bytes  int    // of the data
	First  string // the selector in hex; empty: less than four bytes
}

// argument is one argument of a call.
type argument struct {
	Name, Value string
	Address     bool
	Unlimited   bool // an amount without end
}

// tokenCall is a method that is told by its selector.
type tokenCall struct{ signature, means string }

func tokenCalls() []tokenCall {
	return []tokenCall{
		{"transfer(address to,uint256 amount)", "gives tokens away"},
		{"transferFrom(address from,address to,uint256 amount)", "moves somebody's tokens"},
		{"approve(address spender,uint256 amount)", "lets somebody take tokens"},
		{"increaseAllowance(address spender,uint256 amount)", "lets somebody take more tokens"},
		{"decreaseAllowance(address spender,uint256 amount)", "lets somebody take fewer tokens"},
		{"setApprovalForAll(address operator,bool approved)", "lets somebody take all tokens, or no more of them"},
		{"safeTransferFrom(address from,address to,uint256 token)", "gives a token away"},
	}
}

// callOf reads the data of a transaction, as rules and limits read it. What is not
// written in the one canonical way is not read at all: contracts may read it
// otherwise than we would.
func callOf(data string) *call {
	b, err := hex.DecodeString(strings.TrimPrefix(data, "0x"))
	if err != nil || len(b) == 0 {
		return nil
	}
	c := &call{Bytes: len(b)}
	if len(b) < 4 {
		return c
	}
	c.First = "0x" + hex.EncodeToString(b[:4])
	for _, t := range tokenCalls() {
		if read, ok := policy.ReadCall(t.signature, b); ok {
			c.Method, _, _ = strings.Cut(t.signature, "(")
			c.Means, c.Args = t.means, arguments(read)
		}
	}
	return c
}

func arguments(read []policy.Argument) []argument {
	out := make([]argument, len(read))
	for i, a := range read {
		out[i].Name = a.Name
		switch {
		case a.Address != nil:
			out[i].Value, out[i].Address = a.Address.Hex(), true
		case a.Bool:
			out[i].Value = map[bool]string{true: "yes", false: "no"}[a.Number.Sign() > 0]
		default:
			out[i].Value, out[i].Unlimited = grouped(a.Number.String()), a.Number.BitLen() == a.Bits
		}
	}
	return out
}
