// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Table stream: event streams of the gateway, and who delivers each of them. What
// a stream is and how it is delivered is package eventstream's business.

// Stream is one event stream. Holder, Epoch and Until are its lease: they change
// by [DB.AcquireStream] and its like only.
type Stream struct {
	ID          string
	Environment string
	Membership  string
	Wallet      string // name of the wallet by whose node the chain is read
	Name        string
	Settings    string // JSON, without secrets
	Secret      []byte // sealed; nil: nothing
	Suspended   bool
	Holder      string // process that delivers it
	Epoch       int64  // rises with every grant
	Until       time.Time
	Trouble     string // why nothing is delivered just now; empty if nothing is wrong
	Principal   string // who made it
	Created     time.Time
	Updated     time.Time // rises with every change of it or of its subscriptions, and tells the holder
}

// StreamFilter narrows a list of streams or subscriptions.
type StreamFilter struct {
	// Wallet leaves those of one wallet, in exactly this environment and membership.
	// Empty: everybody's.
	Wallet                  string
	Environment, Membership string
	Stream                  string // of subscriptions: those of one stream; empty: of all
	After                   string // id; only rows with a greater one, for paging
	Limit                   int    // default 1000, at most 1000
}

const maxStreams = 1000

const streamColumns = `id, environment, membership, wallet, name, settings, secret, suspended, holder, epoch, until, trouble, principal, created, updated`

func scanStream(rows *sql.Rows) (s Stream, err error) {
	var secret sql.RawBytes
	var suspended int64
	var until, created, updated sql.NullInt64
	err = rows.Scan(&s.ID, &s.Environment, &s.Membership, &s.Wallet, &s.Name, &s.Settings, &secret, &suspended,
		&s.Holder, &s.Epoch, &until, &s.Trouble, &s.Principal, &created, &updated)
	s.Secret, s.Suspended = bytes.Clone(secret), suspended != 0
	s.Until, s.Created, s.Updated = timeOf(until), timeOf(created), timeOf(updated)
	return s, err
}

// InsertStream stores a new stream, which nobody delivers yet. ErrExists if there
// is one with its id.
func (w *Writer) InsertStream(s Stream) error {
	n, err := w.exec("insert stream "+s.ID, `INSERT INTO stream (`+streamColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', 0, 0, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING`,
		s.ID, s.Environment, s.Membership, s.Wallet, s.Name, s.Settings, s.Secret, boolArg(s.Suspended),
		s.Trouble, s.Principal, timeArg(s.Created), timeArg(s.Updated))
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: stream %s", ErrExists, s.ID))
	}
	return err
}

// UpdateStream writes name, settings, secret, whether it is suspended, and when it
// was changed, which must rise. ErrRevision if it was changed after was.
func (w *Writer) UpdateStream(s Stream, was time.Time) error {
	n, err := w.exec("update stream "+s.ID, `UPDATE stream SET name = $1, settings = $2, secret = $3, suspended = $4, trouble = '', updated = $5
		WHERE id = $6 AND updated = $7`,
		s.Name, s.Settings, s.Secret, boolArg(s.Suspended), timeArg(s.Updated), s.ID, timeArg(was))
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: stream %s", ErrRevision, s.ID))
	}
	return err
}

// DeleteStream forgets a stream with its subscriptions. ErrNotFound if it is not
// there.
func (w *Writer) DeleteStream(id string) error {
	if _, err := w.exec("delete subscriptions of stream "+id, `DELETE FROM subscription WHERE stream = $1`, id); err != nil {
		return err
	}
	n, err := w.exec("delete stream "+id, `DELETE FROM stream WHERE id = $1`, id)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: stream %s", ErrNotFound, id))
	}
	return err
}

// DeleteStreamsOf removes the streams of a wallet that is no more, with their
// subscriptions.
func (w *Writer) DeleteStreamsOf(wallet string) error {
	if _, err := w.exec("delete subscriptions of wallet "+wallet, `DELETE FROM subscription WHERE stream IN (SELECT id FROM stream WHERE wallet = $1)`, wallet); err != nil {
		return err
	}
	_, err := w.exec("delete streams of wallet "+wallet, `DELETE FROM stream WHERE wallet = $1`, wallet)
	return err
}

// touchStream notes that subscriptions of a stream have changed, and keeps it from
// being deleted before this commit.
func (w *Writer) touchStream(id string, at time.Time) error {
	n, err := w.exec("touch stream "+id, `UPDATE stream SET updated = CASE WHEN updated < $1 THEN $1 ELSE updated + 1 END WHERE id = $2`,
		at.UnixMicro(), id)
	if err == nil && n == 0 {
		err = w.fail("", fmt.Errorf("%w: stream %s", ErrNotFound, id))
	}
	return err
}

// Stream reads one stream. ErrNotFound if it is not there.
func (w *Writer) Stream(id string) (Stream, error) {
	s, err := streamIn(w, id)
	return s, w.read(err)
}

// Stream reads one stream. ErrNotFound if it is not there.
func (db *DB) Stream(ctx context.Context, id string) (Stream, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Stream{}, err
	}
	return streamIn(r, id)
}

func streamIn(q querier, id string) (Stream, error) {
	return one(q, scanStream, "read stream "+id, `SELECT `+streamColumns+` FROM stream WHERE id = $1`, id)
}

