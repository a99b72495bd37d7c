// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// actions is a set of what rules call actions.
type actions uint8

const (
	sendTransaction actions = 1 << iota
	signTransaction
	rawTransaction
	createContract
	signMessage
	signTypedData
	signDocument

	ways         = sendTransaction | signTransaction | rawTransaction
	transactions = ways | createContract
	everyAction  = transactions | signMessage | signTypedData | signDocument
)

// actionNames are the words of the policy's text, in the order of the bits.
func actionNames() []string {
	return []string{"transaction", "sign-transaction", "raw-transaction", "create-contract", "message", "typed-data", "document"}
}

func (a actions) String() string {
	var names []string
	for i, name := range actionNames() {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// facts is what rules want to know of a request, found out once. It is used by
// one goroutine.
type facts struct {
	req Request
	now time.Time
	is  actions // the way, and createContract if there is no recipient

	// Of a transaction.
	to     *common.Address
	data   []byte
	value  *big.Int // wei
	gas    *big.Int
	feeCap *big.Int // wei per gas, at most
	tipCap *big.Int // wei per gas
	fee    *big.Int // wei in all, at most, with blobs

	calls []call // decoded so far

	typed     value
	typedRead bool
	moves     []movement
	moved     bool
}

// call is calldata read as one method's.
type call struct {
	method *method
	args   value
	ok     bool
}

// gather finds out what there is to judge. What is none of the kinds of requests
// that rules know is an error, and is denied.
func gather(req Request, now time.Time) (*facts, error) {
	f := &facts{req: req, now: now}
	has := 0
	for _, there := range []bool{req.Transaction != nil, req.Message != nil, req.TypedData != nil, req.Document != nil} {
		if there {
			has++
		}
	}
	want := 1
	switch req.Action {
	case audit.SendTransaction:
		f.is = sendTransaction
	case audit.SignTransaction:
		f.is = signTransaction
	case audit.SignMessage:
		f.is = signMessage
		if req.Message == nil {
			want = 0 // a message may be empty
		}
	case audit.SignTypedData:
		f.is = signTypedData
	case audit.SignDocument:
		f.is = signDocument
	default:
		return nil, fmt.Errorf("no rule can allow the action %q", req.Action)
	}
	whole := has == want
	switch f.is {
	case sendTransaction, signTransaction:
		whole = whole && req.Transaction != nil
	case signTypedData:
		whole = whole && req.TypedData != nil
	case signDocument:
		whole = whole && req.Document != nil
	}
	if !whole {
		return nil, fmt.Errorf("the request does not hold exactly what the action %q signs", req.Action)
	}
	if req.Transaction != nil {
		return f, f.transaction(req.Transaction)
	}
	return f, nil
}

func (f *facts) transaction(t *types.Transaction) error {
	if t.Type() > types.SetCodeTxType {
		return fmt.Errorf("no rule can allow transactions of type %#x", t.Type())
	}
	if f.req.Presigned {
		f.is = rawTransaction
	}
	if f.to = t.To(); f.to == nil {
		f.is |= createContract
	}
	f.data, f.value = t.Data(), t.Value()
	f.gas = new(big.Int).SetUint64(t.Gas())
	f.feeCap, f.tipCap = t.GasFeeCap(), t.GasTipCap()
	if c := f.req.FeeCeiling; c != nil && c.Cmp(f.feeCap) > 0 {
		f.feeCap = c
	}
	f.fee = new(big.Int).Mul(f.gas, f.feeCap)
	if n := len(t.BlobHashes()); n > 0 {
		blobs := big.NewInt(int64(n) * params.BlobTxBlobGasPerBlob)
		f.fee.Add(f.fee, blobs.Mul(blobs, t.BlobGasFeeCap()))
	}
	return nil
}

// arguments reads the calldata as m's. It is read once for all rules.
func (f *facts) arguments(m *method) (args value, ok bool) {
	for _, c := range f.calls {
		if c.method == m {
			return c.args, c.ok
		}
	}
	c := call{method: m}
	if len(f.data) >= 4 {
		c.args, c.ok = m.decode(f.data[4:])
	}
	f.calls = append(f.calls, c)
	return c.args, c.ok
}

// selector is what a contract takes for the selector: too short calldata reads as
// if zeros followed it. There is none without calldata.
func (f *facts) selector() (s [4]byte, ok bool) {
	copy(s[:], f.data)
	return s, len(f.data) > 0 && f.is&createContract == 0
}

func (f *facts) message() value {
	if !f.typedRead {
		f.typed, f.typedRead = message(f.req.TypedData), true
	}
	return f.typed
}
