// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxName is the most characters of a contract's name.
const maxName = 64

// CheckName refuses what cannot be the name of a contract. It stands in URLs, and
// must not look like an address or an id. The error is an *InputError.
func CheckName(name string) error {
	const want = "want 1 to 64 letters, digits, dots, dashes and underscores, the first of them a letter or digit"
	if name == "" || len(name) > maxName {
		return inputErr("name", "%s; got %d characters", want, len(name))
	}
	for i := range len(name) {
		c := name[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !word && (i == 0 || c != '.' && c != '-' && c != '_') {
			return inputErr("name", "%s; got %q", want, excerpt(name))
		}
	}
	if _, is := addressIn(name); is || isRowID(strings.ToLower(name)) {
		return inputErr("name", "%s looks like an address or an id; want a name that cannot be taken for one", name)
	}
	return nil
}

// addressIn reads an address as callers write it, with 0x or without.
func addressIn(s string) (common.Address, bool) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
	if len(digits) != 2*common.AddressLength {
		return common.Address{}, false
	}
	b, err := hex.DecodeString(digits)
	return common.BytesToAddress(b), err == nil
}

// addressText is how addresses stand in rows.
func addressText(a common.Address) string { return "0x" + hex.EncodeToString(a[:]) }

// note is what a row remembers in its detail.
type note struct {
	Kind json.RawMessage `json:"detail,omitempty"` // the caller's
	// What follows is of a deployment whose transaction is not accepted yet.
	Request  string    `json:"request,omitempty"`  // hash of what was asked for, in hexadecimal
	Attempts []attempt `json:"attempts,omitempty"` // to have it accepted, which may be under way
	Approval string    `json:"approval,omitempty"` // id of the request that people are to approve
}

// attempt is one try to have a deployment accepted.
type attempt struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

func noteOf(c store.Contract) (n note) {
	_ = json.Unmarshal([]byte(c.Detail), &n) // we have written it; if not, nothing is known
	return n
}

func (n note) text() string {
	b, _ := json.Marshal(n) // the caller's part was parsed before
	return string(b)
}

// creates is the address that a deployment's transaction creates, wherever it
// stands; false while it has no nonce.
func creates(t *store.ContractTx) (common.Address, bool) {
	if t == nil || t.Pruned || t.Nonce == nil {
		return common.Address{}, false
	}
	from, ok := accountOf(t.Sender)
	return crypto.CreateAddress(from, *t.Nonce), ok
}

// accountOf is the address at the end of a sender's id.
func accountOf(sender string) (common.Address, bool) {
	return addressIn(sender[strings.LastIndexByte(sender, '-')+1:])
}

// gone reports whether nothing will come of a deployment: its transaction is final
// and has created nothing.
func gone(t *store.ContractTx) bool {
	return t != nil && t.State.Final() && !(t.State == store.Confirmed && (t.Pruned || t.Succeeded))
}

// view words a row. It reports false if nothing will come of its deployment: then
// it only waits to be removed, and its name is free.
func view(r store.Contract) (Contract, bool) {
	chain, _ := new(big.Int).SetString(r.Chain, 10)
	c := Contract{
		ID: r.ID, Chain: chain, Name: r.Name, ABI: r.ABI, Kind: r.Kind, Wallet: r.Wallet, Reply: r.Reply,
		Detail: noteOf(r).Kind, Principal: r.Principal, Created: r.Created, Settled: r.Address != "",
	}
	if r.Address != "" {
		addr := common.HexToAddress(r.Address)
		c.Address = &addr
		return c, true
	}
	if gone(r.Tx) {
		return Contract{}, false
	}
	if t := r.Tx; t != nil && t.Succeeded && (t.State == store.Mined || t.State == store.Confirmed) {
		if addr, ok := creates(t); ok {
			c.Address = &addr
		}
	}
	return c, true
}

// Contracts lists a place's contracts on a chain, the oldest first, those after
// the one with the id after, at most limit (default 50, at most 200); of one kind
// if kind is not empty. Fewer than limit need not be the last.
func (b *Book) Contracts(ctx context.Context, at Place, chain *big.Int, kind, after string, limit int) ([]Contract, error) {
	rows, err := b.cfg.Store.Contracts(ctx, at.Environment, at.Membership, chain.String(), kind, after, page(limit))
	if err != nil {
		return nil, stored("list contracts", err)
	}
	all := make([]Contract, 0, len(rows))
	for _, r := range rows {
		if c, ok := view(r); ok {
			all = append(all, c)
		}
	}
	return all, nil
}

// Contract finds a contract by its address (with or without 0x), its name or its
// row's id. *NotFoundError. One that is being deployed is found too, by name or id,
// and has no Address while its transaction is not mined.
func (b *Book) Contract(ctx context.Context, at Place, chain *big.Int, ref string) (Contract, error) {
	r, err := b.row(ctx, at, chain, ref)
	if err != nil {
		return Contract{}, err
	}
	c, ok := view(r)
	if !ok {
		return Contract{}, missing("contract", ref)
	}
	return c, nil
}

func (b *Book) row(ctx context.Context, at Place, chain *big.Int, ref string) (r store.Contract, err error) {
	if addr, is := addressIn(ref); is {
		r, err = b.cfg.Store.ContractByAddress(ctx, at.Environment, at.Membership, chain.String(), addressText(addr))
		if errors.Is(err, store.ErrNotFound) {
			r, err = b.openAt(ctx, at, chain, addr)
		}
	} else if isRowID(ref) {
		r, err = b.cfg.Store.Contract(ctx, ref)
		if err == nil && (r.Environment != at.Environment || r.Membership != at.Membership || r.Chain != chain.String()) {
			err = store.ErrNotFound
		}
	} else if CheckName(ref) == nil {
		r, err = b.cfg.Store.ContractByName(ctx, at.Environment, at.Membership, chain.String(), ref)
	} else {
		err = store.ErrNotFound
	}
	if errors.Is(err, store.ErrNotFound) {
		return r, missing("contract", ref)
	}
	if err != nil {
		return r, stored("read a contract", err)
	}
	return r, nil
}

// openAt finds a contract that is mined at an address, but not final.
func (b *Book) openAt(ctx context.Context, at Place, chain *big.Int, addr common.Address) (store.Contract, error) {
	rows, err := b.cfg.Store.OpenContracts(ctx, at.Environment, at.Membership, chain.String())
	if err != nil {
		return store.Contract{}, err
	}
	for _, r := range rows {
		if c, ok := view(r); ok && c.Address != nil && *c.Address == addr {
			return r, nil
		}
	}
	return store.Contract{}, store.ErrNotFound
}

// Forget removes a contract from the book; on the chain it stays. *ConflictError
// while its deployment is not final.
func (b *Book) Forget(ctx context.Context, who auth.Principal, at Place, chain *big.Int, ref string) error {
	r, err := b.row(ctx, at, chain, ref)
	if err != nil {
		return err
	}
	if r.Address == "" {
		if gone(r.Tx) {
			return missing("contract", ref)
		}
		return conflict("the deployment of this contract is not final yet: see the reply %s, and forget it then", r.Reply)
	}
	err = b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.DeleteContract(r); err != nil {
			return err
		}
		return w.AuditEvent(b.event(who, at, "contract-forget", "", r.ID, map[string]any{"name": r.Name, "address": r.Address, "chain_id": r.Chain}))
	})
	if errors.Is(err, store.ErrChanged) {
		return conflict("the contract was changed meanwhile: look at it again")
	}
	if err != nil {
		return stored("forget a contract", err)
	}
	return nil
}
