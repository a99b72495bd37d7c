// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// tokenPage is one token, with what the chain says of it now.
type tokenPage struct {
	contractRow
	Standard   string // ERC-20 or ERC-721
	TokenName  string
	Symbol     string
	Supply     string
	Cap        string
	Owner      string
	Paused     bool
	Fungible   bool
	Decimals   int
	Lost       string // why the chain was not asked
	Holdings   []holding
	More       int // accounts of the wallet whose balance is not shown
	Operations []tokenForm
	Questions  []tokenForm
	Signers    signers
	Said       *said
	State      string // of the deployment, while it has no address
	Failure    string
	Tx         string
}

// holding is what an account of the wallet has.
type holding struct{ Address, Label, Amount string }

// tokenForm is a form of one operation.
type tokenForm struct {
	ID      string
	Do      token.Operation
	Title   string
	Text    string
	Fields  []assetField
	Key     string
	Open    bool
	Problem string
}

// holdersShown is how many accounts' balances a token's page shows: each is a
// question to the node.
const holdersShown = 20

func showToken(ctx context.Context, v *visit) (view, error) {
	b, c, is, err := v.token(ctx, false)
	if err != nil {
		return view{}, err
	}
	f := form{Values: v.form}
	var answer *said
	if op := token.Operation(v.form.Get("ask")); op != "" && c.Address != nil {
		answer, err = v.askToken(ctx, b, c, is, op)
		if f, err = v.sentForm(err, ""); err != nil {
			return view{}, err
		}
	}
	return v.tokenPage(ctx, b, c, is, f, answer), nil
}

// token finds the token that the URL names.
func (v *visit) token(ctx context.Context, change bool) (*bench, contract.Contract, contract.ABI, error) {
	b, c, err := v.contract(ctx, change)
	if err != nil {
		return nil, c, contract.ABI{}, err
	}
	is, err := b.interfaceOf(ctx, c)
	if err == nil && (c.Kind == contract.KindContract || is.Contract == nil) {
		err = &platform.Error{Reason: platform.NotFound, Msg: "that contract is no token: look for it among the contracts"}
	}
	return b, c, is, err
}

func (v *visit) tokenPage(ctx context.Context, b *bench, c contract.Contract, is contract.ABI, f form, answer *said) view {
	p := tokenPage{contractRow: rowOf(c), Said: answer, Standard: "ERC-20", Fungible: c.Kind == contract.KindERC20}
	if !p.Fungible {
		p.Standard = "ERC-721"
	}
	if c.Address == nil {
		d := contractPage{contractRow: p.contractRow}
		v.follow(ctx, b, &d)
		p.contractRow, p.State, p.Failure, p.Tx = d.contractRow, d.State, d.Failure, d.Tx
	} else {
		v.readToken(ctx, b, c, is, &p)
		p.forms(is, &f, v.shownKey())
		if b.MayChange {
			p.Signers = v.signers(ctx)
		}
	}
	name := c.Name
	if p.TokenName != "" {
		name = p.TokenName
	}
	if name == "" {
		name = short(p.Ref)
	}
	return v.benchView(b, "token", "tokens", name, f, p)
}

// answered asks a token something without arguments, or about an account; empty if
// it does not offer that, or does not answer.
func (b *bench) answered(ctx context.Context, c contract.Contract, is contract.ABI, op token.Operation, about ...string) (string, error) {
	ways := op.Ways(token.Kind(c.Kind), is.Contract)
	if len(ways) == 0 {
		return "", nil
	}
	args := abi.Args{List: []strictjson.Value{}}
	for _, a := range about {
		args.List = append(args.List, strictjson.StringValue(a))
	}
	out, err := b.Desk.Query(ctx, b.Target, contract.Call{To: *c.Address, ABI: is, Method: ways[0].Method, Args: args})
	if err != nil {
		return "", err
	}
	return single(out), nil
}

