// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"encoding/asn1"
	"math/big"
	"math/rand/v2"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// verdict is what must become of an answer.
type verdict int

const (
	sound         verdict = iota // a signature by the account
	foreign                      // a signature, by another key or over another digest
	broken                       // no signature
	soundOrBroken                // odd, but with only one way to read it
)

func (v verdict) String() string {
	return [...]string{"sound", "by another key", "no signature", "sound or no signature"}[v]
}

// specimen is one answer of a service, and what is known of it.
type specimen struct {
	kind    string
	address common.Address
	digest  [32]byte
	r, s    *big.Int // of the signature that the answer began as
	answer  []byte   // the signature as it is sent, before it is wrapped
	odd     string   // what is wrong around it; empty: nothing
	want    verdict
}

func order() *big.Int { return crypto.S256().Params().N }
func half() *big.Int  { return new(big.Int).Rsh(order(), 1) }

// forge makes signatures without signing: to a point and any s it finds the
// digest that they sign. So r and s can be as short as a test wants them.
type forge struct {
	rand   *rand.Rand
	keys   []signer
	nonces []nonce
}

type signer struct {
	secret  *big.Int
	address common.Address
}

// nonce is k, and r of the point k·G.
type nonce struct{ k, r *big.Int }

func newForge(random *rand.Rand) *forge {
	f := &forge{rand: random}
	for range 4 {
		d := f.number()
		private, err := crypto.ToECDSA(d.FillBytes(make([]byte, 32)))
		if err != nil {
			panic(err) // it is in range
		}
		f.keys = append(f.keys, signer{d, crypto.PubkeyToAddress(private.PublicKey)})
	}
	add := func(k *big.Int) bool {
		x, _ := crypto.S256().ScalarBaseMult(k.Bytes())
		if x.Cmp(order()) < 0 {
			f.nonces = append(f.nonces, nonce{k, x})
		}
		return x.BitLen() <= 248
	}
	// k = 1/2 has the shortest r that is known, 21 bytes.
	add(new(big.Int).ModInverse(big.NewInt(2), order()))
	for range 24 {
		add(f.number())
	}
	for short := 0; short < 4; {
		if add(f.number()) {
			short++
		} else {
			f.nonces = f.nonces[:len(f.nonces)-1]
		}
	}
	return f
}

// number is in 1…n−1.
func (f *forge) number() *big.Int {
	for {
		x := new(big.Int).SetBytes(f.bytes(32))
		if x.Sign() > 0 && x.Cmp(order()) < 0 {
			return x
		}
	}
}

func (f *forge) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.rand.Uint32())
	}
	return b
}

// less is below 2^bits and above zero.
func (f *forge) less(bits int) *big.Int {
	x := new(big.Int).SetBytes(f.bytes(32))
	x.Rsh(x, uint(256-bits))
	return x.Add(x, big.NewInt(1))
}

// signature makes one by a random key. s is of any size: low, high, short, and
// at both ends of both halves.
func (f *forge) signature() *specimen {
	var s *big.Int
	switch f.rand.IntN(8) {
	case 0:
		s = f.less(1 + f.rand.IntN(247)) // leading zeros
	case 1:
		s = new(big.Int).Sub(order(), f.less(1+f.rand.IntN(247)))
	case 2:
		s = new(big.Int).Add(half(), big.NewInt(int64(f.rand.IntN(3)-1)))
	default:
		s = f.number()
	}
	n := f.nonces[f.rand.IntN(len(f.nonces))]
	if f.rand.IntN(4) == 0 {
		n = f.nonces[0]
	}
	return f.solve(f.keys[f.rand.IntN(len(f.keys))], n, s)
}

// solve finds the digest: z = s·k − r·d mod n.
func (f *forge) solve(by signer, n nonce, s *big.Int) *specimen {
	z := new(big.Int).Mul(s, n.k)
	z.Sub(z, new(big.Int).Mul(n.r, by.secret)).Mod(z, order())
	c := &specimen{address: by.address, r: n.r, s: s}
	z.FillBytes(c.digest[:])
	return c
}

// short makes a signature whose s is so small that s + n has 32 bytes too.
func (f *forge) short() *specimen {
	return f.solve(f.keys[f.rand.IntN(len(f.keys))], f.nonces[f.rand.IntN(len(f.nonces))], f.less(120))
}

// stranger hands a signature in for another account or another digest.
func (f *forge) stranger(c *specimen) {
	if f.rand.IntN(2) == 0 {
		c.digest[f.rand.IntN(32)] ^= 1 << f.rand.IntN(8)
		return
	}
	for was := c.address; c.address == was; {
		c.address = f.keys[f.rand.IntN(len(f.keys))].address
	}
}

// outOfRange is 0, n, or more than n in 32 bytes.
func (f *forge) outOfRange() *big.Int {
	switch f.rand.IntN(3) {
	case 0:
		return new(big.Int)
	case 1:
		return order()
	}
	return new(big.Int).Add(order(), f.less(128))
}

// readDER is the reference: encoding/asn1, told to take one encoding only.
func (c *specimen) readDER() verdict {
	var n struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(c.answer, &n)
	if err != nil || len(rest) > 0 {
		return broken
	}
	again, err := asn1.Marshal(n)
	if err != nil || string(again) != string(c.answer) {
		return broken
	}
	return c.read(n.R, n.S)
}

// readRaw is the reference for r‖s.
func (c *specimen) readRaw() verdict {
	if len(c.answer) != 64 {
		return broken
	}
	return c.read(new(big.Int).SetBytes(c.answer[:32]), new(big.Int).SetBytes(c.answer[32:]))
}

func (c *specimen) read(r, s *big.Int) verdict {
	for _, x := range []*big.Int{r, s} {
		if x.Sign() <= 0 || x.Cmp(order()) >= 0 {
			return broken
		}
	}
	other := new(big.Int).Sub(order(), c.s)
	if r.Cmp(c.r) == 0 && (s.Cmp(c.s) == 0 || s.Cmp(other) == 0) {
		return sound
	}
	return foreign
}
