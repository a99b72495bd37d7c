// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// ContractInfo is a contract as it is shown.
type ContractInfo struct {
	ID         string     `json:"id,omitempty"`
	Created    *time.Time `json:"created,omitempty"`
	Address    string     `json:"address,omitempty"` // left out while it is being deployed
	Path       string     `json:"path"`
	ABI        string     `json:"abi"`
	OpenAPI    string     `json:"openapi"`
	Registered string     `json:"registeredAs,omitempty"`
	Type       string     `json:"type,omitempty"`
	Reply      string     `json:"reply,omitempty"` // of the deployment
	Deploying  bool       `json:"deploying,omitempty"`
}

func (q *request) contractInfo(c contract.Contract) ContractInfo {
	info := ContractInfo{ID: c.ID, ABI: c.ABI, Registered: c.Name, Type: c.Kind, Reply: c.Reply, Deploying: c.Address == nil}
	if !c.Created.IsZero() {
		created := c.Created.UTC()
		info.Created = &created
	}
	ref := c.ID
	if c.Address != nil {
		info.Address = lower(*c.Address)
		ref = info.Address
	}
	info.Path = q.Base + "/contracts/" + ref
	info.OpenAPI = info.Path + "?openapi"
	return info
}

// lower is how addresses are written.
func lower(a common.Address) string { return strings.ToLower(a.Hex()) }

func (q *request) target() contract.Target {
	return contract.Target{Principal: q.Principal, Place: q.Place, Wallet: q.Wallet}
}

// kinds are the types of contracts that a list can be narrowed to.
func kinds() []string {
	return []string{contract.KindContract, contract.KindERC20, contract.KindERC721}
}

func listContracts(q *request) (answer, error) {
	after, limit, err := q.page()
	if err != nil {
		return answer{}, err
	}
	kind := q.query.Get("type")
	if q.query.Has("type") && !slices.Contains(kinds(), kind) {
		return answer{}, bad("type: want one of %s, got %s", strings.Join(kinds(), ", "), quote(kind))
	}
	ctx, cancel := q.context()
	defer cancel()
	all, err := q.h.cfg.Book.Contracts(ctx, q.Place, q.Wallet.ChainID(), kind, after, limit)
	list := make([]ContractInfo, len(all))
	for i, c := range all {
		list[i] = q.contractInfo(c)
	}
	return ok(list), err
}

// contract finds a contract in the book, whether it has an address yet or not.
func (q *request) contract(ctx context.Context, ref string) (contract.Contract, error) {
	return q.h.cfg.Book.Contract(ctx, q.Place, q.Wallet.ChainID(), ref)
}

// callable finds a contract that has an address, and its interface.
func (q *request) callable(ctx context.Context, ref string) (contract.ABI, common.Address, error) {
	c, err := q.contract(ctx, ref)
	if err != nil {
		return contract.ABI{}, common.Address{}, err
	}
	if c.Address == nil {
		return contract.ABI{}, common.Address{}, &contract.PendingContractError{Name: c.Name, Reply: c.Reply}
	}
	a, err := q.abiOf(ctx, c)
	return a, *c.Address, err
}

func (q *request) abiOf(ctx context.Context, c contract.Contract) (contract.ABI, error) {
	if c.ABI == "" {
		return contract.ABI{}, refuse(http.StatusConflict, "the interface of this contract is not kept here: upload it, and register the contract with it")
	}
	return q.h.cfg.Book.ABI(ctx, q.Place, c.ABI)
}

func showContract(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	c, err := q.contract(ctx, q.path["contract"])
	if err != nil {
		return answer{}, err
	}
	shown := ok(q.contractInfo(c))
	if len(q.query) == 0 {
		return shown, nil
	}
	a, err := q.abiOf(ctx, c)
	if err != nil {
		return answer{}, err
	}
	if c.Address == nil {
		return answer{}, &contract.PendingContractError{Name: c.Name, Reply: c.Reply}
	}
	return q.documents(a, c.Address, c.Name, "/contracts/"+lower(*c.Address), shown)
}

func forgetContract(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	err := q.h.cfg.Book.Forget(ctx, q.Principal, q.Place, q.Wallet.ChainID(), q.path["contract"])
	return answer{status: http.StatusNoContent}, err
}

func callContract(q *request) (answer, error) {
	return q.invoke(q.path["method"], func(ctx context.Context) (contract.ABI, common.Address, error) {
		return q.callable(ctx, q.path["contract"])
	})
}

func subscribeContract(q *request) (answer, error) {
	return q.subscribe(func(ctx context.Context) (contract.ABI, *common.Address, error) {
		a, address, err := q.callable(ctx, q.path["contract"])
		return a, &address, err
	})
}

// subscribe makes a subscription to an event of a contract, or of all that have the
// interface: it is what POST /subscriptions does, with the event taken from there.
func (q *request) subscribe(where func(context.Context) (contract.ABI, *common.Address, error)) (answer, error) {
	if q.h.cfg.Streams == nil {
		return answer{}, nothingHere()
	}
	body, err := q.object(q.h.cfg.Body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	a, address, err := where(ctx)
	if err != nil {
		return answer{}, err
	}
	event, err := a.Contract.Event(q.path["event"])
	if err != nil {
		return answer{}, err
	}
	of, err := entry(a, event)
	if err != nil {
		return answer{}, err
	}
	wanted := strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "event", Value: of}}}
	if address != nil {
		wanted.Members = append(wanted.Members, strictjson.Member{Name: "address", Value: strictjson.StringValue(lower(*address))})
	}
	for _, m := range body.Members {
		if m.Name != "stream" && m.Name != "fromBlock" && m.Name != "name" {
			return answer{}, bad("%s: there is no such member: want stream, and maybe fromBlock and name", quote(m.Name))
		}
		wanted.Members = append(wanted.Members, m)
	}
	text := wanted.AppendTo(nil)
	made := q.r.Clone(q.r.Context())
	made.Body, made.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	made.Header.Set("Content-Type", mediaJSON)
	made.Method = http.MethodPost
	made.URL.RawQuery = ""
	if !q.h.cfg.Streams.serve(q.w, made, q.Caller, "/subscriptions") {
		return answer{}, nothingHere()
	}
	return answer{done: true}, nil
}

// merged puts what is in the query beside what is in the body. Nothing is in both.
func (q *request) merged(body strictjson.Value) (strictjson.Value, error) {
	if len(q.query) == 0 {
		return body, nil
	}
	if body.Kind == strictjson.Array {
		return body, bad("%s: there are arguments in the query and a list of them in the body: want one of them", quote(sorted(q.query)[0]))
	}
	whole := strictjson.Value{Kind: strictjson.Object, Members: slices.Clone(body.Members)}
	for _, name := range sorted(q.query) {
		if body.Get(name).Kind != strictjson.Absent {
			return body, bad("%s: is given in the query and in the body: want one of them", quote(name))
		}
		v := strictjson.StringValue(q.query[name][0])
		if values := q.query[name]; len(values) > 1 {
			v = strictjson.Value{Kind: strictjson.Array}
			for _, text := range values {
				v.Elems = append(v.Elems, strictjson.StringValue(text))
			}
		}
		whole.Members = append(whole.Members, strictjson.Member{Name: name, Value: v})
	}
	return whole, nil
}

// raw is JSON that goes out as it is.
func raw(text json.RawMessage) answer { return ok(text) }
