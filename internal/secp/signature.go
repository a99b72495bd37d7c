// SPDX-License-Identifier: Apache-2.0

package secp

import (
	"bytes"
	"fmt"
	"math/big"
)

// The numbers of secp256k1 (SEC 2 §2.4.1), 32 bytes big-endian.
const (
	// fieldPrime is p, the modulus of the coordinates.
	fieldPrime = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xfc\x2f"
	// order is n, the order of the group.
	order = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe" +
		"\xba\xae\xdc\xe6\xaf\x48\xa0\x3b\xbf\xd2\x5e\x8c\xd0\x36\x41\x41"
	// halfOrder is ⌊n/2⌋, the largest s that EIP-2 allows.
	halfOrder = "\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
		"\x5d\x57\x6e\x73\x57\xa4\x50\x1d\xdf\xe9\x2f\x46\x68\x1b\x20\xa0"
)

// ParseDER reads an ECDSA signature as AWS, GCP and others return it: the DER
// SEQUENCE of the INTEGERs r and s (RFC 3279 §2.2.3). It accepts exactly one
// encoding of each signature: minimal lengths and integers, 1 ≤ r, s < n,
// nothing after it. r and s come left-padded to 32 bytes; s may be above n/2.
// Every error wraps [ErrMalformed].
func ParseDER(sig []byte) (r, s [32]byte, err error) {
	// Two INTEGERs of at most 35 bytes make at most 70: the length always has
	// the short form, so any other form is not minimal.
	if len(sig) < 2 || sig[0] != 0x30 || int(sig[1]) != len(sig)-2 {
		return r, s, fmt.Errorf("parse DER signature: %w: not one SEQUENCE over all %d bytes", ErrMalformed, len(sig))
	}
	r, rest, err := derInteger(sig[2:])
	if err != nil {
		return r, s, fmt.Errorf("parse DER signature: r: %w", err)
	}
	s, rest, err = derInteger(rest)
	if err != nil {
		return r, s, fmt.Errorf("parse DER signature: s: %w", err)
	}
	if len(rest) != 0 {
		return r, s, fmt.Errorf("parse DER signature: %w: %d bytes after s", ErrMalformed, len(rest))
	}
	if err := inRange(r, s); err != nil {
		return r, s, fmt.Errorf("parse DER signature: %w", err)
	}
	return r, s, nil
}

// ParseP1363 reads an ECDSA signature as Azure, PKCS#11 and JWS (RFC 7518
// §3.4) give it: r‖s, exactly 64 bytes, 1 ≤ r, s < n. s may be above n/2.
// Every error wraps [ErrMalformed].
func ParseP1363(sig []byte) (r, s [32]byte, err error) {
	if len(sig) != 64 {
		return r, s, fmt.Errorf("parse r‖s signature: %w: %d bytes, want 64", ErrMalformed, len(sig))
	}
	r, s = [32]byte(sig[:32]), [32]byte(sig[32:])
	if err := inRange(r, s); err != nil {
		return r, s, fmt.Errorf("parse r‖s signature: %w", err)
	}
	return r, s, nil
}

// derInteger reads one minimal, positive DER INTEGER of at most 32 significant
// bytes and returns it left-padded, with what follows it.
func derInteger(b []byte) (v [32]byte, rest []byte, err error) {
	if len(b) < 3 || b[0] != 0x02 || b[1] < 1 || b[1] > 33 || int(b[1]) > len(b)-2 {
		return v, nil, fmt.Errorf("%w: not an INTEGER of 1 to 33 bytes", ErrMalformed)
	}
	body, rest := b[2:2+b[1]], b[2+b[1]:]
	switch {
	case body[0]&0x80 != 0:
		return v, nil, fmt.Errorf("%w: negative INTEGER", ErrMalformed)
	case body[0] == 0 && len(body) > 1 && body[1]&0x80 == 0:
		return v, nil, fmt.Errorf("%w: INTEGER is not minimal", ErrMalformed)
	case body[0] == 0:
		body = body[1:]
	}
	if len(body) > len(v) {
		return v, nil, fmt.Errorf("%w: INTEGER is longer than 256 bits", ErrMalformed)
	}
	copy(v[len(v)-len(body):], body)
	return v, rest, nil
}

// inRange checks 1 ≤ r, s < n.
func inRange(r, s [32]byte) error {
	if r == [32]byte{} || !less(r[:], order) {
		return fmt.Errorf("%w: r is not in 1…n−1", ErrMalformed)
	}
	if s == [32]byte{} || !less(s[:], order) {
		return fmt.Errorf("%w: s is not in 1…n−1", ErrMalformed)
	}
	return nil
}

// less reports a < b for big-endian numbers of equal length. Everything
// compared here is public.
func less(a []byte, b string) bool { return bytes.Compare(a, []byte(b)) < 0 }

// highS reports s > n/2.
func highS(s [32]byte) bool { return bytes.Compare(s[:], []byte(halfOrder)) > 0 }

// negate returns n − s for 1 ≤ s < n.
func negate(s [32]byte) (neg [32]byte) {
	n := new(big.Int).SetBytes([]byte(order))
	n.Sub(n, new(big.Int).SetBytes(s[:])).FillBytes(neg[:])
	return neg
}
