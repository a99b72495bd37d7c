// SPDX-License-Identifier: Apache-2.0

// Package strictjson parses JSON once, strictly, into a tree that can be
// written out again.
//
// What a policy judged must be what the node receives. encoding/json lets the
// last of two equal keys win and matches names without regard to case, so a
// proxy that checks its own parse and forwards the caller's bytes can be told
// two different stories. Here a document is refused unless it has exactly one
// reading: no duplicate member names, no trailing data, no byte-order mark,
// no invalid UTF-8 or lone surrogates, bounded nesting. Member names are
// compared byte for byte. Numbers keep the caller's exact text.
//
// The package never forwards the caller's bytes: [Value.AppendTo] writes the
// tree anew, and parsing that output gives an equal tree.
package strictjson

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind says which JSON type a [Value] has.
type Kind uint8

// The kinds of RFC 8259 §3. The zero Kind is an absent value.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind as an error message would.
func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// Value is one node of a parsed document. The zero Value is absent, which is
// not the same as null. A Value is immutable once parsed and safe for
// concurrent use.
type Value struct {
	Kind    Kind
	Text    string   // the decoded string, the number as the caller wrote it, or "true"/"false"
	Elems   []Value  // of an array
	Members []Member // of an object, in the caller's order
}

// Member is one name and value of an object.
type Member struct {
	Name  string
	Value Value
}

// MaxDepth is how many arrays and objects may stand inside each other: [Parse]
// refuses deeper documents.
const MaxDepth = 32

// ErrSyntax is wrapped by every error of [Parse].
var ErrSyntax = errors.New("not valid JSON")

// Parse reads exactly one JSON value (RFC 8259) from data. Every error wraps
// [ErrSyntax], says what was wrong and gives the byte offset.
func Parse(data []byte) (Value, error) {
	p := parser{data: data}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.pos != len(p.data) {
		return Value{}, p.fail("data after the end of the value")
	}
	return v, nil
}

// Get returns the member called name, or an absent Value. Names match byte
// for byte.
func (v Value) Get(name string) Value {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return v.Members[i].Value
		}
	}
	return Value{}
}

// Present reports whether the value is there and not null.
func (v Value) Present() bool { return v.Kind > Null }

// StringValue makes a JSON string.
func StringValue(s string) Value { return Value{Kind: String, Text: s} }

// AppendTo appends the value as compact JSON and returns the extended slice.
// An absent value is written as null. The output parses to an equal Value.
func (v Value) AppendTo(b []byte) []byte {
	switch v.Kind {
	case Absent, Null:
		return append(b, "null"...)
	case Bool, Number:
		return append(b, v.Text...)
	case String:
		return AppendString(b, v.Text)
	case Array:
		b = append(b, '[')
		for i, e := range v.Elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.AppendTo(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		for i, m := range v.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendString(b, m.Name)
			b = append(b, ':')
			b = m.Value.AppendTo(b)
		}
		return append(b, '}')
	}
}

// MarshalJSON implements encoding/json.Marshaler by [Value.AppendTo].
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendTo(nil), nil }

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string with the fewest escapes that
// RFC 8259 §7 allows.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

type parser struct {
	data []byte
	pos  int
}

func (p *parser) fail(format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, fmt.Sprintf(format, args...), p.pos)
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end of the data (0 begins no token).
func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) value(depth int) (Value, error) {
	switch c := p.peek(); {
	case p.pos >= len(p.data):
		return Value{}, p.fail("unexpected end")
	case (c == '{' || c == '[') && depth >= MaxDepth:
		return Value{}, p.fail("nesting deeper than %d", MaxDepth)
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		s, err := p.str()
		return Value{Kind: String, Text: s}, err
	case c == 't':
		return p.word("true", Bool)
	case c == 'f':
		return p.word("false", Bool)
	case c == 'n':
		return p.word("null", Null)
	case c == '-' || (c >= '0' && c <= '9'):
		return p.number()
	default:
		return Value{}, p.fail("unexpected character %q", c)
	}
}

