// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// maxDigits is how many digits the largest amount of a uint256 has.
const maxDigits = 78

// Units reads an amount in whole tokens, decimal with a point, and returns it in the
// smallest unit of a token with so many decimals. What is no exact number of units,
// or is more than a uint256 holds, is an error; so are signs, exponents and blanks.
func Units(amount string, decimals int) (*big.Int, error) {
	whole, part, point := strings.Cut(amount, ".")
	if whole == "" || point && part == "" || !digits(whole) || !digits(part) {
		return nil, errors.New("want an amount such as 1000 or 0.5")
	}
	part = strings.TrimRight(part, "0")
	whole = strings.TrimLeft(whole, "0")
	if len(part) > decimals {
		if decimals == 0 {
			return nil, errors.New("want a whole number of tokens")
		}
		return nil, fmt.Errorf("want at most %d digits after the point, as many as the token has", decimals)
	}
	tooLarge := errors.New("want less: it is more than a contract can count (2^256 - 1 of the smallest unit)")
	if len(whole)+decimals > maxDigits {
		return nil, tooLarge
	}
	n, ok := new(big.Int).SetString("0"+whole+part+strings.Repeat("0", decimals-len(part)), 10)
	if !ok {
		return nil, errors.New("want an amount such as 1000 or 0.5")
	}
	if n.BitLen() > 256 {
		return nil, tooLarge
	}
	return n, nil
}

// Amount writes an amount in the smallest unit as whole tokens, with a point if
// need be, and no zeros at the end: Units reads it as the same.
func Amount(units *big.Int, decimals int) string {
	if decimals <= 0 {
		return units.String()
	}
	s := new(big.Int).Abs(units).String()
	if len(s) <= decimals {
		s = strings.Repeat("0", decimals-len(s)+1) + s
	}
	whole, part := s[:len(s)-decimals], strings.TrimRight(s[len(s)-decimals:], "0")
	if part != "" {
		whole += "." + part
	}
	if units.Sign() < 0 {
		return "-" + whole
	}
	return whole
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
