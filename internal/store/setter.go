// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strconv"
	"strings"
)

// setter builds an UPDATE from the columns that are to change. Equal calls
// give equal texts, so that each is prepared once. Columns come before
// conditions.
type setter struct {
	b     strings.Builder
	cols  int
	conds int
	args  []any
}

func newSetter(table string) *setter {
	s := &setter{args: make([]any, 0, 10)}
	s.b.Grow(320)
	s.b.WriteString("UPDATE ")
	s.b.WriteString(table)
	return s
}

func (s *setter) add(column string, value any) {
	s.column(column)
	s.mark(value)
}

// word sets a column to one of our own constants, which is part of the text.
func (s *setter) word(column, value string) {
	s.column(column)
	s.quote(value)
}

func (s *setter) column(name string) {
	if s.cols++; s.cols == 1 {
		s.b.WriteString(" SET ")
	} else {
		s.b.WriteString(", ")
	}
	s.b.WriteString(name)
	s.b.WriteString(" = ")
}

func (s *setter) mark(value any) {
	s.args = append(s.args, value)
	s.b.WriteByte('$')
	s.b.WriteString(strconv.Itoa(len(s.args)))
}

func (s *setter) quote(word string) {
	s.b.WriteByte('\'')
	s.b.WriteString(strings.ReplaceAll(word, "'", "''"))
	s.b.WriteByte('\'')
}

// where adds the condition that column is value.
func (s *setter) where(column string, value any) {
	s.cond()
	s.b.WriteString(column)
	s.b.WriteString(" = ")
	s.mark(value)
}

// oneOf adds the condition that column is one of some constants of ours. No
// constants, no condition. It writes no IN: for one of more than two values
// SQLite makes a temporary table, each time.
func oneOf[T ~string](s *setter, column string, words []T) {
	if len(words) == 0 {
		return
	}
	s.cond()
	s.b.WriteByte('(')
	for i, word := range words {
		if i > 0 {
			s.b.WriteString(" OR ")
		}
		s.b.WriteString(column)
		s.b.WriteString(" = ")
		s.quote(string(word))
	}
	s.b.WriteByte(')')
}

func (s *setter) cond() {
	if s.conds++; s.conds == 1 {
		s.b.WriteString(" WHERE ")
	} else {
		s.b.WriteString(" AND ")
	}
}

func (s *setter) text() (string, []any) { return s.b.String(), s.args }

func stringArgs[T ~string](values []T) []any {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	return args
}
