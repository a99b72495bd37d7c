// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestBundleOfTheSignerHolds(t *testing.T) {
	r := newRig(t)
	report := Verify(r.bundle().Bytes(), r.against())
	if !report.Valid || !report.Complete || report.Manifest == nil || *report.Manifest != r.manifest {
		t.Errorf("%+v", report)
	}
	var parts []string
	for _, f := range report.Findings {
		parts = append(parts, f.Part)
	}
	if !slices.Equal(parts, Parts()) {
		t.Errorf("judged %q, want %q", parts, Parts())
	}
}

// Not one bit of a bundle is without meaning: whichever is flipped, it fails.
func TestEveryFlippedBitOfABundleFails(t *testing.T) {
	r := newRig(t)
	bundle, against := r.bundle().Bytes(), r.against()
	flipped := 0
	for n := 0; n < 8*len(bundle); n += bitStep {
		i, bit := n/8, n%8
		bundle[i] ^= 1 << bit
		if report := Verify(bundle, against); report.Valid || report.Complete {
			t.Errorf("byte %d, bit %d: %q holds", i, bit, bundle[max(0, i-20):min(len(bundle), i+20)])
		}
		bundle[i] ^= 1 << bit
		flipped++
	}
	if !Verify(bundle, against).Complete {
		t.Fatal("the test has not put back what it flipped")
	}
	t.Logf("%d of %d bits", flipped, 8*len(bundle))
}

// The same for what the bundle is checked against.
func TestEveryFlippedBitOfDocumentAddressAndLogKeyFails(t *testing.T) {
	r := newRig(t)
	bundle := r.bundle().Bytes()
	flip := func(what []byte, changed func() Against) {
		t.Helper()
		for i := range what {
			for bit := range 8 {
				what[i] ^= 1 << bit
				if Verify(bundle, changed()).Valid {
					t.Errorf("byte %d, bit %d of %q: holds", i, bit, what)
				}
				what[i] ^= 1 << bit
			}
		}
	}
	flip(r.document, r.against)
	signer := r.signer
	flip(signer[:], func() Against { a := r.against(); a.Signer = &signer; return a })
	key := []byte(r.logKey)
	flip(key, func() Against { a := r.against(); a.LogKey = string(key); return a })
	a := r.against()
	a.Document.Size++
	if Verify(bundle, a).Valid {
		t.Error("a document of another size holds")
	}
}

