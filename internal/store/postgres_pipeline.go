// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// maxRows bounds one merged statement.
const maxRows = 2000

// pipeline gathers the statements of one round trip.
//
// A round of a busy address is the same few statements for each of its
// transactions, and what a statement costs PostgreSQL is mostly not the row. So
// statements of one text, each of which has to touch one row, are merged into
// one that has to touch as many: `UPDATE tx SET hash = $1 WHERE id = $2` becomes
// `UPDATE tx SET hash = v.p1 FROM unnest($1::bytea[], $2::text[]) AS v(p1, p2)
// WHERE id = v.p2`. Statements about the same row never pass each other; others
// may, which a unique index can take amiss, as can one of them that touches no
// row: then nobody knows which, and the batch is run once more unmerged.
type pipeline struct {
	merge   bool
	waiting []statement
	byText  map[string]int // the last statement of a text, by place in waiting
	byID    map[string]int // the last statement about a row
	last    int64          // rows that the last statement touched
}

// statement waits to be sent, once for each of its rows of arguments.
type statement struct {
	text   string
	rows   [][]any
	owner  int // whose demand it is; nobody or somebody
	op, id string
	value  *string // receives the one column of the one row

	stmt   *pgconn.StatementDescription // nil: text is sent unprepared
	params [][]byte
	format []int16
}

func (p *pipeline) reset() {
	clear(p.waiting) // they hold the callers' bytes
	p.waiting = p.waiting[:0]
	if p.byText == nil {
		p.byText, p.byID = make(map[string]int), make(map[string]int)
	}
	clear(p.byText)
	clear(p.byID)
}

func (p *pipeline) add(q statement, args []any) {
	q.rows = [][]any{args}
	p.waiting = append(p.waiting, q)
}

// demand adds a statement that has to touch one row, the one called q.id or
// one that belongs to it.
func (p *pipeline) demand(q statement, args []any) {
	if !p.merge {
		p.add(q, args)
		return
	}
	last, known := p.byID[q.id]
	if at, ok := p.byText[q.text]; ok && (!known || at > last) && len(p.waiting[at].rows) < maxRows {
		p.waiting[at].rows = append(p.waiting[at].rows, args)
		p.waiting[at].owner = somebody
		p.byID[q.id] = at
		return
	}
	p.byText[q.text], p.byID[q.id] = len(p.waiting), len(p.waiting)
	p.add(q, args)
}

// encode makes the statement ready to be sent.
func (q *statement) encode(s *postgresSession) (err error) {
	if len(q.rows) == 1 && s.p.pooled {
		return q.encodeOne()
	}
	var types []uint32
	if q.stmt, types, err = s.prepare(q.text); err != nil {
		return err
	}
	if len(q.rows) == 1 {
		return q.encodeOne()
	}
	text, err := s.p.merged(q.text, types)
	if err != nil {
		return &mismatch{somebody, err} // unmerged they will do
	}
	q.text = text
	if q.stmt, _, err = s.prepare(text); err != nil {
		return err
	}
	q.params = make([][]byte, len(types))
	q.format = make([]int16, len(types))
	for i := range types {
		q.format[i] = 1
		if q.params[i], err = encodeArray(types[i], q.rows, i); err != nil {
			return err
		}
	}
	return nil
}

func (q *statement) encodeOne() error {
	args := q.rows[0]
	q.params, q.format = make([][]byte, len(args)), make([]int16, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case nil:
		case int64:
			q.params[i] = strconv.AppendInt(nil, v, 10)
		case int:
			q.params[i] = strconv.AppendInt(nil, int64(v), 10)
		case string:
			q.params[i] = []byte(postgresText(v))
		case []byte:
			q.params[i], q.format[i] = v, 1
		default:
			return fmt.Errorf("store: argument %d is of type %T", i+1, arg)
		}
	}
	return nil
}

// encodeArray makes a one-dimensional array of the i-th argument of all rows,
// in PostgreSQL's binary form (src/backend/utils/adt/arrayfuncs.c, array_recv):
// dimensions, whether there are NULLs, element type, length, lower bound, and
// each element after its length, -1 for NULL.
func encodeArray(element uint32, rows [][]any, i int) ([]byte, error) {
	b := make([]byte, 0, 20+len(rows)*40)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 1) // there may be; it is not held against us
	b = binary.BigEndian.AppendUint32(b, element)
	b = binary.BigEndian.AppendUint32(b, uint32(len(rows)))
	b = binary.BigEndian.AppendUint32(b, 1)
	for _, row := range rows {
		switch v := row[i].(type) {
		case nil:
			b = binary.BigEndian.AppendUint32(b, 1<<32-1)
		case int64:
			if element != pgtype.Int8OID {
				return nil, fmt.Errorf("store: argument %d is a number where type %d is wanted", i+1, element)
			}
			b = binary.BigEndian.AppendUint32(b, 8)
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		case string:
			v = postgresText(v)
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		case []byte:
			if v == nil {
				b = binary.BigEndian.AppendUint32(b, 1<<32-1)
				continue
			}
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		default:
			return nil, fmt.Errorf("store: argument %d is of type %T", i+1, v)
		}
	}
	return b, nil
}

// merged is the text that does for many rows what text does for one.
func (p *postgres) merged(text string, types []uint32) (string, error) {
	if m, ok := p.mergedTexts.Load(text); ok {
		return m.(string), nil
	}
	m, err := mergeText(text, types)
	if err == nil {
		p.mergedTexts.Store(text, m)
	}
	return m, err
}

func mergeText(text string, types []uint32) (string, error) {
	arrays, names := make([]string, len(types)), make([]string, len(types))
	for i, t := range types {
		name, ok := map[uint32]string{pgtype.Int8OID: "bigint", pgtype.TextOID: "text", pgtype.ByteaOID: "bytea"}[t]
		if !ok {
			return "", fmt.Errorf("store: parameter %d is of type %d, which is not merged: %s", i+1, t, text)
		}
		arrays[i] = "$" + strconv.Itoa(i+1) + "::" + name + "[]"
		names[i] = "p" + strconv.Itoa(i+1)
	}
	from := "unnest(" + strings.Join(arrays, ", ") + ") AS v(" + strings.Join(names, ", ") + ")"
	verb, _, _ := strings.Cut(text, " ")
	switch values := strings.Index(text, "VALUES ("); {
	case verb == "INSERT" && values > 0:
		list, rest, ok := strings.Cut(text[values+len("VALUES ("):], ")")
		if ok {
			return text[:values] + "SELECT " + parameters(list) + " FROM " + from + rest, nil
		}
	case verb == "UPDATE":
		if set, where, ok := strings.Cut(text, "WHERE "); ok {
			return parameters(set) + " FROM " + from + " WHERE " + parameters(where), nil
		}
	case verb == "SELECT":
		set, where, ok := strings.Cut(text, " WHERE ")
		_, table, named := strings.Cut(set, " FROM ")
		if ok && named && strings.HasSuffix(where, " FOR SHARE") {
			return set + ", " + from + " WHERE " + parameters(where) + " OF " + table, nil
		}
	}
	return "", fmt.Errorf("store: statement cannot be merged: %s", text)
}

// parameters turns $3 into v.p3.
func parameters(text string) string { return strings.ReplaceAll(text, "$", "v.p") }

// postgresText replaces what PostgreSQL takes in no text: what is not UTF-8,
// and NUL. Such bytes come in texts that others wrote, as a node's errors.
func postgresText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