// single is the only member of an object, as text.
func single(out json.RawMessage) string {
	v, err := strictjson.Parse(out)
	if err != nil || len(v.Members) != 1 {
		return ""
	}
	is := v.Members[0].Value
	if is.Kind == strictjson.String || is.Kind == strictjson.Bool || is.Kind == strictjson.Number {
		return is.Text
	}
	return string(is.AppendTo(nil))
}

// readToken asks the chain what stands on the page, a few things at a time.
func (v *visit) readToken(ctx context.Context, b *bench, c contract.Contract, is contract.ABI, p *tokenPage) {
	var paused, decimals string
	var mu sync.Mutex
	var asking sync.WaitGroup
	slots := make(chan struct{}, 8)
	ask := func(into *string, op token.Operation, about ...string) {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			text, err := b.answered(ctx, c, is, op, about...)
			mu.Lock()
			defer mu.Unlock()
			if *into = text; err != nil {
				p.Lost = sentence(deskRefusal(err).Error())
			}
		})
	}
	ask(&p.TokenName, token.Name)
	ask(&p.Symbol, token.Symbol)
	ask(&p.Supply, token.Supply)
	ask(&p.Cap, token.Cap)
	ask(&p.Owner, token.Owner)
	ask(&paused, token.Paused)
	ask(&decimals, token.Decimals)
	all, err := v.c.cfg.Platform.Accounts(ctx, v.who, v.here(), platform.AccountQuery{})
	if err != nil {
		p.Lost = sentence(err.Error())
	}
	p.More = max(0, len(all)-holdersShown)
	all = all[:min(len(all), holdersShown)]
	p.Holdings = make([]holding, len(all))
	for i, a := range all {
		p.Holdings[i] = holding{Address: a.Address, Label: a.Label}
		if a.Label == "" {
			p.Holdings[i].Label = a.Name
		}
		ask(&p.Holdings[i].Amount, token.Balance, a.Address)
	}
	asking.Wait()
	if common.IsHexAddress(p.Owner) {
		p.Owner = common.HexToAddress(p.Owner).Hex()
	}
	p.Paused = paused == "true"
	p.Decimals, _ = strconv.Atoi(decimals) // none is none
	p.Supply, p.Cap = p.amount(p.Supply), p.amount(p.Cap)
	for i := range p.Holdings {
		p.Holdings[i].Amount = p.amount(p.Holdings[i].Amount)
	}
}

// amount writes an amount in whole tokens, for people.
func (p *tokenPage) amount(units string) string {
	n, ok := new(big.Int).SetString(units, 10)
	if !ok {
		return units
	}
	whole, part, point := strings.Cut(token.Amount(n, p.Decimals), ".")
	if point {
		part = "." + part
	}
	return grouped(whole) + part
}

// forms are those of what the token offers. key is that of the one that was sent.
func (p *tokenPage) forms(is contract.ABI, sent *form, key string) {
	for _, o := range []struct {
		op          token.Operation
		title, text string
		asks        bool
	}{
		{token.Transfer, "Transfer", "Gives tokens to somebody.", false},
		{token.Mint, "Mint", "Makes new tokens. Only the owner may.", false},
		{token.Burn, "Burn", "Destroys tokens for good.", false},
		{token.Approve, "Approve", "Lets somebody else transfer them.", false},
		{token.ApproveAll, "Approve all", "Lets somebody else transfer all of the signing account's tokens.", false},
		{token.Pause, "Pause", "No token can be moved until it is unpaused. Only the owner may.", false},
		{token.Unpause, "Unpause", "Tokens can be moved again. Only the owner may.", false},
		{token.Balance, "Balance", "What an account has.", true},
		{token.Allowance, "Allowance", "What somebody may transfer of an account's tokens.", true},
		{token.OwnerOf, "Owner of a token", "", true},
		{token.TokenURI, "Description of a token", "Where it is.", true},
	} {
		ways := o.op.Ways(token.Kind(p.Kind), is.Contract)
		if len(ways) == 0 || o.op == token.Pause && p.Paused || o.op == token.Unpause && !p.Paused {
			continue
		}
		f := tokenForm{ID: "t-" + string(o.op), Do: o.op, Title: o.title, Text: o.text}
		f.Open = sent.Get("operation") == string(o.op) || sent.Get("ask") == string(o.op)
		values := &form{}
		if f.Open {
			values, f.Problem, f.Key = sent, sent.Problem, key
		} else {
			f.Key = newKey()
		}
		f.Fields = tokenFields(f.ID, ways, values)
		if o.asks {
			p.Questions = append(p.Questions, f)
		} else {
			p.Operations = append(p.Operations, f)
		}
	}
}

