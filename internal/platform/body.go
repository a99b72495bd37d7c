// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// body is the object of a request. Members that nobody asks for are ignored:
// clients made for Kaleido send some that we do not have.
type body struct{ strictjson.Value }

// maxBody bounds a request: the longest there is has a few certificates.
const maxBody = 512 << 10

func parseBody(text []byte) (body, error) {
	if len(text) > maxBody {
		return body{}, invalid("", "the body is larger than %d bytes", maxBody)
	}
	v, err := strictjson.Parse(text)
	if err != nil {
		return body{}, invalid("", "the body is %s", err)
	}
	if v.Kind != strictjson.Object {
		return body{}, invalid("", "the body is %s: want an object", v.Kind)
	}
	return body{v}, nil
}

// text reads a text. given is false if the body does not have it; null is
// nothing.
func (b body) text(field string) (s string, given bool, err error) {
	v := b.Get(field)
	switch v.Kind {
	case strictjson.Absent:
		return "", false, nil
	case strictjson.Null:
		return "", true, nil
	case strictjson.String:
		return v.Text, true, nil
	}
	return "", true, invalid(field, "want text, not %s", v.Kind)
}

func (b body) flag(field string) (is, given bool, err error) {
	v := b.Get(field)
	switch v.Kind {
	case strictjson.Absent:
		return false, false, nil
	case strictjson.Null:
		return false, true, nil
	case strictjson.Bool:
		return v.Text == "true", true, nil
	}
	return false, true, invalid(field, "want true or false, not %s", v.Kind)
}

// number reads a whole number, also from a text, as Kaleido's clients write
// some.
func (b body) number(field string, most uint64) (n uint64, given bool, err error) {
	v := b.Get(field)
	switch v.Kind {
	case strictjson.Absent:
		return 0, false, nil
	case strictjson.Null:
		return 0, true, nil
	case strictjson.Number, strictjson.String:
		if n, err := strconv.ParseUint(v.Text, 10, 64); err == nil && n <= most {
			return n, true, nil
		}
	}
	return 0, true, invalid(field, "want a whole number from 0 to %d", most)
}

func (b body) object(field string) (o body, given bool, err error) {
	v := b.Get(field)
	switch v.Kind {
	case strictjson.Absent, strictjson.Null:
		return body{}, false, nil
	case strictjson.Object:
		return body{v}, true, nil
	}
	return body{}, true, invalid(field, "want an object, not %s", v.Kind)
}

// without is the body but for one member.
func (b body) without(field string) body {
	b.Members = slices.DeleteFunc(slices.Clone(b.Members), func(m strictjson.Member) bool { return m.Name == field })
	return b
}

// fixed refuses another value for what cannot be changed. What was shown may be
// sent back.
func (b body) fixed(field, is string) error {
	s, given, err := b.text(field)
	if err != nil {
		return err
	}
	if given && s != is {
		return invalid(field, "cannot be changed")
	}
	return nil
}

const (
	maxName        = 64
	maxDescription = 1024
)

// name reads a name; without one in the body, it stays as it was.
func (b body) name(field, was string) (string, error) {
	s, given, err := b.text(field)
	switch {
	case err != nil:
		return "", err
	case !given && was != "":
		return was, nil
	case s == "":
		return "", invalid(field, "is missing: want a name")
	case !printable(s, maxName) || strings.TrimSpace(s) != s:
		return "", invalid(field, "is no name: want 1 to %d letters, digits, spaces and signs but < and >, no space first or last", maxName)
	}
	return s, nil
}

// note reads a text for people that may be empty.
func (b body) note(field, was string) (string, error) {
	s, given, err := b.text(field)
	switch {
	case err != nil || !given:
		return was, err
	case !printable(s, maxDescription):
		return "", invalid(field, "want at most %d letters, digits, spaces and signs but < and >", maxDescription)
	}
	return s, nil
}

// printable keeps out what could pose as something else where it is shown:
// control characters, marks that turn the direction of writing, markup.
func printable(s string, most int) bool {
	return utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '<' || r == '>' || !unicode.IsPrint(r)
	})
}

// plain is a value as encoding/json would have decoded it, but that numbers keep
// their digits.
func plain(v strictjson.Value) any {
	switch v.Kind {
	case strictjson.Bool:
		return v.Text == "true"
	case strictjson.Number:
		return json.Number(v.Text)
	case strictjson.String:
		return v.Text
	case strictjson.Array:
		list := make([]any, len(v.Elems))
		for i, e := range v.Elems {
			list[i] = plain(e)
		}
		return list
	case strictjson.Object:
		m := make(map[string]any, len(v.Members))
		for _, member := range v.Members {
			m[member.Name] = plain(member.Value)
		}
		return m
	}
	return nil
}

// changes collects the names of what a request changes.
type changes []string

func (c *changes) note(field string, changed bool) {
	if changed && !slices.Contains(*c, field) {
		*c = append(*c, field)
	}
}

// revision is the one that a caller of PATCH wants to change; zero if any.
func (b body) revision() (int64, error) {
	s, given, err := b.text("_revision")
	if err != nil || !given || s == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n == math.MaxInt64 {
		return 0, invalid("_revision", "is none of ours: send back the one that you read, or leave it out")
	}
	return n, nil
}
