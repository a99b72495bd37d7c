// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hsmsigner/hsmsigner/internal/store/pgtest.begin.func1"))
}

const logName = "test.example/audit"

func testKey(t testing.TB) *Key {
	t.Helper()
	k, err := KeyFrom(logName, bytes.Repeat([]byte{7}, SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rig is a store with a log.
type rig struct {
	dir  string
	db   *store.DB
	book *Book
	key  *Key
	stop func()
}

// empty makes a database without records. Its migrations take most of a second
// under the race detector, so they are run once.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "logbook")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "hsmsigner.db"))
})

// open opens a store and its log and lets it run.
func open(t testing.TB, dir string) *rig {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "hsmsigner.db")); err != nil {
		b, err := empty()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hsmsigner.db"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, db: db, key: testKey(t)}
	r.follow(t)
	t.Cleanup(r.close)
	return r
}

func (r *rig) follow(t testing.TB) {
	t.Helper()
	var err error
	r.book, err = Open(context.Background(), Config{Store: r.db, Key: r.key, Interval: 5 * time.Millisecond, Sweep: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = r.book.Run(ctx)
		close(ended)
	}()
	r.stop = func() { cancel(); <-ended }
}

func (r *rig) close() {
	if r.db != nil {
		r.stop()
		_ = r.db.Close()
		r.db = nil
	}
}

// sign writes an intent, with its outcome, and returns their ids.
func (r *rig) sign(t testing.TB, n int) (intent, outcome string) {
	t.Helper()
	i, o := signature(n)
	if err := r.db.WriteIntent(context.Background(), i); err != nil {
		t.Fatal(err)
	}
	if err := r.db.WriteOutcome(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	return i.ID, o.ID
}

func signature(n int) (audit.Intent, audit.Outcome) {
	i := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: "app:shop", Wallet: "treasury", Address: common.HexToAddress("0xaa"),
		Action: audit.SendTransaction, Subject: store.NewID(), Verdict: "allow: default", Detail: fmt.Sprintf(`{"to":"0x%040x","value":"%d"}`, n, n),
	}
	return i, audit.Outcome{ID: store.NewID(), Intent: i.ID, At: time.Now(), Digest: common.HexToHash("0x01"), Hash: common.HexToHash("0x02"), RequestID: fmt.Sprint(n)}
}

// fill writes n records in commits of several, and waits until they are in the log.
func (r *rig) fill(t testing.TB, n int) {
	t.Helper()
	ctx := context.Background()
	var last string
	for done := 0; done < n; {
		size := min(1+done%23, n-done)
		err := r.db.Write(ctx, func(w *store.Writer) error {
			for i := range size {
				e := audit.Event{ID: store.NewID(), At: time.Now(), Principal: "admin", Kind: "service-create", Subject: fmt.Sprint(done + i)}
				last = e.ID
				if i%3 == 0 {
					intent, outcome := signature(done + i)
					last = outcome.ID
					if err := w.AuditIntent(intent); err != nil {
						return err
					}
					if err := w.AuditOutcome(outcome); err != nil {
						return err
					}
					continue
				}
				if err := w.AuditEvent(e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		done += size
		if done%5 == 0 {
			if err := r.book.Await(ctx, last); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.book.Await(ctx, last); err != nil {
		t.Fatal(err)
	}
}

// later is a time at which every row is of some age.
func later() time.Time { return time.Now().Add(time.Hour) }

func verify(t testing.TB, r *Reader, cfg VerifyConfig) Report {
	t.Helper()
	if cfg.Now.IsZero() {
		cfg.Now = later()
	}
	report, err := r.Verify(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantOK(t testing.TB, report Report) {
	t.Helper()
	if !report.OK() {
		t.Fatalf("%d problems: %+v", report.Bad, report.Problems)
	}
}

// copyFile copies the closed database of a directory into another one.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, "hsmsigner.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "hsmsigner.db"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// attack opens the database as whoever has the file would.
func attack(t testing.TB, dir string, fn func(db *sql.DB)) {
	t.Helper()
	db, err := sql.Open(sqlite.Driver, filepath.Join(dir, "hsmsigner.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	do(t, db, `PRAGMA synchronous = OFF`)
	do(t, db, `PRAGMA journal_mode = WAL`)
	fn(db)
}

func do(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// reader opens a directory as `audit verify` does.
func reader(t testing.TB, dir string, k *Key) (*Reader, func()) {
	t.Helper()
	db, err := store.OpenReadOnly(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return Read(db, k.Verifier()), func() { _ = db.Close() }
}
