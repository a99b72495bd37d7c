// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"math/big"
	"slices"
)

// tlv is one element of DER with a length of one byte.
func tlv(tag byte, body []byte) []byte { return append([]byte{tag, byte(len(body))}, body...) }

// positive is the shortest body of an INTEGER that is not negative.
func positive(x *big.Int) []byte {
	b := x.Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

// sequence is DER of two bodies of INTEGERs.
func sequence(r, s []byte) []byte { return tlv(0x30, append(tlv(2, r), tlv(2, s)...)) }

// der makes a case of a service that answers in DER.
func (f *forge) der() *specimen {
	c := f.signature()
	r, s := positive(c.r), positive(c.s)
	good := sequence(r, s)
	end := len(r) + 4 // of r
	kinds := []struct {
		name string
		want verdict
		make func() []byte
	}{
		{"a signature", sound, func() []byte { return good }},
		{"the same with n−s", sound, func() []byte { return sequence(r, positive(new(big.Int).Sub(order(), c.s))) }},
		{"of another key or digest", foreign, func() []byte { f.stranger(c); return good }},
		{"r twice", foreign, func() []byte { return sequence(r, r) }},
		{"bytes behind", broken, func() []byte { return append(good, f.bytes(1+f.rand.IntN(8))...) }},
		{"bytes behind s", broken, func() []byte {
			return tlv(0x30, slices.Concat(good[2:], f.bytes(1+f.rand.IntN(8))))
		}},
		{"twice", broken, func() []byte { return append(good, good...) }},
		{"cut short", broken, func() []byte { return good[:f.rand.IntN(len(good))] }},
		{"wrong length", broken, func() []byte { good[1] += byte(1 + f.rand.IntN(255)); return good }},
		{"wrong length of s", broken, func() []byte { good[end+1] += byte(1 + f.rand.IntN(255)); return good }},
		{"long length", broken, func() []byte { return append([]byte{0x30, 0x81}, good[1:]...) }},
		{"long length of r", broken, func() []byte {
			return tlv(0x30, slices.Concat([]byte{2, 0x81}, good[3:]))
		}},
		{"indefinite length", broken, func() []byte { return slices.Concat([]byte{0x30, 0x80}, good[2:], []byte{0, 0}) }},
		{"r padded", broken, func() []byte { return sequence(append(make([]byte, 1+f.rand.IntN(3)), r...), s) }},
		{"s padded", broken, func() []byte { return sequence(r, append(make([]byte, 1+f.rand.IntN(3)), s...)) }},
		{"r negative", broken, func() []byte { r[0] |= 0x80; return sequence(r, s) }},
		{"s negative", broken, func() []byte { s[0] |= 0x80; return sequence(r, s) }},
		{"r without the zero before its sign", broken, func() []byte {
			return sequence(append([]byte{0x80}, f.bytes(31)...), s)
		}},
		{"r out of range", broken, func() []byte { return sequence(positive(f.outOfRange()), s) }},
		{"s out of range", broken, func() []byte { return sequence(r, positive(f.outOfRange())) }},
		{"r and n added", broken, func() []byte { return sequence(positive(new(big.Int).Add(c.r, order())), s) }},
		{"s and n added", broken, func() []byte {
			if f.rand.IntN(2) == 0 {
				*c = *f.short()
			}
			return sequence(positive(c.r), positive(new(big.Int).Add(c.s, order())))
		}},
		{"r empty", broken, func() []byte { return sequence(nil, s) }},
		{"s empty", broken, func() []byte { return sequence(r, nil) }},
		{"r of 33 bytes", broken, func() []byte { return sequence(append([]byte{1}, f.bytes(32)...), s) }},
		{"wrong tag", broken, func() []byte { good[[]int{0, 2, end}[f.rand.IntN(3)]] ^= 1 << f.rand.IntN(8); return good }},
		{"r‖s", broken, func() []byte {
			raw := append(c.r.FillBytes(make([]byte, 32)), c.s.FillBytes(make([]byte, 32))...)
			raw[0] |= 0x80 // never a SEQUENCE
			return raw
		}},
		{"nothing", broken, func() []byte { return nil }},
	}
	i := f.rand.IntN(len(kinds) + 4)
	switch {
	case i < len(kinds):
		answer := kinds[i].make() // which may begin c anew
		c.kind, c.want, c.answer = kinds[i].name, kinds[i].want, answer
	case i == len(kinds):
		c.kind, c.answer = "noise", f.bytes(f.rand.IntN(80))
		c.want = c.readDER()
	case i == len(kinds)+1:
		good[3] += byte(1 + f.rand.IntN(255)) // which by chance begins s elsewhere
		c.kind, c.answer = "wrong length of r", good
		c.want = c.readDER()
	default:
		c.kind, c.answer = "bent", f.bend(good)
		c.want = c.readDER()
	}
	return c
}

// bend changes one to three bytes.
func (f *forge) bend(b []byte) []byte {
	for range 1 + f.rand.IntN(3) {
		b[f.rand.IntN(len(b))] ^= 1 << f.rand.IntN(8)
	}
	return b
}
