// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (t *trial) editRow() want {
	place := t.pick()
	table, id := t.table(place)
	column := map[audit.Kind][]string{
		audit.IntentKind:  {"principal", "wallet", "action", "subject", "verdict", "detail", "id"},
		audit.OutcomeKind: {"intent", "request_id", "error", "id"},
		audit.EventKind:   {"principal", "kind", "consortium", "environment", "membership", "wallet", "subject", "detail", "id"},
	}[t.entries[place].Kind]
	switch t.rand.IntN(4) {
	case 0:
		do(t, t.db, `UPDATE `+table+` SET at = at + 1 WHERE id = ?`, id)
	case 1:
		if t.entries[place].Kind == audit.IntentKind {
			do(t, t.db, `UPDATE audit_intent SET address = ? WHERE id = ?`, append([]byte{1}, make([]byte, 19)...), id)
			break
		}
		fallthrough
	default:
		c := column[t.rand.IntN(len(column))]
		do(t, t.db, `UPDATE `+table+` SET `+c+` = `+c+` || 'x' WHERE id = ?`, id)
	}
	return at(place)
}

func (t *trial) deleteRow() want {
	place := t.pick()
	table, id := t.table(place)
	do(t, t.db, `DELETE FROM `+table+` WHERE id = ?`, id)
	return at(place)
}

// swapRows gives two rows of a kind each other's id.
func (t *trial) swapRows() want {
	a, b := t.pick(), t.pick()
	for a == b || t.entries[a].Kind != t.entries[b].Kind {
		a, b = t.pick(), t.pick()
	}
	table, x := t.table(a)
	_, y := t.table(b)
	do(t, t.db, `UPDATE `+table+` SET id = 'swap' WHERE id = ?`, x)
	do(t, t.db, `UPDATE `+table+` SET id = ? WHERE id = ?`, x, y)
	do(t, t.db, `UPDATE `+table+` SET id = ? WHERE id = 'swap'`, y)
	return at(min(a, b))
}

// alter changes the content of a record's row and returns the hash of its new line.
func (t *trial) alter(place int64) tlog.Hash {
	table, id := t.table(place)
	column := "subject"
	if table == "audit_outcome" {
		column = "error"
	}
	do(t, t.db, `UPDATE `+table+` SET `+column+` = 'forged' WHERE id = ?`, id)
	view, done := reader(t, t.dir, t.key)
	defer done()
	rows, err := view.rows(t.Context(), t.entries[place:place+1])
	if err != nil {
		t.Fatal(err)
	}
	return audit.HashLine(rows[0].Line)
}

func (t *trial) setEntries(b store.AuditBatch, entries []audit.Entry) {
	all := []byte{} // NULL is refused
	for _, e := range entries {
		all = appendEntry(all, e)
	}
	do(t, t.db, `UPDATE audit_batch SET entries = ? WHERE first = ?`, all, b.First)
}

func (t *trial) editRowAndEntry() want {
	place := t.pick()
	hash := t.alter(place)
	b, i := t.batchOf(place)
	entries, _ := parseEntries(b.Entries)
	entries[i].Hash = hash
	t.setEntries(b, entries)
	return at(place)
}

// editConsistently changes a record and everything that follows from it: its
// entry, the tree, all later checkpoints, and the paths of its group towards a
// root that only the key could sign.
func (t *trial) editConsistently() want {
	place := t.pick()
	hash := t.alter(place)
	b, i := t.batchOf(place)
	entries, _ := parseEntries(b.Entries)
	entries[i].Hash = hash
	t.setEntries(b, entries)
	t.entries[place].Hash = hash
	t.rebuild(place, t.size)
	if t.rand.IntN(2) == 0 {
		return at(place)
	}
	// He seals the group with a key of his own: nobody vouches for any of it.
	groups, _ := parseGroups(b.Proof)
	g := i / groupSize
	lo := g * groupSize
	groups[g] = t.evil.sealGroup(false, b.First+int64(lo), b.At.UnixMicro(), entries[lo:lo+len(groups[g].paths)])
	t.setProof(b, groups)
	return at(t.groupStart(place))
}

