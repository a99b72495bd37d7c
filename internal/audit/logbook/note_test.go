// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// Base64 has bits at its end that decoders ignore: a checkpoint with one of them
// changed still has a good signature, and is not what the log has written.
func TestACheckpointOfWhichAnyBitIsFlippedIsNone(t *testing.T) {
	key, err := NewKey("example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.sign(454, tlog.RecordHash([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCheckpoint(text, key.Verifier()); err != nil || c.Size != 454 {
		t.Fatalf("as it was signed: %+v, %v", c, err)
	}
	for i := range text {
		for bit := range 8 {
			flipped := bytes.Clone(text)
			flipped[i] ^= 1 << bit
			if c, err := ParseCheckpoint(flipped, key.Verifier()); err == nil {
				t.Errorf("byte %d, bit %d: %q is taken for %+v", i, bit, flipped, c)
			}
		}
	}
}
