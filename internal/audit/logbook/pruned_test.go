// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// fillPruned is fill with a prune in the middle: it leaves intents that the prune
// keeps, as their transactions are still there, records that it removes, and
// records that came after it.
func (r *rig) fillPruned(t testing.TB, n int) {
	t.Helper()
	ctx := t.Context()
	r.fill(t, n/2)
	for i := range 12 {
		intent, outcome := signature(i)
		now := time.Now()
		tx := store.Tx{
			ID: store.NewID(), Wallet: "treasury", Credential: "app:shop", IdempotencyKey: fmt.Sprint("key-", i), Intent: intent.ID,
			Kind: store.UserTx, Payload: []byte{0x02, 0xc0}, State: store.Queued, FeeCeiling: big.NewInt(1), Expires: now.Add(time.Hour), Created: now, Updated: now,
		}
		intent.Subject = tx.ID
		err := r.db.Write(ctx, func(w *store.Writer) error {
			if err := w.InsertTx(tx); err != nil {
				return err
			}
			if err := w.AuditIntent(intent); err != nil {
				return err
			}
			return w.AuditOutcome(outcome)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Millisecond)
	// The clocks of replicas may differ: of that, the prune takes account by ids.
	if n, err := r.db.PruneAudit(ctx, time.Now()); err != nil || n == 0 {
		t.Fatalf("pruned %d, %v", n, err)
	}
	time.Sleep(2 * time.Millisecond)
	r.fill(t, n/2)
}

// relabelAsPruned removes a record and says of it, wherever only the database
// says so, that it was an older one.
func (t *trial) relabelAsPruned() want {
	place := t.pick()
	table, id := t.table(place)
	do(t, t.db, `DELETE FROM `+table+` WHERE id = ?`, id)
	b, i := t.batchOf(place)
	entries, _ := parseEntries(b.Entries)
	entries[i].ID = fmt.Sprintf("%032x", 1+t.rand.IntN(1000))
	switch t.rand.IntN(3) {
	case 0: // as one that was pruned
		for gone := range t.gone {
			entries[i].ID, entries[i].Kind = t.entries[gone].ID, t.entries[gone].Kind
			break
		}
	case 1:
		entries[i].Kind = audit.OutcomeKind
	}
	t.setEntries(b, entries)
	low, high := entries[0].ID, entries[0].ID
	for _, e := range entries {
		low, high = min(low, e.ID), max(high, e.ID)
	}
	do(t, t.db, `UPDATE audit_batch SET low = ?, high = ? WHERE first = ?`, low, high, b.First)
	return at(place)
}

// deleteAsPruned removes a record that stands before the prune, and that the
// prune has kept, with all that belongs to it.
func (t *trial) deleteAsPruned() want {
	place := t.pick()
	for t.entries[place].ID >= t.pruneID {
		place = t.pick()
	}
	table, id := t.table(place)
	do(t, t.db, `DELETE FROM `+table+` WHERE id = ?`, id)
	switch table {
	case "audit_intent": // its outcome comes right after it
		do(t, t.db, `DELETE FROM audit_outcome WHERE intent = ?`, id)
	case "audit_outcome":
		place--
		do(t, t.db, `DELETE FROM audit_intent WHERE id = ?`, t.entries[place].ID)
	}
	return at(place)
}

// nameInPrune has the event of the prune name another record, too: then it is
// itself the one that is wrong, with all that it alone has explained.
func (t *trial) nameInPrune() want {
	mark := store.PruneMark(t.entries[t.pick()])
	do(t, t.db, `UPDATE audit_event SET detail = replace(detail, '"removed":"', '"removed":"' || ?) WHERE id = ?`,
		base64.StdEncoding.EncodeToString(append(mark[:], mark[:8]...)), t.pruneID)
	first := t.size
	for place := range t.gone {
		first = min(first, place)
	}
	return at(first)
}

func TestARecordThatIsRelabelledAndDeletedIsNoPrunedOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	for n := range 5 {
		r.sign(t, n)
	}
	time.Sleep(5 * time.Millisecond)
	if _, err := r.db.PruneAudit(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	i, o := r.sign(t, 99)
	if err := r.book.Await(t.Context(), i, o); err != nil {
		t.Fatal(err)
	}
	file := exported(t, r, 0, 0)
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.book.Prove(t.Context(), audit.OutcomeKind, o)
	if err != nil {
		t.Fatal(err)
	}
	wantOK(t, verify(t, r.book.Reader, VerifyConfig{Kept: [][]byte{c.Note}}))
	wantOK(t, verifyFile(t, file, r.key, c.Note))
	hash := audit.HashLine(p.Line)
	for _, id := range []string{"00", strings.Repeat("0", 32), o} {
		pruned := fmt.Sprintf(`{"kind":"pruned","first":0,"record":"outcome","id":%q,"hash":%q}`, id, base64.StdEncoding.EncodeToString(hash[:]))
		report := verifyFile(t, bytes.Replace(file, p.Line, []byte(pruned), 1), r.key, c.Note)
		if first, bad := report.First(); !bad || first.Index != p.Index {
			t.Errorf("as %s: named %+v, want place %d", id, first, p.Index)
		}
	}
}

func TestEventsAndWhatAPruneKeepsAreNeverMissedUnnamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	r.fillPruned(t, 80)
	file := exported(t, r, 0, 0)
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Pruned == 0 {
		t.Fatalf("%+v", report)
	}
	r.close()
	attack(t, dir, func(db *sql.DB) { do(t, db, `DELETE FROM audit_event WHERE kind = 'service-create'`) })
	view, done := reader(t, dir, r.key)
	defer done()
	after := verify(t, view, VerifyConfig{Limit: 1000})
	events := int64(bytes.Count(file, []byte(`"service-create"`)))
	if after.Bad != events || after.Pruned != report.Pruned {
		t.Errorf("%d problems, want one of each of %d events; pruned %d, want %d", after.Bad, events, after.Pruned, report.Pruned)
	}
	for _, p := range after.Problems {
		if p.What != Deleted || p.Kind != audit.EventKind {
			t.Errorf("%+v", p)
		}
	}
}

// A part of the log that ends before the prune shows the prune at its end.
func TestAnExportThatEndsBeforeThePruneKnowsOfIt(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	r.fillPruned(t, 80)
	for _, part := range [][2]int64{{0, 20}, {10, 30}, {0, 0}} {
		file := exported(t, r, part[0], part[1])
		report := verifyFile(t, file, r.key)
		wantOK(t, report)
		if report.Pruned == 0 || report.Start > part[0] || part[0] > 0 && report.Start == 0 {
			t.Errorf("%v: %+v", part, report)
		}
		if part[1] == 0 {
			continue
		}
		lines := bytes.SplitAfter(file, []byte("\n"))
		cut := slices.DeleteFunc(lines, func(l []byte) bool { return bytes.HasPrefix(l, []byte(`{"kind":"prune"`)) })
		if report := verifyFile(t, bytes.Join(cut, nil), r.key); report.OK() {
			t.Errorf("%v: without the prune all is well", part)
		}
	}
}

// A process that starts takes in what the last one has left behind, and must not
// take what it is itself about to append.
func TestNothingIsLoggedTwiceWhileTheLogBegins(t *testing.T) {
	r := open(t, t.TempDir())
	r.stop()
	r.stop = func() {}
	r.sign(t, 1) // in the queue
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		r.book.sweeps(ctx)
		close(ended)
	}()
	time.Sleep(150 * time.Millisecond)
	cancel()
	<-ended
	if err := r.book.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Records != report.Rows {
		t.Errorf("%d records of %d rows", report.Records, report.Rows)
	}
}
