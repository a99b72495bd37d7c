// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strconv"
	"strings"
)

// setter builds an UPDATE from the columns that are to change. Equal calls
// give equal texts, so that each is prepared once.
type setter struct {
	table string
	cols  strings.Builder
	conds strings.Builder
	args  []any
}

func (s *setter) add(column string, value any) {
	if s.cols.Len() > 0 {
		s.cols.WriteString(", ")
	}
	s.args = append(s.args, value)
	s.cols.WriteString(column)
	s.cols.WriteString(" = $")
	s.cols.WriteString(strconv.Itoa(len(s.args)))
}

// where adds a condition: column is one of values. No values, no condition.
func (s *setter) where(column string, values ...any) {
	if len(values) == 0 {
		return
	}
	if s.conds.Len() == 0 {
		s.conds.WriteString(" WHERE ")
	} else {
		s.conds.WriteString(" AND ")
	}
	s.conds.WriteString(column)
	s.conds.WriteString(" IN (")
	for i, v := range values {
		if i > 0 {
			s.conds.WriteString(", ")
		}
		s.args = append(s.args, v)
		s.conds.WriteByte('$')
		s.conds.WriteString(strconv.Itoa(len(s.args)))
	}
	s.conds.WriteByte(')')
}

func (s *setter) text() (string, []any) {
	return "UPDATE " + s.table + " SET " + s.cols.String() + s.conds.String(), s.args
}

func stringArgs[T ~string](values []T) []any {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	return args
}
