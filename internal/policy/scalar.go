// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// parsed reads a scalar and reports what is wrong with it.
func parsed[T any](n node, want string, parse func(string) (T, error)) (T, bool) {
	var none T
	s, ok := n.text(want)
	if !ok {
		return none, false
	}
	got, err := parse(s)
	if err != nil {
		n.fail("%s", err)
		return none, false
	}
	return got, true
}

// all reads a list of scalars.
func all[T any](n node, want string, parse func(string) (T, error)) []T {
	var out []T
	for _, item := range n.list() {
		if got, ok := parsed(item, want, parse); ok {
			out = append(out, got)
		}
	}
	return out
}

// addressLiteral reads an address. Letters of one case have no checksum; in mixed
// case it must be right, since it shows that a digit was mistyped.
func addressLiteral(s string) (common.Address, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != common.AddressLength {
		return common.Address{}, fmt.Errorf("%q is not an address: want 0x and 40 hexadecimal digits", s)
	}
	a := common.Address(b)
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && s != a.Hex() {
		return common.Address{}, fmt.Errorf("%q has a wrong checksum: if every digit is right, write %s", s, a.Hex())
	}
	return a, nil
}

var amountPattern = regexp.MustCompile(`^([0-9]{1,80})(?:\.([0-9]{1,18}))? ?([a-z]*)$`)

// amount reads an amount with its unit, exactly. Without bare, only 0 may stand
// without a unit.
func amount(s string, bare bool) (*big.Int, error) {
	m := amountPattern.FindStringSubmatch(s)
	if m == nil {
		return nil, fmt.Errorf("want an amount like 1.5 ether, 30 gwei or 21 wei, not %q", s)
	}
	whole, fraction, unit := m[1], m[2], m[3]
	digits, ok := map[string]int{"": 0, "wei": 0, "gwei": 9, "ether": 18}[unit]
	switch {
	case !ok:
		return nil, fmt.Errorf("%q is not a unit: want wei, gwei or ether", unit)
	case unit == "" && !bare && strings.Trim(s, "0") != "":
		return nil, fmt.Errorf("%q has no unit: want an amount like 1.5 ether, 30 gwei or 21 wei", s)
	case len(fraction) > digits:
		return nil, fmt.Errorf("%q is not a whole number of its smallest unit", s)
	}
	n, _ := new(big.Int).SetString(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10)
	return n, nil
}

func wei(s string) (*big.Int, error) { return amount(s, false) }

// integerLiteral reads a whole number of any sign: 12, -3, 0xff, 1.5 ether.
func integerLiteral(s string) (*big.Int, bool) {
	if n, err := amount(s, true); err == nil {
		return n, true
	}
	return wholeNumber(s)
}

func integer(s string) (*big.Int, error) {
	n, ok := integerLiteral(s)
	if !ok {
		return nil, fmt.Errorf("want a whole number, or an amount like 1.5 ether, not %q", s)
	}
	return n, nil
}

func count(least, most int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("want a whole number from %d to %d, not %q", least, most, s)
		}
		return n, nil
	}
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,12}) ?(B|KiB|MiB|GiB)?$`)

// bytesCount reads a number of bytes: 65536, 64KiB, 1MiB.
func bytesCount(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("want a size like 512, 64KiB or 1GiB, not %q", s)
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	return n * map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]], nil
}

var daysPattern = regexp.MustCompile(`^([0-9]{1,5})d$`)

// span reads a duration; days have 24 hours.
func span(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if m := daysPattern.FindStringSubmatch(s); m != nil {
			n, _ := strconv.Atoi(m[1])
			d, err = time.Duration(n)*24*time.Hour, nil
		}
		if err != nil || d < least || d > most {
			return 0, fmt.Errorf("want a duration from %s to %dd, like 90m, 24h or 7d, not %q", least, most/(24*time.Hour), s)
		}
		return d, nil
	}
}

func oneOf[T ~string](allowed ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if i := slices.Index(allowed, T(s)); i >= 0 {
			return allowed[i], nil
		}
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		return "", fmt.Errorf("%q is not one of %s", s, strings.Join(names, ", "))
	}
}

func matching(pattern *regexp.Regexp, want string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !pattern.MatchString(s) {
			return "", fmt.Errorf("%q is not allowed: want %s", s, want)
		}
		return s, nil
	}
}

func anyText(s string) (string, error) { return s, nil }
