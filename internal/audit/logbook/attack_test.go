// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// victim is a closed log, and all that is in it.
type victim struct {
	dir     string
	key     *Key
	kept    []byte // the newest checkpoint, kept elsewhere
	size    int64
	batches []store.AuditBatch
	entries []audit.Entry
	evil    *Key // the attacker's own, of the same name

	gone    map[int64]bool // places whose rows a prune has removed
	pruneID string         // id of its event
}

func newVictim(t testing.TB, fill func(*rig)) *victim {
	t.Helper()
	r := open(t, t.TempDir())
	fill(r)
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{dir: r.dir, key: r.key, kept: c.Note, size: c.Size, gone: make(map[int64]bool)}
	if v.batches, err = r.db.AuditBatches(t.Context(), 0, 1000); err != nil {
		t.Fatal(err)
	}
	for _, b := range v.batches {
		entries, _ := parseEntries(b.Entries)
		v.entries = append(v.entries, entries...)
	}
	rows, err := r.book.rows(t.Context(), v.entries)
	if err != nil {
		t.Fatal(err)
	}
	for place, row := range rows {
		if row.Line == nil {
			v.gone[int64(place)] = true
		} else if removedBy(v.entries[place].Kind, row.Line) != nil {
			v.pruneID = row.ID
		}
	}
	r.close()
	if v.evil, err = KeyFrom(logName, bytes.Repeat([]byte{8}, SeedSize)); err != nil {
		t.Fatal(err)
	}
	return v
}

// trial is one attack. It says what verify must name.
type trial struct {
	testing.TB
	*victim
	db   *sql.DB
	rand *rand.Rand
}

// want is what must be named: a place, or, if that is -1, a record.
type want struct {
	index int64
	id    string
	size  int64 // of a checkpoint
}

func at(index int64) want { return want{index: index} }

// pick is the place of a record whose row is there, and that is not a prune.
func (t *trial) pick() int64 {
	for {
		place := t.rand.Int64N(t.size)
		if !t.gone[place] && t.entries[place].ID != t.pruneID {
			return place
		}
	}
}

// batchOf is the batch of a place, and which of its records it is.
func (t *trial) batchOf(place int64) (b store.AuditBatch, i int) {
	for _, b := range t.batches {
		if place < b.First+b.Records {
			return b, int(place - b.First)
		}
	}
	t.Fatalf("no batch has place %d", place)
	return b, 0
}

func (t *trial) table(place int64) (table, id string) {
	e := t.entries[place]
	return "audit_" + e.Kind.String(), e.ID
}

func (t *trial) groupStart(place int64) int64 {
	b, i := t.batchOf(place)
	return b.First + int64(i/groupSize*groupSize)
}

var attacks = []func(t *trial) want{
	(*trial).editRow, (*trial).editRow, (*trial).deleteRow, (*trial).swapRows, (*trial).editRowAndEntry, (*trial).editConsistently,
	(*trial).deleteConsistently, (*trial).swapEntries, (*trial).swapEntriesAndPaths, (*trial).swapBatches, (*trial).truncate,
	(*trial).truncateConsistently, (*trial).flipEntries, (*trial).flipProof, (*trial).editBatch, (*trial).deleteBatch,
	(*trial).flipTile, (*trial).cutTile, (*trial).deleteTile, (*trial).editCheckpoint, (*trial).deleteCheckpoint,
	(*trial).swapCheckpoints, (*trial).insertRow, (*trial).appendForged, (*trial).editHead, (*trial).strangeType,
}

// prunedAttacks are tried on a log with a prune in it.
var prunedAttacks = []func(t *trial) want{
	(*trial).relabelAsPruned, (*trial).deleteAsPruned, (*trial).deleteRow, (*trial).editRow, (*trial).nameInPrune,
}

// Whoever has the database and the files, but not the key, may do to them what he
// likes: verify names the first record that is wrong. HSMSIGNER_AUDIT_TRIALS says
// how many attacks are tried.
func TestTheFirstBadRecordIsNamedWhateverWasDone(t *testing.T) {
	t.Parallel()
	all := len(attacks) + len(prunedAttacks)
	trials := scaled(3*all, 8)
	if n, err := strconv.Atoi(os.Getenv("HSMSIGNER_AUDIT_TRIALS")); err == nil {
		trials = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	v := newVictim(t, func(r *rig) { r.fill(t, 330) })
	pruned := newVictim(t, func(r *rig) { r.fillPruned(t, 220) })
	first := int(seed % uint64(all)) // if there are fewer than attacks, they are others each time
	for n := range trials {
		i := (first + n) % all
		name, r := fmt.Sprintf("attack %d of trial %d", i, n), rand.New(rand.NewPCG(seed, uint64(n)))
		if i < len(attacks) {
			oneTrial(t, v, attacks[i], r, name)
		} else {
			oneTrial(t, pruned, prunedAttacks[i-len(attacks)], r, name)
		}
	}
}

func oneTrial(t *testing.T, v *victim, how func(*trial) want, r *rand.Rand, name string) {
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	copyFile(t, v.dir, dir)
	mine := *v
	mine.dir = dir
	mine.entries = append([]audit.Entry(nil), v.entries...)
	mine.batches = append([]store.AuditBatch(nil), v.batches...)
	var expect want
	attack(t, dir, func(db *sql.DB) {
		expect = how(&trial{TB: t, victim: &mine, db: db, rand: r})
	})
	view, done := reader(t, dir, v.key)
	defer done()
	report := verify(t, view, VerifyConfig{Kept: [][]byte{v.kept}})
	first, bad := report.First()
	switch {
	case !bad:
		t.Errorf("%s: not noticed; want %+v", name, expect)
	case first.Index != expect.index || expect.id != "" && first.ID != expect.id || expect.size != 0 && first.Size != expect.size:
		t.Errorf("%s: named %+v\nwant %+v", name, first, expect)
	}
}