func (t *trial) setProof(b store.AuditBatch, groups []group) {
	proof := []byte{}
	for _, g := range groups {
		proof = appendGroup(proof, g)
	}
	do(t, t.db, `UPDATE audit_batch SET proof = ? WHERE first = ?`, proof, b.First)
}

// rebuild makes tiles and checkpoints for the entries up to size, as they are
// now, from a place on. What it signs is signed with another key.
func (t *trial) rebuild(from, size int64) {
	var tree tree
	write := func(level int, number int64, hashes []node) {
		row := tileRow(level, number, hashes)
		do(t, t.db, `INSERT OR REPLACE INTO audit_tile (level, number, hashes) VALUES (?, ?, ?)`, row.Level, row.Number, row.Hashes)
	}
	do(t, t.db, `DELETE FROM audit_tile`)
	tree.full = write
	ends := make(map[int64]bool)
	for _, b := range t.batches {
		ends[b.First+b.Records] = true
	}
	for i := range size {
		tree.add(node{hash: t.entries[i].Hash})
		if ends[tree.size] && tree.size > from {
			signed, err := t.evil.sign(tree.size, tree.root().hash)
			if err != nil {
				t.Fatal(err)
			}
			do(t, t.db, `UPDATE audit_checkpoint SET note = ? WHERE size = ?`, string(signed), tree.size)
		}
	}
	for level, tile := range tree.tiles {
		if len(tile) > 0 {
			number, _ := partial(size, level)
			write(level, number, tile)
		}
	}
}

// deleteConsistently removes a record as if it had never been: all later ones
// move down by one.
func (t *trial) deleteConsistently() want {
	place := t.pick()
	start := t.groupStart(place)
	table, id := t.table(place)
	do(t, t.db, `DELETE FROM `+table+` WHERE id = ?`, id)
	b, i := t.batchOf(place)
	entries, _ := parseEntries(b.Entries)
	t.setEntries(b, append(entries[:i:i], entries[i+1:]...))
	groups, _ := parseGroups(b.Proof)
	g := &groups[i/groupSize]
	in := i % groupSize
	if len(g.paths) == 1 {
		groups = append(groups[:i/groupSize:i/groupSize], groups[i/groupSize+1:]...)
	} else {
		// The paths that are left are as long as they must be for one less.
		g.paths = append(g.paths[:in:in], g.paths[in+1:]...)
		for n := range g.paths {
			path := make([]tlog.Hash, pathLen(n, len(g.paths)))
			copy(path, g.paths[n])
			g.paths[n] = path
		}
	}
	t.setProof(b, groups)
	do(t, t.db, `UPDATE audit_batch SET records = records - 1 WHERE first = ?`, b.First)
	do(t, t.db, `DELETE FROM audit_batch WHERE records = 0`)
	do(t, t.db, `UPDATE audit_batch SET first = -first WHERE first > ?`, b.First)
	do(t, t.db, `UPDATE audit_batch SET first = -first - 1 WHERE first < 0`)
	t.entries = append(t.entries[:place:place], t.entries[place+1:]...)
	for n := range t.batches {
		if t.batches[n].First == b.First {
			t.batches[n].Records--
		} else if t.batches[n].First > b.First {
			t.batches[n].First--
		}
	}
	do(t, t.db, `UPDATE audit_checkpoint SET size = -size WHERE size > ?`, place)
	do(t, t.db, `DELETE FROM audit_checkpoint WHERE size = ?`, -place-1)
	do(t, t.db, `UPDATE audit_checkpoint SET size = -size - 1 WHERE size < 0`)
	do(t, t.db, `UPDATE audit_log SET size = size - 1`)
	t.rebuild(place, t.size-1)
	// A group of one less is vouched for by nobody, from its first record on.
	return at(start)
}

func (t *trial) swapEntries() want {
	b, i := t.batchOf(t.pick())
	for b.Records < 2 {
		b, i = t.batchOf(t.pick())
	}
	j := (i + 1 + t.rand.IntN(int(b.Records)-1)) % int(b.Records)
	entries, _ := parseEntries(b.Entries)
	entries[i], entries[j] = entries[j], entries[i]
	t.setEntries(b, entries)
	return at(b.First + int64(min(i, j)))
}

