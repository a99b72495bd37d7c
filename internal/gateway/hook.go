// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// What the header type of a hook's body may be.
const (
	hookSend   = "SendTransaction"
	hookDeploy = "DeployContract"
	hookQuery  = "Query"
)

func hookOptions() []string { return []string{optionSync, optionAck, optionNoAck, optionID} }

// hookMembers are the members of a hook's body, and for which types of it they
// are.
func hookMembers() map[string][]string {
	every := []string{hookSend, hookDeploy, hookQuery}
	calls := []string{hookSend, hookQuery}
	return map[string][]string{
		"headers": every, "from": every, "value": every, "gas": every, "gasPrice": every, "maxFeePerGas": every,
		"maxPriorityFeePerGas": every, "params": every, "to": calls, "method": calls, "methodName": calls,
		"nonce": {hookSend, hookDeploy}, "abi": {hookDeploy}, "compiled": {hookDeploy}, "registerAs": {hookDeploy},
		"blocknumber": {hookQuery},
	}
}

// hook does what a body asks for that says all by itself.
func hook(q *request) (answer, error) {
	body, err := q.hookBody()
	if err != nil {
		return answer{}, err
	}
	kind, err := q.hookKind(body)
	if err != nil {
		return answer{}, err
	}
	if kind != hookQuery && !q.MayChange {
		return answer{}, mayNotChange()
	}
	if err := q.hookTerms(body); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SendTimeout)
	defer cancel()
	if kind == hookDeploy {
		return q.hookDeployment(ctx, body)
	}
	c := contract.Call{ID: q.id, Terms: q.terms()}
	to := body.Get("to")
	address, good := parseAddress(to.Text)
	if to.Kind != strictjson.String || !good {
		return answer{}, bad("to: want the address of a contract, 0x and 40 hex digits")
	}
	c.To = address
	if c.Method, c.Args, err = hookMethod(body); err != nil {
		return answer{}, err
	}
	if kind == hookQuery {
		q.call = true
		return q.run(ctx, c)
	}
	if err := q.sends(); err != nil {
		return answer{}, err
	}
	sent, err := q.h.cfg.Desk.Send(ctx, q.target(), c)
	if err != nil {
		return answer{}, err
	}
	return q.outcome(sent)
}

// hookBody reads the body. That of whoever may only look may be no larger than the
// arguments of a method, and is not gone into unless it says that it is a query.
func (q *request) hookBody() (body strictjson.Value, err error) {
	limit := q.h.cfg.Body
	if q.MayChange {
		limit += int64(base64.StdEncoding.EncodedLen(tx.MaxSize))
	}
	data, media, err := q.text(limit)
	if err != nil {
		return body, err
	}
	if !q.MayChange && media == mediaJSON {
		const most = 4 << 10
		if headers := topMembers(data, "headers")["headers"]; len(headers) <= most {
			if v, err := strictjson.Parse(headers); err == nil && v.Get("type").Text != hookQuery {
				return body, mayNotChange()
			}
		}
	}
	if body, err = parse(data, media); err != nil {
		return body, err
	}
	if body.Kind == strictjson.Absent {
		return body, bad("want an object as the body: there is none")
	}
	return body, wantObject(body)
}

// hookKind reads the headers, and refuses members that are not of such a body.
func (q *request) hookKind(body strictjson.Value) (string, error) {
	headers := body.Get("headers")
	kind := headers.Get("type")
	if headers.Kind != strictjson.Object || kind.Kind != strictjson.String || !slices.Contains([]string{hookSend, hookDeploy, hookQuery}, kind.Text) {
		return "", bad("headers.type: want %s, %s or %s", hookSend, hookDeploy, hookQuery)
	}
	for _, m := range headers.Members {
		if m.Name != "type" && m.Name != "id" {
			return "", bad("headers: there is no member %s: want type, and maybe id", quote(m.Name))
		}
	}
	if id := headers.Get("id"); id.Kind != strictjson.Absent {
		switch {
		case id.Kind != strictjson.String || id.Text == "":
			return "", bad("headers.id: want text")
		case q.id != "" && q.id != id.Text:
			return "", bad("headers.id: is not the same as %s: want one of them", q.nameOf(optionID))
		}
		q.id = id.Text
	}
	known := hookMembers()
	for _, m := range body.Members {
		for _, private := range privateNames() {
			if strings.EqualFold(m.Name, private) {
				return "", bad("%s: private transactions are not supported", quote(m.Name))
			}
		}
		switch {
		case m.Name == "solidity":
			return "", bad("solidity: nothing is compiled here: compile it, with Hardhat, Foundry or solc, and send abi and compiled")
		case known[m.Name] == nil:
			return "", bad("%s: there is no such member", quote(m.Name))
		case !slices.Contains(known[m.Name], kind.Text):
			return "", bad("%s: means nothing for %s", m.Name, kind.Text)
		}
	}
	return kind.Text, nil
}

