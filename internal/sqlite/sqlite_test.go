// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"database/sql"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
)

func openFile(t *testing.T, query string) *sql.DB {
	t.Helper()
	db, err := sql.Open(Driver, "file:"+filepath.Join(t.TempDir(), "a b.db")+query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestParametersGoByTheirNumbers(t *testing.T) {
	db := openFile(t, "")
	for text, want := range map[string][]any{
		"SELECT $1, $2, $3":                              {"a", int64(2), []byte{3}},
		"SELECT $2, $1, $3":                              {int64(2), "a", []byte{3}},
		"SELECT $3, $1, $3, $2, $1":                      {[]byte{3}, "a", []byte{3}, int64(2), "a"},
		"SELECT $1 || '$2 ?', $3, $2":                    {"a$2 ?", []byte{3}, int64(2)},
		"SELECT 'it''s $1', $1, $2 WHERE $3 IS NOT NULL": {"it's $1", "a", int64(2)},
	} {
		for _, prepared := range []bool{false, true} {
			row := func() *sql.Row { return db.QueryRowContext(t.Context(), text, "a", 2, []byte{3}) }
			if prepared {
				stmt, err := db.PrepareContext(t.Context(), text)
				if err != nil {
					t.Fatal(err)
				}
				defer stmt.Close()
				row = func() *sql.Row { return stmt.QueryRowContext(t.Context(), "a", 2, []byte{3}) }
			}
			got, into := make([]any, len(want)), make([]any, len(want))
			for i := range got {
				into[i] = &got[i]
			}
			if err := row().Scan(into...); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s (prepared: %v) gave %v, %v, want %v", text, prepared, got, err, want)
			}
		}
	}
}

func TestPragmasOfTheNameHold(t *testing.T) {
	db := openFile(t, "?mode=rwc&_pragma=busy_timeout(1234)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=wal_autocheckpoint(4000)&_pragma=cache_size(-65536)&_pragma=temp_store(MEMORY)")
	for pragma, want := range map[string]string{
		"busy_timeout": "1234", "journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"wal_autocheckpoint": "4000", "cache_size": "-65536", "temp_store": "2",
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", pragma, got, err, want)
		}
	}
}

func TestAPragmaThatFailsOpensNothing(t *testing.T) {
	db := openFile(t, "?_pragma=no(such")
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("it is open")
	}
}

func TestUniqueViolationsAreTold(t *testing.T) {
	db := openFile(t, "")
	exec := func(text string, args ...any) error {
		_, err := db.ExecContext(t.Context(), text, args...)
		return err
	}
	if err := exec("CREATE TABLE a (id TEXT PRIMARY KEY, n INTEGER UNIQUE, m INTEGER NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	insert := "INSERT INTO a (id, n, m) VALUES ($1, $2, $3)"
	if err := exec(insert, "a", 1, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   any
		n, m any
		want bool
	}{{"a", 2, 2, true}, {"b", 1, 2, true}, {"b", 2, nil, false}} {
		if err := exec(insert, c.id, c.n, c.m); err == nil || IsUnique(err) != c.want {
			t.Errorf("%v: %v", c, err)
		}
	}
	if IsUnique(errors.New("UNIQUE")) || IsUnique(nil) || Code(sql.ErrNoRows) != 0 {
		t.Error("other errors are taken for SQLite's")
	}
}

// What one driver writes the other reads, so this is what the rows' types must be
// with either.
func TestValuesComeBackAsTheyWent(t *testing.T) {
	db := openFile(t, "")
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE a (t TEXT, n BIGINT, b BLOB)"); err != nil {
		t.Fatal(err)
	}
	for _, row := range [][3]any{
		{"", int64(-1 << 63), []byte{}},
		{"a\x00b", int64(1<<63 - 1), []byte{0}},
		{"ä", nil, nil},
		{nil, int64(0), make([]byte, 100_000)},
	} {
		if _, err := db.ExecContext(t.Context(), "DELETE FROM a"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO a (b, n, t) VALUES ($3, $2, $1)", row[0], row[1], row[2]); err != nil {
			t.Fatal(err)
		}
		var got [3]any
		var null bool
		if err := db.QueryRowContext(t.Context(), "SELECT t, n, b, b IS NULL FROM a").Scan(&got[0], &got[1], &got[2], &null); err != nil {
			t.Fatal(err)
		}
		if b, ok := row[2].([]byte); ok && len(b) == 0 {
			if null {
				t.Error("an empty blob is stored as NULL")
			}
			got[2] = row[2] // read as one or the other
		}
		if !reflect.DeepEqual(got, row) {
			t.Errorf("%v came back as %v", row, got)
		}
	}
}

func TestHookUndoesACommit(t *testing.T) {
	db := openFile(t, "")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "CREATE TABLE a (n)"); err != nil {
		t.Fatal(err)
	}
	allow := false
	if err := conn.Raw(func(c any) error { return OnCommit(c, func() bool { return allow }) }); err != nil {
		t.Fatal(err)
	}
	if OnCommit(nil, nil) == nil {
		t.Error("it hooks nothing")
	}
	for _, allow = range []bool{false, true} {
		if _, err := conn.ExecContext(t.Context(), "INSERT INTO a VALUES (1)"); (err == nil) != allow {
			t.Errorf("allowed %v: %v", allow, err)
		}
	}
}
