// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Table event: the outbox of webhooks.

// Event is one message that waits for its receiver.
type Event struct {
	ID      string
	Hook    string // of the receiver, as the configuration names it
	Wallet  string
	Tx      string
	Body    []byte
	Created time.Time
	Due     time.Time // of the next try; zero is at once
	Tries   int       // so far
	Error   string    // of the last try
}

// PutEvent stores an event in the commit of the closure. A zero Created is now.
func (w *Writer) PutEvent(e Event) error {
	if e.Created.IsZero() {
		e.Created = time.Now()
	}
	if e.Due.IsZero() {
		e.Due = e.Created
	}
	_, err := w.exec("insert event "+e.ID, `INSERT INTO event (id, hook, wallet, tx, body, created, due, tries, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		e.ID, e.Hook, e.Wallet, e.Tx, bytesArg(e.Body), timeArg(e.Created), timeArg(e.Due), int64(e.Tries), e.Error)
	return err
}

// DueEvents returns the events of hooks that are due at now, those that have
// waited longest first: at most limit of each hook.
func (db *DB) DueEvents(ctx context.Context, hooks []string, now time.Time, limit int) ([]Event, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (e Event, err error) {
		var body sql.RawBytes
		var created, due sql.NullInt64
		err = rows.Scan(&e.ID, &e.Hook, &e.Wallet, &e.Tx, &body, &created, &due, &e.Tries, &e.Error)
		e.Body, e.Created, e.Due = bytes.Clone(body), timeOf(created), timeOf(due)
		return e, err
	}
	var all []Event
	for _, hook := range hooks {
		events, err := collect(r, scan, "read events of "+hook, `SELECT id, hook, wallet, tx, body, created, due, tries, error FROM event
			WHERE hook = $1 AND due <= $2 ORDER BY due LIMIT $3`, hook, now.UnixMicro(), limit)
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	return all, nil
}

// EventsDelivered forgets events. Those that are not there are no error.
func (db *DB) EventsDelivered(ctx context.Context, ids []string) error {
	for list, args := range chunks(ids) {
		err := db.Write(ctx, func(w *Writer) error {
			_, err := w.exec("remove events", `DELETE FROM event WHERE id IN (`+list+`)`, args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// EventFailed counts a try that failed, and for what reason, and has the next
// one wait until due. ErrNotFound if there is no such event any more.
func (db *DB) EventFailed(ctx context.Context, id, reason string, due time.Time) error {
	return db.Write(ctx, func(w *Writer) error {
		n, err := w.exec("put off event "+id, `UPDATE event SET tries = tries + 1, error = $1, due = $2 WHERE id = $3`,
			reason, due.UnixMicro(), id)
		if err == nil && n == 0 {
			return fmt.Errorf("%w: event %s", ErrNotFound, id)
		}
		return err
	})
}

// DropEvents forgets the events that were made before olderThan, delivered or
// not, and returns how many.
func (db *DB) DropEvents(ctx context.Context, olderThan time.Time) (int, error) {
	return db.inBatches(ctx, func(w *Writer) (int, error) {
		n, err := w.exec("drop events", `DELETE FROM event WHERE id IN (
			SELECT id FROM event WHERE created < $1 LIMIT $2)`, olderThan.UnixMicro(), pruneBatch)
		return int(n), err
	})
}

// EventCounts counts the events that wait, by hook.
func (db *DB) EventCounts(ctx context.Context) (map[string]int, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var hook string
		var n int
		err := rows.Scan(&hook, &n)
		counts[hook] = n
		return struct{}{}, err
	}
	_, err = collect(r, scan, "count events", `SELECT hook, count(*) FROM event GROUP BY hook`)
	return counts, err
}
