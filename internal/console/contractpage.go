// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"strconv"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// contractPage is one contract with its methods: those that are asked, and those
// to which a transaction is sent.
type contractPage struct {
	contractRow
	Interface string // its name
	Reads     []methodForm
	Writes    []methodForm
	Signers   signers
	Events    []*abi.Event
	Said      *said
	State     string // of the deployment, while it has no address
	Failure   string // why there will be none
	Tx        string // the deployment's transaction; empty if it is not known
}

// methodForm is a form for one method.
type methodForm struct {
	ID      string // in the page
	Method  *abi.Method
	Args    []argField
	Key     string // by which a form that is sent twice is one transaction
	Open    bool   // it was just sent
	Problem string
}

// said is what a contract answered.
type said struct{ Method, Answer string }

func showContract(ctx context.Context, v *visit) (view, error) {
	b, c, err := v.contract(ctx, false)
	if err != nil {
		return view{}, err
	}
	f := form{Values: v.form}
	var answer *said
	if method := v.form.Get("call"); method != "" && c.Address != nil {
		answer, err = v.call(ctx, b, c, method)
		if f, err = v.sentForm(err, method); err != nil {
			return view{}, err
		}
	}
	return v.contractPage(ctx, b, c, f, answer)
}

// contract finds the contract that the URL names.
func (v *visit) contract(ctx context.Context, change bool) (*bench, contract.Contract, error) {
	b, err := v.bench(ctx, change)
	if err != nil {
		return nil, contract.Contract{}, err
	}
	c, err := b.Book.Contract(ctx, b.Target.Place, b.Chain(), v.r.PathValue("contract"))
	return b, c, deskRefusal(err)
}

// sentForm is the form of a method with what was wrong with it. An error that
// nobody can mend there is given back.
func (v *visit) sentForm(err error, method string) (form, error) {
	f := form{Values: v.form}
	if err == nil {
		return f, nil
	}
	fields := []string{"from", "value"}
	if field, _, about := fieldOf(err); about {
		fields = append(fields, field)
	}
	f, ok := v.refused(err, fields...)
	if !ok {
		return f, err
	}
	f.Values.Set("method", method)
	return f, nil
}

func (v *visit) call(ctx context.Context, b *bench, c contract.Contract, method string) (*said, error) {
	is, m, args, err := v.methodTyped(ctx, b, c, method)
	if err != nil {
		return nil, err
	}
	answer, err := b.Desk.Query(ctx, b.Target, contract.Call{To: *c.Address, ABI: is, Method: m, Args: abi.Args{List: args}})
	if err != nil {
		return nil, argRefusal("arg", m.Inputs, err)
	}
	return &said{m.Signature(), indentedJSON(answer)}, nil
}

func (v *visit) methodTyped(ctx context.Context, b *bench, c contract.Contract, method string) (is contract.ABI, m *abi.Method, args []strictjson.Value, err error) {
	if is, err = b.interfaceOf(ctx, c); err != nil {
		return is, nil, nil, err
	}
	if is.Contract == nil {
		return is, nil, nil, &platform.Error{Reason: platform.Conflict, Msg: "the contract's interface is not known here"}
	}
	if m, err = is.Contract.Method(method); err != nil {
		return is, nil, nil, deskRefusal(err)
	}
	args, err = argsTyped("arg", m.Inputs, v.form)
	return is, m, args, err
}

func (v *visit) contractPage(ctx context.Context, b *bench, c contract.Contract, f form, answer *said) (view, error) {
	p := contractPage{contractRow: rowOf(c), Said: answer}
	if c.Address == nil {
		v.follow(ctx, b, &p)
	}
	is, err := b.interfaceOf(ctx, c)
	if err != nil {
		return view{}, err
	}
	p.Interface = is.Name
	if is.Contract != nil {
		p.Events = is.Contract.Events
		if c.Address != nil {
			p.Reads, p.Writes = methodForms(is.Contract, &f, v.shownKey())
		}
	}
	if b.MayChange && len(p.Writes) > 0 {
		p.Signers = v.signers(ctx)
	}
	name := c.Name
	if name == "" {
		name = short(p.Ref)
	}
	return v.benchView(b, "contract", "contracts", name, f, p), nil
}

