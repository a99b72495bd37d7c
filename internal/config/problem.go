// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/strictyaml"
)

// Problem is one thing that is wrong with a config file.
type Problem = strictyaml.Problem

// Errors is everything that is wrong with a config file, in the order of its
// lines. It is never empty when returned as an error.
type Errors = strictyaml.Errors

// Warning is something that is allowed but unwise.
type Warning Problem

// String is "config.yaml:12: rpc.listen: what is unwise".
func (w Warning) String() string { return Problem(w).String() }

// suggest returns the name nearest to got, or "" if none is near.
func suggest(got string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		d := distance(strings.ToLower(got), name)
		if d < bestDistance && d < max(len(name), len(got))/2+1 {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours cost one.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
