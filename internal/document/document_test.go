// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// What was signed once must be checked alike for ever. The texts are those of
// RFC 8785 and RFC 7515; the signatures are deterministic (RFC 6979).
func TestGoldenManifest(t *testing.T) {
	r := newRig(t)
	const manifest = `{"media_type":"text/plain","name":"R&D \"plan\" <α>.txt","sha256":"782c42779ecaf62f20b6bbb2a4686177fc00e859ccc80b90962ec4d9bab92c29","signer":"0x4a62316623ad457F02cDC5D997deD67a383EC569","size":18,"time":"2026-11-22T16:00:00.123Z","version":"hsmsigner-document-v1","wallet":"treasury"}`
	if got := string(r.manifest.Bytes()); got != manifest {
		t.Errorf("got  %s\nwant %s", got, manifest)
	}
	if got := header(r.signer); got != `{"alg":"ES256K","kid":"0x4a62316623ad457F02cDC5D997deD67a383EC569","typ":"hsmsigner-document-v1"}` {
		t.Error(got)
	}
	if got := r.manifest.Subject(); got != common.Hash(sha256.Sum256([]byte(manifest))).Hex() {
		t.Error(got)
	}
}

func TestManifestIsReadBackInItsOneForm(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"", "a", "\\", `"`, "ä", "\u200d", "名前.pdf", "a/b", "<&>", strings.Repeat("x", MaxName)} {
		m, err := NewManifest(Document{SHA256: r.manifest.SHA256, Size: 1 << 50, Name: name, MediaType: Unknown}, r.signer, "u0wallet00", time.Unix(0, 0))
		must(t, err)
		back, err := ParseManifest(m.Bytes())
		if err != nil || back != m {
			t.Errorf("%q: %+v, %v", name, back, err)
		}
		var plain map[string]any // for any other reader of JSON
		must(t, json.Unmarshal(m.Bytes(), &plain))
		if len(plain) != 8 || plain["name"] != name || plain["time"] != "1970-01-01T00:00:00.000Z" {
			t.Errorf("%q: %v", name, plain)
		}
	}
}

func TestManifestInAnotherFormIsNone(t *testing.T) {
	good := string(newRig(t).manifest.Bytes())
	for _, change := range [][2]string{
		{"{", "{ "},
		{`"size":18`, `"size":18.0`},
		{`"size":18`, `"size":1.8e1`},
		{`"size":18`, `"size":"18"`},
		{`"size":18`, `"size":-1`},
		{".123Z", ".123+00:00"},
		{".123Z", "Z"},
		{".123Z", ".123456Z"},
		{"0x4a", "0X4a"},
		{`"0x4a`, `"4a`},
		{"text/plain", "Text/plain"},
		{"text/plain", "text/plain; charset=utf-8"},
		{"<α>", "\\u003cα>"},
		{"<α>", "<\\u202e>"},
		{`"wallet"`, `"Wallet"`},
		{`,"wallet":"treasury"`, ``},
		{`"sha256":"782c`, `"sha256":"782C`},
		{`"sha256":"782c`, `"sha256":"`},
		{`}`, `,"x":1}`},
		{`}`, "}\n"},
		{`-v1`, `-v2`},
	} {
		if text := strings.Replace(good, change[0], change[1], 1); text == good {
			t.Errorf("%q is not there", change[0])
		} else if _, err := ParseManifest([]byte(text)); err == nil {
			t.Errorf("%q for %q: is a manifest", change[1], change[0])
		}
	}
}

// The texts of which the two digests are made, by what others make of them.
func TestDigestsAreThoseOfTheStandards(t *testing.T) {
	r := newRig(t)
	text := r.manifest.Bytes()
	if got := r.manifest.EIP191Digest(); got != common.Hash(accounts.TextHash(text)) {
		t.Errorf("EIP-191: %s", got)
	}
	input := base64url([]byte(header(r.signer))) + "." + base64url(text)
	if got := r.manifest.JWSDigest(); got != sha256.Sum256([]byte(input)) {
		t.Errorf("JWS: %s", got)
	}
	// Neither is the hash of the document, of the manifest, or of a transaction's
	// encoding, all of which begin otherwise.
	if input[0] != 'e' || text[0] != '{' {
		t.Error("the texts do not begin as they should")
	}
	for _, digest := range []common.Hash{r.manifest.SHA256, r.manifest.Hash(), crypto.Keccak256Hash(text)} {
		if digest == r.manifest.JWSDigest() || digest == r.manifest.EIP191Digest() {
			t.Error("what is signed is a plain hash")
		}
	}
}

