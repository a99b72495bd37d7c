// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

// Contracts are what the pages about contracts, tokens and events work with.
type Contracts struct {
	Book Book
	Desk Desk
	// Wallet finds what a service runs as, by its name in store; nil if it does not
	// run in this process.
	Wallet func(name string) contract.Wallet
	// Streams delivers events; nil: nobody does.
	Streams *eventstream.Streams
}

// Book keeps interfaces and contracts. *contract.Book is one.
type Book interface {
	Upload(ctx context.Context, who auth.Principal, at contract.Place, u contract.Upload) (contract.ABI, error)
	ABIs(ctx context.Context, at contract.Place, after string, limit int) ([]contract.ABI, error)
	ABI(ctx context.Context, at contract.Place, id string) (contract.ABI, error)
	KeepToken(ctx context.Context, who auth.Principal, at contract.Place, t *token.Artifact) (contract.ABI, error)
	DeleteABI(ctx context.Context, who auth.Principal, at contract.Place, id string) error
	Contracts(ctx context.Context, at contract.Place, chain *big.Int, kind, after string, limit int) ([]contract.Contract, error)
	Contract(ctx context.Context, at contract.Place, chain *big.Int, ref string) (contract.Contract, error)
	Forget(ctx context.Context, who auth.Principal, at contract.Place, chain *big.Int, ref string) error
}

// Desk asks contracts, and sends to them. *contract.Desk is one.
type Desk interface {
	Register(ctx context.Context, t contract.Target, r contract.Registration) (c contract.Contract, created bool, err error)
	Query(ctx context.Context, t contract.Target, c contract.Call) (json.RawMessage, error)
	Send(ctx context.Context, t contract.Target, c contract.Call) (contract.Sent, error)
	Deploy(ctx context.Context, t contract.Target, n contract.Deployment) (contract.Sent, error)
	Reply(ctx context.Context, t contract.Target, id string) (contract.Reply, error)
	Transaction(ctx context.Context, t contract.Target, a contract.ABI, hash common.Hash) (json.RawMessage, error)
}

// bench is the wallet that a page about contracts works with, and the contracts
// beside it: those of the same membership, on the wallet's chain.
type bench struct {
	Service   *platform.Service
	Wallets   []*platform.Service // that the person may change to
	MayChange bool

	Book   Book `json:"-"`
	Desk   Desk `json:"-"`
	Target contract.Target
}

// Chain is the number of the wallet's chain.
func (b *bench) Chain() *big.Int { return b.Target.Wallet.ChainID() }

// bench finds the wallet that the URL names. Package contract asks no roles, so
// that package platform is asked here, as by the gateway.
func (v *visit) bench(ctx context.Context, change bool) (*bench, error) {
	with := v.c.cfg.Contracts
	s, err := get[platform.Service](ctx, v, platform.Services, v.here())
	if err != nil {
		return nil, err
	}
	to, err := v.c.cfg.Platform.Gateway(ctx, v.who, v.here())
	switch {
	case err != nil:
		return nil, err
	case with.Book == nil:
		return nil, &platform.Error{Reason: platform.Unsupported, Msg: "this daemon serves no contracts"}
	case change && !to.MayChange:
		return nil, &platform.Error{Reason: platform.Forbidden, Msg: "this needs the role admin for the membership of the wallet"}
	case change && s.State == platform.Deleting:
		return nil, &platform.Error{Reason: platform.Conflict, Msg: "the wallet is being deleted"}
	}
	w := with.Wallet(to.Wallet)
	if w == nil {
		return nil, &platform.Error{Reason: platform.Unavailable, Msg: "the wallet is not open yet: its page says why"}
	}
	b := &bench{Service: s, MayChange: to.MayChange, Book: with.Book, Desk: with.Desk}
	b.Target = contract.Target{Principal: v.who.Principal, Place: contract.Place{Environment: to.Environment, Membership: to.Membership}, Wallet: w}
	b.Wallets, err = list[platform.Service](ctx, v, platform.Services)
	return b, err
}

// toFirst leads from the navigation to the first wallet's page of a section, or to
// the one that was chosen.
func toFirst(section string) handler {
	return func(ctx context.Context, v *visit) (view, error) {
		all, err := list[platform.Service](ctx, v, platform.Services)
		if err != nil {
			return view{}, err
		}
		to := ""
		for _, s := range all {
			if to == "" || s.ID == v.form.Get("wallet") {
				to = s.ID
			}
		}
		if to == "" {
			return view{page: "no-wallet", title: title(section), section: section}, nil
		}
		return view{to: v.path(section, to)}, nil
	}
}

// interfaceOf is the interface of a contract. It has no Contract if none is known.
func (b *bench) interfaceOf(ctx context.Context, c contract.Contract) (contract.ABI, error) {
	if c.ABI == "" {
		return contract.ABI{}, nil
	}
	is, err := b.Book.ABI(ctx, b.Target.Place, c.ABI)
	return is, deskRefusal(err)
}

// deskRefusal words for a person what packages contract and abi, and those below
// them, refuse.
func deskRefusal(err error) error {
	var (
		input    *contract.InputError
		missing  *contract.NotFoundError
		conflict *contract.ConflictError
		pending  *contract.PendingContractError
		stranger *contract.AccountError
		reverted *contract.RevertedError
		said     *contract.NodeError
		argument *abi.ArgError
		document *abi.ParseError
		lookup   *abi.LookupError
	)
	refuse := func(reason platform.Reason, field string, err error) error {
		return &platform.Error{Reason: reason, Field: field, Msg: err.Error()}
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &input):
		return &platform.Error{Reason: platform.Invalid, Field: input.Field, Msg: input.Msg}
	case errors.As(err, &missing):
		return refuse(platform.NotFound, "", missing)
	case errors.As(err, &conflict):
		return refuse(platform.Conflict, "", conflict)
	case errors.As(err, &pending):
		return refuse(platform.Conflict, "", pending)
	case errors.Is(err, contract.ErrIDUsed):
		return &platform.Error{Reason: platform.Conflict, Msg: "this form was sent before with something else in it. Look among the transactions for that one: sent again now, this is another"}
	case errors.As(err, &stranger):
		return refuse(platform.Invalid, "from", stranger)
	case errors.As(err, &reverted):
		return refuse(platform.Conflict, "", reverted)
	case errors.As(err, &said):
		return &platform.Error{Reason: platform.Conflict, Msg: "the node refused it: " + said.Msg}
	case errors.As(err, &argument):
		return refuse(platform.Invalid, "", argument)
	case errors.As(err, &document):
		return refuse(platform.Invalid, "abi", document)
	case errors.As(err, &lookup):
		return refuse(platform.NotFound, "", lookup)
	}
	return platform.SendRefusal(err)
}

// asked is where the browser goes if people are asked first; ok is false if an
// error says something else.
func (v *visit) asked(err error) (is view, ok bool) {
	var ask *policy.PendingError
	if !errors.As(err, &ask) {
		return view{}, false
	}
	return v.done("request-asked", "approvals", v.r.PathValue("id"), ask.ID), true
}
