// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"regexp"
)

// outcome is what a condition says of a request. The two differ where it cannot
// be known: then the condition holds possibly, but not surely. Allow and ask
// rules match if all their conditions surely hold; deny rules and limits, if
// all possibly hold. So nobody gains by being unreadable.
type outcome struct{ surely, possibly bool }

func known(holds bool) outcome { return outcome{holds, holds} }

var unknown = outcome{surely: false, possibly: true}

func (o outcome) and(other outcome) outcome {
	return outcome{o.surely && other.surely, o.possibly && other.possibly}
}

func (o outcome) or(other outcome) outcome {
	return outcome{o.surely || other.surely, o.possibly || other.possibly}
}

// valueTest is a condition on one value. All that is given must hold.
type valueTest struct {
	in, notIn *literals
	min, max  *big.Int
	pattern   *regexp.Regexp // of the whole text
}

// literals is a list of values as a rule's author wrote them: what each means
// depends on the type of what it is compared with.
type literals struct {
	numbers map[string]bool // decimal
	words   map[[32]byte]bool
	texts   map[string]bool
	bytes   map[string]bool
	bools   [2]bool
	fixed   map[string]bool
}

func (l *literals) add(text string) {
	if l.numbers == nil {
		*l = literals{
			numbers: map[string]bool{}, words: map[[32]byte]bool{}, texts: map[string]bool{},
			bytes: map[string]bool{}, fixed: map[string]bool{},
		}
	}
	l.texts[text] = true
	if n, ok := integerLiteral(text); ok {
		l.numbers[n.String()] = true
	}
	if a, err := addressLiteral(text); err == nil {
		v := value{}
		copy(v.word[12:], a[:])
		l.words[v.word] = true
	}
	if v := typedBytes(&argType{kind: kindBytes}, text); v.typ.kind == kindBytes {
		l.bytes[string(v.data)] = true
		if len(v.data) <= 32 {
			l.fixed[string(v.data)] = true
		}
	}
	switch text {
	case "false":
		l.bools[0] = true
	case "true":
		l.bools[1] = true
	}
}

// has reports whether v is one of the values.
func (l *literals) has(v value) bool {
	switch v.typ.kind {
	case kindUint, kindInt:
		return l.numbers[v.number().String()]
	case kindAddress:
		return l.words[v.word]
	case kindBool:
		return l.bools[v.word[31]]
	case kindFixed:
		return l.fixed[string(v.word[:v.typ.size])]
	case kindBytes:
		return l.bytes[string(v.data)]
	case kindString:
		return l.texts[string(v.data)]
	}
	return false
}

// number is the value of an integer.
func (v value) number() *big.Int {
	n := v.uint()
	if v.typ.kind == kindInt && v.word[0]&0x80 != 0 {
		n.Sub(n, wordSize)
	}
	return n
}

// fits reports whether the test can be made on values of that kind.
func (t *valueTest) fits(k kind) bool {
	switch k {
	case kindTuple, kindArray, kindUnreadable:
		return false
	case kindUint, kindInt:
		return t.pattern == nil
	case kindString:
		return t.min == nil && t.max == nil
	}
	return t.min == nil && t.max == nil && t.pattern == nil
}

// holds is what the test says of one value.
func (t *valueTest) holds(v value) outcome {
	if v.typ == nil || !t.fits(v.typ.kind) {
		return unknown
	}
	if t.in != nil && !t.in.has(v) || t.notIn != nil && t.notIn.has(v) {
		return known(false)
	}
	if t.min != nil && v.number().Cmp(t.min) < 0 || t.max != nil && v.number().Cmp(t.max) > 0 {
		return known(false)
	}
	return known(t.pattern == nil || t.pattern.Match(v.data))
}

// memberTest is a condition on what a path leads to: on every value of it, for
// who wants to allow; on any, for who wants to deny.
type memberTest struct {
	path  string
	steps []step
	test  valueTest
}

func (t *memberTest) holds(root value) outcome {
	result, looked := outcome{surely: true}, 0
	there := root.walk(t.steps, func(v value) {
		o := unknown
		if t.test.pattern != nil {
			looked += len(v.data)
		}
		if looked <= maxMatched {
			o = t.test.holds(v)
		}
		result.surely = result.surely && o.surely
		result.possibly = result.possibly || o.possibly
	})
	if !there {
		return unknown
	}
	return result
}
