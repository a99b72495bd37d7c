// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Table sender.

const senderColumns = `id, chain_id, genesis, instance, address, membership, proven, parked, confirmed_number, confirmed_hash`

func scanSender(rows *sql.Rows) (Sender, error) {
	var (
		s                                 Sender
		chainID, proven, confirmed        int64
		genesis, address, confirmedInHash sql.RawBytes
	)
	err := rows.Scan(&s.ID, &chainID, &genesis, &s.Instance, &address, &s.Membership, &proven, &s.Parked, &confirmed, &confirmedInHash)
	if err != nil {
		return Sender{}, err
	}
	s.ChainID, s.ConfirmedNumber = uint64(chainID), uint64(confirmed)
	s.Genesis, s.ConfirmedHash = common.BytesToHash(genesis), common.BytesToHash(confirmedInHash)
	s.Address = common.BytesToAddress(address)
	s.Proven = proven != 0
	return s, nil
}

// PutSender stores a sender if it is not there yet. One that is there stays as
// it is; if it belongs to another membership the answer is ErrForeignSender.
func (w *Writer) PutSender(s Sender) error {
	chainID, err := uintArg("chain id", s.ChainID)
	if err != nil {
		return w.fail("", err)
	}
	confirmed, err := uintArg("block", s.ConfirmedNumber)
	if err != nil {
		return w.fail("", err)
	}
	op := "insert sender " + s.ID
	n, err := w.exec(op, `INSERT INTO sender (`+senderColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING`,
		s.ID, chainID, s.Genesis.Bytes(), s.Instance, s.Address.Bytes(), s.Membership, boolArg(s.Proven), s.Parked,
		confirmed, hashArg(s.ConfirmedHash))
	if err != nil || n == 1 {
		return err
	}
	there, err := senderByID(w, s.ID)
	if err != nil {
		return w.read(err)
	}
	if there.Membership != s.Membership {
		return w.fail("", fmt.Errorf("%w: %s", ErrForeignSender, s.ID))
	}
	return nil
}

// SenderUpdate says what to change in a sender; nil keeps what is there.
type SenderUpdate struct {
	Parked          *string // empty releases
	Proven          *bool
	ConfirmedNumber *uint64
	ConfirmedHash   *common.Hash
}

// UpdateSender changes a sender. ErrNotFound if there is none.
func (w *Writer) UpdateSender(id string, u SenderUpdate) error {
	set := newSetter("sender")
	if u.Parked != nil {
		set.add("parked", *u.Parked)
	}
	if u.Proven != nil {
		set.add("proven", boolArg(*u.Proven))
	}
	if u.ConfirmedNumber != nil {
		n, err := uintArg("block", *u.ConfirmedNumber)
		if err != nil {
			return w.fail("", err)
		}
		set.add("confirmed_number", n)
	}
	if u.ConfirmedHash != nil {
		set.add("confirmed_hash", hashArg(*u.ConfirmedHash))
	}
	if len(set.args) == 0 {
		return nil
	}
	set.where("id", id)
	text, args := set.text()
	return w.expect("update sender", id, text, args, func(err error) error {
		if err != nil {
			return nil
		}
		return fmt.Errorf("%w: sender %s", ErrNotFound, id)
	})
}

// Sender returns a sender, or ErrNotFound.
func (db *DB) Sender(ctx context.Context, id string) (Sender, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Sender{}, err
	}
	return senderByID(r, id)
}

// Sender returns a sender as this closure would leave it.
func (w *Writer) Sender(id string) (Sender, error) {
	s, err := senderByID(w, id)
	return s, w.read(err)
}

func senderByID(q querier, id string) (Sender, error) {
	return one(q, scanSender, "read sender "+id, `SELECT `+senderColumns+` FROM sender WHERE id = $1`, id)
}

// Senders returns all senders by id.
func (db *DB) Senders(ctx context.Context) ([]Sender, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanSender, "list senders", `SELECT `+senderColumns+` FROM sender ORDER BY id`)
}
