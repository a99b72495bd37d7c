// SPDX-License-Identifier: Apache-2.0

package byok

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 5649 §6.
func TestKeyWrapGivesTheVectorsOfTheRFC(t *testing.T) {
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for _, v := range []struct{ payload, wrapped string }{
		{"c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		got, err := wrapPadded(kek, unhex(t, v.payload))
		if err != nil || hex.EncodeToString(got) != v.wrapped {
			t.Errorf("wrap %s: got %x, %v", v.payload, got, err)
		}
		back, err := unwrapPadded(kek, unhex(t, v.wrapped))
		if err != nil || hex.EncodeToString(back) != v.payload {
			t.Errorf("unwrap %s: got %x, %v", v.wrapped, back, err)
		}
	}
}

func TestEveryLengthComesBack(t *testing.T) {
	kek := bytes.Repeat([]byte{3}, 32)
	for n := 1; n <= 200; n++ {
		payload := bytes.Repeat([]byte{0x5a}, n)
		wrapped, err := wrapPadded(kek, payload)
		if err != nil {
			t.Fatal(err)
		}
		back, err := unwrapPadded(kek, wrapped)
		if err != nil || !bytes.Equal(back, payload) {
			t.Fatalf("%d bytes: got %x, %v", n, back, err)
		}
		for i := range wrapped {
			wrapped[i] ^= 0x10
			if _, err := unwrapPadded(kek, wrapped); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d bytes, byte %d changed: %v", n, i, err)
			}
			wrapped[i] ^= 0x10
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	kek := bytes.Repeat([]byte{3}, 32)
	seed, _ := wrapPadded(kek, []byte("a payload"))
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		payload, err := unwrapPadded(kek, wrapped)
		if err != nil {
			return
		}
		again, err := wrapPadded(kek, payload)
		if err != nil || !bytes.Equal(again, wrapped) {
			t.Errorf("%x unwraps to %x, which wraps to %x, %v", wrapped, payload, again, err)
		}
	})
}
