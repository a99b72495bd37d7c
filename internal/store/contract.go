// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Table contract: contracts that were deployed or registered. What a row may
// become is package contract's business.

// GatewayKey begins the idempotency key of what came in by the gateway; the
// request's id follows.
const GatewayKey = "gateway:"

// Contract is one contract of a place on a chain.
type Contract struct {
	ID          string
	Environment string
	Membership  string
	Chain       string // chain id, decimal
	Address     string // 0x and 40 lower-case hex digits; empty: its deployment is not final
	Name        string // unique in its place and chain; empty for none
	ABI         string // id; empty for none
	Kind        string
	Wallet      string // that deploys it; empty if it was registered
	Credential  string // auth.Principal.Name under which the deployment's key counts
	Reply       string // id of the deployment; its key is GatewayKey and this
	Detail      string // JSON
	Principal   string
	Created     time.Time

	// Tx is what was accepted under the deployment's key; nil if nothing was, or
	// the contract has an Address. It is read, and never written.
	Tx *ContractTx
}

// ContractTx is the transaction that deploys a contract.
type ContractTx struct {
	ID          string
	RequestHash [32]byte
	State       TxState // empty if it was pruned before it was final
	Pruned      bool    // Sender, Nonce and Succeeded are not known any more
	Sender      string
	Nonce       *uint64
	Hash        common.Hash
	Succeeded   bool
}

// TakenError says that another row has a name or an address.
type TakenError struct {
	What string // "name" or "address"
	By   Contract
}

func (e *TakenError) Error() string {
	return "store: the " + e.What + " is taken by contract " + e.By.ID
}

const (
	contractColumns = `id, environment, membership, chain, address, name, abi, kind, wallet, credential, reply, detail, principal, created`
	contractFrom    = `SELECT c.id, c.environment, c.membership, c.chain, c.address, c.name, c.abi, c.kind, c.wallet, c.credential,
		c.reply, c.detail, c.principal, c.created,
		i.tx, i.request_hash, COALESCE(t.state, i.state), t.id, t.sender, t.nonce, COALESCE(t.hash, i.hash), t.succeeded
		FROM contract c
		LEFT JOIN idempotency i ON c.address = '' AND i.wallet = c.wallet AND i.credential = c.credential AND i.key = '` + GatewayKey + `' || c.reply
		LEFT JOIN tx t ON t.id = i.tx`
	contractPlace = ` c.environment = $1 AND c.membership = $2 AND c.chain = $3`
)

func scanContract(rows *sql.Rows) (Contract, error) {
	var (
		c                 Contract
		created           sql.NullInt64
		tx, state, there  sql.NullString
		sender            sql.NullString
		nonce, succeeded  sql.NullInt64
		requestHash, hash sql.RawBytes
	)
	err := rows.Scan(&c.ID, &c.Environment, &c.Membership, &c.Chain, &c.Address, &c.Name, &c.ABI, &c.Kind, &c.Wallet, &c.Credential,
		&c.Reply, &c.Detail, &c.Principal, &created, &tx, &requestHash, &state, &there, &sender, &nonce, &hash, &succeeded)
	if err != nil {
		return Contract{}, err
	}
	c.Created = timeOf(created)
	if !tx.Valid {
		return c, nil
	}
	c.Tx = &ContractTx{
		ID: tx.String, State: TxState(state.String), Pruned: !there.Valid, Sender: sender.String,
		Hash: common.BytesToHash(hash), Succeeded: succeeded.Int64 != 0,
	}
	copy(c.Tx.RequestHash[:], requestHash)
	if nonce.Valid {
		n := uint64(nonce.Int64)
		c.Tx.Nonce = &n
	}
	return c, nil
}

