// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// TokenInfo is a token as it is shown.
type TokenInfo struct {
	ContractInfo
	// Options are those that it was made with; left out for one that was registered.
	Options json.RawMessage `json:"options,omitempty"`
	// Operations are what its contract offers; not in lists.
	Operations []string `json:"operations,omitempty"`
}

func (q *request) tokenInfo(c contract.Contract) TokenInfo {
	info := TokenInfo{ContractInfo: q.contractInfo(c), Options: c.Detail}
	info.Path = q.Base + "/tokens/" + cmp.Or(info.Address, c.ID)
	return info
}

// operations are all there are, in the order in which they are shown.
func operations() []token.Operation {
	return append([]token.Operation{
		token.Mint, token.Transfer, token.Approve, token.ApproveAll, token.Burn, token.Pause, token.Unpause,
	}, questions()...)
}

// questions are the operations that change nothing.
func questions() []token.Operation {
	return []token.Operation{
		token.Balance, token.Allowance, token.OwnerOf, token.TokenURI, token.Supply, token.Name, token.Symbol,
		token.Decimals, token.Paused, token.Cap, token.Owner,
	}
}

func tokenKinds() []string { return []string{contract.KindERC20, contract.KindERC721} }

func listTokens(q *request) (answer, error) {
	after, limit, err := q.page()
	if err != nil {
		return answer{}, err
	}
	wanted := tokenKinds()
	if q.query.Has("type") {
		if wanted = []string{q.query.Get("type")}; !slices.Contains(tokenKinds(), wanted[0]) {
			return answer{}, bad("type: want one of %s, got %s", strings.Join(tokenKinds(), ", "), quote(wanted[0]))
		}
	}
	ctx, cancel := q.context()
	defer cancel()
	var all []contract.Contract
	for _, kind := range wanted {
		some, err := q.h.cfg.Book.Contracts(ctx, q.Place, q.Wallet.ChainID(), kind, after, limit)
		if err != nil {
			return answer{}, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b contract.Contract) int { return strings.Compare(a.ID, b.ID) })
	if limit == 0 {
		limit = 50
	}
	all = all[:min(limit, len(all))]
	list := make([]TokenInfo, len(all))
	for i, c := range all {
		list[i] = q.tokenInfo(c)
	}
	return ok(list), nil
}

// token finds a contract that is a token.
func (q *request) token(ctx context.Context) (contract.Contract, error) {
	c, err := q.contract(ctx, q.path["token"])
	if err == nil && !slices.Contains(tokenKinds(), c.Kind) {
		return c, &contract.NotFoundError{What: "token", Ref: cut(q.path["token"])}
	}
	return c, err
}

func showToken(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	c, err := q.token(ctx)
	if err != nil {
		return answer{}, err
	}
	a, err := q.abiOf(ctx, c)
	if err != nil {
		return answer{}, err
	}
	info := q.tokenInfo(c)
	for _, op := range operations() {
		if len(op.Ways(token.Kind(c.Kind), a.Contract)) > 0 {
			info.Operations = append(info.Operations, string(op))
		}
	}
	return ok(info), nil
}

// deployToken makes a token of a contract that is in this program.
func deployToken(q *request) (answer, error) {
	body, err := q.object(q.h.cfg.Body)
	if err != nil {
		return answer{}, err
	}
	if err := q.sends(); err != nil {
		return answer{}, err
	}
	o, err := token.ParseOptions(body)
	if err != nil {
		return answer{}, tokenRefusal(err)
	}
	plan, err := o.Plan(*q.from)
	if err != nil {
		return answer{}, tokenRefusal(err)
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SendTimeout)
	defer cancel()
	a, err := q.h.cfg.Book.KeepToken(ctx, q.Principal, q.Place, plan.Artifact)
	if err != nil {
		return answer{}, err
	}
	return q.deploy(ctx, contract.Deployment{
		ABI: a, Args: abi.Args{List: plan.Args}, Name: q.register, Kind: string(plan.Artifact.Kind), Detail: o.Detail(),
	})
}

