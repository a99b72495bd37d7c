// SPDX-License-Identifier: Apache-2.0

// Package logbook keeps the log over the audit trail: an append-only Merkle
// tree (RFC 6962) whose states are signed (C2SP tlog-checkpoint, in the
// signed-note format).
//
// A record that is in the log cannot be altered, removed, moved or joined by a
// forged one without [Reader.Verify] naming the first one that is wrong, by
// anybody who has the database and the files but not the log's key. Each record
// is also vouched for by itself, in a group of at most 16, so that what was done
// to one says nothing about the others. That the newest records were cut off
// shows only by a checkpoint that was kept elsewhere.
//
// The rows themselves are written by package store, before anything is signed,
// with a keyed hash each. The log follows them within its interval; what a crash
// keeps from it is found by the next sweep. It never takes in a row whose keyed
// hash is wrong, and never alters a row.
package logbook

import (
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Config is what the log is kept with.
type Config struct {
	Store *store.DB
	Key   *Key
	// Interval is how long a record waits at most before it is appended; default
	// 200 ms.
	Interval time.Duration
	// Behind is how far the log may be behind before nothing is signed any more;
	// default 30 s.
	Behind time.Duration
	// Sweep is how often it is looked for records that a crash has kept from the
	// log; default 1 min.
	Sweep  time.Duration
	Logger *slog.Logger // nil discards
}

// Checkpoint is a signed state of the log.
type Checkpoint struct {
	Origin string // name of the log: the name of its key
	Size   int64  // records
	Root   tlog.Hash
	Note   []byte // as it was signed
	At     time.Time
}

// Proof shows that a record is in the log.
type Proof struct {
	Line       []byte // the record
	Index      int64  // its place, from 0
	Hashes     []tlog.Hash
	Checkpoint Checkpoint // under which it is shown
}

// Logged is a record with its place in the log.
type Logged struct {
	Index int64
	Kind  audit.Kind
	ID    string
	Line  []byte // nil if its row is gone, as after pruning
	At    time.Time
}

// VerifyConfig is what a log is held against.
type VerifyConfig struct {
	// Kept are checkpoints (signed notes) that were kept elsewhere.
	Kept [][]byte
	// Now is the time; zero is that of the clock. Rows younger than Grace (default
	// 2 min) need not be in the log yet.
	Now   time.Time
	Grace time.Duration
	// Limit is how many problems are told; default 100. All are counted.
	Limit int
	// Progress, if set, is told now and then how many records were looked at.
	Progress func(records int64)
}

// Report says what was found.
type Report struct {
	Origin   string
	Start    int64      // place of the first record that was looked at: not 0 only in an export of the log's later part
	Records  int64      // in the log, from there on
	Adopted  int64      // of them, those that were there before the log, and that it vouches for since it began
	Rows     int64      // in the tables, in the log or not; not counted in an export
	Latest   Checkpoint // the newest one with a good signature
	Kept     int        // kept checkpoints that the log agrees with
	Pruned   int64      // records whose rows were removed by a prune that is itself in the log
	Problems []Problem  // in the order of their places, those of no place last
	Bad      int64      // all problems, told or not

	Waiting       int64    // rows not in the log yet, but young
	Unanswered    int64    // intents to sign without an outcome, though allowed and older than Grace
	UnansweredIDs []string // the first of them
}

// OK says that nothing is wrong. Intents without an outcome are no fault of the
// log.
func (r Report) OK() bool { return r.Bad == 0 }

// First is the first problem.
func (r Report) First() (Problem, bool) {
	if len(r.Problems) == 0 {
		return Problem{}, false
	}
	return r.Problems[0], true
}

// What is wrong with a record.
type What string

// The problems.
const (
	Edited    What = "edited"      // the row says something else than what was logged
	Deleted   What = "deleted"     // the row is gone
	Reordered What = "reordered"   // another record stands at its place
	Missing   What = "missing"     // there is no record at this place of the log
	Truncated What = "truncated"   // the log ends before what a checkpoint vouches for
	Forged    What = "forged"      // vouched for by nobody who has the key
	Unsealed  What = "unsealed"    // no checkpoint covers it
	Tree      What = "tree"        // a stored hash of the tree is wrong
	Note      What = "checkpoint"  // a checkpoint is forged or does not match the records
	Forked    What = "forked"      // a kept checkpoint is of another history
	Unlogged  What = "not logged"  // a row of some age that is not in the log
	Unmeant   What = "no intent"   // an outcome whose intent does not exist
	Damaged   What = "damaged log" // the log's own rows contradict each other
)

// Problem is one thing that is wrong.
type Problem struct {
	Index int64 // place of the first record that it concerns; -1 if it has none
	What  What
	Kind  audit.Kind // and id of the record, where they are known
	ID    string
	Size  int64  // of the checkpoint, where it is one
	Why   string // for a person
}
