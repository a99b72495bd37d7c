// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// tokenRoutes are the pages of Digital Assets: {id} is the wallet by which a chain
// is reached.
func tokenRoutes(get, post func(path string, serve handler)) {
	get("/tokens", toFirst("tokens"))
	get("/tokens/{id}", showTokens)
	get("/tokens/{id}/new", newToken)
	post("/tokens/{id}/new", makeToken)
	get("/tokens/{id}/at/{contract}", showToken)
	post("/tokens/{id}/at/{contract}/{operation}", useToken)
}

// tokensPage is the list of tokens.
type tokensPage struct {
	Tokens []contractRow
	More   bool // there are others, which are found among the contracts
}

func showTokens(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, false)
	if err != nil {
		return view{}, err
	}
	var p tokensPage
	for _, kind := range []string{contract.KindERC20, contract.KindERC721} {
		all, err := b.Book.Contracts(ctx, b.Target.Place, b.Chain(), kind, "", 200)
		if err != nil {
			return view{}, deskRefusal(err)
		}
		p.More = p.More || len(all) == 200
		for _, c := range all {
			p.Tokens = append(p.Tokens, rowOf(c))
		}
	}
	slices.SortFunc(p.Tokens, func(a, b contractRow) int { return strings.Compare(b.ID, a.ID) })
	return v.benchView(b, "tokens", "tokens", "Digital Assets", form{}, p), nil
}

// newTokenPage is the form by which a token is made.
type newTokenPage struct {
	Kind    string
	Signers signers
	Key     string
}

func newToken(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	return v.newTokenPage(ctx, b, form{Values: v.form}), nil
}

func (v *visit) newTokenPage(ctx context.Context, b *bench, f form) view {
	p := newTokenPage{Kind: contract.KindERC20, Signers: v.signers(ctx), Key: v.shownKey()}
	if v.form.Get("type") == contract.KindERC721 {
		p.Kind = contract.KindERC721
	}
	return v.benchView(b, "token-new", "tokens", "New digital asset", f, p)
}

func makeToken(ctx context.Context, v *visit) (view, error) {
	b, err := v.bench(ctx, true)
	if err != nil {
		return view{}, err
	}
	to, err := v.deployToken(ctx, b)
	if err == nil {
		return to, nil
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if f, ok := v.refused(err, "from", "type", "name", "symbol", "decimals", "supply", "cap", "baseURI", "owner", "register"); ok {
		return v.newTokenPage(ctx, b, f), nil
	}
	return view{}, err
}

func (v *visit) deployToken(ctx context.Context, b *bench) (view, error) {
	var none view
	terms, err := v.termsTyped()
	if err != nil {
		return none, err
	}
	o, err := v.tokenTyped()
	if err != nil {
		return none, err
	}
	plan, err := o.Plan(*terms.From)
	if err != nil {
		return none, tokenRefusal(err)
	}
	is, err := b.Book.KeepToken(ctx, b.Target.Principal, b.Target.Place, plan.Artifact)
	if err != nil {
		return none, deskRefusal(err)
	}
	sent, err := b.Desk.Deploy(ctx, b.Target, contract.Deployment{
		Terms: terms, ID: v.sentKey(), ABI: is, Args: abi.Args{List: plan.Args}, Name: v.text("register"), Kind: string(plan.Artifact.Kind), Detail: o.Detail(),
	})
	if to, ok := v.asked(err); ok {
		return to, nil
	}
	if err != nil {
		return v.settle(ctx, b, err, registerRefusal)
	}
	return v.done("contract-deploying", "tokens", b.Service.ID, "at", sent.Contract), nil
}

// registerRefusal is deskRefusal for a form that calls the contract's name
// otherwise: what it calls a name is the token's.
func registerRefusal(err error) error {
	var wrong *contract.InputError
	if errors.As(err, &wrong) && wrong.Field == "name" {
		return &platform.Error{Reason: platform.Invalid, Field: "register", Msg: wrong.Msg}
	}
	return deskRefusal(err)
}

// tokenTyped reads the options of a token.
func (v *visit) tokenTyped() (token.Options, error) {
	o := token.Options{Kind: token.Kind(v.form.Get("type")), Name: v.text("name"), Symbol: v.text("symbol"), Supply: v.text("supply")}
	o.Mintable, o.Burnable, o.Pausable = v.form.Get("mintable") != "", v.form.Get("burnable") != "", v.form.Get("pausable") != ""
	if o.Kind == token.ERC721 {
		o.BaseURI = v.text("baseURI")
	} else {
		o.Cap = v.text("cap")
		if text := v.text("decimals"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return o, &platform.Error{Reason: platform.Invalid, Field: "decimals", Msg: "want a whole number"}
			}
			o.Decimals = &n
		}
	}
	if text := v.text("owner"); text != "" {
		owner, err := addressTyped("owner", text)
		if err != nil {
			return o, err
		}
		o.Owner = &owner
	}
	return o, nil
}

