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

// value skips one JSON value, and white space before it.
func (s *scanner) value() bool { return s.to(skipValue(s.b, s.i)) }

// name skips a member name and its colon, and white space before it.
func (s *scanner) name() bool { return s.to(skipName(s.b, skipSpace(s.b, s.i))) }

// byte skips white space and then exactly this byte.
func (s *scanner) byte(c byte) bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) space() { s.i = skipSpace(s.b, s.i) }

// to goes on at i, unless that says that something was wrong.
func (s *scanner) to(i int) bool {
	if i < 0 {
		return false
	}
	s.i = i
	return true
}

// The functions below skip something that begins at b[i] and return where it
// ends, or -1 if it is not well formed. They keep their place in a variable,
// which for answers of megabytes makes half of the speed.

// skipValue skips a value. It keeps its own stack (one bit per level), so that
// depth costs no goroutine stack.
func skipValue(b []byte, i int) int {
	if i = skipSpace(b, i); i < len(b) && b[i] == '"' {
		return skipString(b, i) // most answers; the stack is not touched
	}
	var stack [maxNesting / 64]uint64 // bit set: the level is an object
	depth, object := 0, false
	for {
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch c := b[i]; c {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
		case '{', '[':
			if i = skipSpace(b, i+1); i >= len(b) {
				return -1
			}
			if b[i] == c+2 { // '{'+2 is '}', '['+2 is ']'
				i++
				break
			}
			if depth == maxNesting {
				return -1
			}
			bit := uint64(1) << (depth % 64)
			if object = c == '{'; object {
				stack[depth/64] |= bit
				if i = skipName(b, i); i < 0 {
					return -1
				}
			} else {
				stack[depth/64] &^= bit
			}
			depth++
			continue
		default:
			if i = skipScalar(b, i); i < 0 {
				return -1
			}
		}
		// A value is complete: close what it completes, or go to the next one.
		for {
			if depth == 0 {
				return i
			}
			if i = skipSpace(b, i); i >= len(b) {
				return -1
			}
			c := b[i]
			i++
			if c == ',' {
				if object {
					if i = skipName(b, skipSpace(b, i)); i < 0 {
						return -1
					}
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return -1
			}
			if depth--; depth > 0 {
				object = stack[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			}
		}
	}
}

// skipName skips a member name and its colon.
func skipName(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	if i = skipString(b, i); i < 0 {
		return -1
	}
	if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipString skips a string, from its opening quote. Most of a big answer is
// inside strings of hex, hence sixteen bytes at a time until one needs a look.
func skipString(b []byte, i int) int {
	i++
	for {
		for len(b)-i >= 16 {
			w := b[i : i+16 : i+16]
			low, high := special(binary.LittleEndian.Uint64(w)), special(binary.LittleEndian.Uint64(w[8:]))
			if low|high == 0 {
				i += 16
				continue
			}
			if low == 0 {
				i += 8
				low = high
			}
			i += bits.TrailingZeros64(low) / 8
			break
		}
		if i >= len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = skipEscape(b, i+1); i < 0 {
				return -1
			}
		case c < 0x20:
			return -1
		default:
			i++
		}
	}
}

// skipEscape skips what follows a backslash.
func skipEscape(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+5 <= len(b) && isHex(b[i+1]) && isHex(b[i+2]) && isHex(b[i+3]) && isHex(b[i+4]) {
			return i + 5
		}
	}
	return -1
}

// special marks (bit 7 of each byte) bytes that need a look: '"', '\\' and all
// below 0x20, and also ' ' and '!', which are next to them and seldom stand in
// an answer. A mark may be wrong only above a right one, and only the lowest
// is used.
func special(w uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	slash := w ^ ones*'\\'
	return ((w-ones*('"'+1))&^w | (slash-ones)&^slash) & high
}

// skipScalar skips a number, true, false or null.
func skipScalar(b []byte, i int) int {
	word := ""
	switch b[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return skipNumber(b, i)
	}
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = skipDigits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i
}

// skipDigits skips at least one digit.
func skipDigits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
