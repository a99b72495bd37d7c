// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"math/bits"
)

// maxNesting bounds the depth of an answer. debug_trace* of deep call stacks
// stays below 1,024 frames of two levels each.
const maxNesting = 4096

// scanner walks over JSON text without building anything. It accepts what
// encoding/json.Valid accepts, except nesting beyond maxNesting. Like Valid
// it does not look at UTF-8.
type scanner struct {
	b []byte
	i int
}

// value skips one JSON value, and white space before it. It keeps its own
// stack (one bit per level), so that depth costs no goroutine stack.
func (s *scanner) value() bool {
	var stack [maxNesting / 64]uint64 // bit set: object
	depth := 0
	for {
		s.space()
		if s.i >= len(s.b) {
			return false
		}
		switch c := s.b[s.i]; {
		case c == '"':
			if !s.str() {
				return false
			}
		case c == '{' || c == '[':
			s.i++
			s.space()
			if s.i >= len(s.b) {
				return false
			}
			if s.b[s.i] == c+2 { // '{'+2 is '}', '['+2 is ']'
				s.i++
				break
			}
			if depth == maxNesting {
				return false
			}
			if c == '{' {
				stack[depth/64] |= 1 << (depth % 64)
				if !s.name() {
					return false
				}
			} else {
				stack[depth/64] &^= 1 << (depth % 64)
			}
			depth++
			continue
		case c == '-' || c >= '0' && c <= '9':
			if !s.number() {
				return false
			}
		case c == 't':
			if !s.word("true") {
				return false
			}
		case c == 'f':
			if !s.word("false") {
				return false
			}
		case c == 'n':
			if !s.word("null") {
				return false
			}
		default:
			return false
		}
		// A value is complete: close what it completes, or go to the next one.
		for {
			if depth == 0 {
				return true
			}
			s.space()
			if s.i >= len(s.b) {
				return false
			}
			object := stack[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			c := s.b[s.i]
			s.i++
			if c == ',' {
				if object && !s.name() {
					return false
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return false
			}
			depth--
		}
	}
}

// name skips a member name and its colon.
func (s *scanner) name() bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != '"' || !s.str() {
		return false
	}
	return s.byte(':')
}

// byte skips white space and then exactly this byte.
func (s *scanner) byte(c byte) bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return
		}
	}
}

// str skips a string. Most of a big answer is inside strings of hex, hence
// eight bytes at a time until one needs a look.
func (s *scanner) str() bool {
	i, b := s.i+1, s.b
	for {
		for i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m != 0 {
				i += bits.TrailingZeros64(m) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return false
		}
		switch c := b[i]; {
		case c == '"':
			s.i = i + 1
			return true
		case c == '\\':
			if i+1 >= len(b) {
				return false
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(b) || !isHex(b[i+2]) || !isHex(b[i+3]) || !isHex(b[i+4]) || !isHex(b[i+5]) {
					return false
				}
				i += 6
			default:
				return false
			}
		case c < 0x20:
			return false
		default:
			i++
		}
	}
}

// special marks (bit 7 of each byte) bytes that are '"', '\\' or below 0x20.
// A mark may be wrong only above a right one, and only the lowest is used.
func special(w uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & high
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() bool {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits()
	}
	return true
}
