// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Table account: what discovery last found in each wallet.

// Missing is the Account.State of what the last refresh did not find.
const Missing = "missing"

// PutAccounts stores what a refresh of the wallet has found. Accounts of the
// wallet that are not among them become Missing and keep the rest of their
// row. Only rows that change are written; if any changes in more than Seen, the
// wallet's version in [DB.SnapshotVersions] rises.
func (w *Writer) PutAccounts(wallet string, accounts []Account) error {
	op := "store accounts of " + wallet
	// Two replicas that refresh one wallet at once do so one after the other.
	if _, err := w.exec(op, `UPDATE snapshot SET version = version WHERE wallet = $1`, wallet); err != nil {
		return err
	}
	stored, err := collect(w, scanAccount, op, accountsText, wallet)
	if err != nil {
		return w.read(err)
	}
	old := make(map[common.Address]Account, len(stored))
	for _, a := range stored {
		old[a.Address] = a
	}
	changed := false
	seen := make(map[time.Time]int) // of the rows in which nothing else is new
	for _, a := range accounts {
		was, known := old[a.Address]
		delete(old, a.Address)
		if known && sameAccount(was, a, wallet) {
			if !was.Seen.Equal(a.Seen.Truncate(time.Microsecond)) {
				seen[a.Seen]++
			}
			continue
		}
		changed = true
		if err := w.putAccount(op, wallet, a); err != nil {
			return err
		}
	}
	for address, was := range old {
		if was.State == Missing {
			continue
		}
		changed = true
		_, err := w.exec(op, `UPDATE account SET state = $1 WHERE wallet = $2 AND address = $3`, Missing, wallet, address.Bytes())
		if err != nil {
			return err
		}
	}
	if err := w.putSeen(op, wallet, accounts, seen); err != nil || !changed {
		return err
	}
	_, err = w.exec(op, `INSERT INTO snapshot (wallet, version) VALUES ($1, 1)
		ON CONFLICT (wallet) DO UPDATE SET version = snapshot.version + 1`, wallet)
	return err
}

func (w *Writer) putAccount(op, wallet string, a Account) error {
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
	return err
}

// putSeen writes the times at which accounts were found again: one statement if
// all were found at one time, as by a refresh.
func (w *Writer) putSeen(op, wallet string, accounts []Account, seen map[time.Time]int) error {
	if len(seen) == 1 && !slices.ContainsFunc(accounts, func(a Account) bool { return seen[a.Seen] == 0 || a.State == Missing }) {
		_, err := w.exec(op, `UPDATE account SET seen = $1 WHERE wallet = $2 AND state <> $3`, timeArg(accounts[0].Seen), wallet, Missing)
		return err
	}
	for _, a := range accounts {
		if seen[a.Seen] == 0 {
			continue
		}
		_, err := w.exec(op, `UPDATE account SET seen = $1 WHERE wallet = $2 AND address = $3`, timeArg(a.Seen), wallet, a.Address.Bytes())
		if err != nil {
			return err
		}
	}
	return nil
}

// sameAccount compares all but Seen.
func sameAccount(was, is Account, wallet string) bool {
	tags := maps.Equal(was.Tags, is.Tags)
	was.Tags, is.Tags, was.Seen, is.Seen, is.Wallet = nil, nil, time.Time{}, time.Time{}, wallet
	return tags && reflect.DeepEqual(was, is)
}

const accountsText = `SELECT wallet, address, ref, name, protection, state, reason, tags, seen
	FROM account WHERE wallet = $1 ORDER BY address`

// Accounts returns the accounts of a wallet by address, the missing ones too.
func (db *DB) Accounts(ctx context.Context, wallet string) ([]Account, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanAccount, "read accounts of "+wallet, accountsText, wallet)
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
