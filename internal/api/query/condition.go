// SPDX-License-Identifier: Apache-2.0

package query

import (
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
)

// condition says whether an object is wanted.
type condition struct {
	path []string
	// holds is asked with what the field holds, and whether it is there at all.
	holds func(value any, there bool) bool
}

// member is ?name[]=a&name[]=b.
func member(path []string, values []string, p *schema.Schema) (condition, error) {
	none := 0
	var tests []func(any) bool
	for _, v := range values {
		v, not := strings.CutPrefix(v, "!")
		if not {
			none++
		}
		equal, err := equals(v, p)
		if err != nil {
			return condition{}, err
		}
		tests = append(tests, equal)
	}
	if none != 0 && none != len(values) {
		return condition{}, errors.New("want all of the values with ! before them, or none")
	}
	return condition{path, func(value any, there bool) bool {
		among := there && slices.ContainsFunc(tests, func(equal func(any) bool) bool { return equal(value) })
		return among != (none > 0)
	}}, nil
}

// compare is ?name=v with its operators.
func compare(path []string, text string, p *schema.Schema) (condition, error) {
	is := func(test func(any) bool, err error) (condition, error) {
		return condition{path, func(value any, there bool) bool { return there && test(value) }}, err
	}
	if text == "" {
		return condition{path, func(_ any, there bool) bool { return there }}, nil
	}
	rest := text[1:]
	if err := suits(text, p); err != nil {
		return condition{}, err
	}
	switch text[0] {
	case '!':
		if rest == "" {
			return condition{path, func(_ any, there bool) bool { return !there }}, nil
		}
		equal, err := equals(rest, p)
		return condition{path, func(value any, there bool) bool { return !there || !equal(value) }}, err
	case '^':
		return is(words(strings.HasPrefix, rest), nil)
	case '$':
		return is(words(strings.HasSuffix, rest), nil)
	case '~':
		return is(words(strings.Contains, rest), nil)
	case '<', '>':
		rest, orEqual := strings.CutPrefix(rest, "=")
		order, err := against(rest, p)
		less := text[0] == '<'
		return is(func(value any) bool {
			c, ok := order(value)
			return ok && (c == 0 && orEqual || less && c < 0 || !less && c > 0)
		}, err)
	}
	return is(equals(text, p))
}

// suits reports an operator that makes no sense for the field.
func suits(text string, p *schema.Schema) error {
	switch {
	case (p.Type == schema.Object || p.Type == schema.Array) && text != "!":
		return errors.New("only whether it is there can be asked of this field; name what is in it with a dot")
	case p.Type == schema.Boolean && strings.ContainsRune("^$~<>", rune(text[0])):
		return errors.New("want true or false, with or without ! before it")
	case (p.Type == schema.Integer || p.Format == dateTime) && strings.ContainsRune("^$~", rune(text[0])):
		return errors.New("^, $ and ~ are for text")
	}
	return nil
}

// words compares text without regard to small and capital letters.
func words(holds func(s, part string) bool, part string) func(any) bool {
	part = strings.ToLower(part)
	return func(value any) bool {
		s, ok := plain(value)
		return ok && holds(strings.ToLower(s), part)
	}
}

func equals(text string, p *schema.Schema) (func(any) bool, error) {
	if p.Type == schema.Boolean && text != "true" && text != "false" {
		return nil, errors.New("want true or false")
	}
	if p.Type == schema.Object || p.Type == schema.Array {
		return nil, errors.New("this field holds more than one value; name what is in it with a dot")
	}
	order, err := against(text, p)
	return func(value any) bool {
		c, ok := order(value)
		return ok && c == 0
	}, err
}

// against compares what a field holds with a value of the query: as numbers or
// times if the field has such, or if both look like numbers in a field that
// nothing describes; else as text.
func against(text string, p *schema.Schema) (func(any) (order int, ok bool), error) {
	if p.Format == dateTime {
		want, err := moment(text)
		return func(value any) (int, bool) {
			s, _ := value.(string)
			t, err := time.Parse(time.RFC3339, s)
			return t.Compare(want), err == nil
		}, err
	}
	want, isNumber := number(text)
	if p.Type == schema.Integer && !isNumber {
		return nil, errors.New("want a decimal number")
	}
	return func(value any) (int, bool) {
		if n, ok := value.(json.Number); ok && isNumber {
			have, ok := number(n.String())
			if !ok {
				return 0, false
			}
			return have.Cmp(want), true
		}
		s, ok := plain(value)
		return strings.Compare(s, text), ok
	}, nil
}

var decimal = regexp.MustCompile(`^-?[0-9]{1,80}(\.[0-9]{1,20})?$`)

var millis = regexp.MustCompile(`^[0-9]{1,15}$`)

// number reads no exponents: 1e999999999 would take all memory.
func number(text string) (*big.Rat, bool) {
	if !decimal.MatchString(text) {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

const dateTime = "date-time"

// moment reads RFC 3339, a day, or milliseconds since 1970.
func moment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && millis.MatchString(text) {
		return time.UnixMilli(ms), nil
	}
	return time.Time{}, errors.New("want a time like 2026-01-31T12:00:00Z, a day like 2026-01-31, or milliseconds since 1970")
}

// plain is the text of a value that is not made of others.
func plain(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
