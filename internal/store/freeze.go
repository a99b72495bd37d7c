// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Table frozen: what is stopped. Which scopes there are is package freeze's
// business.

// Frozen is one scope in which nothing is signed and nothing leaves.
type Frozen struct {
	Scope     string // unique
	Reason    string
	Principal string // who froze it
	// Authority is in whose name: empty for the deployment's, consortium:<id> or
	// membership:<id>. Nobody below may change the row.
	Authority string
	At        time.Time
}

// Frozen returns all that is frozen, by scope.
func (db *DB) Frozen(ctx context.Context) ([]Frozen, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (f Frozen, err error) {
		var at sql.NullInt64
		err = rows.Scan(&f.Scope, &f.Reason, &f.Principal, &f.Authority, &at)
		f.At = timeOf(at)
		return f, err
	}
	return collect(r, scan, "read what is frozen", `SELECT scope, reason, principal, authority, at FROM frozen ORDER BY scope`)
}

// ErrAbove says that a scope was frozen by somebody whose freeze the caller may
// not change.
var ErrAbove = errors.New("store: frozen by somebody above")

// PutFrozen freezes a scope in the commit of the closure. One that is frozen
// already stays so, with what f says, if that was done in the name of one of over
// (of anybody, if over is empty): else ErrAbove.
func (w *Writer) PutFrozen(f Frozen, over []string) error {
	may, args := among("frozen.authority", over, 6)
	n, err := w.exec("freeze "+f.Scope, `INSERT INTO frozen (scope, reason, principal, authority, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, principal = excluded.principal, authority = excluded.authority, at = excluded.at
		WHERE `+may,
		append([]any{f.Scope, f.Reason, f.Principal, f.Authority, f.At.UnixMicro()}, args...)...)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: %s", ErrAbove, f.Scope))
	}
	if err != nil {
		return err
	}
	return w.NoteChange(ChangeFreeze)
}

// RemoveFrozen releases a scope in the commit of the closure. ErrNotFound if it is
// not frozen, ErrAbove if that was done in the name of none of over, unless over is
// empty.
func (w *Writer) RemoveFrozen(scope string, over []string) error {
	may, args := among("authority", over, 2)
	n, err := w.exec("release "+scope, `DELETE FROM frozen WHERE scope = $1 AND `+may, append([]any{scope}, args...)...)
	if err != nil {
		return err
	}
	if n > 0 {
		return w.NoteChange(ChangeFreeze)
	}
	if _, err := one(w, scanText, "read whether "+scope+" is frozen", `SELECT scope FROM frozen WHERE scope = $1`, scope); err != nil {
		return w.read(err)
	}
	return w.fail("", fmt.Errorf("%w: %s", ErrAbove, scope))
}

// among is the condition that a column is one of some values, with placeholders
// from the given number on, and what stands for them. No values, no condition.
func among(column string, all []string, from int) (condition string, args []any) {
	if len(all) == 0 {
		return "1 = 1", nil
	}
	places := make([]string, len(all))
	for i, s := range all {
		places[i] = "$" + strconv.Itoa(from+i)
		args = append(args, s)
	}
	return column + " IN (" + strings.Join(places, ", ") + ")", args
}
