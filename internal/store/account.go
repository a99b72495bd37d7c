// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Table account: what discovery last found in each wallet.

// Missing is the Account.State of what the last refresh did not find.
const Missing = "missing"

// PutAccounts stores what a refresh of the wallet has found. Accounts of the
// wallet that are not among them become Missing and keep the rest of their
// row.
func (w *Writer) PutAccounts(wallet string, accounts []Account) error {
	op := "store accounts of " + wallet
	if _, err := w.exec(op, `UPDATE account SET state = $1 WHERE wallet = $2`, Missing, wallet); err != nil {
		return err
	}
	for _, a := range accounts {
		tags, err := json.Marshal(a.Tags)
		if err != nil {
			return w.fail(op, err)
		}
		_, err = w.exec(op, `INSERT INTO account (wallet, address, ref, name, protection, state, reason, tags, seen)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (wallet, address) DO UPDATE SET ref = excluded.ref, name = excluded.name,
			protection = excluded.protection, state = excluded.state, reason = excluded.reason,
			tags = excluded.tags, seen = excluded.seen`,
			wallet, a.Address.Bytes(), a.Ref, a.Name, a.Protection, a.State, a.Reason, string(tags), timeArg(a.Seen))
		if err != nil {
			return err
		}
	}
	return nil
}

// Accounts returns the accounts of a wallet by address, the missing ones too.
func (db *DB) Accounts(ctx context.Context, wallet string) ([]Account, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanAccount, "read accounts of "+wallet, `SELECT wallet, address, ref, name, protection, state, reason, tags, seen
		FROM account WHERE wallet = $1 ORDER BY address`, wallet)
}

func scanAccount(rows *sql.Rows) (Account, error) {
	var a Account
	var address, tags sql.RawBytes
	var seen sql.NullInt64
	err := rows.Scan(&a.Wallet, &address, &a.Ref, &a.Name, &a.Protection, &a.State, &a.Reason, &tags, &seen)
	if err != nil {
		return Account{}, err
	}
	a.Address, a.Seen = common.BytesToAddress(address), timeOf(seen)
	if err := json.Unmarshal(tags, &a.Tags); err != nil {
		return Account{}, fmt.Errorf("tags of account %s: %w", a.Address, err)
	}
	return a, nil
}

// SaveAccounts is [Writer.PutAccounts] in a commit of its own: what package
// wallet asks of its snapshots.
func (db *DB) SaveAccounts(ctx context.Context, wallet string, accounts []Account) error {
	return db.Write(ctx, func(w *Writer) error { return w.PutAccounts(wallet, accounts) })
}
