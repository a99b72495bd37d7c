// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
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

// rig makes bundles as the daemon does, with a key and a log of its own.
type rig struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	signer   common.Address
	log      note.Signer
	logKey   string
	document []byte

	manifest Manifest
	intent   audit.Intent
	outcomes [2]audit.Outcome
	others   int // records in the log beside
}

const origin = "signer.example.org/audit"

func newRig(t *testing.T) *rig {
	t.Helper()
	key, err := crypto.ToECDSA(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	private, public, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{9}, 64)), origin)
	must(t, err)
	log, err := note.NewSigner(private)
	must(t, err)
	r := &rig{t: t, key: key, signer: crypto.PubkeyToAddress(key.PublicKey), log: log, logKey: public, document: []byte("I owe you 5 ether\n"), others: 5}
	at := time.Date(2026, 11, 22, 16, 0, 0, 123456789, time.UTC)
	r.manifest, err = NewManifest(Document{
		SHA256: sha256.Sum256(r.document), Size: int64(len(r.document)), Name: `R&D "plan" <α>.txt`, MediaType: "text/plain",
	}, r.signer, "treasury", at)
	must(t, err)
	r.intent = audit.Intent{
		ID: "i1", At: at.Add(time.Millisecond), Principal: "app:u0shop0000", Wallet: "treasury", Address: r.signer, Action: audit.SignDocument,
		Subject: r.manifest.Subject(), Verdict: "allow: default", Detail: string(r.manifest.Bytes()),
	}
	r.outcomes = [2]audit.Outcome{
		{ID: "o1", Intent: "i1", At: at.Add(2 * time.Millisecond), Digest: r.manifest.JWSDigest(), RequestID: "1"},
		{ID: "o2", Intent: "i1", At: at.Add(3 * time.Millisecond), Digest: r.manifest.EIP191Digest(), RequestID: "2\n"},
	}
	return r
}

func (r *rig) sign(digest common.Hash) secp.Signature {
	r.t.Helper()
	raw, err := crypto.Sign(digest[:], r.key)
	must(r.t, err)
	return secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:64]), V: raw[64]}
}

// bundle is what the rig says, signed and logged.
func (r *rig) bundle() Bundle {
	r.t.Helper()
	eip := r.sign(r.manifest.EIP191Digest())
	key, err := r.manifest.KeyOf(eip)
	must(r.t, err)
	var records [3][]byte
	records[0] = r.intent.AppendLine(nil)
	records[1], records[2] = r.outcomes[0].AppendLine(nil), r.outcomes[1].AppendLine(nil)
	checkpoint, proofs := r.logged(records)
	return NewBundle(Signed{
		Manifest: r.manifest, JWS: r.manifest.JWS(r.sign(r.manifest.JWSDigest())), EIP191: EIP191(eip), PublicKey: key,
		Intent: "i1", Outcomes: [2]string{"o1", "o2"},
	}, checkpoint, proofs)
}

// logged puts records into a log, with others before and behind them.
func (r *rig) logged(records [3][]byte) (string, [3]Proof) {
	r.t.Helper()
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) (out []tlog.Hash, _ error) {
		for _, i := range at {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	var size int64
	add := func(text []byte) int64 {
		more, err := tlog.StoredHashes(size, text, read)
		must(r.t, err)
		hashes = append(hashes, more...)
		size++
		return size - 1
	}
	for i := range r.others {
		add([]byte{byte(i)})
	}
	var proofs [3]Proof
	for i, text := range records {
		proofs[i] = Proof{Index: add(text), Record: string(text)}
	}
	for i := range r.others {
		add([]byte{byte(i), 1})
	}
	root, err := tlog.TreeHash(size, read)
	must(r.t, err)
	for i := range proofs {
		proofs[i].Hashes, err = tlog.ProveRecord(size, proofs[i].Index, read)
		must(r.t, err)
	}
	return r.checkpoint(origin, size, root), proofs
}

func (r *rig) checkpoint(origin string, size int64, root tlog.Hash) string {
	r.t.Helper()
	text := strings.Join([]string{origin, itoa(size), root.String(), ""}, "\n")
	signed, err := note.Sign(&note.Note{Text: text}, r.log)
	must(r.t, err)
	return string(signed)
}

// against is all that a bundle of the rig can be checked against.
func (r *rig) against() Against {
	d := Document{SHA256: sha256.Sum256(r.document), Size: int64(len(r.document))}
	return Against{LogKey: r.logKey, Signer: &r.signer, Document: &d}
}

// fails demands that a bundle does not hold, and for that reason.
func (r *rig) fails(what string, bundle []byte, part string) {
	r.t.Helper()
	report := Verify(bundle, r.against())
	if report.Valid || report.Complete {
		r.t.Errorf("%s: holds", what)
	}
	for _, f := range report.Findings {
		if f.Result == Fails {
			if f.Part != part || f.Why == "" {
				r.t.Errorf("%s: the first part that fails is %s (%s), want %s", what, f.Part, f.Why, part)
			}
			return
		}
	}
	r.t.Errorf("%s: nothing fails: %v", what, report.Findings)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
