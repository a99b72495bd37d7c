// SPDX-License-Identifier: Apache-2.0

package stub

import "bytes"

// scan walks over JSON that is believed to be well formed. It allocates nothing.
type scan struct {
	b []byte
	i int
}

func (s *scan) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// take steps over c if it comes next.
func (s *scan) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// text steps over a string and returns what is between its quotes.
func (s *scan) text() []byte {
	if !s.take('"') {
		return nil
	}
	start := s.i
	for s.i < len(s.b) {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			break
		}
		s.i += n + 1
		if s.i < 2 || s.b[s.i-2] != '\\' {
			return s.b[start : s.i-1]
		}
	}
	s.i = len(s.b)
	return nil
}

// value steps over one value and returns its text; strings keep their quotes.
func (s *scan) value() []byte {
	s.space()
	start, depth := s.i, 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			s.text()
			if depth == 0 {
				return s.b[start:s.i]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.b[start:s.i]
			}
			if depth--; depth == 0 {
				s.i++
				return s.b[start:s.i]
			}
		case ',':
			if depth == 0 {
				return s.b[start:s.i]
			}
		}
		s.i++
	}
	return s.b[start:s.i]
}

// request is one JSON-RPC request; its parts lie in the body that was read.
type request struct {
	id     []byte
	method []byte
	params [3][]byte // the first ones, as JSON
}

// next reads the request object at the scanner.
func (s *scan) next() (r request, ok bool) {
	if !s.take('{') {
		return r, false
	}
	for !s.take('}') {
		name := s.text()
		if name == nil || !s.take(':') {
			return r, false
		}
		switch value := s.value(); string(name) {
		case "id":
			r.id = value
		case "method":
			r.method = bytes.Trim(value, `"`)
		case "params":
			in := scan{b: value}
			if in.take('[') {
				for i := 0; i < len(r.params) && !in.take(']'); i++ {
					r.params[i] = in.value()
					in.take(',')
				}
			}
		}
		s.take(',')
	}
	return r, true
}