func TestDocumentThatNoManifestCanNameIsRefused(t *testing.T) {
	good := Document{SHA256: [32]byte{1}, Size: 1, Name: "a", MediaType: "text/plain"}
	must(t, good.Check())
	must(t, (&Document{SHA256: sha256.Sum256(nil), MediaType: Unknown}).Check())
	for field, changes := range map[string][]func(*Document){
		"sha256": {func(d *Document) { d.SHA256 = [32]byte{} }},
		"size": {
			func(d *Document) { d.Size = -1 }, func(d *Document) { d.Size = MaxSize + 1 },
			func(d *Document) { d.Size = 0 },
		},
		"media_type": {
			func(d *Document) { d.MediaType = "" }, func(d *Document) { d.MediaType = "pdf" }, func(d *Document) { d.MediaType = "a/b/c" },
			func(d *Document) { d.MediaType = "Text/plain" }, func(d *Document) { d.MediaType = "text/plain;charset=utf-8" },
			func(d *Document) { d.MediaType = "text/" + strings.Repeat("a", 128) }, func(d *Document) { d.MediaType = "text/plain\n" },
		},
		"name": {
			func(d *Document) { d.Name = "a\nb" }, func(d *Document) { d.Name = "a\x00" }, func(d *Document) { d.Name = "\xff" },
			func(d *Document) { d.Name = "invoice\u202efdp.exe" }, func(d *Document) { d.Name = "\ufffd" }, func(d *Document) { d.Name = "\ufeff" },
			func(d *Document) { d.Name = strings.Repeat("x", MaxName+1) }, func(d *Document) { d.Name = "\u2028" },
		},
	} {
		for i, change := range changes {
			d := good
			change(&d)
			var refused *FieldError
			if err := d.Check(); !errors.As(err, &refused) || refused.Field != field || refused.Want == "" {
				t.Errorf("%s %d: %v", field, i, err)
			}
		}
	}
}

func TestMediaTypeOfAHeader(t *testing.T) {
	for header, want := range map[string]string{
		"": Unknown, " ": Unknown, "application/pdf": "application/pdf", "Text/HTML; charset=UTF-8": "text/html", "a/b+c": "a/b+c",
		"pdf": "", "a/b/c": "", "a/": "", "text/plain; charset": "", "\x00": "",
	} {
		got, err := MediaType(header)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", header, got, err)
		}
	}
}

func TestHashReadsToTheEndAndNotBeyond(t *testing.T) {
	data := bytes.Repeat([]byte("document"), 40_000)
	for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
		sum, size, err := Hash(r, int64(len(data)))
		if err != nil || sum != sha256.Sum256(data) || size != int64(len(data)) {
			t.Errorf("%x, %d, %v", sum, size, err)
		}
	}
	if _, _, err := Hash(bytes.NewReader(data), int64(len(data))-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	broken := errors.New("cut")
	if _, _, err := Hash(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), MaxSize); !errors.Is(err, broken) {
		t.Errorf("cut off: %v", err)
	}
	if sum, size, err := Hash(strings.NewReader(""), 0); err != nil || size != 0 || sum != sha256.Sum256(nil) {
		t.Errorf("nothing: %x, %d, %v", sum, size, err)
	}
}

// Strings are escaped so that they are read back, and so that no escape has hex
// letters where others would do.
func TestTextIsWrittenWithTheFewestEscapes(t *testing.T) {
	pieces := []string{"\\", `"`, "\n", "\t", "\r", "\b", "\f", "\x01", "u000a", "\\u000a", "a", "é", "\\n", "—"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var s string
		for range random.IntN(8) {
			s += pieces[random.IntN(len(pieces))]
		}
		coded := text(nil, s)
		back, err := strictjson.Parse(coded)
		var other string
		if err != nil || back.Text != s || json.Unmarshal(coded, &other) != nil || other != s {
			t.Fatalf("%q: %s, %v", s, coded, err)
		}
	}
	if got := string(text(nil, "\n\t\r\\u000a")); got != `"\n\t\r\\u000a"` {
		t.Error(got)
	}
}

func TestOnlyWhatMentionsAManifestResemblesOne(t *testing.T) {
	if !Resembles(newRig(t).manifest.Bytes()) || !Resembles([]byte("  hsmsigner-document-v1")) || Resembles([]byte("I agree")) {
		t.Error("what resembles a manifest is not known")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":"hsmsigner-bundle-v1","manifest":"","jws":"","eip191":"","public_key":{"crv":"","kid":"","kty":"","x":"","y":""},"audit":{"checkpoint":"\n","records":[{"index":1,"record":"","hashes":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(b.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
			t.Errorf("%s: %v", b.Bytes(), err)
		}
		if Verify(data, Against{LogKey: "x"}).Valid {
			t.Error("holds without a key")
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"media_type":"text/plain","name":"a","sha256":"782c42779ecaf62f20b6bbb2a4686177fc00e859ccc80b90962ec4d9bab92c29","signer":"0x4a62316623ad457F02cDC5D997deD67a383EC569","size":18,"time":"2026-11-22T16:00:00.123Z","version":"hsmsigner-document-v1","wallet":"treasury"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err == nil && !bytes.Equal(m.Bytes(), data) {
			t.Errorf("%s is taken, and would be written %s", data, m.Bytes())
		}
	})
}