// Who checks a bundle is told which part of it is wrong.
func TestEachPartThatIsWrongIsNamed(t *testing.T) {
	other, err := crypto.GenerateKey()
	must(t, err)
	for _, c := range []struct {
		name, part string
		change     func(r *rig, b *Bundle)
	}{
		{"another version of manifest", PartManifest, func(_ *rig, b *Bundle) { b.Manifest = strings.Replace(b.Manifest, "-v1", "-v2", 1) }},
		{"a manifest with a space", PartManifest, func(_ *rig, b *Bundle) { b.Manifest = strings.Replace(b.Manifest, ":", ": ", 1) }},
		{"a manifest with another member", PartManifest, func(_ *rig, b *Bundle) { b.Manifest = strings.Replace(b.Manifest, "{", `{"a":1,`, 1) }},
		{"a manifest with a member twice", PartManifest, func(_ *rig, b *Bundle) { b.Manifest = strings.Replace(b.Manifest, "{", `{"name":"",`, 1) }},
		{"an address without its checksum", PartManifest, func(r *rig, b *Bundle) {
			b.Manifest = strings.Replace(b.Manifest, r.signer.Hex(), strings.ToLower(r.signer.Hex()), 1)
		}},
		{"another signer", PartSigner, func(_ *rig, b *Bundle) {
			m, _ := ParseManifest([]byte(b.Manifest))
			m.Signer = crypto.PubkeyToAddress(other.PublicKey)
			b.Manifest = string(m.Bytes())
		}},
		{"another key", PartPublicKey, func(_ *rig, b *Bundle) {
			b.PublicKey = publicKey(secp.PublicKey(crypto.FromECDSAPub(&other.PublicKey)[1:]))
		}},
		{"a key with another use of its words", PartPublicKey, func(_ *rig, b *Bundle) { b.PublicKey.Type = "RSA" }},
		{"a JWS of another manifest", PartJWS, func(r *rig, b *Bundle) {
			m := r.manifest
			m.Name = "another"
			b.JWS = m.JWS(r.sign(m.JWSDigest()))
		}},
		{"a JWS by another key", PartJWS, func(r *rig, b *Bundle) {
			r.key = other
			b.JWS = r.manifest.JWS(r.sign(r.manifest.JWSDigest()))
		}},
		{"a JWS with high s", PartJWS, func(r *rig, b *Bundle) { b.JWS = r.manifest.JWS(high(r.sign(r.manifest.JWSDigest()))) }},
		{"a JWS with padding", PartJWS, func(_ *rig, b *Bundle) { b.JWS += "==" }},
		{"a JWS with a line break", PartJWS, func(_ *rig, b *Bundle) { b.JWS += "\n" }},
		{"a JWS without a signature", PartJWS, func(_ *rig, b *Bundle) { b.JWS = b.JWS[:strings.LastIndexByte(b.JWS, '.')+1] }},
		{"a JWS with alg none", PartJWS, func(_ *rig, b *Bundle) {
			_, rest, _ := strings.Cut(b.JWS, ".")
			b.JWS = base64url([]byte(`{"alg":"none"}`)) + "." + rest
		}},
		{"a JWS with its header written otherwise", PartJWS, func(r *rig, b *Bundle) {
			_, rest, _ := strings.Cut(b.JWS, ".")
			b.JWS = base64url([]byte(strings.Replace(header(r.signer), ",", ", ", 1))) + "." + rest
		}},
		{"a personal signature in capitals", PartEIP191, func(_ *rig, b *Bundle) { b.EIP191 = "0x" + strings.ToUpper(b.EIP191[2:]) }},
		{"a personal signature with high s", PartEIP191, func(r *rig, b *Bundle) { b.EIP191 = EIP191(high(r.sign(r.manifest.EIP191Digest()))) }},
		{"a personal signature with v of 0 or 1", PartEIP191, func(_ *rig, b *Bundle) {
			b.EIP191 = strings.NewReplacer("1b", "00", "1c", "01").Replace(b.EIP191[len(b.EIP191)-2:])
		}},
		{"a personal signature of the document's hash", PartEIP191, func(r *rig, b *Bundle) {
			b.EIP191 = EIP191(r.sign(common.Hash(r.manifest.SHA256)))
		}},
		{"a checkpoint of another log", PartCheckpoint, func(_ *rig, b *Bundle) {
			private, _, err := note.GenerateKey(nil, origin)
			must(t, err)
			signer, err := note.NewSigner(private)
			must(t, err)
			body, _, _ := strings.Cut(b.Checkpoint, "\n\n")
			text, err := note.Sign(&note.Note{Text: body + "\n"}, signer)
			must(t, err)
			b.Checkpoint = string(text)
		}},
		{"a checkpoint with a line of nobody's", PartCheckpoint, func(_ *rig, b *Bundle) {
			b.Checkpoint += "— nobody.example " + base64.StdEncoding.EncodeToString(make([]byte, 68)) + "\n"
		}},
		{"a checkpoint with loose bits in its base64", PartCheckpoint, func(_ *rig, b *Bundle) {
			at := len(b.Checkpoint) - 3 // before "=\n": the last two bits of that sign are of no byte
			const signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
			n := strings.IndexByte(signs, b.Checkpoint[at])
			b.Checkpoint = b.Checkpoint[:at] + signs[n^1:n^1+1] + b.Checkpoint[at+1:]
		}},
		{"a checkpoint of another name", PartCheckpoint, func(r *rig, b *Bundle) { b.Checkpoint = r.checkpoint("another/log", 13, tlog.Hash{}) }},
		{"a checkpoint with a line more", PartCheckpoint, func(r *rig, b *Bundle) { b.Checkpoint = r.checkpoint(origin+"\n1", 13, tlog.Hash{}) }},
		{"a root of other records", PartIntent, func(r *rig, b *Bundle) { b.Checkpoint = r.checkpoint(origin, 13, tlog.Hash{}) }},
		{"a record too few", PartIntent, func(_ *rig, b *Bundle) { b.Records = b.Records[:2] }},
		{"a record too many", PartIntent, func(_ *rig, b *Bundle) { b.Records = append(b.Records, b.Records[0]) }},
		{"records in another order", PartIntent, func(_ *rig, b *Bundle) { b.Records[0], b.Records[1] = b.Records[1], b.Records[0] }},
		{"outcomes in another order", PartOutcomes, func(_ *rig, b *Bundle) { b.Records[1], b.Records[2] = b.Records[2], b.Records[1] }},
		{"an outcome twice", PartOutcomes, func(_ *rig, b *Bundle) { b.Records[2] = b.Records[1] }},
		{"a place beyond the log", PartIntent, func(_ *rig, b *Bundle) { b.Records[0].Index = 1 << 40 }},
	} {
		r := newRig(t)
		b := r.bundle()
		c.change(r, &b)
		r.fails(c.name, b.Bytes(), c.part)
	}
}

// high is the other signature that everybody can make of one.
func high(s secp.Signature) secp.Signature {
	n := crypto.S256().Params().N
	new(big.Int).Sub(n, new(big.Int).SetBytes(s.S[:])).FillBytes(s.S[:])
	s.V ^= 1
	return s
}