func (t *trial) swapEntriesAndPaths() want {
	b, i := t.batchOf(t.pick())
	for b.Records < 2 {
		b, i = t.batchOf(t.pick())
	}
	groups, _ := parseGroups(b.Proof)
	g := &groups[i/groupSize]
	lo := i / groupSize * groupSize
	if len(g.paths) < 2 {
		return t.swapEntries()
	}
	j := lo + (i-lo+1+t.rand.IntN(len(g.paths)-1))%len(g.paths)
	entries, _ := parseEntries(b.Entries)
	entries[i], entries[j] = entries[j], entries[i]
	g.paths[i-lo], g.paths[j-lo] = g.paths[j-lo], g.paths[i-lo]
	if len(g.paths[i-lo]) != pathLen(i-lo, len(g.paths)) {
		return t.swapEntries()
	}
	t.setEntries(b, entries)
	t.setProof(b, groups)
	for n := range entries {
		t.entries[b.First+int64(n)] = entries[n]
	}
	t.rebuild(b.First+int64(min(i, j)), t.size)
	return at(b.First + int64(min(i, j)))
}

func (t *trial) swapBatches() want {
	i := t.rand.IntN(len(t.batches) - 1)
	a, b := t.batches[i], t.batches[i+1]
	do(t, t.db, `UPDATE audit_batch SET first = -1 WHERE first = ?`, b.First)
	do(t, t.db, `UPDATE audit_batch SET first = ? WHERE first = ?`, a.First+b.Records, a.First)
	do(t, t.db, `UPDATE audit_batch SET first = ? WHERE first = -1`, a.First)
	return at(a.First)
}

// truncate cuts the log's own rows off, and forgets something.
func (t *trial) truncate() want {
	i := 1 + t.rand.IntN(len(t.batches)-1)
	cut := t.batches[i].First
	do(t, t.db, `DELETE FROM audit_batch WHERE first >= ?`, cut)
	if t.rand.IntN(2) == 0 {
		do(t, t.db, `DELETE FROM audit_checkpoint WHERE size > ?`, cut)
	}
	if t.rand.IntN(2) == 0 {
		do(t, t.db, `UPDATE audit_log SET size = ?`, cut)
	}
	return at(cut)
}

// truncateConsistently leaves an older state of everything.
func (t *trial) truncateConsistently() want {
	cut := 1 + t.rand.Int64N(t.size-1)
	for place := cut; place < t.size; place++ {
		table, id := t.table(place)
		do(t, t.db, `DELETE FROM `+table+` WHERE id = ?`, id)
	}
	do(t, t.db, `DELETE FROM audit_batch WHERE first >= ?`, cut)
	do(t, t.db, `DELETE FROM audit_checkpoint WHERE size > ?`, cut)
	do(t, t.db, `UPDATE audit_log SET size = ?`, cut)
	t.rebuild(t.size, cut)
	b, i := t.batchOf(cut)
	if i > 0 { // in the midst of a batch
		entries, _ := parseEntries(b.Entries)
		groups, _ := parseGroups(b.Proof)
		t.setEntries(b, entries[:i])
		var proof []byte
		for n, g := range groups {
			switch lo := n * groupSize; {
			case lo+len(g.paths) <= i:
				proof = appendGroup(proof, g)
			case lo < i: // the group goes as far as its paths do
				whole := appendGroup(nil, g)
				length := 1 + 64
				for _, path := range g.paths[:i-lo] {
					length += len(path) * tlog.HashSize
				}
				proof = append(proof, whole[:length]...)
			}
		}
		low, high := entries[0].ID, entries[0].ID
		for _, e := range entries[:i] {
			low, high = min(low, e.ID), max(high, e.ID)
		}
		do(t, t.db, `UPDATE audit_batch SET records = ?, proof = ?, low = ?, high = ? WHERE first = ?`, i, proof, low, high, b.First)
	}
	return at(cut)
}

