// SPDX-License-Identifier: Apache-2.0

package store

import (
	"iter"
	"strconv"
	"strings"
)

// maxChunk is how many values one IN may list.
const maxChunk = 256

// chunks cuts ids into lists for IN. Their lengths are powers of two, filled up
// with the last id, so that there are few texts to prepare. The texts begin at
// $1.
func chunks(ids []string) iter.Seq2[string, []any] {
	return func(yield func(string, []any) bool) {
		for len(ids) > 0 {
			n := min(len(ids), maxChunk)
			args := stringArgs(ids[:n])
			for len(args)&(len(args)-1) != 0 {
				args = append(args, ids[n-1])
			}
			if !yield(marks(len(args)), args) {
				return
			}
			ids = ids[n:]
		}
	}
}

// marks is "$1, $2, …, $n".
func marks(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	return b.String()
}