// tokenRefusal words what is wrong with what was asked of a token.
func tokenRefusal(err error) error {
	var option *token.OptionError
	var operation *token.OperationError
	switch {
	case errors.As(err, &option):
		return bad("%s", option)
	case errors.As(err, &operation) && operation.Offered():
		return bad("%s", operation)
	case errors.As(err, &operation):
		return refuse(http.StatusNotFound, "%s", operation)
	}
	return err
}

// tokenFields are what may be given for an operation.
func tokenFields() []token.Field {
	return []token.Field{token.To, token.From, token.Value, token.ID, token.Flag, token.Account, token.Spender}
}

// useToken does something with a token: a transaction, or a question.
func useToken(q *request) (answer, error) {
	op := token.Operation(q.path["operation"])
	asks := slices.Contains(questions(), op)
	switch {
	case !slices.Contains(operations(), op):
		return answer{}, refuse(http.StatusNotFound, "there is no operation %s: want one of %s", quote(string(op)), strings.Join(names(operations()), ", "))
	case !asks && q.r.Method != http.MethodPost && !q.call:
		e := refuse(http.StatusMethodNotAllowed, "%s is a transaction: it takes POST", op)
		e.allow = http.MethodPost
		return answer{}, e
	}
	var body strictjson.Value
	if q.r.Method == http.MethodPost {
		var err error
		if body, err = q.object(q.h.cfg.Body); err != nil {
			return answer{}, err
		}
	}
	given, err := q.merged(body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SendTimeout)
	defer cancel()
	c, err := q.token(ctx)
	if err != nil {
		return answer{}, err
	}
	if c.Address == nil {
		return answer{}, &contract.PendingContractError{Name: c.Name, Reply: c.Reply}
	}
	a, err := q.abiOf(ctx, c)
	if err != nil {
		return answer{}, err
	}
	way, args, err := q.tokenCall(op, token.Kind(c.Kind), a, given)
	if err != nil {
		return answer{}, err
	}
	return q.run(ctx, contract.Call{ID: q.id, To: *c.Address, ABI: a, Method: way.Method, Args: args, Terms: q.terms()})
}

// tokenCall finds the method of an operation and puts what was given in its order.
func (q *request) tokenCall(op token.Operation, kind token.Kind, a contract.ABI, given strictjson.Value) (token.Way, abi.Args, error) {
	var fields []token.Field
	for _, m := range given.Members {
		if !slices.Contains(tokenFields(), token.Field(m.Name)) {
			return token.Way{}, abi.Args{}, bad("%s: there is no such member: want of %s what the operation takes", quote(m.Name), strings.Join(names(tokenFields()), ", "))
		}
		fields = append(fields, token.Field(m.Name))
	}
	way, err := op.Of(kind, a.Contract, fields...)
	if err != nil {
		return way, abi.Args{}, tokenRefusal(err)
	}
	args := abi.Args{List: []strictjson.Value{}}
	for _, f := range way.Fields {
		v := given.Get(string(f))
		if v.Kind == strictjson.Absent { // from, for which the signing account stands in
			if q.from == nil {
				return way, args, q.sends()
			}
			v = strictjson.StringValue(lower(*q.from))
		}
		if err := fitsField(f, v); err != nil {
			return way, args, err
		}
		args.List = append(args.List, v)
	}
	return way, args, nil
}

// fitsField checks a field where the codec could only say which argument it is.
func fitsField(f token.Field, v strictjson.Value) error {
	switch f {
	case token.To, token.From, token.Account, token.Spender:
		a, good := parseAddress(v.Text)
		if v.Kind != strictjson.String || !good {
			return bad("%s: want an address, 0x and 40 hex digits, got %s", f, quote(v.Text))
		}
		if f == token.To && a == (common.Address{}) {
			return bad("%s: want an account, not the zero address", f)
		}
	case token.Value, token.ID:
		n, good := parseWhole(v.Text)
		if v.Kind != strictjson.String && v.Kind != strictjson.Number || !good || n.BitLen() > 256 {
			return bad("%s: want a whole number of at most 256 bits, not negative, got %s", f, quote(v.Text))
		}
	case token.Flag:
		if v.Text != "true" && v.Text != "false" {
			return bad("%s: want true or false", f)
		}
	}
	return nil
}

func names[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}
