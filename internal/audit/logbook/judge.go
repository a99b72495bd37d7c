// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// finding is what is known of the record at one place of the log.
type finding struct {
	leaf    node // its hash in the tree
	problem *Problem
	gone    bool // its row is: a prune may have removed it
	adopted bool
	entry   audit.Entry                 // the key has vouched for it if gone
	removed [][store.PruneMarkSize]byte // what it says that it has removed, if it is of a prune
}

// judgeRecord judges the i-th record of a group by what is found of it: its row
// (no line if there is none) and the log's entry for it (no kind if there is
// none).
func judgeRecord(j *groupJudge, i int, entry audit.Entry, row audit.Stored) finding {
	place := j.first + int64(i)
	f := finding{entry: entry, adopted: j.g.adopted}
	problem := func(what What, format string, args ...any) finding {
		f.problem = &Problem{Index: place, What: what, Kind: entry.Kind, ID: entry.ID, Why: fmt.Sprintf(format, args...)}
		return f
	}
	logged := entry.Kind != 0 && j.vouched(i, entry)
	if row.Line != nil {
		hash := tlog.Hash(audit.HashLine(row.Line))
		if logged && hash == entry.Hash || j.vouched(i, audit.Entry{Kind: entry.Kind, ID: entry.ID, Hash: hash}) {
			f.leaf, f.removed = node{hash: hash}, removedBy(entry.Kind, row.Line)
			if hash != entry.Hash {
				return problem(Damaged, "the record is as it was logged, but the log's entry for it has another hash")
			}
			return f
		}
	}
	switch {
	case logged && row.Line != nil:
		f.leaf = node{hash: entry.Hash}
		return problem(Edited, "the row of %s %s is not what was logged", entry.Kind, entry.ID)
	case logged:
		f.leaf = node{hash: entry.Hash}
		f.gone = entry.Kind != audit.EventKind // of which none is ever pruned
		return problem(Deleted, "%s", deletedText(entry.Kind, entry.ID))
	}
	f.leaf = node{bad: true}
	if entry.Kind == 0 {
		return problem(Missing, "the log has no entry for this place")
	}
	if other := j.elsewhere(i, entry); other >= 0 {
		return problem(Reordered, "%s %s stands here, but was logged at place %d", entry.Kind, entry.ID, j.first+int64(other))
	}
	return problem(Forged, "the log's key has not vouched for %s %s at this place", entry.Kind, entry.ID)
}

func deletedText(kind audit.Kind, id string) string {
	return fmt.Sprintf("there is no %s %s any more, and no prune that is on record has removed it", kind, id)
}

// removedBy is what the line of a prune's event says that the prune has removed.
// The key has vouched for the line.
func removedBy(kind audit.Kind, line []byte) [][store.PruneMarkSize]byte {
	if kind != audit.EventKind || !bytes.Contains(line, []byte(store.PruneKind)) {
		return nil
	}
	r, err := audit.ParseLine(line)
	if err != nil || r.Kind != audit.EventKind || r.Event.Kind != store.PruneKind {
		return nil
	}
	return store.PruneMarks(r.Event.Detail)
}

// batchView is a batch as it was read, with the rows of its entries.
type batchView struct {
	row     store.AuditBatch
	entries []audit.Entry
	rows    []audit.Stored
	groups  []group
	torn    string   // what of it cannot be read
	after   *Problem // of its row, though its records are right
}

func viewBatch(row store.AuditBatch) *batchView {
	v := &batchView{row: row}
	var rest []byte
	if v.entries, rest = parseEntries(row.Entries); len(rest) > 0 {
		v.torn = fmt.Sprintf("the last %d bytes of its entries cannot be read", len(rest))
	}
	if v.groups, rest = parseGroups(row.Proof); len(rest) > 0 && v.torn == "" {
		v.torn = fmt.Sprintf("the last %d bytes of its seals cannot be read", len(rest))
	}
	return v
}

// judge judges the records of a batch, one finding for each place. What is wrong
// with the batch as a whole is said of its first record, or of the one from
// which on it is wrong.
func (b *batchView) judge(v Verifier) []finding {
	all := make([]finding, 0, len(b.entries))
	at := 0
	for g := range b.groups {
		j := groupJudge{v: v, first: b.row.First + int64(at), at: b.row.At.UnixMicro(), g: &b.groups[g]}
		for i := range j.g.paths {
			if at+i >= len(b.entries) || j.vouched(i, b.entries[at+i]) {
				break // its root is known now, if there is one
			}
		}
		for i := range j.g.paths {
			var entry audit.Entry
			var row audit.Stored
			if at < len(b.entries) {
				entry, row = b.entries[at], b.rows[at]
			}
			all = append(all, judgeRecord(&j, i, entry, row))
			at++
		}
	}
	for ; at < len(b.entries); at++ {
		e := b.entries[at]
		all = append(all, finding{entry: e, leaf: node{bad: true}, problem: &Problem{
			Index: b.row.First + int64(at), What: Forged, Kind: e.Kind, ID: e.ID, Why: "nothing vouches for the record at this place",
		}})
	}
	b.whole(all)
	return all
}

// whole notes what is wrong with the row of the batch itself.
func (b *batchView) whole(all []finding) {
	note := func(i int, why string) {
		if i < len(all) && all[i].problem == nil {
			all[i].problem = &Problem{Index: b.row.First + int64(i), What: Damaged, Why: why}
		}
	}
	if len(all) == 0 {
		return
	}
	if b.torn != "" {
		note(min(len(b.entries), len(all)-1), "of the batch, "+b.torn)
	}
	if n := int64(len(all)); b.row.Records != n {
		at := n - 1
		if b.row.Records >= 0 && b.row.Records < n {
			at = b.row.Records
		}
		note(int(at), fmt.Sprintf("the batch says that it has %d records, and has %d", b.row.Records, n))
	}
	wrong := func(f finding) bool { return f.problem != nil && !f.gone }
	if len(b.entries) == 0 || slices.ContainsFunc(all, wrong) {
		return // one of those may be why
	}
	low, high := b.entries[0].ID, b.entries[0].ID
	for _, e := range b.entries {
		low, high = min(low, e.ID), max(high, e.ID)
	}
	if low != b.row.Low || high != b.row.High {
		b.after = &Problem{
			Index: b.row.First + int64(len(all)), What: Damaged,
			Why: fmt.Sprintf("the batch before it says that its ids are from %q to %q, and they are from %q to %q", b.row.Low, b.row.High, low, high),
		}
	}
}