// hookTerms reads the members that mean the same as options.
func (q *request) hookTerms(body strictjson.Value) error {
	all := map[string]given{}
	for member, option := range map[string]string{
		"from": optionFrom, "value": optionValue, "gas": optionGas, "gasPrice": optionGasPrice, "maxFeePerGas": optionMaxFee,
		"maxPriorityFeePerGas": optionTip, "nonce": optionNonce, "blocknumber": optionBlock, "registerAs": optionRegister,
	} {
		switch v := body.Get(member); v.Kind {
		case strictjson.Absent, strictjson.Null:
		case strictjson.String, strictjson.Number:
			all[option] = given{member, v.Text}
		default:
			return bad("%s: want text or a number, got %s", member, v.Kind)
		}
	}
	var o options
	if err := o.read(all); err != nil {
		return err
	}
	o.id, o.sync = q.id, q.sync
	q.options = o
	return nil
}

// hookMethod is the method that a body describes: its ABI entry, or its name with
// the type of each argument.
func hookMethod(body strictjson.Value) (*abi.Method, abi.Args, error) {
	described, name := body.Get("method"), body.Get("methodName")
	switch {
	case described.Present() && name.Present():
		return nil, abi.Args{}, bad("methodName: there is method as well: want one of them")
	case described.Present():
		m, err := abi.ParseMethod(described.AppendTo(nil))
		if err != nil {
			return nil, abi.Args{}, bad("method: %s", err)
		}
		args, err := abi.ArgsOf(listed(body.Get("params"), false))
		return m, args, err
	case name.Kind != strictjson.String || !identifier(name.Text):
		return nil, abi.Args{}, bad("method: is missing: want the method's entry in the ABI, or methodName and a type with each of params")
	}
	inputs, err := typed(body.Get("params"))
	if err != nil {
		return nil, abi.Args{}, err
	}
	args, err := abi.ArgsOf(listed(body.Get("params"), true))
	return abi.NewMethod(name.Text, inputs, nil, "payable"), args, err
}

func identifier(name string) bool {
	return name != "" && len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' && r != '$'
	})
}

// typed reads the types that stand beside the values: [{"type": "uint256", "value": 1}].
func typed(params strictjson.Value) ([]abi.Param, error) {
	var list []abi.Param
	for i, v := range params.Elems {
		text := v.Get("type")
		if v.Kind != strictjson.Object || text.Kind != strictjson.String || v.Get("value").Kind == strictjson.Absent {
			return nil, bad(`params[%d]: want an object with type and value, like {"type": "uint256", "value": "1"}`, i)
		}
		t, err := abi.ParseType(text.Text, nil)
		if err != nil {
			return nil, bad("params[%d].type: %s", i, err)
		}
		list = append(list, abi.Param{Key: fmt.Sprintf("params[%d]", i), Type: t})
	}
	return list, nil
}

// listed are the values of params. Each may be an object with type and value, of
// which the value counts, if all are; wanted says that they have to be.
func listed(params strictjson.Value, wanted bool) strictjson.Value {
	if params.Kind != strictjson.Array {
		return params
	}
	pairs := !slices.ContainsFunc(params.Elems, func(v strictjson.Value) bool {
		return len(v.Members) != 2 || v.Get("type").Kind != strictjson.String || v.Get("value").Kind == strictjson.Absent
	})
	if !pairs && !wanted {
		return params
	}
	list := strictjson.Value{Kind: strictjson.Array}
	for _, v := range params.Elems {
		list.Elems = append(list.Elems, v.Get("value"))
	}
	return list
}

// hookDeployment deploys what a body brings with it.
func (q *request) hookDeployment(ctx context.Context, body strictjson.Value) (answer, error) {
	compiled, described := body.Get("compiled"), body.Get("abi")
	code, err := base64.StdEncoding.Strict().DecodeString(compiled.Text)
	if compiled.Kind != strictjson.String || err != nil || len(code) == 0 {
		return answer{}, bad("compiled: want the bytecode of the contract in base64")
	}
	if described.Kind != strictjson.Array {
		return answer{}, bad("abi: want the array of the contract's ABI")
	}
	text := json.RawMessage(described.AppendTo(nil))
	parsed, err := abi.Parse(text)
	if err != nil {
		return answer{}, err
	}
	args, err := abi.ArgsOf(listed(body.Get("params"), false))
	if err != nil {
		return answer{}, err
	}
	return q.deploy(ctx, contract.Deployment{
		ABI:  contract.ABI{Document: text, Bytecode: code, Contract: parsed, Deployable: true},
		Args: args, Name: q.register,
	})
}
