// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

func TestMergedTextDoesForManyRowsWhatTheTextDoesForOne(t *testing.T) {
	types := []uint32{pgtype.Int8OID, pgtype.TextOID}
	const from = "unnest($1::bigint[], $2::text[]) AS v(p1, p2)"
	for text, want := range map[string]string{
		"INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING": "INSERT INTO t (a, b) SELECT v.p1, v.p2 FROM " + from + " ON CONFLICT DO NOTHING",
		"UPDATE t SET a = $1, s = 'x' WHERE id = $2 AND (s = 'y')":    "UPDATE t SET a = v.p1, s = 'x'  FROM " + from + " WHERE id = v.p2 AND (s = 'y')",
		"SELECT 1 FROM t WHERE a = $1 AND b = $2 FOR SHARE":           "SELECT 1 FROM t, " + from + " WHERE a = v.p1 AND b = v.p2 FOR SHARE OF t",
	} {
		if got, err := mergeText(text, types); err != nil || got != want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
		}
	}
	for _, text := range []string{"DELETE FROM t WHERE a = $1", "SELECT a FROM t WHERE a = $1 AND b = $2"} {
		if got, err := mergeText(text, types); err == nil {
			t.Errorf("%s became %s", text, got)
		}
	}
	if _, err := mergeText("UPDATE t SET a = $1 WHERE b = $2", []uint32{pgtype.Int4OID, pgtype.TextOID}); err == nil {
		t.Error("merged a type that it does not know")
	}
}

// Every text that is expected to touch one row can be merged, and statements
// about one row keep their order.
func TestStatementsAboutOneRowNeverPassEachOther(t *testing.T) {
	var p pipeline
	p.reset()
	p.merge = true
	for _, q := range []struct{ text, id string }{
		{"insert", "a"}, {"update", "a"}, // 0, 1
		{"insert", "b"}, {"update", "b"}, // join 0, 1
		{"update", "c"}, {"insert", "c"}, // join 1, but not 0: a new one
		{"update", "c"}, // after that
		{"insert", "d"}, // joins the newest insert
	} {
		p.demand(statement{text: q.text, id: q.id}, []any{q.id})
	}
	type group struct {
		text string
		ids  string
	}
	var got []group
	for _, q := range p.waiting {
		g := group{text: q.text}
		for _, row := range q.rows {
			g.ids += row[0].(string)
		}
		got = append(got, g)
	}
	want := []group{{"insert", "ab"}, {"update", "abc"}, {"insert", "cd"}, {"update", "c"}}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestMismatchIsFoundInWhateverWrapsIt(t *testing.T) {
	m := &mismatch{3, errors.New("x")}
	if mismatched(errors.Join(errors.New("y"), m)) != m || mismatched(errors.New("x")) != nil {
		t.Error("not found")
	}
}