func (t *trial) flipEntries() want {
	b, _ := t.batchOf(t.pick())
	n := t.rand.IntN(len(b.Entries))
	flipped := bytes.Clone(b.Entries)
	flipped[n] ^= 1 << t.rand.IntN(8)
	do(t, t.db, `UPDATE audit_batch SET entries = ? WHERE first = ?`, flipped, b.First)
	return at(b.First + int64(n/49))
}

func (t *trial) flipProof() want {
	b, _ := t.batchOf(t.pick())
	n := t.rand.IntN(len(b.Proof))
	flipped := bytes.Clone(b.Proof)
	flipped[n] ^= 1 << t.rand.IntN(8)
	do(t, t.db, `UPDATE audit_batch SET proof = ? WHERE first = ?`, flipped, b.First)
	groups, _ := parseGroups(b.Proof)
	place, offset := b.First, 0
	for _, g := range groups {
		if n < offset+65 {
			return at(place)
		}
		offset += 65
		for _, path := range g.paths {
			if offset += len(path) * tlog.HashSize; n < offset {
				return at(place)
			}
			place++
		}
	}
	t.Fatal("no record has that byte")
	return want{}
}

func (t *trial) editBatch() want {
	b, _ := t.batchOf(t.pick())
	switch t.rand.IntN(5) {
	case 0:
		do(t, t.db, `UPDATE audit_batch SET at = at + 1 WHERE first = ?`, b.First)
	case 1:
		do(t, t.db, `UPDATE audit_batch SET low = low || 'x' WHERE first = ?`, b.First)
		return at(b.First + b.Records)
	case 2:
		do(t, t.db, `UPDATE audit_batch SET high = high || 'x' WHERE first = ?`, b.First)
		return at(b.First + b.Records)
	case 3:
		do(t, t.db, `UPDATE audit_batch SET records = records + 5 WHERE first = ?`, b.First)
		return at(b.First + b.Records - 1)
	case 4:
		do(t, t.db, `UPDATE audit_batch SET first = first + 100000 WHERE first = ?`, b.First)
	}
	return at(b.First)
}

func (t *trial) deleteBatch() want {
	b, _ := t.batchOf(t.pick())
	do(t, t.db, `DELETE FROM audit_batch WHERE first = ?`, b.First)
	return at(b.First)
}

// tile is a random tile, and the place of the first record below one of its hashes.
func (t *trial) tile() (level, number int64, hashes []byte, i int, place int64) {
	row := t.db.QueryRow(`SELECT level, number, hashes FROM audit_tile ORDER BY random() LIMIT 1`)
	if err := row.Scan(&level, &number, &hashes); err != nil {
		t.Fatal(err)
	}
	i = t.rand.IntN(len(hashes) / tlog.HashSize)
	return level, number, hashes, i, (number<<tileBits + int64(i)) << (tileBits * level)
}

func (t *trial) flipTile() want {
	level, number, hashes, i, place := t.tile()
	hashes[i*tlog.HashSize+t.rand.IntN(tlog.HashSize)] ^= 1 << t.rand.IntN(8)
	do(t, t.db, `UPDATE audit_tile SET hashes = ? WHERE level = ? AND number = ?`, hashes, level, number)
	return at(place)
}

func (t *trial) cutTile() want {
	level, number, hashes, i, place := t.tile()
	do(t, t.db, `UPDATE audit_tile SET hashes = ? WHERE level = ? AND number = ?`, hashes[:i*tlog.HashSize+t.rand.IntN(tlog.HashSize)], level, number)
	return at(place)
}

func (t *trial) deleteTile() want {
	level, number, _, _, _ := t.tile()
	do(t, t.db, `DELETE FROM audit_tile WHERE level = ? AND number = ?`, level, number)
	return at(number << tileBits << (tileBits * level))
}

func (t *trial) point() (size int64, text string) {
	if err := t.db.QueryRow(`SELECT size, note FROM audit_checkpoint ORDER BY random() LIMIT 1`).Scan(&size, &text); err != nil {
		t.Fatal(err)
	}
	return size, text
}

