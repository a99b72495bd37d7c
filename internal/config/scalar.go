// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// text wants non-empty text. A bare number or true is refused, since YAML
// would already have changed what was meant (007, 1e3, 0x10).
func text(v value) (string, error) {
	if v.r.scope == commandLine && v.node.Kind == yamlScalar && v.node.Value != "" {
		return v.node.Value, nil // flags have no types, so nothing was changed
	}
	if v.node.Kind != yamlScalar || v.node.ShortTag() != "!!str" {
		if v.node.Kind == yamlScalar && v.node.ShortTag() != "!!null" {
			return "", fmt.Errorf("want text, not %s: put it in quotes", v.kind())
		}
		return "", fmt.Errorf("want text, not %s", v.kind())
	}
	if v.node.Value == "" {
		return "", errors.New("is empty")
	}
	return v.node.Value, nil
}

// scalar is the text of a scalar as it was written, whatever its YAML type.
func scalar(v value, want string) (string, error) {
	if v.node.Kind != yamlScalar || v.node.ShortTag() == "!!null" {
		return "", fmt.Errorf("want %s, not %s", want, v.kind())
	}
	return v.node.Value, nil
}

func oneOf[T ~string](allowed ...T) parser[T] {
	return func(v value) (T, error) {
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		want := strings.Join(names, ", ")
		s, err := scalar(v, "one of "+want)
		if err != nil {
			return "", err
		}
		for _, a := range allowed {
			if string(a) == s {
				return a, nil
			}
		}
		if near := suggest(s, names); near != "" {
			return "", fmt.Errorf("%q is not one of %s: did you mean %q?", s, want, near)
		}
		return "", fmt.Errorf("%q is not one of %s", s, want)
	}
}

func matching(pattern *regexp.Regexp, want string) parser[string] {
	return func(v value) (string, error) {
		s, err := text(v)
		if err != nil {
			return "", fmt.Errorf("%w (%s)", err, want)
		}
		if !pattern.MatchString(s) {
			return "", fmt.Errorf("%q is not allowed: want %s", s, want)
		}
		return s, nil
	}
}

// atMost is a text of no more than so many bytes.
func atMost(most int, p parser[string]) parser[string] {
	return func(v value) (string, error) {
		s, err := p(v)
		if err == nil && len(s) > most {
			err = fmt.Errorf("has %d characters: want at most %d", len(s), most)
		}
		return s, err
	}
}

func boolean(v value) (bool, error) {
	if v.node.Kind == yamlScalar && v.node.ShortTag() == "!!bool" {
		return strings.EqualFold(v.node.Value, "true"), nil
	}
	return false, fmt.Errorf("want true or false, not %s", v.kind())
}

func integer[T int | int64 | uint64](least, most T) parser[T] {
	return func(v value) (T, error) {
		want := fmt.Sprintf("a whole number from %d to %d", least, most)
		s, err := scalar(v, want)
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(s, 0, 64) // nothing here may be negative
		if err != nil || n < uint64(least) || n > uint64(most) {
			return 0, fmt.Errorf("want %s, not %q", want, s)
		}
		return T(n), nil
	}
}

func number(least, most float64) parser[float64] {
	return func(v value) (float64, error) {
		want := fmt.Sprintf("a number from %g to %g", least, most)
		s, err := scalar(v, want)
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= least && n <= most) {
			return 0, fmt.Errorf("want %s, not %q", want, s)
		}
		return n, nil
	}
}

func duration(least, most time.Duration) parser[time.Duration] {
	return func(v value) (time.Duration, error) {
		want := fmt.Sprintf("a duration from %s to %s, like 90s or 2m", short(least), short(most))
		s, err := scalar(v, want)
		if err != nil {
			return 0, err
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return 0, fmt.Errorf("want %s, not %q", want, s)
		}
		return d, nil
	}
}

// short is d without the zero units that Duration.String keeps: 2m, not 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,12}) ?(B|KiB|MiB|GiB)?$`)

// size reads a number of bytes: 65536, 64KiB, 1MiB.
func size(least, most int64) parser[int64] {
	return func(v value) (int64, error) {
		want := fmt.Sprintf("a size from %s to %s", bytesText(least), bytesText(most))
		s, err := scalar(v, want)
		if err != nil {
			return 0, err
		}
		m := sizePattern.FindStringSubmatch(s)
		if m == nil {
			return 0, fmt.Errorf("want %s, not %q", want, s)
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		n *= map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
		if n < least || n > most {
			return 0, fmt.Errorf("want %s, not %q", want, s)
		}
		return n, nil
	}
}

func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

var amountPattern = regexp.MustCompile(`^([0-9]{1,20})(?:\.([0-9]{1,18}))? ?([a-z]*)$`)

// amount reads an amount of ether, exactly: no floating point. unit is the
// unit of a bare number; without one, the number must name its unit.
func amount(unit, example string) parser[*big.Int] {
	return func(v value) (*big.Int, error) {
		want := "an amount like " + example
		s, err := scalar(v, want)
		if err != nil {
			return nil, err
		}
		m := amountPattern.FindStringSubmatch(s)
		if m == nil {
			return nil, fmt.Errorf("want %s, not %q", want, s)
		}
		whole, fraction, given := m[1], m[2], m[3]
		if given == "" {
			given = unit
		}
		digits, ok := map[string]int{"wei": 0, "gwei": 9, "ether": 18}[given]
		switch {
		case given == "":
			return nil, fmt.Errorf("%q has no unit: want %s", s, want)
		case !ok:
			return nil, fmt.Errorf("%q is not a unit: want wei, gwei or ether", given)
		case len(fraction) > digits:
			return nil, fmt.Errorf("%q is not a whole number of wei", s)
		}
		wei, _ := new(big.Int).SetString(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10)
		return wei, nil
	}
}

// filePath reads a path and makes it absolute, starting from the folder of the
// config file.
func filePath(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	return v.r.absolute(s), nil
}
