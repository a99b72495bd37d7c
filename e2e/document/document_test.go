// SPDX-License-Identifier: Apache-2.0

package document_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// What the daemon gives, by each way in, holds for our command line and for
// libraries that know nothing of us.
func TestBundleVerifiesWithoutUs(t *testing.T) {
	r := start(t)
	text := []byte("We agree, on 2026-11-22 – Zürich, 署名.\n")
	document := r.file("contract.txt", text)
	streamed := r.sign(r.bearer(r.root), "contract.txt", "text/plain; charset=utf-8", bytes.NewReader(text))
	r.independent(document, streamed)

	// The command line sends the hash only, or all of it.
	byHash, uploaded := filepath.Join(r.dir, "hash.json"), filepath.Join(r.dir, "uploaded.json")
	account := r.keys.Addresses[0].Hex()
	r.run(0, "document", "sign", "--account", account, "--key", r.logKey, "--bundle", byHash, document)
	r.run(0, "document", "sign", "--account", account, "--key", r.logKey, "--bundle", uploaded, "--upload", document)
	r.run(1, "document", "sign", "--account", account, "--bundle", uploaded, document) // is there already

	r.daemon.Kill9() // from here on nobody is asked
	for _, bundle := range []string{streamed, byHash, uploaded} {
		if out := r.verify(0, document, bundle); strings.Count(out, "holds") != 10 || !strings.Contains(out, account) {
			t.Errorf("%s:\n%s", bundle, out)
		}
	}
	if out := r.verify(1, r.file("other.txt", append(text, ' ')), streamed); !strings.Contains(out, "document") || !strings.Contains(out, "fails") {
		t.Error(out)
	}
	r.run(1, "document", "verify", "--key", r.logKey, "--address", common.Address{1}.Hex(), document, streamed)
	r.run(1, "document", "verify", "--key", "test.example.org/audit+3a1b9628+Af0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY", "--address", account, document, streamed)
	r.run(2, "document", "verify", "--address", account, document, streamed)
	r.run(4, "document", "verify", "--key", r.logKey, "--address", account, document, filepath.Join(r.dir, "nothing"))

	data, err := os.ReadFile(streamed)
	must(t, err)
	for n := range 8 { // each bit of each byte: see internal/document
		flipped := bytes.Clone(data)
		flipped[len(data)*n/8] ^= 1 << n
		r.verify(1, document, r.file("flipped.json", flipped))
	}
}

// Documents are signed for an app credential too, which is what a program has.
func TestAppCredentialHasDocumentsSigned(t *testing.T) {
	r := start(t)
	code, made := r.ask(r.bearer(r.root), "POST", place+"/appcreds", "application/json", strings.NewReader(`{"name":"shop"}`))
	var cred struct {
		ID       string `json:"_id"`
		Password string `json:"password"`
	}
	if must(t, json.Unmarshal(made, &cred)); code != http.StatusCreated {
		t.Fatalf("%d %s", code, made)
	}
	shop := func(req *http.Request) { req.SetBasicAuth(cred.ID, cred.Password) }
	bundle := r.sign(shop, "a.bin", "", strings.NewReader("abc"))
	r.verify(0, r.file("a.bin", []byte("abc")), bundle)
	data, err := os.ReadFile(bundle)
	must(t, err)
	if !strings.Contains(string(data), `app:`+cred.ID) {
		t.Errorf("the record does not name who asked: %s", data)
	}
	code, answer := r.ask(shop, "POST", r.service+"/verify", "application/json", strings.NewReader(`{"bundle":`+string(data)+`}`))
	if code != http.StatusOK || !strings.Contains(string(answer), `"valid":true`) {
		t.Errorf("%d %s", code, answer)
	}
}