func (v *visit) askToken(ctx context.Context, b *bench, c contract.Contract, is contract.ABI, op token.Operation) (*said, error) {
	if !slices.Contains([]token.Operation{token.Balance, token.Allowance, token.OwnerOf, token.TokenURI}, op) {
		return nil, &platform.Error{Reason: platform.NotFound, Msg: "a token is not asked that here"}
	}
	way, args, err := v.wayTyped(op, token.Kind(c.Kind), is, "", 0)
	if err != nil {
		return nil, err
	}
	out, err := b.Desk.Query(ctx, b.Target, contract.Call{To: *c.Address, ABI: is, Method: way.Method, Args: abi.Args{List: args}})
	if err != nil {
		return nil, wayRefusal(way, err)
	}
	answer := single(out)
	if op == token.Balance || op == token.Allowance {
		decimals, err := b.decimals(ctx, c, is)
		if err != nil {
			return nil, err
		}
		answer = (&tokenPage{Decimals: decimals}).amount(answer)
	}
	return &said{way.Method.Signature(), answer}, nil
}

// decimals are those of the token; 0 for one that has none.
func (b *bench) decimals(ctx context.Context, c contract.Contract, is contract.ABI) (int, error) {
	text, err := b.answered(ctx, c, is, token.Decimals)
	if err != nil || text == "" {
		return 0, deskRefusal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 255 { // decimals() returns uint8 (EIP-20)
		return 0, &platform.Error{Reason: platform.Conflict, Msg: "the token does not say how many decimals it has"}
	}
	return n, nil
}

func useToken(ctx context.Context, v *visit) (view, error) {
	b, c, is, err := v.token(ctx, true)
	if err != nil {
		return view{}, err
	}
	op := token.Operation(v.r.PathValue("operation"))
	if !slices.Contains([]token.Operation{token.Mint, token.Transfer, token.Approve, token.ApproveAll, token.Burn, token.Pause, token.Unpause}, op) {
		return nothingHere(ctx, v)
	}
	to, err := v.tokenSent(ctx, b, c, is, op)
	if err == nil {
		return to, nil
	}
	f, ok := v.refused(err, "signer", "from", "to", "amount", "tokenId", "approved")
	if !ok {
		return view{}, err
	}
	f.Values.Set("operation", string(op))
	ctx, cancel := afterwards(ctx)
	defer cancel()
	return v.tokenPage(ctx, b, c, is, f, nil), nil
}

func (v *visit) tokenSent(ctx context.Context, b *bench, c contract.Contract, is contract.ABI, op token.Operation) (view, error) {
	if c.Address == nil {
		return view{}, &platform.Error{Reason: platform.Conflict, Msg: "the token is still being deployed"}
	}
	// from is whose tokens they are; who signs has another name here.
	signer, err := addressTyped("signer", v.text("signer"))
	if err != nil {
		return view{}, err
	}
	decimals, err := b.decimals(ctx, c, is)
	if err != nil {
		return view{}, err
	}
	way, args, err := v.wayTyped(op, token.Kind(c.Kind), is, signer.Hex(), decimals)
	if err != nil {
		return view{}, err
	}
	call := contract.Call{Terms: contract.Terms{From: &signer}, ID: v.sentKey(), To: *c.Address, ABI: is, Method: way.Method, Args: abi.Args{List: args}}
	return v.send(ctx, b, call, func(err error) error { return wayRefusal(way, err) })
}