// tokenRefusal words for a person what package token refuses.
func tokenRefusal(err error) error {
	var option *token.OptionError
	var operation *token.OperationError
	switch {
	case errors.As(err, &option):
		return &platform.Error{Reason: platform.Invalid, Field: option.Field, Msg: option.Want}
	case errors.As(err, &operation):
		return &platform.Error{Reason: platform.Invalid, Msg: operation.Error()}
	}
	return deskRefusal(err)
}

// assetField is a field of a form of a token.
type assetField struct {
	ID, Name, Label, Help, Value, Problem string
	Required, Flag                        bool
}

// tokenFields are the fields of an operation: those of all its ways, of which the
// ones that are not in each of them may be left empty.
func tokenFields(id string, ways []token.Way, sent *form) (fields []assetField) {
	labels := map[token.Field][2]string{
		token.To: {"To", "An address."}, token.From: {"From", "Whose it is. Empty: the signing account's."}, token.Value: {"Amount", "In whole tokens, like 12.5."},
		token.ID: {"Token", "Its number."}, token.Flag: {"May transfer all", ""}, token.Account: {"Account", "An address."}, token.Spender: {"Spender", "An address."},
	}
	var order []token.Field
	for _, w := range ways {
		for _, f := range w.Fields {
			if !slices.Contains(order, f) {
				order = append(order, f)
			}
		}
	}
	for _, f := range order {
		t := assetField{ID: id + "-" + string(f), Name: string(f), Label: labels[f][0], Help: labels[f][1], Flag: f == token.Flag}
		t.Required = f != token.From && !slices.ContainsFunc(ways, func(w token.Way) bool { return !slices.Contains(w.Fields, f) })
		if sent != nil {
			t.Value, t.Problem = sent.Get(t.Name), sent.Wrong(t.Name)
		}
		fields = append(fields, t)
	}
	return fields
}

// wayTyped finds the method of an operation by what was typed, and puts that into
// its order. from stands in for whose a token is; decimals are those of the token.
func (v *visit) wayTyped(op token.Operation, kind token.Kind, is contract.ABI, from string, decimals int) (token.Way, []strictjson.Value, error) {
	ways := op.Ways(kind, is.Contract)
	var given []token.Field
	for _, f := range tokenFields("", ways, nil) {
		if v.text(f.Name) != "" {
			given = append(given, token.Field(f.Name))
		}
	}
	way, err := op.Of(kind, is.Contract, given...)
	if err != nil {
		return way, nil, tokenRefusal(err)
	}
	args := make([]strictjson.Value, len(way.Fields))
	for i, f := range way.Fields {
		text := v.text(string(f))
		switch f {
		case token.Value:
			n, err := token.Units(text, decimals)
			if err != nil {
				return way, nil, &platform.Error{Reason: platform.Invalid, Field: string(f), Msg: err.Error()}
			}
			text = n.String()
		case token.ID, token.Flag:
		default:
			if text == "" {
				text = from
			}
			if _, err := addressTyped(string(f), text); err != nil {
				return way, nil, err
			}
		}
		args[i] = strictjson.StringValue(text)
	}
	return way, args, nil
}

// wayRefusal puts what package abi says of an argument beside the field of a
// token's form.
func wayRefusal(way token.Way, err error) error {
	err = argRefusal("arg", way.Method.Inputs, err)
	var refused *platform.Error
	if errors.As(err, &refused) {
		if i, is := strings.CutPrefix(refused.Field, "arg."); is {
			if n, bad := strconv.Atoi(i); bad == nil && n < len(way.Fields) {
				return &platform.Error{Reason: refused.Reason, Field: string(way.Fields[n]), Msg: refused.Msg}
			}
		}
	}
	return err
}
