// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
)

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	base36  = "0123456789" + letters
)

// newID is an id of the region: its two characters, a letter, and seven of
// base36, at random.
func newID(region string) string {
	b := make([]byte, 8)
	for i := range b {
		from := base36
		if i == 0 {
			from = letters
		}
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(from)))) // never fails: crypto/rand
		b[i] = from[n.Int64()]
	}
	return region + string(b)
}

// DeclaredID is the id of the service that a wallet of the config file appears
// as: always the same for its name.
func DeclaredID(wallet string) string {
	sum := sha256.Sum256([]byte("declared wallet " + wallet))
	b := make([]byte, 8)
	for i := range b {
		from := base36
		if i == 0 {
			from = letters
		}
		b[i] = from[(int(sum[2*i])<<8|int(sum[2*i+1]))%len(from)]
	}
	return "h0" + string(b)
}

// isID reports whether s can be the id of anything: ^[0-9a-z]{10}$.
func isID(s string) bool {
	if len(s) != 10 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
