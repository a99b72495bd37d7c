// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// The log hears of every record that is committed, of those of a commit of
// unknown outcome as such, and of no other.
func TestTheLogHearsOfWhatIsCommittedAndOfNothingElse(t *testing.T) {
	db, err := OpenSQLite(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var mu sync.Mutex
	handed := make(map[string]audit.Entry)
	db.AuditTo(AuditSink{
		Stamp: func(hash [32]byte) []byte { return hash[:16] },
		Committed: func(entries []audit.Entry) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range slices.Clone(entries) {
				if _, twice := handed[e.ID]; twice {
					t.Errorf("%s was handed over twice", e.ID)
				}
				handed[e.ID] = e
			}
		},
	})
	pragma := func(text string) {
		t.Helper()
		if err := db.Write(t.Context(), func(w *Writer) error {
			rows, err := w.query(text)
			if err != nil {
				return err
			}
			return rows.Close()
		}); err != nil {
			t.Fatal(err)
		}
	}
	pragma("PRAGMA max_page_count = 110")
	type result struct {
		id  string
		err error
	}
	results := make(chan result, 600)
	for i := range 600 {
		go func() {
			e := audit.Event{ID: NewID(), Kind: "test", Detail: `{"filler":"` + strings.Repeat("x", 512) + `"}`}
			err := db.Write(t.Context(), func(w *Writer) error {
				if err := w.AuditEvent(e); err != nil {
					return err
				}
				if i%7 == 0 {
					return errNotNow
				}
				_, err := w.exec("fill", `INSERT INTO meta (name, value) VALUES ($1, $2)`, e.ID, strings.Repeat("y", 700))
				return err
			})
			results <- result{e.ID, err}
		}()
	}
	stored, failed := 0, 0
	for range 600 {
		r := <-results
		mu.Lock()
		e, ok := handed[r.id]
		mu.Unlock()
		var unknown *CommitError
		switch {
		case r.err == nil && (!ok || e.Doubtful):
			t.Errorf("%s is stored, and was handed over: %v, doubtful: %v", r.id, ok, e.Doubtful)
		case errors.As(r.err, &unknown) && (!ok || !e.Doubtful):
			t.Errorf("%s may be stored, and was handed over: %v, doubtful: %v", r.id, ok, e.Doubtful)
		case r.err != nil && !errors.As(r.err, &unknown) && ok:
			t.Errorf("%s is not stored (%v), and was handed over", r.id, r.err)
		}
		if r.err == nil {
			stored++
		} else {
			failed++
		}
	}
	if stored == 0 || failed < 100 {
		t.Fatalf("%d stored, %d failed: the disk was not full halfway", stored, failed)
	}
	pragma("PRAGMA max_page_count = 1000000")
	for _, kind := range audit.Kinds() {
		ids, err := db.AuditIDs(t.Context(), kind, "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.AuditStored(t.Context(), kind, ids)
		if err != nil || len(rows) != len(ids) {
			t.Fatalf("%d of %d rows, %v", len(rows), len(ids), err)
		}
		for id, row := range rows {
			e, ok := handed[id]
			if !ok || audit.HashLine(row.Line) != e.Hash || string(row.MAC) != string(e.Hash[:16]) {
				t.Errorf("%s reads back as another record than was handed over (%v)", id, ok)
			}
		}
	}
}

var errNotNow = errors.New("not now")

func TestTheGateKeepsIntentsFromBeingWritten(t *testing.T) {
	db, err := OpenSQLite(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.AuditTo(AuditSink{Stamp: func([32]byte) []byte { return nil }, Gate: func() error { return errNotNow }})
	if err := db.WriteIntent(t.Context(), audit.Intent{ID: NewID()}); !errors.Is(err, errNotNow) {
		t.Errorf("got %v", err)
	}
	if err := db.WriteOutcome(t.Context(), audit.Outcome{ID: NewID(), At: time.UnixMicro(1)}); err != nil {
		t.Errorf("what came of an intent is always written: %v", err)
	}
}
