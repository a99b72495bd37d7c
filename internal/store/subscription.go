// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Table subscription: what a stream delivers, and up to where it has.

// Subscription is one event that a stream delivers.
type Subscription struct {
	ID         string
	Stream     string
	Name       string
	Event      string // JSON: an ABI of the event, and of the functions that transactions are read by
	Address    string // 0x and 40 lower-case hex digits; empty for all
	FromBlock  string // latest, or a number
	Checkpoint string // JSON: up to where it is delivered
	Principal  string
	Created    time.Time
	Updated    time.Time // changes when the checkpoint is put elsewhere, not when it advances
}

const subscriptionColumns = `u.id, u.stream, u.name, u.event, u.address, u.from_block, u.checkpoint, u.principal, u.created, u.updated`

func scanSubscription(rows *sql.Rows) (u Subscription, err error) {
	var created, updated sql.NullInt64
	err = rows.Scan(&u.ID, &u.Stream, &u.Name, &u.Event, &u.Address, &u.FromBlock, &u.Checkpoint, &u.Principal, &created, &updated)
	u.Created, u.Updated = timeOf(created), timeOf(updated)
	return u, err
}

// InsertSubscription stores a new subscription. ErrNotFound if its stream is not
// there, ErrExists if there is one with its id.
func (w *Writer) InsertSubscription(u Subscription) error {
	if err := w.touchStream(u.Stream, u.Updated); err != nil {
		return err
	}
	n, err := w.exec("insert subscription "+u.ID, `INSERT INTO subscription
		(id, stream, name, event, address, from_block, checkpoint, principal, created, updated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING`,
		u.ID, u.Stream, u.Name, u.Event, u.Address, u.FromBlock, u.Checkpoint, u.Principal, timeArg(u.Created), timeArg(u.Updated))
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: subscription %s", ErrExists, u.ID))
	}
	return err
}

// ResetSubscription puts the checkpoint of a subscription elsewhere. A checkpoint
// that the stream's holder writes for what was before is refused from now on.
// ErrRevision if it was changed after was, ErrNotFound if its stream is gone.
func (w *Writer) ResetSubscription(u Subscription, was time.Time) error {
	if err := w.touchStream(u.Stream, u.Updated); err != nil {
		return err
	}
	n, err := w.exec("reset subscription "+u.ID, `UPDATE subscription SET from_block = $1, checkpoint = $2, updated = $3 WHERE id = $4 AND updated = $5`,
		u.FromBlock, u.Checkpoint, timeArg(u.Updated), u.ID, timeArg(was))
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: subscription %s", ErrRevision, u.ID))
	}
	return err
}

// DeleteSubscription forgets a subscription of a stream. ErrNotFound if it is not
// there.
func (w *Writer) DeleteSubscription(stream, id string, now time.Time) error {
	if err := w.touchStream(stream, now); err != nil {
		return err
	}
	n, err := w.exec("delete subscription "+id, `DELETE FROM subscription WHERE id = $1 AND stream = $2`, id, stream)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: subscription %s", ErrNotFound, id))
	}
	return err
}

// CountSubscriptions counts the subscriptions of a stream.
func (w *Writer) CountSubscriptions(stream string) (int64, error) {
	n, err := one(w, scanCount, "count subscriptions", `SELECT count(*) FROM subscription WHERE stream = $1`, stream)
	return n, w.read(err)
}

// Subscription reads one subscription. ErrNotFound if it is not there.
func (db *DB) Subscription(ctx context.Context, id string) (Subscription, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Subscription{}, err
	}
	return one(r, scanSubscription, "read subscription "+id, `SELECT `+subscriptionColumns+` FROM subscription u WHERE u.id = $1`, id)
}

// Subscriptions lists subscriptions by id, which is the order in which they were
// made.
func (db *DB) Subscriptions(ctx context.Context, f StreamFilter) ([]Subscription, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	cond, args := f.condition("u.id")
	return collect(r, scanSubscription, "list subscriptions", `SELECT `+subscriptionColumns+` FROM subscription u JOIN stream s ON s.id = u.stream`+cond, args...)
}

// SubscriptionCheckpoint is up to where a subscription is delivered.
type SubscriptionCheckpoint struct {
	ID         string
	Updated    time.Time // as the holder read it
	Checkpoint string
}

// SaveCheckpoints writes checkpoints of subscriptions of a stream, for the holder
// of that epoch. ErrLeaseLost if the stream is not its any more, or has expired:
// then nothing is written. A subscription that was reset or deleted meanwhile is
// left as it is.
func (db *DB) SaveCheckpoints(ctx context.Context, stream, owner string, epoch int64, all []SubscriptionCheckpoint) error {
	return db.Write(ctx, func(w *Writer) error {
		// Taking the row keeps another from being granted the lease before this commit.
		n, err := w.exec("check lease of stream "+stream, `UPDATE stream SET epoch = epoch WHERE id = $1 AND holder = $2 AND epoch = $3 AND until > `+w.db.d.now,
			stream, owner, epoch)
		if err != nil {
			return err
		}
		if n == 0 {
			return w.fail("", fmt.Errorf("%w: stream %s, epoch %d", ErrLeaseLost, stream, epoch))
		}
		for _, c := range all {
			if _, err := w.exec("save checkpoint of "+c.ID, `UPDATE subscription SET checkpoint = $1 WHERE id = $2 AND stream = $3 AND updated = $4`,
				c.Checkpoint, c.ID, stream, timeArg(c.Updated)); err != nil {
				return err
			}
		}
		return nil
	})
}