// InsertContract adds a contract, and keeps its interface from being deleted. A
// *TakenError if another has its name or address, ErrExists if one has its id,
// ErrNotFound if the place has no such interface.
func (w *Writer) InsertContract(c Contract) error {
	if c.ABI != "" {
		if err := w.holdABI(c.Environment, c.Membership, c.ABI); err != nil {
			return err
		}
	}
	// No conflict target: all unique indexes count, and no error breaks the
	// transaction on PostgreSQL.
	n, err := w.exec("insert contract "+c.ID, `INSERT INTO contract (`+contractColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`,
		c.ID, c.Environment, c.Membership, c.Chain, c.Address, c.Name, c.ABI, c.Kind, c.Wallet, c.Credential,
		c.Reply, c.Detail, c.Principal, timeArg(c.Created))
	if err != nil || n == 1 {
		return err
	}
	if err := w.taken(c); err != nil {
		return err
	}
	return w.fail("", fmt.Errorf("%w: contract %s", ErrExists, c.ID))
}

// taken finds another row with the name or address of c.
func (w *Writer) taken(c Contract) error {
	for _, by := range []struct{ what, value string }{{"name", c.Name}, {"address", c.Address}} {
		found, err := contractBy(w, by.what, c.Environment, c.Membership, c.Chain, by.value)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return w.read(err)
		case found.ID != c.ID:
			return w.fail("", &TakenError{What: by.what, By: found})
		}
	}
	return nil
}

// UpdateContract writes address, name and detail of a contract that is still as
// was says it is, and ErrChanged if it is not, or is gone. A *TakenError if
// another has its name or address.
func (w *Writer) UpdateContract(c, was Contract) error {
	if err := w.taken(c); err != nil {
		return err
	}
	n, err := w.try(`UPDATE contract SET address = $1, name = $2, detail = $3
		WHERE id = $4 AND address = $5 AND name = $6 AND detail = $7`,
		c.Address, c.Name, c.Detail, was.ID, was.Address, was.Name, was.Detail)
	switch {
	case err != nil && w.db.d.unique(err): // somebody was faster
		return w.fail("", fmt.Errorf("%w: contract %s", ErrChanged, c.ID))
	case err != nil:
		return w.fail("update contract "+c.ID, err)
	case n == 0:
		return w.fail("", fmt.Errorf("%w: contract %s", ErrChanged, c.ID))
	}
	return nil
}

// DeleteContract forgets a contract that is still as was says it is, and
// ErrChanged if it is not, or is gone.
func (w *Writer) DeleteContract(was Contract) error {
	n, err := w.exec("delete contract "+was.ID, `DELETE FROM contract WHERE id = $1 AND address = $2 AND name = $3 AND detail = $4`,
		was.ID, was.Address, was.Name, was.Detail)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: contract %s", ErrChanged, was.ID))
	}
	return err
}

// SpendKey uses an idempotency key up for a request that was never accepted: it
// then is as one whose transaction failed, with failure as its error. It reports
// false if the key is known. A transaction that comes under the key at the same
// time is either in before, or is refused as a repetition.
func (w *Writer) SpendKey(wallet, credential, key string, requestHash [32]byte, failure string) (bool, error) {
	n, err := w.exec("spend an idempotency key", `INSERT INTO idempotency (wallet, credential, key, request_hash, tx, created, state, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (wallet, credential, key) DO NOTHING`,
		wallet, credential, key, requestHash[:], NewID(), timeArg(time.Now()), string(Failed), failure)
	return n == 1, err
}

// Contract reads a contract as this closure would leave it. ErrNotFound.
func (w *Writer) Contract(id string) (Contract, error) {
	c, err := contractByID(w, id)
	return c, w.read(err)
}

// Contract reads a contract. ErrNotFound.
func (db *DB) Contract(ctx context.Context, id string) (Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Contract{}, err
	}
	return contractByID(r, id)
}

func contractByID(q querier, id string) (Contract, error) {
	return one(q, scanContract, "read contract "+id, contractFrom+` WHERE c.id = $1`, id)
}

// Idempotent is [DB.Idempotent] as this closure would leave it.
func (w *Writer) Idempotent(wallet, credential, key string) (IdempotentRow, error) {
	row, err := keyRow(w, wallet, credential, key)
	return row, w.read(err)
}

// CountContracts is how many contracts a place has, on all chains.
func (w *Writer) CountContracts(environment, membership string) (int64, error) {
	n, err := one(w, scanCount, "count contracts", `SELECT count(*) FROM contract WHERE environment = $1 AND membership = $2`, environment, membership)
	return n, w.read(err)
}

// ContractByName reads a contract of a place as this closure would leave it.
// ErrNotFound.
func (w *Writer) ContractByName(environment, membership, chain, name string) (Contract, error) {
	c, err := contractBy(w, "name", environment, membership, chain, name)
	return c, w.read(err)
}

// ContractByName reads a contract of a place. ErrNotFound.
func (db *DB) ContractByName(ctx context.Context, environment, membership, chain, name string) (Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Contract{}, err
	}
	return contractBy(r, "name", environment, membership, chain, name)
}

// ContractByAddress reads a contract of a place that has its address, as this
// closure would leave it. ErrNotFound.
func (w *Writer) ContractByAddress(environment, membership, chain, address string) (Contract, error) {
	c, err := contractBy(w, "address", environment, membership, chain, address)
	return c, w.read(err)
}

// ContractByAddress reads a contract of a place that has its address.
// ErrNotFound.
func (db *DB) ContractByAddress(ctx context.Context, environment, membership, chain, address string) (Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Contract{}, err
	}
	return contractBy(r, "address", environment, membership, chain, address)
}

// contractBy finds a contract by one of the two columns that are unique.
func contractBy(q querier, column, environment, membership, chain, value string) (Contract, error) {
	return one(q, scanContract, "read a contract by its "+column,
		contractFrom+` WHERE`+contractPlace+` AND c.`+column+` = $4 AND c.`+column+` <> ''`, environment, membership, chain, value)
}

// Contracts lists a place's contracts in the order in which they were made, those
// after the one with the id after; of one kind if kind is not empty.
func (db *DB) Contracts(ctx context.Context, environment, membership, chain, kind, after string, limit int) ([]Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanContract, "list contracts", contractFrom+` WHERE`+contractPlace+`
		AND (c.kind = $4 OR $5 = '')
		AND ($6 = '' OR (c.created, c.id) > (SELECT a.created, a.id FROM contract a WHERE a.id = $7))
		ORDER BY c.created, c.id LIMIT $8`, environment, membership, chain, kind, kind, after, after, int64(limit))
}

// OpenContracts lists the contracts of a place whose deployment is not final.
func (db *DB) OpenContracts(ctx context.Context, environment, membership, chain string) ([]Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return openContracts(r, environment, membership, chain)
}

// OpenContracts is [DB.OpenContracts] as this closure would leave it.
func (w *Writer) OpenContracts(environment, membership, chain string) ([]Contract, error) {
	all, err := openContracts(w, environment, membership, chain)
	return all, w.read(err)
}

func openContracts(q querier, environment, membership, chain string) ([]Contract, error) {
	return collect(q, scanContract, "list contracts that are being deployed",
		contractFrom+` WHERE`+contractPlace+` AND c.address = '' ORDER BY c.created, c.id`, environment, membership, chain)
}

// AllOpenContracts lists contracts of all places whose deployment is not final,
// by id, those after an id.
func (db *DB) AllOpenContracts(ctx context.Context, after string, limit int) ([]Contract, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanContract, "list all contracts that are being deployed",
		contractFrom+` WHERE c.address = '' AND c.id > $1 ORDER BY c.id LIMIT $2`, after, int64(limit))
}

// DeleteContractsOf removes the interfaces and contracts of an environment or of a
// membership that is no more; the other is empty.
func (w *Writer) DeleteContractsOf(environment, membership string) error {
	const which = ` WHERE ($1 <> '' AND environment = $1) OR ($2 <> '' AND membership = $2)`
	if _, err := w.exec("delete contracts", `DELETE FROM contract`+which, environment, membership); err != nil {
		return err
	}
	_, err := w.exec("delete interfaces", `DELETE FROM abi`+which, environment, membership)
	return err
}
