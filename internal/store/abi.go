// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Table abi: interfaces of contracts, as they were uploaded. What is in them is
// package contract's business.

// ABI is one interface. Rows are added and removed, and never changed.
type ABI struct {
	ID          string
	Environment string
	Membership  string
	Name        string
	Description string
	ABI         string // JSON
	Docs        string // JSON; empty for none
	Bytecode    []byte // nil if it cannot be deployed
	Compiler    string
	Principal   string
	Created     time.Time

	Deployable bool // it has Bytecode, which lists leave out
}

const abiColumns = `id, environment, membership, name, description, abi, docs, bytecode, compiler, principal, created`

// InsertABI adds an interface. ErrExists if there is one with its id.
func (w *Writer) InsertABI(a ABI) error {
	var code any
	if a.Bytecode != nil {
		code = a.Bytecode
	}
	n, err := w.exec("insert abi "+a.ID, `INSERT INTO abi (`+abiColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT DO NOTHING`,
		a.ID, a.Environment, a.Membership, a.Name, a.Description, a.ABI, a.Docs, code, a.Compiler, a.Principal, timeArg(a.Created))
	if err != nil {
		return err
	}
	if n == 0 {
		return w.fail("", fmt.Errorf("%w: abi %s", ErrExists, a.ID))
	}
	return nil
}

// DeleteABI forgets an interface of a place. ErrNotFound if it is not there, an
// *InUseError if contracts have it.
func (w *Writer) DeleteABI(environment, membership, id string) error {
	if err := w.holdABI(environment, membership, id); err != nil {
		return err
	}
	op := "delete abi " + id
	by, err := collect(w, scanText, op, `SELECT id FROM contract WHERE abi = $1 ORDER BY id LIMIT 10`, id)
	if err != nil {
		return w.read(err)
	}
	if len(by) > 0 {
		return w.fail("", &InUseError{ID: id, By: by})
	}
	_, err = w.exec(op, `DELETE FROM abi WHERE id = $1`, id)
	return err
}

// holdABI keeps others from deleting an interface, or from using it, before this
// commit. ErrNotFound if the place has none of that id.
func (w *Writer) holdABI(environment, membership, id string) error {
	n, err := w.exec("hold abi "+id, `UPDATE abi SET principal = principal WHERE id = $1 AND environment = $2 AND membership = $3`,
		id, environment, membership)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: abi %s", ErrNotFound, id))
	}
	return err
}

// CountABIs is how many interfaces a place has.
func (w *Writer) CountABIs(environment, membership string) (int64, error) {
	n, err := one(w, scanCount, "count abis", `SELECT count(*) FROM abi WHERE environment = $1 AND membership = $2`, environment, membership)
	return n, w.read(err)
}

// ABI reads an interface of a place. ErrNotFound.
func (db *DB) ABI(ctx context.Context, environment, membership, id string) (ABI, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return ABI{}, err
	}
	return one(r, scanABI, "read abi "+id,
		`SELECT `+abiColumns+` FROM abi WHERE id = $1 AND environment = $2 AND membership = $3`, id, environment, membership)
}

// HasABI reports whether a place has an interface.
func (db *DB) HasABI(ctx context.Context, environment, membership, id string) (bool, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return false, err
	}
	n, err := one(r, scanCount, "look for abi "+id,
		`SELECT count(*) FROM abi WHERE id = $1 AND environment = $2 AND membership = $3`, id, environment, membership)
	return n > 0, err
}

// ABIs lists a place's interfaces by id, so by their age, those after an id; the
// documents and the code are left out.
func (db *DB) ABIs(ctx context.Context, environment, membership, after string, limit int) ([]ABI, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (ABI, error) {
		var a ABI
		var code int64
		var created sql.NullInt64
		err := rows.Scan(&a.ID, &a.Environment, &a.Membership, &a.Name, &a.Description, &code, &a.Compiler, &a.Principal, &created)
		a.Deployable, a.Created = code != 0, timeOf(created)
		return a, err
	}
	return collect(r, scan, "list abis", `SELECT id, environment, membership, name, description,
		CASE WHEN bytecode IS NULL THEN 0 ELSE 1 END, compiler, principal, created FROM abi
		WHERE environment = $1 AND membership = $2 AND id > $3 ORDER BY id LIMIT $4`, environment, membership, after, int64(limit))
}

func scanABI(rows *sql.Rows) (ABI, error) {
	var a ABI
	var code sql.RawBytes
	var created sql.NullInt64
	err := rows.Scan(&a.ID, &a.Environment, &a.Membership, &a.Name, &a.Description, &a.ABI, &a.Docs, &code, &a.Compiler, &a.Principal, &created)
	a.Bytecode, a.Created = bytes.Clone(code), timeOf(created)
	a.Deployable = a.Bytecode != nil
	return a, err
}
