// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Table allowance: how much of each limit is used. What a state says is known
// to package allowance alone.

// Allowance is the state of one limit.
type Allowance struct {
	Name  string
	State string // JSON
	// Value is what State says, for Counting; it is not stored.
	Value any
}

// WriteAllowance is Write for what locks rows of table allowance. Replicas wait
// for each other's locks, so nothing else of this process must wait in the same
// transaction; and fn must not touch what others lock before they lock these.
func (db *DB) WriteAllowance(ctx context.Context, fn func(w *Writer) error) error {
	return db.submit(&request{ctx: ctx, counts: true, fn: fn})
}

// LockAllowances returns the states of some limits, "" for what is new, and sees
// to it that nobody else reads them so, or changes them, before the commit. The
// names must be sorted and different. now is the database's clock.
func (w *Writer) LockAllowances(names []string) (states map[string]string, now time.Time, err error) {
	states = make(map[string]string, len(names))
	if now, err = w.lockAllowances(names, states); err != nil || len(states) == len(names) {
		return states, now, err
	}
	// What is not there cannot be locked. Two who make the same row wait for each
	// other here; the second one finds the first one's state.
	for _, name := range names {
		if _, there := states[name]; there {
			continue
		}
		if _, err = w.exec("make allowance "+name, `INSERT INTO allowance (name, state) VALUES ($1, '') ON CONFLICT (name) DO NOTHING`, name); err != nil {
			return nil, now, err
		}
	}
	now, err = w.lockAllowances(names, states)
	return states, now, err
}

func (w *Writer) lockAllowances(names []string, states map[string]string) (now time.Time, err error) {
	now = time.Now()
	clock, lock := w.db.d.now, " FOR UPDATE"
	if w.db.d.here {
		clock, lock = "0", ""
	}
	scan := func(rows *sql.Rows) (a Allowance, err error) {
		var at int64
		if err = rows.Scan(&a.Name, &a.State, &at); at != 0 {
			now = time.UnixMicro(at)
		}
		return a, err
	}
	for list, args := range chunks(names) {
		found, err := collect(w, scan, "lock allowances", `SELECT name, state, `+clock+` FROM allowance WHERE name IN (`+list+`) ORDER BY name`+lock, args...)
		if err != nil {
			return now, w.read(err)
		}
		for _, a := range found {
			states[a.Name] = a.State
		}
	}
	return now, nil
}

// SetAllowance changes the state of a limit that this closure has locked.
func (w *Writer) SetAllowance(a Allowance) error {
	w.counts(a)
	return w.expect("set allowance", a.Name, `UPDATE allowance SET state = $1 WHERE name = $2`, []any{a.State, a.Name}, nil)
}

// DropAllowance forgets a limit that this closure has locked.
func (w *Writer) DropAllowance(name string) error {
	w.counts(Allowance{Name: name})
	_, err := w.exec("drop allowance "+name, `DELETE FROM allowance WHERE name = $1`, name)
	return err
}

// Allowances returns those of some limits that are there, and the database's
// clock.
func (db *DB) Allowances(ctx context.Context, names []string) (all []Allowance, now time.Time, err error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	for list, args := range chunks(names) {
		part, err := collect(r, scanAllowance, "read allowances", `SELECT name, state FROM allowance WHERE name IN (`+list+`)`, args...)
		if err != nil {
			return nil, time.Time{}, err
		}
		all = append(all, part...)
	}
	now, err = db.clock(r)
	return all, now, err
}

// AllowancesAfter is a page of all limits, by name: those after the name after, at
// most limit. With open only those are returned that something is open in.
func (db *DB) AllowancesAfter(ctx context.Context, after string, limit int, open bool) ([]Allowance, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	text := `SELECT name, state FROM allowance WHERE name > $1`
	if open {
		text += ` AND (state LIKE '%"open":%' OR state LIKE '%"late":%')`
	}
	return collect(r, scanAllowance, "read allowances", text+` ORDER BY name LIMIT $2`, after, limit)
}

func scanAllowance(rows *sql.Rows) (a Allowance, err error) {
	return a, rows.Scan(&a.Name, &a.State)
}

// clock is the database's clock.
func (db *DB) clock(q querier) (time.Time, error) {
	if db.d.here {
		return time.Now(), nil
	}
	scan := func(rows *sql.Rows) (at int64, err error) { return at, rows.Scan(&at) }
	at, err := one(q, scan, "read the clock", `SELECT `+db.d.now)
	return time.UnixMicro(at), err
}
