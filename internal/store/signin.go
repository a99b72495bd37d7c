// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Tables sign_in, sealed_key and account_label.

// SignIn is one session of a person in a browser.
type SignIn struct {
	Hash    []byte // keyed hash of what the cookie holds
	Subject string // stable, as the identity provider has it
	Name    string // for people
	Grants  []byte // JSON: what the person might do when signing in
	Created time.Time
	Expires time.Time
}

// PutSignIn stores a session and forgets those that have expired.
func (db *DB) PutSignIn(ctx context.Context, s SignIn) error {
	return db.Write(ctx, func(w *Writer) error {
		if _, err := w.exec("forget old sign-ins", `DELETE FROM sign_in WHERE expires <= $1`, time.Now().UnixMicro()); err != nil {
			return err
		}
		_, err := w.exec("insert sign-in", `INSERT INTO sign_in (hash, subject, name, grants, created, expires) VALUES ($1, $2, $3, $4, $5, $6)`,
			s.Hash, s.Subject, s.Name, string(s.Grants), timeArg(s.Created), timeArg(s.Expires))
		return err
	})
}

// SignIn finds a session that has not expired. ErrNotFound if there is none.
func (db *DB) SignIn(ctx context.Context, hash []byte) (SignIn, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return SignIn{}, err
	}
	return one(r, scanSignIn, "read sign-in", `SELECT hash, subject, name, grants, created, expires FROM sign_in
		WHERE hash = $1 AND expires > $2`, hash, time.Now().UnixMicro())
}

// SignIns returns the sessions of a person that have not expired, the newest first.
func (db *DB) SignIns(ctx context.Context, subject string) ([]SignIn, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanSignIn, "list sign-ins", `SELECT hash, subject, name, grants, created, expires FROM sign_in
		WHERE subject = $1 AND expires > $2 ORDER BY created DESC, hash`, subject, time.Now().UnixMicro())
}

func scanSignIn(rows *sql.Rows) (s SignIn, err error) {
	var stored sql.RawBytes
	var grants string
	var created, expires sql.NullInt64
	err = rows.Scan(&stored, &s.Subject, &s.Name, &grants, &created, &expires)
	s.Hash, s.Grants, s.Created, s.Expires = bytes.Clone(stored), []byte(grants), timeOf(created), timeOf(expires)
	return s, err
}

// EndSignIn forgets a session. One that is not there is no error.
func (db *DB) EndSignIn(ctx context.Context, hash []byte) error {
	return db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("end sign-in", `DELETE FROM sign_in WHERE hash = $1`, hash)
		return err
	})
}

// SealedKey returns a key of the deployment as package seal sealed it. If there
// is none it stores fresh, and returns that, or what another replica stored
// before it. With a nil fresh it is ErrNotFound.
func (db *DB) SealedKey(ctx context.Context, name string, fresh []byte) (sealed []byte, err error) {
	if r, err := db.reader(ctx); err != nil {
		return nil, err
	} else if fresh == nil {
		return sealedKeyIn(r, name)
	}
	err = db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("store key "+name, `INSERT INTO sealed_key (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, fresh)
		if err != nil {
			return err
		}
		sealed, err = sealedKeyIn(w, name)
		return w.read(err)
	})
	return sealed, err
}

// ReplaceSealedKey stores a key that was sealed anew, if it is still what was
// read; ErrRevision if it is not.
func (db *DB) ReplaceSealedKey(ctx context.Context, name string, was, is []byte) error {
	return db.Write(ctx, func(w *Writer) error {
		n, err := w.exec("replace key "+name, `UPDATE sealed_key SET sealed = $1 WHERE name = $2 AND sealed = $3`, is, name, was)
		if err == nil && n == 0 {
			err = w.fail("", fmt.Errorf("%w: key %s", ErrRevision, name))
		}
		return err
	})
}

func sealedKeyIn(q querier, name string) ([]byte, error) {
	scan := func(rows *sql.Rows) (b []byte, err error) {
		err = rows.Scan(&b)
		return b, err
	}
	return one(q, scan, "read key "+name, `SELECT sealed FROM sealed_key WHERE name = $1`, name)
}

// SealedKeys lists the names of the deployment's keys.
func (db *DB) SealedKeys(ctx context.Context) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanText, "list keys", `SELECT name FROM sealed_key ORDER BY name`)
}

// SetLabel names an account of a wallet; an empty label takes the name away.
func (db *DB) SetLabel(ctx context.Context, wallet string, address common.Address, label string) error {
	return db.Write(ctx, func(w *Writer) error {
		op := "label account of " + wallet
		if label == "" {
			_, err := w.exec(op, `DELETE FROM account_label WHERE wallet = $1 AND address = $2`, wallet, address.Bytes())
			return err
		}
		_, err := w.exec(op, `INSERT INTO account_label (wallet, address, label) VALUES ($1, $2, $3)
			ON CONFLICT (wallet, address) DO UPDATE SET label = excluded.label`, wallet, address.Bytes(), label)
		return err
	})
}

// Labels returns what the accounts of a wallet are called.
func (db *DB) Labels(ctx context.Context, wallet string) (map[common.Address]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	labels := make(map[common.Address]string)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var address sql.RawBytes
		var label string
		err := rows.Scan(&address, &label)
		labels[common.BytesToAddress(address)] = label
		return struct{}{}, err
	}
	_, err = collect(r, scan, "read labels of "+wallet, `SELECT address, label FROM account_label WHERE wallet = $1`, wallet)
	return labels, err
}