// What is in the log, and proved to be, must also be about this very manifest.
func TestRecordsOfSomethingElseAreNoProof(t *testing.T) {
	for _, c := range []struct {
		name, part string
		change     func(r *rig)
	}{
		{"of a message", PartIntent, func(r *rig) { r.intent.Action = audit.SignMessage }},
		{"of another manifest", PartIntent, func(r *rig) { r.intent.Subject = common.Hash{1}.Hex() }},
		{"of another account", PartIntent, func(r *rig) { r.intent.Address[0]++ }},
		{"of another wallet", PartIntent, func(r *rig) { r.intent.Wallet = "another" }},
		{"denied", PartIntent, func(r *rig) { r.intent.Verdict = "deny: no documents" }},
		{"asked for", PartIntent, func(r *rig) { r.intent.Verdict = "ask: two of us" }},
		{"from long after", PartIntent, func(r *rig) { r.intent.At = r.manifest.Time.Add(time.Hour) }},
		{"from long before", PartIntent, func(r *rig) { r.intent.At = r.manifest.Time.Add(-time.Hour) }},
		{"of another intent", PartOutcomes, func(r *rig) { r.outcomes[0].Intent = "i2" }},
		{"of another digest", PartOutcomes, func(r *rig) { r.outcomes[1].Digest = common.Hash{1} }},
		{"of no signature", PartOutcomes, func(r *rig) { r.outcomes[1].Error = "key backend: unavailable" }},
		{"of a transaction", PartOutcomes, func(r *rig) { r.outcomes[0].Hash = common.Hash{1} }},
	} {
		r := newRig(t)
		c.change(r)
		r.fails(c.name, r.bundle().Bytes(), c.part)
	}
}

// A log of three records, and one that is a single batch, prove as well as a long
// one.
func TestLogsOfAnySizeProve(t *testing.T) {
	for others := range 9 {
		r := newRig(t)
		r.others = others
		if report := Verify(r.bundle().Bytes(), r.against()); !report.Complete {
			t.Errorf("%d others: %v", others, report.Findings)
		}
	}
}

// JSON writers on the way may change spaces, the order of members and escapes,
// and nothing else.
func TestBundleMayBeWrittenAnew(t *testing.T) {
	r := newRig(t)
	bundle := r.bundle().Bytes()
	var indented bytes.Buffer
	must(t, json.Indent(&indented, bundle, " ", "\t"))
	var tree any
	must(t, json.Unmarshal(bundle, &tree))
	sorted, err := json.Marshal(tree) // sorts members, and escapes <, > and &
	must(t, err)
	for name, text := range map[string][]byte{"indented": indented.Bytes(), "sorted and escaped": sorted} {
		if bytes.Equal(text, bundle) {
			t.Errorf("%s: nothing was changed", name)
		}
		if report := Verify(text, r.against()); !report.Complete {
			t.Errorf("%s: %v", name, report.Findings)
		}
	}
	for name, text := range map[string]string{
		"a member more":        strings.Replace(string(bundle), "{", `{"note":"",`, 1),
		"a member twice":       strings.Replace(string(bundle), "{", `{"jws":"",`, 1),
		"a member less":        strings.Replace(string(bundle), `"eip191"`, `"eip192"`, 1),
		"a member in capitals": strings.Replace(string(bundle), `"eip191"`, `"EIP191"`, 1),
		"in the records":       strings.Replace(string(bundle), `{"index"`, `{"x":1,"index"`, 1),
		"in the key":           strings.Replace(string(bundle), `{"crv"`, `{"d":"","crv"`, 1),
		"something behind it":  string(bundle) + "{}",
		"a number as text":     strings.Replace(string(bundle), `{"index":5`, `{"index":"5"`, 1),
		"a number with a dot":  strings.Replace(string(bundle), `{"index":5`, `{"index":5.0`, 1),
		"no bundle":            "[]",
		"nothing":              "",
	} {
		if text == string(bundle) {
			t.Errorf("%s: nothing was changed", name)
		}
		r.fails(name, []byte(text), PartBundle)
	}
}

func TestWhatNothingWasGivenForIsNotChecked(t *testing.T) {
	r := newRig(t)
	report := Verify(r.bundle().Bytes(), Against{LogKey: r.logKey})
	if !report.Valid || report.Complete {
		t.Errorf("%+v", report)
	}
	for _, f := range report.Findings {
		want := Holds
		if f.Part == PartDocument || f.Part == PartSigner {
			want = NotChecked
		}
		if f.Result != want {
			t.Errorf("%+v, want %s", f, want)
		}
	}
	for _, key := range []string{"", "nonsense", "PRIVATE+KEY+x+y"} {
		if Verify(r.bundle().Bytes(), Against{LogKey: key}).Valid {
			t.Errorf("with the key %q: holds", key)
		}
	}
}
