// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestWhatIsCommittedIsInTheLogInItsOrder(t *testing.T) {
	r := open(t, t.TempDir())
	var ids []string
	for n := range 40 {
		i, o := r.sign(t, n)
		ids = append(ids, i, o)
	}
	if err := r.book.Await(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
	logged, err := r.book.Records(t.Context(), 1, 1000) // at 0 stands what the log began with
	if err != nil || len(logged) != len(ids) {
		t.Fatalf("%d records, %v", len(logged), err)
	}
	for i, l := range logged {
		if l.ID != ids[i] || l.Index != int64(i+1) {
			t.Fatalf("place %d has %s, want %s", l.Index, l.ID, ids[i])
		}
	}
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Records != 81 || report.Rows != 81 || report.Unanswered != 0 || report.Latest.Size != 81 {
		t.Errorf("report %+v", report)
	}
	if err := r.book.Health(); err != nil {
		t.Error(err)
	}
}

// Two verifiers that others have written, and a note reader of the Go project.
func TestProofsVerifyIndependently(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	r.fill(t, 320)
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(r.key.Verifier().String())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(c.Note, note.VerifierList(v))
	if err != nil || opened.Text != fmt.Sprintf("%s\n%d\n%s\n", logName, c.Size, c.Root) {
		t.Fatalf("note %q, %v", opened.Text, err)
	}
	logged, err := r.book.Records(t.Context(), 0, 2048)
	if err != nil || int64(len(logged)) != c.Size {
		t.Fatalf("%d records of %d, %v", len(logged), c.Size, err)
	}
	for n, l := range logged {
		if n%scaled(1, 11) != 0 {
			continue
		}
		p, err := r.book.Prove(t.Context(), l.Kind, l.ID)
		if err != nil {
			t.Fatal(err)
		}
		leaf := tlog.RecordHash(p.Line)
		if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, leaf); err != nil {
			t.Fatalf("place %d: %v", p.Index, err)
		}
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.Index), uint64(c.Size), rfc6962.DefaultHasher.HashLeaf(p.Line), raw(p.Hashes), c.Root[:])
		if err != nil {
			t.Fatalf("place %d: %v", p.Index, err)
		}
		if err := p.Check(r.key.Verifier()); err != nil {
			t.Fatal(err)
		}
		p.Line = append([]byte(nil), p.Line...)
		p.Line[len(p.Line)/2] ^= 1
		if p.Check(r.key.Verifier()) == nil {
			t.Fatal("an altered record is proven")
		}
	}
	for _, from := range []int64{1, 2, 3, 17, 255, 256, 257, 290, c.Size - 1} {
		for _, to := range []int64{from, from + 1, 258, 300, c.Size} {
			if to < from || to > c.Size {
				continue
			}
			hashes, err := r.book.Consistency(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			old, new := rootAt(t, r, from), rootAt(t, r, to)
			if from < to {
				if err := tlog.CheckTree(hashes, to, new, from, old); err != nil {
					t.Fatalf("%d to %d: %v", from, to, err)
				}
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(to), raw(hashes), old[:], new[:]); err != nil {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
		}
	}
}

// rootAt is the root by the definition, from the records themselves.
func rootAt(t *testing.T, r *rig, size int64) tlog.Hash {
	t.Helper()
	h, err := r.book.RootAt(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func raw(hashes []tlog.Hash) [][]byte {
	all := make([][]byte, len(hashes))
	for i := range hashes {
		all[i] = hashes[i][:]
	}
	return all
}

func TestOnlyTheLastRunOfAClosureIsLogged(t *testing.T) {
	for range 20 {
		if closureRunTwiceIsLoggedOnce(t) {
			return
		}
	}
	t.Fatal("the closure never ran twice")
}

// closureRunTwiceIsLoggedOnce reports false if the closures had no transaction in
// common: then they came too late to each other, and nothing is known.
func closureRunTwiceIsLoggedOnce(t *testing.T) bool {
	r := open(t, t.TempDir())
	intent, _ := signature(1)
	stale, _ := signature(2)
	failing, _ := signature(3)
	again := errors.New("no")
	// The closures share a transaction; one that fails has the others run again.
	ran := 0
	done := make(chan error, 2)
	hold := make(chan struct{})
	go func() { _ = r.db.Write(context.Background(), func(*store.Writer) error { <-hold; return nil }) }()
	time.Sleep(20 * time.Millisecond)
	go func() {
		done <- r.db.Write(context.Background(), func(w *store.Writer) error {
			if ran++; ran == 1 {
				return w.AuditIntent(stale)
			}
			return w.AuditIntent(intent)
		})
	}()
	time.Sleep(20 * time.Millisecond)
	go func() {
		done <- r.db.Write(context.Background(), func(w *store.Writer) error {
			if err := w.AuditIntent(failing); err != nil {
				return err
			}
			return again
		})
	}()
	time.Sleep(20 * time.Millisecond)
	close(hold)
	for range 2 {
		if err := <-done; err != nil && !errors.Is(err, again) {
			t.Fatal(err)
		}
	}
	if ran == 1 {
		return false
	}
	if ran != 2 {
		t.Fatalf("the closure ran %d times", ran)
	}
	if err := r.book.Await(t.Context(), intent.ID); err != nil {
		t.Fatal(err)
	}
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Records != 2 {
		t.Errorf("%d records", report.Records)
	}
	return true
}

// Between the commit of a row and that of the log the process may die.
func TestWhatACrashKeptFromTheLogIsTakenInAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	r.fill(t, 50)
	r.stop()
	r.stop = func() {}
	r.sign(t, 1) // committed, and nobody appends it
	r.sign(t, 2)
	r.close()
	view, done := reader(t, dir, testKey(t))
	if report := verify(t, view, VerifyConfig{}); report.Bad != 4 || report.Problems[0].What != Unlogged {
		t.Fatalf("%+v", report)
	}
	if report := verify(t, view, VerifyConfig{Now: time.Now()}); !report.OK() || report.Waiting != 4 {
		t.Fatalf("%+v", report)
	}
	done()
	r = open(t, dir)
	until(t, func() bool {
		report := verify(t, r.book.Reader, VerifyConfig{})
		return report.OK() && report.Rows == report.Records
	})
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("it did not come to that within a minute")
}

func TestRowsWithoutARightKeyedHashAreNeverTakenIn(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	r.sign(t, 1)
	r.close()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	i, o := signature(2)
	for _, err := range []error{db.WriteIntent(t.Context(), i), db.WriteOutcome(t.Context(), o), db.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir)
	time.Sleep(200 * time.Millisecond)
	report := verify(t, r.book.Reader, VerifyConfig{})
	if report.Bad != 2 || report.Problems[0].What != Unlogged || report.Problems[0].ID != i.ID || report.Problems[1].ID != o.ID {
		t.Fatalf("%+v", report)
	}
}

func TestTheCommandLinesRowsAreTakenInByTheDaemon(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	r.sign(t, 1)
	r.close()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	Stamp(db, testKey(t))
	if err := db.WriteEvent(t.Context(), audit.Event{Kind: "freeze", Subject: "everything"}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir)
	until(t, func() bool { return verify(t, r.book.Reader, VerifyConfig{}).OK() })
}

func TestALogTakesInWhatTheCommandLineWroteBeforeTheFirstStart(t *testing.T) {
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	Stamp(db, testKey(t))
	for _, ago := range []time.Duration{0, time.Second, time.Hour, 24 * time.Hour} {
		e := audit.Event{ID: idOf(time.Now().Add(-ago)) + "7000800000000000aaaa", Kind: "token-create"}
		if err := db.WriteEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	until(t, func() bool { return verify(t, r.book.Reader, VerifyConfig{}).OK() })
	if report := verify(t, r.book.Reader, VerifyConfig{}); report.Records != 5 || report.Rows != 5 {
		t.Errorf("%+v", report)
	}
}

func TestALogBeginsWithWhatWasThereBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	before := scaled(5000, 2500) // more than a batch
	for range before / 500 {
		err := db.Write(t.Context(), func(w *store.Writer) error {
			for n := range 250 {
				i, o := signature(n)
				if err := errors.Join(w.AuditIntent(i), w.AuditOutcome(o)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := open(t, dir)
		r.sign(t, 1)
		r.close()
	}
	view, done := reader(t, dir, testKey(t))
	defer done()
	report := verify(t, view, VerifyConfig{})
	wantOK(t, report)
	if report.Adopted != int64(before) || report.Records != int64(before)+1+4 {
		t.Errorf("adopted %d of %d", report.Adopted, report.Records)
	}
}

func TestNothingIsSignedWhileTheLogIsFarBehind(t *testing.T) {
	r := open(t, t.TempDir())
	r.sign(t, 1)
	if err := r.book.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.book.appending.Lock() // as if the database did not answer
	r.sign(t, 2)
	i, _ := signature(3)
	r.book.since.Store(int64(r.book.now() - time.Minute))
	if err := r.db.WriteIntent(t.Context(), i); err == nil || !strings.Contains(err.Error(), "behind") {
		t.Errorf("got %v", err)
	}
	if err := r.book.Health(); err == nil {
		t.Error("it is healthy")
	}
	r.book.appending.Unlock()
	until(t, func() bool { return r.book.Health() == nil })
	if err := r.db.WriteIntent(t.Context(), i); err != nil {
		t.Error(err)
	}
}

func TestADaemonDoesNotGoOnWithALogThatWasRolledBack(t *testing.T) {
	dir, old := t.TempDir(), t.TempDir()
	r := open(t, dir)
	r.fill(t, 30)
	r.close()
	copyFile(t, dir, old)
	r = open(t, dir)
	r.fill(t, 30)
	r.book.appending.Lock()
	known := r.book.known
	r.book.appending.Unlock()
	r.close()
	r = open(t, old)
	r.book.appending.Lock()
	r.book.known, r.book.tree = known, nil
	r.book.appending.Unlock()
	r.sign(t, 1)
	until(t, func() bool { return errors.Is(r.book.Health(), ErrTampered) })
}

func TestAPruneIsInTheLogAndNoTampering(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	for n := range 30 {
		r.sign(t, n)
	}
	time.Sleep(5 * time.Millisecond)
	now := time.Now()
	n, err := r.db.PruneAudit(t.Context(), now)
	if err != nil || n != 29 {
		t.Fatalf("pruned %d, %v", n, err)
	}
	if err := r.book.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Pruned != 58 || report.Records != 62 {
		t.Errorf("%+v", report)
	}
	var file bytes.Buffer
	if err := r.book.Export(t.Context(), &file, 0, 0); err != nil {
		t.Fatal(err)
	}
	report, err = VerifyExport(t.Context(), &file, r.key.Verifier(), VerifyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	wantOK(t, report)
	if report.Pruned != 58 {
		t.Errorf("%+v", report)
	}
	r.close()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.PruneAudit(t.Context(), now); err == nil {
		t.Error("pruned without the key")
	}
}

func TestVerifyBesideARunningDaemon(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	db := r.db
	go func() {
		defer close(ended)
		for n := 0; ctx.Err() == nil && n < 600; n++ {
			i, o := signature(n)
			_ = db.WriteIntent(ctx, i)
			_ = db.WriteOutcome(ctx, o)
		}
	}()
	defer func() { cancel(); <-ended }()
	view, done := reader(t, dir, r.key)
	defer done()
	for range scaled(8, 3) {
		report := verify(t, view, VerifyConfig{Now: time.Now()})
		wantOK(t, report)
	}
}
