// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// callObject is what eth_call and eth_estimateGas take.
type callObject struct {
	From         *common.Address `json:"from,omitempty"`
	To           *common.Address `json:"to,omitempty"`
	Data         hexutil.Bytes   `json:"data"`
	Value        *hexutil.Big    `json:"value,omitempty"`
	Gas          *hexutil.Uint64 `json:"gas,omitempty"`
	GasPrice     *hexutil.Big    `json:"gasPrice,omitempty"`
	MaxFeePerGas *hexutil.Big    `json:"maxFeePerGas,omitempty"`
	Tip          *hexutil.Big    `json:"maxPriorityFeePerGas,omitempty"`
}

// Query calls a method without a transaction, and gives what it returns as an
// object: {"output": "42"}, or members by their names. *RevertedError,
// *abi.ArgError, *NodeError, *InputError if nothing was returned at all, or what
// package node says of a node that does not answer.
func (d *Desk) Query(ctx context.Context, t Target, c Call) (json.RawMessage, error) {
	if c.Method == nil {
		return nil, inputErr("method", "missing")
	}
	data, err := c.Method.Encode(c.Args)
	if err != nil {
		return nil, err
	}
	block, err := blockOf(c.Block)
	if err != nil {
		return nil, err
	}
	call := callObject{
		From: c.From, To: &c.To, Data: data, Value: (*hexutil.Big)(c.Value), Gas: (*hexutil.Uint64)(c.Gas),
		GasPrice: (*hexutil.Big)(c.GasPrice), MaxFeePerGas: (*hexutil.Big)(c.MaxFeePerGas), Tip: (*hexutil.Big)(c.MaxPriorityFeePerGas),
	}
	out, err := ethCall(ctx, t.Wallet, call, block, c.ABI.Contract)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 && len(c.Method.Outputs) > 0 {
		return nil, inputErr("address", "%s returned nothing: there is no contract of this interface at this address, or was none at that block", c.To)
	}
	return c.Method.DecodeOutputs(out)
}

// ethCall asks the node. c words a revert, and may be nil.
func ethCall(ctx context.Context, w Wallet, call callObject, block string, c *abi.Contract) ([]byte, error) {
	var out hexutil.Bytes
	err := ask(ctx, w, "eth_call", &out, call, block)
	var refused *nodeRefusal
	if !errors.As(err, &refused) {
		return out, err
	}
	if !refused.reverted() {
		return nil, &NodeError{Code: refused.Code, Msg: refused.Message}
	}
	var revert hexutil.Bytes
	if json.Unmarshal(refused.Data, &revert) != nil {
		// Some nodes put the data into a sentence, or into an object.
		revert = nil
	}
	reason := ""
	if _, after, ok := strings.Cut(refused.Message, "reverted: "); ok {
		reason = after
	}
	return nil, &RevertedError{Reverted: revertedBy(c, revert, reason), Err: &NodeError{Code: refused.Code, Msg: refused.Message}}
}

// blockOf reads a block as callers name it: a tag, a decimal number or a 0x one.
func blockOf(s string) (string, error) {
	switch s {
	case "":
		return "latest", nil
	case "latest", "earliest", "pending", "safe", "finalized":
		return s, nil
	}
	n, ok := new(big.Int), false
	if digits, isHex := strings.CutPrefix(s, "0x"); isHex {
		if len(digits) > 0 && len(digits) <= 16 && strings.Trim(digits, "0123456789abcdefABCDEF") == "" {
			n, ok = n.SetString(digits, 16)
		}
	} else if len(s) <= 20 && strings.Trim(s, "0123456789") == "" {
		n, ok = n.SetString(s, 10)
	}
	if !ok || !n.IsInt64() {
		return "", inputErr("blocknumber", "want latest, earliest, pending, safe, finalized, or a number in decimal or with 0x; got %q", excerpt(s))
	}
	return hexutil.EncodeBig(n), nil
}

// nodeRefusal is the node's own answer that it will not do what was asked.
type nodeRefusal struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func (e *nodeRefusal) Error() string { return e.Message }

// reverted: code 3 is geth's, the words are those of nodes with a code of their own.
func (e *nodeRefusal) reverted() bool {
	return e.Code == 3 || strings.Contains(strings.ToLower(e.Message), "revert")
}

// ask puts a question to the node. A null answer leaves result as it is. The error
// is a *nodeRefusal, or says that there is no answer.
func ask(ctx context.Context, w Wallet, method string, result any, params ...any) error {
	body, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer, err := w.Forward(ctx, method, body, nil)
	if err != nil {
		return err
	}
	if answer.Error != nil {
		refused := &nodeRefusal{}
		if json.Unmarshal(answer.Error, refused) != nil || refused.Message == "" {
			refused.Message = "the node refused without a message"
		}
		return refused
	}
	if string(answer.Result) == "null" {
		return nil
	}
	if json.Unmarshal(answer.Result, result) != nil {
		return node.ErrBadResponse
	}
	return nil
}

// Transaction decodes the input of a transaction of the chain by an interface's
// methods: {"method": "…", "inputs": {…}}. *NotFoundError if the node has none of
// that hash, *InputError if it calls no method of the interface.
func (d *Desk) Transaction(ctx context.Context, t Target, a ABI, hash common.Hash) (json.RawMessage, error) {
	var found *struct {
		Input hexutil.Bytes `json:"input"`
	}
	if err := ask(ctx, t.Wallet, "eth_getTransactionByHash", &found, hash); err != nil {
		var refused *nodeRefusal
		if errors.As(err, &refused) {
			return nil, &NodeError{Code: refused.Code, Msg: refused.Message}
		}
		return nil, err
	}
	if found == nil {
		return nil, missing("transaction", hash.Hex())
	}
	m, ok := a.Contract.MethodOf(found.Input)
	if !ok {
		return nil, inputErr("transaction", "it calls no method of this interface: its data begins with 0x%s", hex.EncodeToString(found.Input[:min(4, len(found.Input))]))
	}
	inputs, err := m.DecodeInputs(found.Input)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Method string          `json:"method"`
		Inputs json.RawMessage `json:"inputs"`
	}{m.Signature(), inputs})
}
