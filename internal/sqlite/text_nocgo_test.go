// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package sqlite

import "testing"

func TestParametersLoseTheirNumbersOnlyWhereTheyStandInOrder(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"COMMIT":                           "COMMIT",
		"VALUES ($1, $2, $3)":              "VALUES (?, ?, ?)",
		"SET a = $1 WHERE b = $2":          "SET a = ? WHERE b = ?",
		"SET a = 'x' WHERE b = $1":         "SET a = 'x' WHERE b = ?",
		"VALUES ($2, $1)":                  "VALUES ($2, $1)",
		"a = $1 OR b = $1":                 "a = $1 OR b = $1",
		"a = $1 AND b = $2 OR c = $1":      "a = $1 AND b = $2 OR c = $1",
		"a = $10":                          "a = $10",
		"a = $":                            "a = $",
		"a = 'costs $1' AND b = $1":        "a = 'costs $1' AND b = $1",
		"a = 'is ?' AND b = $1":            "a = 'is ?' AND b = $1",
		"a = 'it''s' AND b = $1":           "a = 'it''s' AND b = ?",
		"a = ? AND b = $1":                 "a = ? AND b = $1",
		"$1 $2 $3 $4 $5 $6 $7 $8 $9 $10":   "? ? ? ? ? ? ? ? ? ?",
		"$1 $2 $3 $4 $5 $6 $7 $8 $9 $1":    "$1 $2 $3 $4 $5 $6 $7 $8 $9 $1",
		"$1 $2 $3 $4 $5 $6 $7 $8 $9 $10 $": "$1 $2 $3 $4 $5 $6 $7 $8 $9 $10 $",
	} {
		if got := unnumbered(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
