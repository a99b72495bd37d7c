// SPDX-License-Identifier: Apache-2.0

package policy

import "encoding/binary"

// Contracts read calldata with more tolerance than any rule may have: offsets may
// point anywhere, several at one place, bytes may follow the end, and old
// compilers ignore the upper bytes of an address. Whoever reads such calldata may
// see something else than the contract does. So there is one encoding of each
// value here, the one that compilers and libraries make: each dynamic part
// begins where the last one ended, padding is zero, and nothing follows.
// Everything else is unreadable. Read this way, the work is linear in the
// calldata, which go-ethereum's decoder cannot promise for offsets that share
// their target.

// decode reads what follows the selector as a method's arguments.
func (m *method) decode(data []byte) (value, bool) {
	d := decoder(data)
	v, end, ok := d.sequence(m.args, 0)
	return v, ok && end == len(data)
}

type decoder []byte

// at reads a value that has its own place, base, and gives its end.
func (d decoder) at(t *argType, base int) (value, int, bool) {
	switch t.kind {
	case kindTuple:
		return d.sequence(t, base)
	case kindArray:
		if t.length >= 0 {
			return d.elements(t, base, t.length)
		}
		n, ok := d.count(base)
		if !ok || n > (len(d)-base-32)/32 { // every element takes a word at least
			return value{}, 0, false
		}
		return d.elements(t, base+32, n)
	case kindBytes, kindString:
		return d.text(t, base)
	}
	return d.word(t, base)
}

// sequence reads the members of a tuple whose head begins at base.
func (d decoder) sequence(t *argType, base int) (value, int, bool) {
	tail := base
	for _, f := range t.fields {
		tail += f.typ.headSize()
	}
	v := value{typ: t, kids: make([]value, len(t.fields))}
	head := base
	for i, f := range t.fields {
		var ok bool
		if v.kids[i], head, tail, ok = d.part(f.typ, base, head, tail); !ok {
			return value{}, 0, false
		}
	}
	return v, tail, true
}

// elements reads n elements of an array whose head begins at base.
func (d decoder) elements(t *argType, base, n int) (value, int, bool) {
	size := t.elem.headSize()
	if n > 0 && (len(d)-base)/size < n {
		return value{}, 0, false
	}
	v := value{typ: t, kids: make([]value, n)}
	head, tail := base, base+n*size
	for i := range v.kids {
		var ok bool
		if v.kids[i], head, tail, ok = d.part(t.elem, base, head, tail); !ok {
			return value{}, 0, false
		}
	}
	return v, tail, true
}

// part reads a value from head, or from tail if head has its offset, and gives
// the places after it.
func (d decoder) part(t *argType, base, head, tail int) (v value, newHead, newTail int, ok bool) {
	if t.static {
		v, newHead, ok = d.at(t, head)
		return v, newHead, tail, ok
	}
	offset, ok := d.count(head)
	if !ok || offset != tail-base {
		return value{}, 0, 0, false
	}
	v, newTail, ok = d.at(t, tail)
	return v, head + 32, newTail, ok
}

func (t *argType) headSize() int {
	if t.static {
		return t.head
	}
	return 32
}

// count reads a length or an offset; none is larger than the calldata.
func (d decoder) count(at int) (int, bool) {
	if at < 0 || len(d)-at < 32 {
		return 0, false
	}
	for _, b := range d[at : at+24] {
		if b != 0 {
			return 0, false
		}
	}
	n := binary.BigEndian.Uint64(d[at+24:])
	return int(n), n <= uint64(len(d))
}

func (d decoder) text(t *argType, base int) (value, int, bool) {
	n, ok := d.count(base)
	end := base + 32 + (n+31)/32*32
	if !ok || end > len(d) {
		return value{}, 0, false
	}
	for _, b := range d[base+32+n : end] {
		if b != 0 {
			return value{}, 0, false
		}
	}
	return value{typ: t, data: d[base+32 : base+32+n]}, end, true
}

func (d decoder) word(t *argType, base int) (value, int, bool) {
	if base < 0 || len(d)-base < 32 {
		return value{}, 0, false
	}
	v := value{typ: t, word: [32]byte(d[base:])}
	return v, base + 32, t.holds(&v.word)
}

// holds reports whether a word is the encoding of a value of the type: what does
// not belong to it is zero, or repeats the sign.
func (t *argType) holds(w *[32]byte) bool {
	from, to, want := 0, 32-t.size/8, byte(0)
	switch t.kind {
	case kindAddress:
		to = 12
	case kindBool:
		if to = 31; w[31] > 1 {
			return false
		}
	case kindFixed:
		from, to = t.size, 32
	case kindInt:
		if to < 32 && w[to]&0x80 != 0 {
			want = 0xff
		}
	}
	for _, b := range w[from:to] {
		if b != want {
			return false
		}
	}
	return true
}
