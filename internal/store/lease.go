// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Table lease: who may assign nonces for a sender.

// Fence names the lease under which a write is made.
type Fence struct {
	Sender string // Sender.ID
	Owner  string
	Epoch  int64
}

func scanLease(rows *sql.Rows) (Lease, error) {
	var l Lease
	var expires sql.NullInt64
	err := rows.Scan(&l.Sender, &l.Owner, &l.Epoch, &expires)
	l.Expires = timeOf(expires)
	return l, err
}

// AcquireLease takes the lease of a sender for ttl, under an epoch that no
// earlier grant had: if nobody has it, it has expired by the database's clock,
// the same owner asks anew, or Config.Exclusive says that no other owner can
// be alive. Otherwise it returns a *LeaseHeldError, which is an ErrLeaseHeld.
func (db *DB) AcquireLease(ctx context.Context, sender, owner string, ttl time.Duration) (Lease, error) {
	var lease Lease
	err := db.writeLease(ctx, sender, func(w *Writer) (err error) {
		lease, err = w.acquire(sender, owner, ttl)
		return err
	})
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}

// acquire decides and grants in one statement, so that of two replicas that
// ask at once one gets no row.
func (w *Writer) acquire(sender, owner string, ttl time.Duration) (Lease, error) {
	clear(w.fences)
	now := w.db.d.now
	text := `INSERT INTO lease (sender, owner, epoch, expires) VALUES ($1, $2, 1, ` + now + ` + $3)
		ON CONFLICT (sender) DO UPDATE SET owner = excluded.owner, epoch = lease.epoch + 1, expires = excluded.expires
		WHERE lease.owner = excluded.owner OR lease.expires <= ` + now + ` OR $4 = 1
		RETURNING sender, owner, epoch, expires`
	op := "acquire lease of " + sender
	lease, err := returning(w, scanLease, op, text, sender, owner, ttl.Microseconds(), boolArg(w.db.cfg.Exclusive))
	if sqlState(err) == stateLockTimeout {
		// Whoever wrote last is still at it, or was cut off in the middle; the
		// server ends such a transaction after a while.
		return Lease{}, fmt.Errorf("%w: its row is locked by a transaction that has not ended", ErrLeaseHeld)
	}
	if !errors.Is(err, ErrNotFound) {
		return lease, err
	}
	held, err := one(w, scanLease, op, `SELECT sender, owner, epoch, expires FROM lease WHERE sender = $1`, sender)
	if err != nil {
		return Lease{}, w.fail("", err)
	}
	return Lease{}, w.fail("", &LeaseHeldError{Owner: held.Owner, Expires: held.Expires})
}

// RenewLease lets the lease run for ttl from now on. ErrLeaseLost if it is
// another's by now, or has expired: the owner must acquire it anew, and so
// take a new epoch, since it does not know who had it in between.
func (db *DB) RenewLease(ctx context.Context, f Fence, ttl time.Duration) (Lease, error) {
	var lease Lease
	err := db.writeLease(ctx, f.Sender, func(w *Writer) (err error) {
		clear(w.fences)
		now := w.db.d.now
		lease, err = returning(w, scanLease, "renew lease of "+f.Sender, `UPDATE lease SET expires = `+now+` + $1
			WHERE sender = $2 AND owner = $3 AND epoch = $4 AND expires > `+now+`
			RETURNING sender, owner, epoch, expires`, ttl.Microseconds(), f.Sender, f.Owner, f.Epoch)
		if errors.Is(err, ErrNotFound) {
			return ErrLeaseLost
		}
		return err
	})
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}

// ReleaseLease lets another take the lease at once. Releasing what is no
// longer ours is no error. The row stays, for its epoch.
func (db *DB) ReleaseLease(ctx context.Context, f Fence) error {
	return db.writeLease(ctx, f.Sender, func(w *Writer) error {
		clear(w.fences)
		_, err := w.exec("release lease of "+f.Sender, `UPDATE lease SET expires = 0
			WHERE sender = $1 AND owner = $2 AND epoch = $3`, f.Sender, f.Owner, f.Epoch)
		return err
	})
}

// holds returns ErrLeaseLost unless f's lease holds now. Found once, it holds
// to the end of the transaction: the row is locked.
func (w *Writer) holds(f Fence) error {
	if w.fences[f] {
		return nil
	}
	args := []any{f.Sender, f.Owner, f.Epoch}
	if w.db.d.here {
		args = append(args, time.Now().UnixMicro())
	}
	found, err := w.s.found(w.db.d.fence, args)
	if w.faulty(err) != nil {
		w.touched = true
		return w.fail("check lease of "+f.Sender, err)
	}
	if !found {
		return fmt.Errorf("%w: %s, epoch %d", ErrLeaseLost, f.Sender, f.Epoch)
	}
	w.fences[f] = true
	return nil
}
