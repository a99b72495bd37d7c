// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"math/big"
	"slices"
)

// word is a number in 32 bytes.
func word(x *big.Int) []byte { return x.FillBytes(make([]byte, 32)) }

// raw makes a case of a service that answers r‖s.
func (f *forge) raw() *specimen {
	c := f.signature()
	good := append(word(c.r), word(c.s)...)
	kinds := []struct {
		name string
		want verdict
		make func() []byte
	}{
		{"a signature", sound, func() []byte { return good }},
		{"the same with n−s", sound, func() []byte { return append(word(c.r), word(new(big.Int).Sub(order(), c.s))...) }},
		{"of another key or digest", foreign, func() []byte { f.stranger(c); return good }},
		{"r twice", foreign, func() []byte { return append(word(c.r), word(c.r)...) }},
		{"s before r", foreign, func() []byte { return append(word(c.s), word(c.r)...) }},
		{"r without its leading zeros", broken, func() []byte {
			*c = *f.solve(f.keys[0], f.nonces[0], f.number())
			return append(c.r.Bytes(), word(c.s)...)
		}},
		{"s without its leading zeros", broken, func() []byte { *c = *f.short(); return append(word(c.r), c.s.Bytes()...) }},
		{"padded", broken, func() []byte { return slices.Concat([]byte{0}, good[:32], []byte{0}, good[32:]) }},
		{"bytes behind", broken, func() []byte { return append(good, f.bytes(1+f.rand.IntN(64))...) }},
		{"cut short", broken, func() []byte { return good[:f.rand.IntN(64)] }},
		{"twice", broken, func() []byte { return append(good, good...) }},
		{"r out of range", broken, func() []byte { return append(word(f.outOfRange()), good[32:]...) }},
		{"s out of range", broken, func() []byte { return append(good[:32], word(f.outOfRange())...) }},
		{"s and n added", broken, func() []byte {
			*c = *f.short()
			return append(word(c.r), word(new(big.Int).Add(c.s, order()))...)
		}},
		{"DER", broken, func() []byte {
			*c = *f.solve(f.keys[0], f.nonces[1], f.number()) // not by chance 64 bytes long
			return sequence(positive(c.r), positive(c.s))
		}},
		{"nothing", broken, func() []byte { return nil }},
	}
	i := f.rand.IntN(len(kinds) + 3)
	switch {
	case i < len(kinds):
		answer := kinds[i].make() // which may begin c anew
		c.kind, c.want, c.answer = kinds[i].name, kinds[i].want, answer
	case i == len(kinds):
		c.kind, c.answer = "noise", f.bytes(f.rand.IntN(100))
		c.want = c.readRaw()
	default:
		c.kind, c.answer = "bent", f.bend(good)
		c.want = c.readRaw()
	}
	return c
}

// around breaks what stands around the answer in one case of eight; want is
// what must become of each.
func (c *specimen) around(f *forge, odd map[string]verdict, names []string) *specimen {
	if f.rand.IntN(8) != 0 {
		return c
	}
	c.odd = names[f.rand.IntN(len(names))]
	c.kind = c.odd + " around " + map[bool]string{true: "a signature", false: "something else"}[c.want == sound]
	switch want := odd[c.odd]; {
	case want == soundOrBroken && c.want != sound: // only a signature may come of it that is one
		c.odd, c.kind = "", c.kind+", left out"
	default:
		c.want = want
	}
	return c
}
