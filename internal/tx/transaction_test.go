// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
)

const testKeyHex = "4646464646464646464646464646464646464646464646464646464646464646"

func unsigned(t *testing.T, doc string) *types.Transaction {
	t.Helper()
	u, err := mustArgs(t, doc).Unsigned(big.NewInt(1), 3)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// oneOfEachType are unsigned transactions of types 0 to 4 on chain 1.
func oneOfEachType(t *testing.T) []*types.Transaction {
	const dynamic = `"gas":"0x186a0","data":"0x0102","value":"0x5","maxFeePerGas":"0x64","maxPriorityFeePerGas":"0xa",`
	return []*types.Transaction{
		unsigned(t, args(`"gas":"0x5208","gasPrice":"0x64"`)),
		unsigned(t, args(`"gas":"0x186a0","gasPrice":"0x64",`+oneStorage)),
		unsigned(t, args(dynamic+oneStorage)),
		unsigned(t, args(dynamic+`"maxFeePerBlobGas":"0x7",`+oneBlobHash)),
		unsigned(t, args(dynamic+someAuth)),
	}
}

func blobArgs(t *testing.T) Args {
	t.Helper()
	a := mustArgs(t, args(`"gas":"0x5208","maxFeePerGas":"0x64","maxPriorityFeePerGas":"0xa","maxFeePerBlobGas":"0x7"`+
		`,"blobs":["0x`+strings.Repeat("00", 131071)+`01"]`))
	return a
}

func TestWhatNodesRefuseForEverIsRefused(t *testing.T) {
	code := func(n int, more string) string {
		return `{"from":"` + alice + `","data":"0x` + strings.Repeat("01", n) + `"` + more + `}`
	}
	tests := []struct{ doc, want string }{
		{args(`"gas":"0x5208"`), "gasPrice: missing; give gasPrice, or maxFeePerGas and maxPriorityFeePerGas"},
		{args(`"gas":"0x5208","type":"0x1"`), "gasPrice: missing"},
		{args(`"gas":"0x5208","maxFeePerGas":"0x1"`), "maxPriorityFeePerGas: missing"},
		{args(`"gas":"0x5208","maxPriorityFeePerGas":"0x1"`), "maxFeePerGas: missing"},
		{args(`"gas":"0x5208","maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x1",` + oneBlobHash), "maxFeePerBlobGas: missing"},
		{args(`"gasPrice":"0x1"`), "gas: missing"},
		{args(`"gasPrice":"0x1","gas":"0x5207"`), "gas: 20999 is below the 21000 that this transaction costs at least"},
		{args(`"gasPrice":"0x1","gas":"0x5208","data":"0x0001"`), "gas: 21000 is below the 21020 that this transaction costs at least"},
		{args(`"gasPrice":"0x1","gas":"0x5208","accessList":[{"address":"` + bob + `","storageKeys":["0x` + strings.Repeat("00", 32) + `"]}]`), "gas: 21000 is below the 25300 that this transaction costs at least"},
		{args(`"maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x1","gas":"0x5208",` + someAuth), "gas: 21000 is below the 46000 that this transaction costs at least"},
		{args(`"maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x1","gas":"0x5208","data":"0x` + strings.Repeat("01", 2000) + `",` + someAuth), "gas: 21000 is below the 101000 that this transaction costs at least"},
		{code(33, `,"gasPrice":"0x1","gas":"0x5208"`), "gas: 21000 is below the 53532 that this transaction costs at least"},
		{code(49153, `,"gasPrice":"0x1","gas":"0xffffff"`), "data: 49153 bytes of init code exceed the limit of 49152 (EIP-3860)"},
		{args(`"gasPrice":"0x1","gas":"0xffffff","data":"0x` + strings.Repeat("01", MaxSize-100) + `"`), "data: the transaction of 131075 bytes exceeds the 131072 that nodes take"},
		{args(`"gasPrice":"0x2","gas":"0x5208","value":"0x` + strings.Repeat("f", 64) + `"`), "value: value and fee together exceed 256 bits"},
		{args(`"gasPrice":"0x` + strings.Repeat("f", 64) + `","gas":"0x5208"`), "value: value and fee together exceed 256 bits"},
		{args(`"gasPrice":"0x2","gas":"0x5208","chainId":"0x2"`), "chain id 2 does not match 1"},
	}
	for _, tt := range tests {
		_, err := mustArgs(t, tt.doc).Unsigned(big.NewInt(1), 0)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", excerpt(tt.doc), err, tt.want)
		}
	}
	a := mustArgs(t, args(`"gasPrice":"0x1","gas":"0x5208"`))
	if _, err := a.Unsigned(big.NewInt(1), 1<<64-1); err == nil || !strings.HasPrefix(err.Error(), "nonce: too large") {
		t.Errorf("highest nonce: error %v", err)
	}
	for _, chain := range []*big.Int{nil, big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 256)} {
		if _, err := a.Unsigned(chain, 0); err == nil {
			t.Errorf("chain id %v was accepted", chain)
		}
	}
	a.Value = big.NewInt(-1)
	if _, err := a.Unsigned(big.NewInt(1), 0); err == nil || err.Error() != "value: must not be negative" {
		t.Errorf("negative value: error %v", err)
	}
}