func (t *trial) editCheckpoint() want {
	size, text := t.point()
	b := []byte(text)
	b[t.rand.IntN(len(b))] ^= 1 << t.rand.IntN(7)
	do(t, t.db, `UPDATE audit_checkpoint SET note = ? WHERE size = ?`, string(b), size)
	return want{index: size, size: size}
}

func (t *trial) deleteCheckpoint() want {
	size, _ := t.point()
	do(t, t.db, `DELETE FROM audit_checkpoint WHERE size = ?`, size)
	return want{index: size, size: size}
}

func (t *trial) swapCheckpoints() want {
	a, x := t.point()
	b, y := t.point()
	for a == b {
		b, y = t.point()
	}
	do(t, t.db, `UPDATE audit_checkpoint SET note = ? WHERE size = ?`, y, a)
	do(t, t.db, `UPDATE audit_checkpoint SET note = ? WHERE size = ?`, x, b)
	return want{index: min(a, b), size: min(a, b)}
}

func (t *trial) insertRow() want {
	i, _ := signature(1)
	mac := []byte(nil)
	if t.rand.IntN(2) == 0 {
		mac = t.evil.stamper()([32]byte{1})
	}
	do(t, t.db, `INSERT INTO audit_intent (id, at, principal, wallet, address, action, subject, verdict, detail, mac) VALUES (?, ?, '', '', ?, '', '', '', '', ?)`,
		i.ID, time.Now().UnixMicro(), i.Address[:], mac)
	return want{index: -1, id: i.ID}
}

// appendForged adds a record of his own to the log, with all that belongs to it.
func (t *trial) appendForged() want {
	e := audit.Event{ID: store.NewID(), At: time.Now(), Principal: "mallory", Kind: "approval"}
	do(t, t.db, `INSERT INTO audit_event (id, at, principal, kind, consortium, environment, membership, wallet, subject, detail) VALUES (?, ?, ?, ?, '', '', '', '', '', '')`,
		e.ID, e.At.UnixMicro(), e.Principal, e.Kind)
	entry := audit.Entry{Kind: audit.EventKind, ID: e.ID, Hash: audit.HashLine(e.AppendLine(nil))}
	g := t.evil.sealGroup(false, t.size, e.At.UnixMicro(), []audit.Entry{entry})
	do(t, t.db, `INSERT INTO audit_batch (first, records, at, low, high, entries, proof) VALUES (?, 1, ?, ?, ?, ?, ?)`,
		t.size, e.At.UnixMicro(), e.ID, e.ID, appendEntry(nil, entry), appendGroup(nil, g))
	do(t, t.db, `INSERT INTO audit_checkpoint (size, note, at) VALUES (?, '', 0)`, t.size+1)
	do(t, t.db, `UPDATE audit_log SET size = size + 1`)
	end := t.size
	t.entries = append(t.entries, entry)
	t.batches = append(t.batches, store.AuditBatch{First: t.size, Records: 1})
	t.rebuild(t.size, t.size+1)
	return at(end)
}

func (t *trial) editHead() want {
	size := t.rand.Int64N(2 * t.size)
	if size == t.size {
		size++
	}
	do(t, t.db, `UPDATE audit_log SET size = ?`, size)
	return at(min(size, t.size))
}

// strangeType puts a text where a number belongs, and the like.
func (t *trial) strangeType() want {
	place := t.pick()
	table, id := t.table(place)
	b, _ := t.batchOf(place)
	switch t.rand.IntN(4) {
	case 0:
		do(t, t.db, `UPDATE `+table+` SET at = 'yesterday' WHERE id = ?`, id)
		return at(place)
	case 1:
		do(t, t.db, `UPDATE audit_batch SET entries = 'nothing' WHERE first = ?`, b.First)
	case 2:
		do(t, t.db, `UPDATE audit_batch SET first = 'first' WHERE first = ?`, b.First)
	default:
		do(t, t.db, `UPDATE audit_batch SET at = 'x', records = x'00' WHERE first = ?`, b.First)
	}
	return at(b.First)
}