// follow says how far the deployment of a contract is that has no address yet.
func (v *visit) follow(ctx context.Context, b *bench, p *contractPage) {
	p.State = "pending"
	r, err := b.Desk.Reply(ctx, b.Target, p.Reply)
	var none *contract.NotFoundError
	switch {
	case errors.As(err, &none):
		return // somebody else's
	case err != nil:
		v.c.log.Warn("cannot tell how far the deployment of a contract is", "reply", p.Reply, "err", err)
		return
	}
	p.Tx, p.State = r.Tx, string(r.State)
	if r.Failure != nil {
		p.Failure = sentence(deskRefusal(r.Failure).Error())
	}
	if r.Revert != nil {
		p.Failure = sentence("reverted: " + r.Revert.Reason)
	}
	if r.Contract != nil {
		p.Address, p.At = r.Contract, r.Contract.Hex()
	}
}

// methodForms are the forms of an interface: of methods that change nothing, and
// of all others. key is that of the one that was sent.
func methodForms(c *abi.Contract, sent *form, key string) (reads, writes []methodForm) {
	for i, m := range c.Methods {
		f := methodForm{ID: "m" + strconv.Itoa(i), Method: m, Open: m.Signature() == sent.Get("method") || m.Signature() == sent.Get("call")}
		values := &form{}
		if f.Open {
			values, f.Problem, f.Key = sent, sent.Problem, key
		} else {
			f.Key = newKey()
		}
		f.Args = argFields(f.ID, "arg", m.Inputs, values)
		if m.Constant() {
			reads = append(reads, f)
		} else {
			writes = append(writes, f)
		}
	}
	return reads, writes
}

func sendToContract(ctx context.Context, v *visit) (view, error) {
	b, c, err := v.contract(ctx, true)
	if err != nil {
		return view{}, err
	}
	method := v.form.Get("method")
	to, err := v.sendTyped(ctx, b, c, method)
	if err == nil {
		return to, nil
	}
	f, err := v.sentForm(err, method)
	if err != nil {
		return view{}, err
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	return v.contractPage(ctx, b, c, f, nil)
}

func (v *visit) sendTyped(ctx context.Context, b *bench, c contract.Contract, method string) (view, error) {
	is, m, args, err := v.methodTyped(ctx, b, c, method)
	if err != nil {
		return view{}, err
	}
	terms, err := v.termsTyped()
	if err != nil {
		return view{}, err
	}
	if c.Address == nil {
		return view{}, &platform.Error{Reason: platform.Conflict, Msg: "the contract is still being deployed"}
	}
	return v.send(ctx, b, contract.Call{Terms: terms, ID: v.sentKey(), To: *c.Address, ABI: is, Method: m, Args: abi.Args{List: args}}, func(err error) error {
		return argRefusal("arg", m.Inputs, err)
	})
}

// send sends a call, and leads to the page of its transaction, or to that of the
// request that people are asked about.
func (v *visit) send(ctx context.Context, b *bench, c contract.Call, refusal func(error) error) (view, error) {
	sent, err := b.Desk.Send(ctx, b.Target, c)
	if to, ok := v.asked(err); ok {
		return to, nil
	}
	if err != nil {
		return v.settle(ctx, b, err, refusal)
	}
	tx := sent.Hash.Hex()
	if sent.Pending {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		r, err := b.Desk.Reply(ctx, b.Target, sent.ID)
		if err != nil {
			return view{}, deskRefusal(err)
		}
		tx = r.Tx
	}
	return v.done("transaction-sent", "wallets", b.Service.ID, "transactions", tx), nil
}

func forgetContract(ctx context.Context, v *visit) (view, error) {
	b, c, err := v.contract(ctx, true)
	if err != nil {
		return view{}, err
	}
	err = b.Book.Forget(ctx, v.who.Principal, b.Target.Place, b.Chain(), rowOf(c).Ref)
	if f, ok := v.refused(deskRefusal(err)); ok {
		return v.contractPage(ctx, b, c, f, nil)
	}
	if err != nil {
		return view{}, deskRefusal(err)
	}
	return v.done("contract-forgotten", "contracts", b.Service.ID), nil
}

// kindOf is the kind of contract that an interface is of.
func kindOf(a contract.ABI) string {
	if a.Contract == nil {
		return contract.KindContract
	}
	switch kind, ok := token.KindOf(a.Contract); {
	case ok && kind == token.ERC20:
		return contract.KindERC20
	case ok && kind == token.ERC721:
		return contract.KindERC721
	}
	return contract.KindContract
}
