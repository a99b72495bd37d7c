// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

func contract() document.Document {
	text := []byte("We agree.")
	return document.Document{SHA256: sha256.Sum256(text), Size: int64(len(text)), Name: "contract.txt", MediaType: "text/plain"}
}

func TestDocumentHasOneIntentAndAnOutcomeForEachSignature(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	var asked [][32]byte
	v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
		intents, outcomes := d.rows(t)
		if len(intents) != 1 || len(outcomes) != len(asked) {
			t.Errorf("at signature %d there are %d intents and %d outcomes", len(asked), len(intents), len(outcomes))
		}
		asked = append(asked, digest)
		sig, err := v.honest(ref, digest)
		return highS(sig), err
	}
	w := openWallet(t, v, d, func(c *Config) {
		c.Policy = verdictFunc(func(r policy.Request) (policy.Verdict, error) {
			want := policy.Document{SHA256: contract().SHA256, Size: 9, Name: "contract.txt", MediaType: "text/plain"}
			if r.Action != audit.SignDocument || r.Document == nil || *r.Document != want || r.Message != nil || r.Transaction != nil || r.TypedData != nil || r.ID == "" {
				t.Errorf("judged %+v", r)
			}
			return policy.Verdict{Allow: true, Rule: "contracts"}, nil
		})
	})
	addr := v.address("key-0")
	signed, err := w.SignDocument(t.Context(), alice, addr, contract())
	if err != nil {
		t.Fatal(err)
	}
	m := signed.Manifest
	if m.Document != contract() || m.Signer != addr || m.Wallet != "treasury" {
		t.Errorf("manifest %+v", m)
	}
	if len(asked) != 2 || asked[0] != m.JWSDigest() || asked[1] != m.EIP191Digest() {
		t.Errorf("the backend was asked for %x", asked)
	}
	intents, outcomes := d.rows(t)
	if len(intents) != 1 || len(outcomes) != 2 {
		t.Fatalf("%d intents, %d outcomes", len(intents), len(outcomes))
	}
	i := intents[0]
	if i.ID != signed.Intent || i.Action != audit.SignDocument || i.Subject != m.Subject() || i.Verdict != "allow: contracts" || i.Address != addr {
		t.Errorf("intent %+v", i)
	}
	for n, digest := range []common.Hash{m.JWSDigest(), m.EIP191Digest()} {
		at := 0
		for at < 2 && outcomes[at].ID != signed.Outcomes[n] {
			at++
		}
		if at == 2 {
			t.Fatalf("no outcome has the id %q", signed.Outcomes[n])
		}
		if o := outcomes[at]; o.Digest != digest || o.Error != "" || o.Hash != (common.Hash{}) || o.RequestID == "" || o.Intent != i.ID {
			t.Errorf("outcome %+v", o)
		}
	}
	// Low-S, although the backend gives the other one.
	report := document.Verify(document.NewBundle(signed, "", [3]document.Proof{}).Bytes(), document.Against{})
	for _, f := range report.Findings {
		if f.Result == document.Fails && f.Part != document.PartCheckpoint {
			t.Errorf("%+v", f)
		}
	}
}

func TestHalfASignedDocumentNeverLeaves(t *testing.T) {
	for n, fault := range map[int64]string{1: "first", 2: "second"} {
		v, d := newVault(t, 1), newDisk(t)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if v.calls.Load() == n {
				return key.Signature{}, &key.CallError{Op: "sign", Kind: key.ErrDenied}
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, d, nil)
		signed, err := w.SignDocument(t.Context(), alice, v.address("key-0"), contract())
		wantKind(t, err, KindDenied)
		if signed != (document.Signed{}) {
			t.Errorf("%s: %+v left the house", fault, signed)
		}
		intents, outcomes := d.rows(t)
		failed := 0
		for _, o := range outcomes {
			if o.Error != "" {
				failed++
			}
		}
		if len(intents) != 1 || int64(len(outcomes)) != n || failed != 1 {
			t.Errorf("%s: %d intents, %d outcomes, %d of them failed", fault, len(intents), len(outcomes), failed)
		}
	}
}

func TestDocumentWithoutAuditRowsIsNotSigned(t *testing.T) {
	v := newVault(t, 1)
	w := openWallet(t, v, failingDisk(t, func(d *disk) { d.intentFault = errDisk }), nil)
	if _, err := w.SignDocument(t.Context(), alice, v.address("key-0"), contract()); !errors.Is(err, ErrAudit) || v.calls.Load() != 0 {
		t.Errorf("%v, %d calls", err, v.calls.Load())
	}
	v = newVault(t, 1)
	w = openWallet(t, v, failingDisk(t, func(d *disk) { d.outcomeFault = errDisk }), nil)
	if signed, err := w.SignDocument(t.Context(), alice, v.address("key-0"), contract()); !errors.Is(err, ErrAudit) || signed != (document.Signed{}) {
		t.Errorf("%+v, %v", signed, err)
	}
}