func (p *parser) word(w string, k Kind) (Value, error) {
	if len(p.data)-p.pos < len(w) || string(p.data[p.pos:p.pos+len(w)]) != w {
		return Value{}, p.fail("unexpected character %q", p.peek())
	}
	p.pos += len(w)
	if k == Null {
		w = ""
	}
	return Value{Kind: k, Text: w}, nil
}

func (p *parser) digits() bool {
	start := p.pos
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) number() (Value, error) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	if p.peek() == '0' {
		p.pos++
	} else if !p.digits() {
		return Value{}, p.fail("malformed number")
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return Value{}, p.fail("malformed number")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return Value{}, p.fail("malformed number")
		}
	}
	return Value{Kind: Number, Text: string(p.data[start:p.pos])}, nil
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{Kind: Array}
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return v, nil
	}
	for {
		p.space()
		e, err := p.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Elems = append(v.Elems, e)
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return v, nil
		default:
			return Value{}, p.fail("expected , or ] in array")
		}
	}
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{Kind: Object}
	var seen map[string]struct{}
	p.pos++
	p.space()
	if p.peek() == '}' {
		p.pos++
		return v, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return Value{}, p.fail("expected a member name in quotes")
		}
		name, err := p.str()
		if err != nil {
			return Value{}, err
		}
		// A linear scan beats a map for the few members that requests have;
		// the map keeps hostile objects from costing quadratic time.
		if seen == nil && len(v.Members) == 16 {
			seen = make(map[string]struct{}, 64)
			for _, m := range v.Members {
				seen[m.Name] = struct{}{}
			}
		}
		dup := false
		if seen != nil {
			_, dup = seen[name]
			seen[name] = struct{}{}
		} else {
			dup = v.Get(name).Kind != Absent
		}
		if dup {
			return Value{}, p.fail("duplicate member %q", name)
		}
		p.space()
		if p.peek() != ':' {
			return Value{}, p.fail("expected : after member name %q", name)
		}
		p.pos++
		p.space()
		e, err := p.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Members = append(v.Members, Member{name, e})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return v, nil
		default:
			return Value{}, p.fail("expected , or } in object")
		}
	}
}

func (p *parser) str() (string, error) {
	p.pos++ // opening quote
	start := p.pos
	// The common string has no escape: find its end and take it whole.
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		if c == '"' {
			s := p.data[start:p.pos]
			if !utf8.Valid(s) {
				return "", p.fail("invalid UTF-8 in string")
			}
			p.pos++
			return string(s), nil
		}
		if c == '\\' || c < 0x20 {
			break
		}
		p.pos++
	}
	buf := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			if !utf8.Valid(buf) {
				return "", p.fail("invalid UTF-8 in string")
			}
			p.pos++
			return string(buf), nil
		case c < 0x20:
			return "", p.fail("control character in string")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, r)
		default:
			buf = append(buf, c)
			p.pos++
		}
	}
	return "", p.fail("unterminated string")
}

func (p *parser) escape() (rune, error) {
	p.pos++ // backslash
	c := p.peek()
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
	default:
		return 0, p.fail("unknown escape")
	}
	r, ok := p.hex4()
	if !ok {
		return 0, p.fail("malformed \\u escape")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.peek() == '\\' && p.pos+1 < len(p.data) && p.data[p.pos+1] == 'u' {
		p.pos += 2
		if low, ok := p.hex4(); ok {
			if r := utf16.DecodeRune(r, low); r != utf8.RuneError {
				return r, nil
			}
		}
	}
	return 0, p.fail("lone surrogate in string")
}

func (p *parser) hex4() (rune, bool) {
	if len(p.data)-p.pos < 4 {
		return 0, false
	}
	for _, c := range p.data[p.pos : p.pos+4] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(p.data[p.pos:p.pos+4]), 16, 32)
	p.pos += 4
	return rune(n), err == nil
}