func TestEveryTypeSurvivesStoringRenoncingAndSigning(t *testing.T) {
	key, chain := testKey(t, testKeyHex), big.NewInt(1)
	list := oneOfEachType(t)
	withBlob, err := blobArgs(t).Unsigned(chain, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, u := range append(list, withBlob) {
		moved := WithNonce(u, 77)
		if moved.Nonce() != 77 || Digest(moved, chain) == Digest(u, chain) || Digest(WithNonce(moved, 3), chain) != Digest(u, chain) {
			t.Errorf("%d: WithNonce changed more or less than the nonce", i)
		}
		b, err := EncodeUnsigned(moved)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeUnsigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if Digest(back, chain) != Digest(moved, chain) || MaxCost(back).Cmp(MaxCost(u)) != 0 {
			t.Errorf("%d: changed by storing", i)
		}
		if !reflect.DeepEqual(back.BlobTxSidecar(), u.BlobTxSidecar()) {
			t.Errorf("%d: the sidecar was lost", i)
		}
		signed, err := Signed(back, chain, sign(t, Digest(back, chain), key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := EncodeUnsigned(signed); err == nil {
			t.Errorf("%d: a signed transaction was encoded as unsigned", i)
		}
		raw, err := signed.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeUnsigned(raw); err == nil {
			t.Errorf("%d: a signed transaction was decoded as unsigned", i)
		}
		got, from, err := DecodeRaw(raw)
		if err != nil || from != crypto.PubkeyToAddress(key.PublicKey) || got.Hash() != signed.Hash() || got.Nonce() != 77 {
			t.Errorf("%d: from %s, error %v", i, from, err)
		}
		if again := WithNonce(got, 77); Digest(again, chain) != Digest(back, chain) || isSigned(again) {
			t.Errorf("%d: WithNonce keeps the signature", i)
		}
		if IsBlob(u) != (u.Type() == 3) {
			t.Errorf("%d: IsBlob %v", i, IsBlob(u))
		}
	}
}

func TestMaxCostCountsEverything(t *testing.T) {
	var got []string
	for _, u := range oneOfEachType(t) {
		got = append(got, MaxCost(u).String())
	}
	// value + gas × fee (+ 131072 × 7 for the blob)
	if want := "[2100000 10000000 10000005 10917509 10000005]"; fmt.Sprint(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRawTransactionsAreDecodedStrictly(t *testing.T) {
	key, chain := testKey(t, testKeyHex), big.NewInt(1)
	u := oneOfEachType(t)[2]
	signed, err := Signed(u, chain, sign(t, Digest(u, chain), key))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := signed.MarshalBinary()
	payload, _ := EncodeUnsigned(u)
	v, r, s := signed.RawSignatureValues()
	high := new(big.Int).Sub(crypto.S256().Params().N, s)
	malleable := types.NewTx(&types.DynamicFeeTx{
		ChainID: chain, Nonce: u.Nonce(), GasTipCap: u.GasTipCap(), GasFeeCap: u.GasFeeCap(), Gas: u.Gas(), To: u.To(),
		Value: u.Value(), Data: u.Data(), AccessList: u.AccessList(), V: new(big.Int).Sub(big.NewInt(1), v), R: r, S: high,
	})
	highS, _ := malleable.MarshalBinary()
	tests := []struct {
		name string
		raw  []byte
		want string
	}{
		{"empty", nil, "not a signed transaction: typed transaction too short"},
		{"trailing byte", append(append([]byte{}, raw...), 0), "not a signed transaction: rlp: input contains more than one value"},
		{"cut", raw[:len(raw)-1], "not a signed transaction: rlp: value size exceeds available input length"},
		{"unknown type", append([]byte{5}, raw[1:]...), "not a signed transaction: transaction type not supported"},
		{"unsigned", payload, "the raw transaction is not signed"},
		{"high s", highS, "the raw transaction's signature is not valid: invalid transaction v, r, s values"},
		{"too large", make([]byte, maxRaw+1), fmt.Sprintf("the raw transaction of %d bytes is larger than any transaction can be", maxRaw+1)},
	}
	for _, tt := range tests {
		_, _, err := DecodeRaw(tt.raw)
		var arg *ArgError
		if !errors.As(err, &arg) || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

func TestInvalidAuthorisationsHaveNoAuthority(t *testing.T) {
	key := testKey(t, testKeyHex)
	good, err := types.SignSetCode(key, types.SetCodeAuthorization{Address: common.HexToAddress(bob), Nonce: 1})
	if err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.V, bad.R = 1, *bad.R.SetUint64(0)
	u := types.NewTx(&types.SetCodeTx{AuthList: []types.SetCodeAuthorization{bad, good}})
	if got := Authorities(u); len(got) != 1 || got[0] != crypto.PubkeyToAddress(key.PublicKey) {
		t.Errorf("authorities %s", got)
	}
	if got := Authorities(oneOfEachType(t)[0]); got != nil {
		t.Errorf("authorities of a legacy transaction: %s", got)
	}
}

func TestJSONOfATransactionIsGeths(t *testing.T) {
	key, chain := testKey(t, testKeyHex), big.NewInt(1)
	from := crypto.PubkeyToAddress(key.PublicKey)
	want := map[uint8]string{
		0: "chainId from gas gasPrice hash input maxFeePerGas maxPriorityFeePerGas nonce r s to type v value",
		1: "accessList chainId from gas gasPrice hash input maxFeePerGas maxPriorityFeePerGas nonce r s to type v value yParity",
		2: "accessList chainId from gas gasPrice hash input maxFeePerGas maxPriorityFeePerGas nonce r s to type v value yParity",
		3: "accessList blobVersionedHashes chainId from gas gasPrice hash input maxFeePerBlobGas maxFeePerGas maxPriorityFeePerGas nonce r s to type v value yParity",
		4: "accessList authorizationList chainId from gas gasPrice hash input maxFeePerGas maxPriorityFeePerGas nonce r s to type v value yParity",
	}
	for _, u := range oneOfEachType(t) {
		signed, err := Signed(u, chain, sign(t, Digest(u, chain), key))
		if err != nil {
			t.Fatal(err)
		}
		b, err := RPCTransaction(signed, from)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		var names []string
		for name := range members {
			names = append(names, name)
		}
		sort.Strings(names)
		if got := strings.Join(names, " "); got != want[u.Type()] {
			t.Errorf("type %d:\ngot  %s\nwant %s", u.Type(), got, want[u.Type()])
		}
		back := new(types.Transaction)
		if err := back.UnmarshalJSON(b); err != nil || back.Hash() != signed.Hash() {
			t.Errorf("type %d: read back as %s, error %v", u.Type(), back.Hash(), err)
		}
		if string(members["from"]) != `"`+strings.ToLower(from.Hex())+`"` {
			t.Errorf("from is %s", members["from"])
		}
	}
}

func TestBlobsGetCommitmentsProofsAndHashes(t *testing.T) {
	a := blobArgs(t)
	if err := a.CompleteSidecar(SidecarAuto); err != nil {
		t.Fatal(err)
	}
	if len(a.Commitments) != 1 || len(a.Proofs) != 1 || len(a.BlobHashes) != 1 || a.sidecar().Version != types.BlobSidecarVersion0 {
		t.Fatalf("%d commitments, %d proofs, %d hashes", len(a.Commitments), len(a.Proofs), len(a.BlobHashes))
	}
	if err := kzg4844.VerifyBlobProof(&a.Blobs[0], a.Commitments[0], a.Proofs[0]); err != nil {
		t.Error(err)
	}
	if err := a.CompleteSidecar(SidecarAuto); err != nil {
		t.Errorf("the caller's own proofs: %v", err)
	}
	cells := blobArgs(t)
	if err := cells.CompleteSidecar(SidecarCells); err != nil {
		t.Fatal(err)
	}
	if len(cells.Proofs) != 128 || cells.sidecar().Version != types.BlobSidecarVersion1 || cells.BlobHashes[0] != a.BlobHashes[0] {
		t.Errorf("%d cell proofs, version %d", len(cells.Proofs), cells.sidecar().Version)
	}
	if err := cells.CompleteSidecar(SidecarAuto); err != nil {
		t.Errorf("the caller's own cell proofs: %v", err)
	}

	wrong := a
	wrong.BlobHashes = []common.Hash{{1, 2}}
	if err := wrong.CompleteSidecar(SidecarAuto); err == nil || !strings.HasPrefix(err.Error(), "blobVersionedHashes: number 0 is 0x0102") {
		t.Errorf("wrong hash: error %v", err)
	}
	wrong = a
	wrong.Proofs = []kzg4844.Proof{kzg4844.Proof(a.Commitments[0])}
	if err := wrong.CompleteSidecar(SidecarAuto); err == nil || !strings.HasPrefix(err.Error(), "proofs: number 0 does not fit its blob") {
		t.Errorf("wrong proof: error %v", err)
	}
	cells.Proofs[127] = cells.Proofs[0]
	if err := cells.CompleteSidecar(SidecarAuto); err == nil || !strings.HasPrefix(err.Error(), "proofs: the cell proofs do not fit the blobs") {
		t.Errorf("wrong cell proof: error %v", err)
	}
	wrong = blobArgs(t)
	wrong.Blobs[0][0] = 0xff // not below the field's modulus
	if err := wrong.CompleteSidecar(SidecarAuto); err == nil || !strings.HasPrefix(err.Error(), "blobs: number 0 is not a blob of field elements") {
		t.Errorf("wrong blob: error %v", err)
	}
}