func TestDeniedDocumentIsOnRecordAndAsksNoBackend(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, func(c *Config) { c.Policy = verdictFunc(denyAll) })
	_, err := w.SignDocument(t.Context(), alice, v.address("key-0"), contract())
	wantDenied(t, err, "nobody")
	if intents, outcomes := d.rows(t); len(intents) != 1 || len(outcomes) != 0 || intents[0].Verdict != "deny: nobody" || v.calls.Load() != 0 {
		t.Errorf("%+v, %+v, %d calls", intents, outcomes, v.calls.Load())
	}
}

func TestDocumentThatCannotBeNamedIsRefused(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, nil)
	bad := contract()
	bad.Name = "a\nb"
	var field *document.FieldError
	if _, err := w.SignDocument(t.Context(), alice, v.address("key-0"), bad); !errors.As(err, &field) || field.Field != "name" {
		t.Errorf("%v", err)
	}
	if intents, _ := d.rows(t); len(intents) != 0 || v.calls.Load() != 0 {
		t.Errorf("%d intents, %d calls", len(intents), v.calls.Load())
	}
}

func TestBackendThatSignsOnlyTransactionsSignsNoDocument(t *testing.T) {
	e := &ethsign{vault: newVault(t, 1)}
	d := newDisk(t)
	w := openWallet(t, key.Limit(e, key.NewQuota(100)), d, nil)
	var refused *RequestError
	if _, err := w.SignDocument(t.Context(), alice, e.address("key-0"), contract()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "documents") {
		t.Errorf("%v", err)
	}
	if intents, _ := d.rows(t); len(intents) != 0 {
		t.Errorf("%+v", intents)
	}
}

// Who passes a transaction's digest off as the hash of a document gets two
// signatures of which no transaction can be made that is the account's.
func TestDigestOfATransactionAsADocumentYieldsNoTransaction(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	w := openWallet(t, v, newDisk(t), nil)
	to := common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	for name, inner := range map[string]types.TxData{
		"legacy":      &types.LegacyTx{Nonce: 0, To: &to, Gas: 21_000, GasPrice: big.NewInt(1e9), Value: big.NewInt(7)},
		"access list": &types.AccessListTx{ChainID: testChain, To: &to, Gas: 21_000, GasPrice: big.NewInt(1e9), Value: big.NewInt(7)},
		"dynamic fee": &types.DynamicFeeTx{ChainID: testChain, To: &to, Gas: 21_000, GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1e9), Value: big.NewInt(7)},
	} {
		unsigned := types.NewTx(inner)
		signers := []types.Signer{types.LatestSignerForChainID(testChain), types.HomesteadSigner{}}
		for _, signer := range signers {
			if _, homestead := signer.(types.HomesteadSigner); homestead && name != "legacy" {
				continue
			}
			digest := signer.Hash(unsigned)
			signed, err := w.SignDocument(t.Context(), alice, addr, document.Document{SHA256: digest, Size: 32, MediaType: document.Unknown})
			if err != nil {
				t.Fatal(err)
			}
			for _, sig := range signaturesIn(t, signed) {
				if got, err := crypto.SigToPub(digest[:], sig); err == nil && crypto.PubkeyToAddress(*got) == addr {
					t.Errorf("%s: a signature is of the transaction's digest", name)
				}
				forged, err := unsigned.WithSignature(signer, sig)
				if err != nil {
					t.Fatal(err)
				}
				if from, err := types.Sender(signer, forged); err == nil && from == addr {
					t.Errorf("%s: a transaction of the account was made of a signed document", name)
				}
			}
		}
	}
}

// signaturesIn are all signatures that can be read out of what was signed, with
// either recovery id.
func signaturesIn(t *testing.T, s document.Signed) (all [][]byte) {
	t.Helper()
	eip, err := hex.DecodeString(s.EIP191[2:])
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(s.JWS, ".")
	jws, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	for _, rs := range [][]byte{eip[:64], jws} {
		for v := range byte(2) {
			all = append(all, append(rs[:64:64], v))
		}
	}
	return all
}

func TestMessageThatLooksLikeAManifestIsNotSigned(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, nil)
	m, err := document.NewManifest(contract(), v.address("key-0"), "treasury", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var refused *RequestError
	if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), m.Bytes()); !errors.As(err, &refused) || v.calls.Load() != 0 {
		t.Errorf("%v", err)
	}
}
