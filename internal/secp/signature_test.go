// SPDX-License-Identifier: Apache-2.0

package secp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const (
	groupOrder  = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	belowOrder  = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"
	one         = "0000000000000000000000000000000000000000000000000000000000000001"
	zero        = "0000000000000000000000000000000000000000000000000000000000000000"
	shortScalar = "00000000000000000000000000000000000000000000000000000000000000ff"
)

func TestDERRoundTripsAtTheEdges(t *testing.T) {
	values := []string{
		one, shortScalar, belowOrder,
		"0080000000000000000000000000000000000000000000000000000000000000",
		"007f000000000000000000000000000000000000000000000000000000000000",
		"00007f0000000000000000000000000000000000000000000000000000000000",
		"8000000000000000000000000000000000000000000000000000000000000000",
		"7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0",
	}
	for _, rs := range values {
		for _, ss := range values {
			wantR, wantS := unhex32(t, rs), unhex32(t, ss)
			r, s, err := secp.ParseDER(der(t, wantR, wantS))
			if err != nil || r != wantR || s != wantS {
				t.Errorf("ParseDER(%s, %s) = %x, %x, %v", rs, ss, r, s, err)
			}
			r, s, err = secp.ParseP1363(append(wantR[:], wantS[:]...))
			if err != nil || r != wantR || s != wantS {
				t.Errorf("ParseP1363(%s, %s) = %x, %x, %v", rs, ss, r, s, err)
			}
		}
	}
}

func TestMalformedDERIsRefused(t *testing.T) {
	tests := []struct{ name, der, says string }{
		{"empty", "", "not one SEQUENCE"},
		{"tag only", "30", "not one SEQUENCE"},
		{"not a SEQUENCE", "3106020101020101", "not one SEQUENCE"},
		{"empty SEQUENCE", "3000", "r: "},
		{"only r", "3003020101", "s: "},
		{"trailing byte", "300602010102010100", "not one SEQUENCE"},
		{"trailing byte inside", "300702010102010100", "1 bytes after s"},
		{"third INTEGER", "3009020101020101020101", "3 bytes after s"},
		{"length too long", "3007020101020101", "not one SEQUENCE"},
		{"length too short", "3005020101020101", "not one SEQUENCE"},
		{"long-form length", "308106020101020101", "not one SEQUENCE"},
		{"indefinite length", "30800201010201010000", "not one SEQUENCE"},
		{"r not an INTEGER", "3006030101020101", "r: "},
		{"INTEGER without bytes", "30050200020101", "r: "},
		{"r runs out", "3006020501020101", "r: "},
		{"negative r", "3006020181020101", "negative"},
		{"negative s", "3006020101020181", "negative"},
		{"padded r", "300702020001020101", "not minimal"},
		{"padded s", "300702010102020001", "not minimal"},
		{"r = 0", "3006020100020101", "r is not in"},
		{"s = 0", "3006020101020100", "s is not in"},
		{"r = n", "3026022100" + groupOrder + "020101", "r is not in"},
		{"s = n", "3026020101022100" + groupOrder, "s is not in"},
		{"r = 2^256", "3026022101" + zero + "020101", "longer than 256 bits"},
		{"r of 34 bytes", "30270222" + "0100" + zero + "020101", "r: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := secp.ParseDER(unhex(t, tt.der))
			if !errors.Is(err, secp.ErrMalformed) {
				t.Fatalf("error %v, want ErrMalformed", err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestMalformedP1363IsRefused(t *testing.T) {
	tests := map[string]string{
		"empty": "", "63 bytes": (one + one)[2:], "65 bytes": one + one + "00",
		"r = 0": zero + one, "s = 0": one + zero, "r = n": groupOrder + one, "s = n": one + groupOrder,
	}
	for name, in := range tests {
		if _, _, err := secp.ParseP1363(unhex(t, in)); !errors.Is(err, secp.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

func FuzzParseDER(f *testing.F) {
	for _, seed := range []string{
		"3006020101020101", "300702010102010100", "3026022100" + groupOrder + "020101",
		"3046022100" + belowOrder + "022100" + belowOrder, "300702020001020101", "30800201010201010000", "",
	} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, s, err := secp.ParseDER(in)
		if err != nil {
			if !errors.Is(err, secp.ErrMalformed) {
				t.Fatalf("%x: refused with %v", in, err)
			}
			return
		}
		if out := der(t, r, s); !bytes.Equal(out, in) {
			t.Fatalf("accepted %x, which encodes as %x", in, out)
		}
		if _, _, err := secp.ParseP1363(append(r[:], s[:]...)); err != nil {
			t.Fatalf("ParseDER accepted %s, ParseP1363 did not: %v", hex.EncodeToString(in), err)
		}
	})
}