// Streams lists streams by id, which is the order in which they were made.
func (db *DB) Streams(ctx context.Context, f StreamFilter) ([]Stream, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	cond, args := f.condition("s.id")
	return collect(r, scanStream, "list streams", `SELECT `+streamColumns+` FROM stream s`+cond, args...)
}

// CountStreams counts the streams of a place, which nobody adds to before this
// commit on SQLite; on PostgreSQL two who add at once may each not see the other.
func (w *Writer) CountStreams(environment, membership string) (int64, error) {
	n, err := one(w, scanCount, "count streams", `SELECT count(*) FROM stream WHERE environment = $1 AND membership = $2`, environment, membership)
	return n, w.read(err)
}

// condition is what follows the tables of a query, with its arguments. s is the
// stream, id what is paged by.
func (f StreamFilter) condition(id string) (cond string, args []any) {
	where := []string{"1 = 1"}
	add := func(text, value string) {
		args = append(args, value)
		where = append(where, text+"$"+strconv.Itoa(len(args)))
	}
	if f.Wallet != "" {
		add("s.environment = ", f.Environment)
		add("s.membership = ", f.Membership)
		add("s.wallet = ", f.Wallet)
	}
	if f.Stream != "" {
		add("s.id = ", f.Stream)
	}
	if f.After != "" {
		add(id+" > ", f.After)
	}
	if f.Limit <= 0 || f.Limit > maxStreams {
		f.Limit = maxStreams
	}
	args = append(args, f.Limit)
	return " WHERE " + strings.Join(where, " AND ") + " ORDER BY " + id + " LIMIT $" + strconv.Itoa(len(args)), args
}

// AcquireStream takes the lease of a stream for ttl, under an epoch that no
// earlier grant had: if nobody has it, it has expired by the database's clock, the
// same owner asks anew, or Config.Exclusive says that no other owner can be
// alive. Otherwise, or if the stream is suspended or gone, ErrLeaseHeld.
func (db *DB) AcquireStream(ctx context.Context, id, owner string, ttl time.Duration) (Stream, error) {
	var s Stream
	err := db.Write(ctx, func(w *Writer) (err error) {
		now := w.db.d.now
		s, err = returning(w, scanStream, "acquire stream "+id, `UPDATE stream SET holder = $1, epoch = epoch + 1, until = `+now+` + $2
			WHERE id = $3 AND suspended = 0 AND (holder = '' OR holder = $1 OR until <= `+now+` OR $4 = 1)
			RETURNING `+streamColumns, owner, ttl.Microseconds(), id, boolArg(w.db.cfg.Exclusive))
		if errors.Is(err, ErrNotFound) {
			return ErrLeaseHeld
		}
		return err
	})
	if err != nil {
		return Stream{}, err
	}
	return s, nil
}

// RenewStreams lets every lease of owner that has not expired run for ttl from now
// on, and returns the epochs of those, by stream. One that is not among them is
// lost.
func (db *DB) RenewStreams(ctx context.Context, owner string, ttl time.Duration) (map[string]int64, error) {
	held := make(map[string]int64)
	err := db.Write(ctx, func(w *Writer) error {
		clear(held) // the closure may run again
		now := w.db.d.now
		if _, err := w.exec("renew streams", `UPDATE stream SET until = `+now+` + $1 WHERE holder = $2 AND until > `+now,
			ttl.Microseconds(), owner); err != nil {
			return err
		}
		scan := func(rows *sql.Rows) (struct{}, error) {
			var id string
			var epoch int64
			err := rows.Scan(&id, &epoch)
			held[id] = epoch
			return struct{}{}, err
		}
		_, err := collect(w, scan, "list held streams", `SELECT id, epoch FROM stream WHERE holder = $1 AND until > `+now, owner)
		return w.read(err)
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// ReleaseStream lets another take a stream at once. Releasing what is no longer
// ours is no error.
func (db *DB) ReleaseStream(ctx context.Context, id, owner string, epoch int64) error {
	return db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("release stream "+id, `UPDATE stream SET holder = '', until = 0 WHERE id = $1 AND holder = $2 AND epoch = $3`, id, owner, epoch)
		return err
	})
}

// SetStreamTrouble notes what is wrong with a stream, for people; the holder of
// that epoch does so. It is no change of the stream.
func (db *DB) SetStreamTrouble(ctx context.Context, id, owner string, epoch int64, trouble string) error {
	return db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("note trouble of stream "+id, `UPDATE stream SET trouble = $1 WHERE id = $2 AND holder = $3 AND epoch = $4`,
			trouble, id, owner, epoch)
		return err
	})
}

// ResealStream stores the secret of a stream as it was sealed anew, if it is still
// what was read; ErrRevision if it is not, or the stream is gone. It is no change
// of the stream.
func (db *DB) ResealStream(ctx context.Context, id string, was, is []byte) error {
	return db.Write(ctx, func(w *Writer) error {
		n, err := w.exec("reseal stream "+id, `UPDATE stream SET secret = $1 WHERE id = $2 AND secret = $3`, is, id, was)
		if err == nil && n == 0 {
			err = w.fail("", fmt.Errorf("%w: stream %s", ErrRevision, id))
		}
		return err
	})
}
