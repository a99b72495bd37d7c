// SPDX-License-Identifier: Apache-2.0

// Package witness gives the signed checkpoints of the audit log to places that
// whoever owns our database and files cannot change: a file on other storage, or
// a witness over HTTP (c2sp.org/tlog-witness). A log whose past was altered does
// not go with what is kept there.
//
// It guarantees that a place is given checkpoints in the order of their sizes,
// that what it has is remembered only once it has taken it, and that a place
// which is away is tried again and holds up neither the log nor the others. A
// witness that signs is believed only by the key that the operator gave, and its
// cosignature is kept with the checkpoint.
//
// It never signs, and never decides whether something may be signed: the log does
// not wait for its witnesses.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Log is the log whose checkpoints are given away. *logbook.Book is one.
type Log interface {
	// Checkpoint is the newest signed state; store.ErrNotFound if there is none.
	Checkpoint(ctx context.Context) (logbook.Checkpoint, error)
	// Consistency proves that the state of size to has that of size from as its
	// beginning (RFC 6962 §2.1.2).
	Consistency(ctx context.Context, from, to int64) ([]tlog.Hash, error)
}

// Store remembers how far each place is. *store.DB is one.
type Store interface {
	AuditWitness(ctx context.Context, name string) (store.AuditWitness, error)
	PutAuditWitness(ctx context.Context, a store.AuditWitness) error
}

// Place is where checkpoints are given to.
type Place interface {
	// Give gives a checkpoint that the place does not have yet, as far as we know:
	// it has that of size known. It returns the checkpoint with the place's
	// cosignatures, empty if it signs none. *HasError says that the place is
	// elsewhere than we thought.
	Give(ctx context.Context, log Log, known int64, c logbook.Checkpoint) (cosigned string, err error)
}

// HasError says which size a place has, if not the one that we thought.
type HasError struct{ Size int64 }

func (e *HasError) Error() string {
	return fmt.Sprintf("witness: has a checkpoint of %d records, and not the one that was remembered", e.Size)
}

// Witness is a place, and when it is given something.
type Witness struct {
	Name    string
	Place   Place
	Every   time.Duration // between two checkpoints; default 1 min
	Timeout time.Duration // of one try; default 10 s
}

// Config is what a Keeper is made of.
type Config struct {
	Log       Log
	Store     Store
	Witnesses []Witness
	// Turn reports whether it is this process that gives to the witness now: where
	// replicas share a database, one at a time does. Nil: always.
	Turn   func(ctx context.Context, name string) bool
	Logger *slog.Logger // nil discards
}

// Keeper gives checkpoints to all witnesses. Its methods are safe for concurrent
// use.
type Keeper struct{ cfg Config }

const (
	defaultEvery   = time.Minute
	defaultTimeout = 10 * time.Second
	firstPause     = time.Second // after a failure; doubled up to the schedule's own, or longestPause
	longestPause   = 5 * time.Minute
)

// prefix of the names of witnesses in the table, in which others are, too.
const prefix = "witness:"

// Row is the name under which a witness is remembered in the store.
func Row(name string) string { return prefix + name }

// New makes a Keeper.
func New(c Config) (*Keeper, error) {
	if c.Log == nil || c.Store == nil {
		return nil, errors.New("witness: a log and a store are required")
	}
	if c.Turn == nil {
		c.Turn = func(context.Context, string) bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: c}, nil
}

// Run gives checkpoints on schedule until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range k.cfg.Witnesses {
		all.Go(func() { k.keep(ctx, w) })
	}
	all.Wait()
}

// keep looks after one witness.
func (k *Keeper) keep(ctx context.Context, w Witness) {
	if w.Every <= 0 {
		w.Every = defaultEvery
	}
	failures := 0
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = w.Every
		if !k.cfg.Turn(ctx, w.Name) {
			continue
		}
		err := k.Give(ctx, w)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && failures > 0:
			k.cfg.Logger.Info("witness takes checkpoints again", "witness", w.Name)
			failures = 0
		case err != nil:
			if failures == 0 {
				k.cfg.Logger.Warn("witness was not given a checkpoint; trying again", "witness", w.Name, "err", err)
			}
			wait = min(firstPause<<min(failures, 10), longestPause, max(w.Every, firstPause))
			failures++
		}
	}
}

// Give gives the newest checkpoint to a witness now, if it does not have it, and
// remembers what came of it.
func (k *Keeper) Give(ctx context.Context, w Witness) error {
	was, err := k.cfg.Store.AuditWitness(ctx, Row(w.Name))
	if err != nil {
		return err
	}
	c, err := k.cfg.Log.Checkpoint(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound) && was.Size == 0:
		return nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case c.Size == was.Size && was.Error == "":
		return nil
	case c.Size < was.Size:
		return k.remember(ctx, was, fmt.Errorf("witness: the log has %d records, and the witness had a checkpoint of %d before: the log was cut off, or the database is an older copy", c.Size, was.Size))
	}
	timeout := w.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	is := store.AuditWitness{Name: was.Name, Size: c.Size, At: time.Now()}
	is.Note, err = w.Place.Give(limited, k.cfg.Log, was.Size, c)
	var has *HasError
	if errors.As(err, &has) && has.Size <= c.Size && has.Size != was.Size {
		// Its answer to an earlier try was lost, or the place is new: go on from there.
		is.Note, err = w.Place.Give(limited, k.cfg.Log, has.Size, c)
	}
	if err != nil {
		is = was
	}
	return k.remember(ctx, is, err)
}

// remember stores how far the witness is and why it came no further, also if we
// are told to end in between: what it has, it has.
func (k *Keeper) remember(ctx context.Context, is store.AuditWitness, why error) error {
	if why != nil {
		is.At, is.Error = time.Now(), why.Error()
	}
	if err := k.cfg.Store.PutAuditWitness(context.WithoutCancel(ctx), is); why == nil {
		return err
	}
	return why
}
