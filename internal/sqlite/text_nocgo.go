// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package sqlite

import (
	"strconv"
	"strings"
)

// placed is what the driver gets for a text.
func placed(text string) string { return unnumbered(text) }

// unnumbered turns $1, $2, … into ? where each stands once and in that order, and
// changes no other text: the driver asks SQLite for the name of each numbered
// parameter, and compares it with all arguments, each time it runs.
func unnumbered(text string) string {
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 && strings.ContainsAny(part, "$?") || i%2 == 0 && strings.Contains(part, "?") {
			return text // within a literal they are no parameters
		}
	}
	var b strings.Builder
	for n, rest := 1, text; ; n++ {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits := strconv.Itoa(n)
		after, ok := strings.CutPrefix(after, digits)
		if !ok || after != "" && '0' <= after[0] && after[0] <= '9' {
			return text
		}
		b.WriteByte('?')
		rest = after
	}
}