// 1 GiB goes through the daemon as it is shipped, in little memory.
func TestGibibyteIsHashedInLittleMemory(t *testing.T) {
	r := start(t)
	r.sign(r.bearer(r.root), "small", "", strings.NewReader("abc"))
	before := r.daemon.PeakMemory()
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)
	const size = 1 << 30
	h := sha256.New()
	started := time.Now()
	bundle := r.sign(r.bearer(r.root), "large", "", io.TeeReader(io.LimitReader(repeated(block), size), h))
	took := time.Since(started)
	data, err := os.ReadFile(bundle)
	must(t, err)
	if !strings.Contains(string(data), fmt.Sprintf("%x", h.Sum(nil))) || !strings.Contains(string(data), fmt.Sprintf(`\"size\":%d`, size)) {
		t.Errorf("%s", data)
	}
	grown := r.daemon.PeakMemory() - before
	t.Logf("1 GiB in %s; the daemon's peak grew by %d KiB", took.Round(time.Millisecond), grown>>10)
	if grown > 32<<20 {
		t.Errorf("the daemon's memory grew by %d bytes", grown)
	}
}

// repeated reads a block again and again.
type repeated []byte

func (r repeated) Read(b []byte) (int, error) { return copy(b, r), nil }

// Who passes the digest of an unsigned transaction off as the hash of a document
// gets nothing that the chain would take from the account.
func TestDigestOfATransactionAsADocumentMovesNothing(t *testing.T) {
	r := start(t)
	from, to := r.keys.Addresses[0], common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	ctx := t.Context()
	id := new(big.Int).SetUint64(r.node.ChainID)
	before, err := r.node.Eth.BalanceAt(ctx, from, nil)
	must(t, err)
	price := big.NewInt(100e9)
	sent := 0
	for _, inner := range []types.TxData{
		&types.LegacyTx{To: &to, Gas: 21_000, GasPrice: price, Value: big.NewInt(1e18)},
		&types.AccessListTx{ChainID: id, To: &to, Gas: 21_000, GasPrice: price, Value: big.NewInt(1e18)},
		&types.DynamicFeeTx{ChainID: id, To: &to, Gas: 21_000, GasFeeCap: price, GasTipCap: big.NewInt(1e9), Value: big.NewInt(1e18)},
	} {
		unsigned, signer := types.NewTx(inner), types.LatestSignerForChainID(id)
		body := fmt.Sprintf(`{"account":%q,"sha256":"%x","size":32}`, from.Hex(), signer.Hash(unsigned))
		code, text := r.ask(r.bearer(r.root), "POST", r.service+"/signatures", "application/json", strings.NewReader(body))
		if code != http.StatusCreated {
			t.Fatalf("%d %s", code, text)
		}
		for _, sig := range signatures(t, text) {
			forged, err := unsigned.WithSignature(signer, sig)
			must(t, err)
			raw, err := forged.MarshalBinary()
			must(t, err)
			if got, err := types.Sender(signer, forged); err == nil && got == from {
				t.Errorf("type %d: a transaction of the account was made of it", unsigned.Type())
			}
			var hash common.Hash
			err = r.node.RPC.CallContext(ctx, &hash, "eth_sendRawTransaction", hexutil.Encode(raw))
			if err == nil {
				t.Errorf("type %d: the node took %s", unsigned.Type(), hash)
			}
			sent++
		}
	}
	time.Sleep(500 * time.Millisecond) // ten blocks
	after, err := r.node.Eth.BalanceAt(ctx, from, nil)
	must(t, err)
	nonce, err := r.node.Eth.NonceAt(ctx, from, nil)
	must(t, err)
	if after.Cmp(before) != 0 || nonce != 0 || sent != 12 {
		t.Errorf("the account had %d and has %d, nonce %d, after %d tries", before, after, nonce, sent)
	}
}

// signatures are all that can be read out of a bundle, with either recovery id.
func signatures(t *testing.T, bundle []byte) (all [][]byte) {
	t.Helper()
	var b struct{ JWS, EIP191 string }
	must(t, json.Unmarshal(bundle, &b))
	jws, err := base64.RawURLEncoding.DecodeString(b.JWS[strings.LastIndexByte(b.JWS, '.')+1:])
	must(t, err)
	for _, rs := range [][]byte{jws, hexutil.MustDecode(b.EIP191)[:64]} {
		for v := range byte(2) {
			all = append(all, append(rs[:64:64], v))
		}
	}
	return all
}
