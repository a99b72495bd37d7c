// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net/http"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// args are the arguments of a method, from the body and the query.
func (q *request) args() (abi.Args, error) {
	var body strictjson.Value
	if q.r.Method == http.MethodPost {
		var err error
		if body, err = q.value(q.h.cfg.Body); err != nil {
			return abi.Args{}, err
		}
	}
	whole, err := q.merged(body)
	if err != nil {
		return abi.Args{}, err
	}
	return abi.ArgsOf(whole)
}

// invoke calls a method of a contract, or sends a transaction to it. GET, and a
// method that changes nothing, is always a call.
func (q *request) invoke(name string, where func(context.Context) (contract.ABI, common.Address, error)) (answer, error) {
	args, err := q.args()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SendTimeout)
	defer cancel()
	a, to, err := where(ctx)
	if err != nil {
		return answer{}, err
	}
	if q.described != nil {
		return q.describe(ctx, a)
	}
	m, err := a.Contract.MethodFor(name, args)
	if err != nil {
		return answer{}, err
	}
	return q.run(ctx, contract.Call{ID: q.id, To: to, ABI: a, Method: m, Args: args, Terms: q.terms()})
}

// run does a call whichever way it has to be done.
func (q *request) run(ctx context.Context, c contract.Call) (answer, error) {
	if q.r.Method != http.MethodPost || q.call || c.Method.Constant() {
		c.Block = q.block
		ctx, cancel := context.WithTimeout(ctx, q.h.cfg.CallTimeout)
		defer cancel()
		out, err := q.h.cfg.Desk.Query(ctx, q.target(), c)
		if err != nil {
			return answer{}, err
		}
		return raw(out), nil
	}
	if err := q.sends(); err != nil {
		return answer{}, err
	}
	if q.brings() && !c.Method.Payable() {
		return answer{}, bad("%s: the method %s takes no ether", q.nameOf(optionValue), c.Method.Signature())
	}
	sent, err := q.h.cfg.Desk.Send(ctx, q.target(), c)
	if err != nil {
		return answer{}, err
	}
	return q.outcome(sent)
}

// sends checks what every transaction needs.
func (q *request) sends() error {
	switch {
	case !q.MayChange:
		return mayNotChange()
	case q.from == nil:
		return bad("fly-from: is missing: want the account that signs, 0x and 40 hex digits, as fly-from or kld-from in the query, or in the header X-Firefly-From")
	case q.block != "":
		return bad("%s: means nothing for a transaction", q.nameOf(optionBlock))
	}
	return nil
}

// brings reports whether ether is to be sent.
func (q *request) brings() bool { return q.wei != nil && q.wei.Sign() > 0 }

func (q *request) terms() contract.Terms {
	return contract.Terms{
		From: q.from, Value: q.wei, Gas: q.gas, GasPrice: q.gasPrice,
		MaxFeePerGas: q.maxFee, MaxPriorityFeePerGas: q.tip, Nonce: q.nonce,
	}
}

// deploy has a contract created.
func (q *request) deploy(ctx context.Context, n contract.Deployment) (answer, error) {
	if err := q.sends(); err != nil {
		return answer{}, err
	}
	if made := n.ABI.Contract.Constructor; q.brings() && (made == nil || !made.Payable()) {
		return answer{}, bad("%s: the constructor takes no ether", q.nameOf(optionValue))
	}
	n.ID, n.Terms = q.id, q.terms()
	sent, err := q.h.cfg.Desk.Deploy(ctx, q.target(), n)
	if err != nil {
		return answer{}, err
	}
	return q.outcome(sent)
}

// describe decodes the input of a transaction of the chain.
func (q *request) describe(ctx context.Context, a contract.ABI) (answer, error) {
	if q.r.Method == http.MethodPost {
		return answer{}, bad("%s: goes with GET", q.nameOf(optionHash))
	}
	out, err := q.h.cfg.Desk.Transaction(ctx, q.target(), a, *q.described)
	if err != nil {
		return answer{}, err
	}
	return raw(out), nil
}
