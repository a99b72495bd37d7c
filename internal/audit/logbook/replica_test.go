// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

func postgres(t testing.TB) string {
	t.Helper()
	s, err := pgtest.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	url, err := s.NewDatabase(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func openURL(t testing.TB, url string) *rig {
	t.Helper()
	db, err := store.OpenDB(context.Background(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{db: db, key: testKey(t)}
	r.follow(t)
	t.Cleanup(r.close)
	return r
}

// Replicas append to one log, and one that dies leaves nothing out.
func TestReplicasAppendToOneLog(t *testing.T) {
	t.Parallel()
	url := postgres(t)
	replicas := []*rig{openURL(t, url), openURL(t, url), openURL(t, url)}
	each, writers := scaled(60, 15), 4
	var wg sync.WaitGroup
	for n, r := range replicas {
		for range writers {
			wg.Go(func() {
				for i := range each {
					r.sign(t, n*1000+i)
				}
			})
		}
	}
	wg.Wait()
	for _, r := range replicas {
		if err := r.book.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.book.Health(); err != nil {
			t.Error(err)
		}
	}
	report := verify(t, replicas[0].book.Reader, VerifyConfig{})
	wantOK(t, report)
	want := int64(3 * each * writers * 2)
	if rows := report.Rows; report.Records != rows || rows < want+1 || rows > want+3 { // each may have begun the log
		t.Errorf("%d records, %d rows, want %d", report.Records, rows, want)
	}
	// A record of one is proven, and awaited, by another.
	i, _ := replicas[1].sign(t, 1)
	if err := replicas[2].book.Await(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if _, err := replicas[0].book.Prove(t.Context(), audit.IntentKind, i); err != nil {
		t.Error(err)
	}
	// It dies before it has appended what it committed; the others find it.
	replicas[2].stop()
	replicas[2].stop = func() {}
	lost, _ := replicas[2].sign(t, 2)
	from := ""
	if err := replicas[0].book.sweep(t.Context(), &from, idOf(time.Now().Add(time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err := replicas[1].book.Prove(t.Context(), audit.IntentKind, lost); err != nil {
		t.Error(err)
	}
	// It was only paused, and appends after all: nothing is in the log twice.
	replicas[2].book.mu.Lock()
	replicas[2].book.first = -time.Minute
	replicas[2].book.mu.Unlock()
	if err := replicas[2].book.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	report = verify(t, replicas[0].book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Records != report.Rows {
		t.Errorf("%d records of %d rows", report.Records, report.Rows)
	}
}

func TestALogThatIsMovedVerifiesThere(t *testing.T) {
	t.Parallel()
	dir, back := t.TempDir(), t.TempDir()
	r := open(t, dir)
	r.fill(t, 300)
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	url := postgres(t)
	for _, leg := range [][2]string{{dir, url}, {url, back}} {
		if _, err := store.Move(t.Context(), leg[0], leg[1], nil); err != nil {
			t.Fatal(err)
		}
		db, err := store.OpenReadOnly(t.Context(), leg[1])
		if err != nil {
			t.Fatal(err)
		}
		report := verify(t, Read(db, testKey(t).Verifier()), VerifyConfig{Kept: [][]byte{c.Note}})
		wantOK(t, report)
		if report.Records != c.Size || report.Kept != 1 {
			t.Errorf("%+v", report)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, back)
	r.fill(t, 10)
	wantOK(t, verify(t, r.book.Reader, VerifyConfig{Kept: [][]byte{c.Note}}))
}

// Of a commit whose outcome is not known, what is there is logged, and nothing else.
func TestACommitOfUnknownOutcomeIsLoggedAsItTurnsOut(t *testing.T) {
	r := open(t, t.TempDir())
	r.stop()
	there, _ := signature(1)
	never, _ := signature(2)
	Stamp(r.db, r.key)
	if err := r.db.WriteIntent(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	r.book.committed([]audit.Entry{
		{Kind: audit.IntentKind, ID: never.ID, Hash: audit.HashLine(never.AppendLine(nil)), Doubtful: true},
		{Kind: audit.IntentKind, ID: there.ID, Hash: audit.HashLine(there.AppendLine(nil)), Doubtful: true},
	})
	if err := r.book.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.book.Await(t.Context(), there.ID); err != nil {
		t.Fatal(err)
	}
	report := verify(t, r.book.Reader, VerifyConfig{})
	wantOK(t, report)
	if report.Records != 2 {
		t.Errorf("%d records", report.Records)
	}
	r.stop = func() {}
}
