// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// gatewayKey begins the idempotency keys of what was sent through the gateway, or
// by the pages about contracts; the id of the reply follows.
const gatewayKey = "gateway:"

// decoded is what a transaction asked a contract for that is known here, and what
// came of it.
type decoded struct {
	Contract string // its name; empty if it has none
	Ref      string // by which its page is found; empty if it has none
	Method   string
	Inputs   string // JSON
	Events   []decodedEvent
	Why      string // it reverted; empty if that is not known
}

// decodedEvent is an event of a transaction's receipt.
type decodedEvent struct{ Address, Signature, Data string }

// decoded reads a transaction by the interface of its contract; nil if that is not
// known here, or the chain does not answer: the page is there without it.
func (v *visit) decoded(ctx context.Context, t platform.Transaction) *decoded {
	if v.c.cfg.Contracts.Book == nil || t.Hash == "" {
		return nil
	}
	b, err := v.bench(ctx, false)
	if err != nil {
		return nil
	}
	var d decoded
	if t.To != "" {
		d.called(ctx, b, t)
	}
	// A reply is the sender's.
	if id, ok := strings.CutPrefix(t.IdempotencyKey, gatewayKey); ok && t.Credential == v.who.Principal.Name {
		d.replied(ctx, b, id)
	}
	if d.Method == "" && len(d.Events) == 0 && d.Why == "" && d.Ref == "" {
		return nil
	}
	return &d
}

func (d *decoded) called(ctx context.Context, b *bench, t platform.Transaction) {
	c, err := b.Book.Contract(ctx, b.Target.Place, b.Chain(), t.To)
	if err != nil || c.Address == nil {
		return
	}
	d.Contract, d.Ref = c.Name, c.Address.Hex()
	is, err := b.interfaceOf(ctx, c)
	if err != nil || is.Contract == nil {
		return
	}
	// {"method": …, "inputs": {…}}
	text, err := b.Desk.Transaction(ctx, b.Target, is, common.HexToHash(t.Hash))
	if err != nil {
		return
	}
	if read, err := strictjson.Parse(text); err == nil {
		d.Method = read.Get("method").Text
		if inputs := read.Get("inputs"); len(inputs.Members) > 0 {
			d.Inputs = indentedJSON(inputs.AppendTo(nil))
		}
	}
}

func (d *decoded) replied(ctx context.Context, b *bench, id string) {
	r, err := b.Desk.Reply(ctx, b.Target, id)
	if err != nil {
		return
	}
	if d.Method == "" {
		d.Method = r.Origin.Method
	}
	if r.Contract != nil && r.State == contract.StateSucceeded {
		d.Contract, d.Ref = r.Origin.Name, r.Contract.Hex()
	}
	if r.Revert != nil {
		d.Why = sentence(r.Revert.Reason)
	}
	for _, e := range r.Events {
		d.Events = append(d.Events, decodedEvent{e.Address.Hex(), e.Signature, indentedJSON(e.Data)})
	}
}
