// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxDetail bounds what a kind wants remembered, in bytes of JSON.
const maxDetail = 64 << 10

func checkKind(kind string, detail json.RawMessage) error {
	if kind != KindContract && kind != KindERC20 && kind != KindERC721 {
		return inputErr("kind", "want contract, erc20 or erc721, got %q", excerpt(kind))
	}
	if len(detail) > maxDetail || detail != nil && !json.Valid(detail) {
		return inputErr("detail", "want JSON of at most %d bytes", maxDetail)
	}
	return nil
}

// Register puts a contract that is on the chain into the book. Registered again
// with the same interface it is given a name if it has none. *ConflictError if
// the name or the address is taken, *InputError if there is no code at the
// address. created is false if it was there.
func (d *Desk) Register(ctx context.Context, t Target, r Registration) (c Contract, created bool, err error) {
	or(&r.Kind, KindContract)
	if err := checkKind(r.Kind, r.Detail); err != nil {
		return Contract{}, false, err
	}
	if r.Name != "" {
		if err := CheckName(r.Name); err != nil {
			return Contract{}, false, err
		}
	}
	if _, err := d.book.ABI(ctx, t.Place, r.ABI); err != nil {
		return Contract{}, false, err
	}
	// First: where there is code, the transaction that made it has its nonce by now,
	// if it is one of ours.
	if err := hasCode(ctx, t.Wallet, r.Address); err != nil {
		return Contract{}, false, err
	}
	var row store.Contract
	err = d.book.change(ctx, func(w *store.Writer) (err error) {
		row, created, err = d.book.register(w, t, r)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Contract{}, false, missing("abi", r.ABI)
	}
	if err != nil {
		return Contract{}, false, stored("register a contract", err)
	}
	c, _ = view(row)
	return c, created, nil
}

func (b *Book) register(w *store.Writer, t Target, r Registration) (row store.Contract, created bool, err error) {
	at, chain := t.Place, t.Wallet.ChainID().String()
	row, err = w.ContractByAddress(at.Environment, at.Membership, chain, addressText(r.Address))
	if errors.Is(err, store.ErrNotFound) {
		row, err = deployedTo(w, at, chain, r.Address)
	}
	switch {
	case err == nil && row.ABI != r.ABI:
		return row, false, conflict("the contract at %s is here already, with the interface %s: forget it first", r.Address, row.ABI)
	case err == nil && (r.Name == "" || r.Name == row.Name):
		return row, false, nil
	case err == nil && row.Name != "":
		return row, false, conflict("the contract at %s is here already, under the name %s: forget it first", r.Address, row.Name)
	case err == nil && row.Address == "":
		return row, false, conflict("the deployment of this contract is not final yet: see the reply %s, and name it then", row.Reply)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return row, false, err
	}
	created = err != nil
	if err := b.vacate(w, at, chain, r.Name, ""); err != nil {
		return row, false, err
	}
	if created {
		if err := b.room(w, at); err != nil {
			return row, false, err
		}
		row = store.Contract{
			ID: store.NewID(), Environment: at.Environment, Membership: at.Membership, Chain: chain, Address: addressText(r.Address),
			Name: r.Name, ABI: r.ABI, Kind: r.Kind, Detail: note{Kind: r.Detail}.text(), Principal: t.Principal.Name, Created: b.now().UTC(),
		}
		err = w.InsertContract(row)
	} else {
		was := row
		row.Name = r.Name
		err = w.UpdateContract(row, was)
	}
	if err != nil {
		return row, false, err
	}
	return row, created, w.AuditEvent(b.event(t.Principal, at, "contract-register", t.Wallet.Name(), row.ID,
		map[string]any{"name": r.Name, "address": row.Address, "chain_id": chain, "abi": r.ABI}))
}

// deployedTo finds the row of a deployment that creates the address, mined or not.
// store.ErrNotFound.
func deployedTo(w *store.Writer, at Place, chain string, addr common.Address) (store.Contract, error) {
	rows, err := w.OpenContracts(at.Environment, at.Membership, chain)
	if err != nil {
		return store.Contract{}, err
	}
	for _, r := range rows {
		if to, ok := creates(r.Tx); ok && to == addr && !gone(r.Tx) {
			return r, nil
		}
	}
	return store.Contract{}, store.ErrNotFound
}

func hasCode(ctx context.Context, w Wallet, addr common.Address) error {
	var code hexutil.Bytes
	err := ask(ctx, w, "eth_getCode", &code, addr, "latest")
	var refused *nodeRefusal
	switch {
	case errors.As(err, &refused):
		return &NodeError{Code: refused.Code, Msg: refused.Message}
	case err != nil:
		return err
	case len(code) == 0:
		return inputErr("address", "there is no contract at %s on chain %s", addr, w.ChainID())
	}
	return nil
}
