// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const testdata = "../../testdata/"

func readGzip(t *testing.T, name string, out any) {
	t.Helper()
	f, err := os.Open(testdata + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(out); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, name string, out any) {
	t.Helper()
	b, err := os.ReadFile(testdata + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
}

func parse(t testing.TB, doc string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustArgs(t testing.TB, doc string) Args {
	t.Helper()
	a, err := ParseArgs(parse(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testKey(t testing.TB, hex string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.HexToECDSA(strings.TrimPrefix(hex, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, digest common.Hash, key *ecdsa.PrivateKey) secp.Signature {
	t.Helper()
	b, err := crypto.Sign(digest[:], key)
	if err != nil {
		t.Fatal(err)
	}
	return secp.Signature{R: [32]byte(b[:32]), S: [32]byte(b[32:64]), V: b[64]}
}

// loose reads the sloppy hexadecimal numbers of the vector files.
func loose(s string) *big.Int {
	n, _ := new(big.Int).SetString("0"+strings.TrimPrefix(s, "0x"), 16)
	return n
}

// checkVector signs t and compares every step with the expected bytes.
func checkVector(t *testing.T, name string, unsigned *types.Transaction, chain *big.Int, key, payload, signed string) {
	t.Helper()
	digest := Digest(unsigned, chain)
	if want := crypto.Keccak256Hash(common.FromHex(payload)); digest != want {
		t.Fatalf("%s: digest %s, want %s", name, digest, want)
	}
	k := testKey(t, key)
	done, err := Signed(unsigned, chain, sign(t, digest, k))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	raw, err := done.MarshalBinary()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if want := common.FromHex(signed); !bytes.Equal(raw, want) {
		t.Fatalf("%s: signed %x, want %x", name, raw, want)
	}
	got, from, err := DecodeRaw(raw)
	if err != nil || from != crypto.PubkeyToAddress(k.PublicKey) || got.Hash() != done.Hash() {
		t.Fatalf("%s: decoded sender %s, hash %s, error %v", name, from, got.Hash(), err)
	}
	stored, err := EncodeUnsigned(WithNonce(done, 1<<40))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	back, err := DecodeUnsigned(stored)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := Digest(WithNonce(back, unsigned.Nonce()), chain); got != digest {
		t.Fatalf("%s: digest after storing %s, want %s", name, got, digest)
	}
}

func TestLegacyVectorsOfEthers(t *testing.T) {
	type vector struct {
		Name, PrivateKey, AccountAddress             string
		To, Data, GasLimit, GasPrice, Value, Nonce   string
		UnsignedTransactionChainID5                  string `json:"unsignedTransactionChainId5"`
		SignedTransaction, SignedTransactionChainID5 string
	}
	var list []vector
	readGzip(t, "tx/transactions.json.gz", &list)
	chain := big.NewInt(5)
	digests, parsed, refused, huge := 0, 0, 0, 0
	for _, v := range list {
		if loose(v.GasLimit).BitLen() > 64 { // no node can take it, and go-ethereum's types cannot hold it
			if _, _, err := DecodeRaw(common.FromHex(v.SignedTransactionChainID5)); err == nil {
				t.Errorf("%s: a gas limit of more than 64 bits was accepted", v.Name)
			}
			huge++
			continue
		}
		gas := loose(v.GasLimit).Uint64()
		a := Args{
			From: common.HexToAddress(v.AccountAddress), Gas: &gas, GasPrice: loose(v.GasPrice),
			Value: loose(v.Value), Data: common.FromHex(v.Data),
		}
		if v.To != "" && v.To != "0x" {
			to := common.HexToAddress(v.To)
			a.To = &to
		}
		checkVector(t, v.Name, a.build(types.LegacyTxType, chain, loose(v.Nonce).Uint64()), chain,
			v.PrivateKey, v.UnsignedTransactionChainID5, v.SignedTransactionChainID5)
		digests++
		_, _, err := DecodeRaw(common.FromHex(v.SignedTransaction))
		if err == nil || !strings.Contains(err.Error(), "replayable") {
			t.Errorf("%s: without chain id: error %v", v.Name, err)
		}
		refused++
		if reparses(t, v.Name, a) {
			parsed++
		}
	}
	t.Logf("%d digests and signatures, %d without chain id refused, %d with huge gas refused, %d through ParseArgs", digests, refused, huge, parsed)
	if got := fmt.Sprint(digests, refused, huge, parsed); got != "984 984 83 918" {
		t.Errorf("counts %s", got)
	}
}

// reparses writes a as JSON and reads it again. It reports false for what a
// caller may not send: a contract creation without data, gas beyond 2^63, a
// tip above the fee.
func reparses(t *testing.T, name string, a Args) bool {
	t.Helper()
	doc, _ := a.MarshalJSON()
	b, err := ParseArgs(parse(t, string(doc)))
	want := ""
	switch {
	case *a.Gas > 1<<63-1:
		want = "gas: too large"
	case a.MaxFeePerGas != nil && a.MaxPriorityFeePerGas.Cmp(a.MaxFeePerGas) > 0:
		want = "is above maxFeePerGas"
	case a.To == nil && len(a.Data) == 0:
		want = "to create a contract"
	}
	if want != "" {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: error %v, want %q", name, err, want)
		}
		return false
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if again, _ := b.MarshalJSON(); !bytes.Equal(doc, again) || a.RequestHash() != b.RequestHash() {
		t.Fatalf("%s: %s became %s", name, doc, again)
	}
	return true
}

func TestTypedVectorsOfEthers(t *testing.T) {
	type vector struct {
		Name, Key, Address, Signed, Unsigned string
		Tx                                   struct {
			Type                                int
			ChainID                             int64 `json:"chainId"`
			Nonce                               uint64
			To, Data, GasLimit, GasPrice, Value string
			MaxFeePerGas, MaxPriorityFeePerGas  string
			AccessList                          types.AccessList
		}
	}
	var list []vector
	readGzip(t, "tx/typed-transactions.json.gz", &list)
	counts := map[int]int{}
	parsed, unbound := 0, 0
	for _, v := range list {
		gas := loose(v.Tx.GasLimit).Uint64()
		a := Args{From: common.HexToAddress(v.Address), Gas: &gas, Value: loose(v.Tx.Value), Data: common.FromHex(v.Tx.Data)}
		if v.Tx.To != "" {
			to := common.HexToAddress(v.Tx.To)
			a.To = &to
		}
		if v.Tx.AccessList != nil {
			a.AccessList = &v.Tx.AccessList
		}
		if v.Tx.Type == types.AccessListTxType {
			if a.GasPrice = loose(v.Tx.GasPrice); a.AccessList == nil {
				a.AccessList = &types.AccessList{}
			}
		} else {
			a.MaxFeePerGas, a.MaxPriorityFeePerGas = loose(v.Tx.MaxFeePerGas), loose(v.Tx.MaxPriorityFeePerGas)
		}
		if v.Tx.ChainID == 0 { // ethers allows it; here it is refused, as it binds to no chain
			if _, _, err := DecodeRaw(common.FromHex(v.Signed)); err == nil || !strings.Contains(err.Error(), "names no chain id") {
				t.Errorf("%s: chain id 0: error %v", v.Name, err)
			}
			unbound++
			continue
		}
		chain := big.NewInt(v.Tx.ChainID)
		checkVector(t, v.Name, a.build(v.Tx.Type, chain, v.Tx.Nonce), chain, v.Key, v.Unsigned, v.Signed)
		counts[v.Tx.Type]++
		if reparses(t, v.Name, a) {
			parsed++
		}
	}
	t.Logf("type 1: %d, type 2: %d, refused for chain id 0: %d, through ParseArgs: %d", counts[1], counts[2], unbound, parsed)
	if got := fmt.Sprint(counts[1], counts[2], unbound, parsed); got != "640 768 384 1312" {
		t.Errorf("counts %s", got)
	}
}

type typeVectors struct {
	Key          string
	Address      common.Address
	Authorities  []common.Address
	Transactions []struct {
		Name             string
		ChainID          *hexutil.Big `json:"chainId"`
		Args             json.RawMessage
		Unsigned, Signed string
		Digest, Hash     common.Hash
	}
	Messages []struct {
		Message hexutil.Bytes
		Digest  common.Hash
	}
}

func TestEveryTypeHasTheDigestOfViemAndEthers(t *testing.T) {
	var v typeVectors
	readJSON(t, "tx/types.json", &v)
	seen := map[uint8]int{}
	for _, c := range v.Transactions {
		a := mustArgs(t, string(c.Args))
		nonce := *a.Nonce
		u, err := a.Unsigned(c.ChainID.ToInt(), nonce)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if got := Digest(u, c.ChainID.ToInt()); got != c.Digest {
			t.Errorf("%s: digest %s, want %s", c.Name, got, c.Digest)
		}
		checkVector(t, c.Name, u, c.ChainID.ToInt(), v.Key, c.Unsigned, c.Signed)
		signed, from, err := DecodeRaw(common.FromHex(c.Signed))
		if err != nil || from != v.Address || signed.Hash() != c.Hash {
			t.Errorf("%s: from %s, hash %s, error %v", c.Name, from, signed.Hash(), err)
		}
		if u.Type() == types.SetCodeTxType {
			if got := Authorities(u); fmt.Sprint(got) != fmt.Sprint(v.Authorities) {
				t.Errorf("%s: authorities %s, want %s", c.Name, got, v.Authorities)
			}
		}
		seen[u.Type()]++
	}
	t.Logf("%d transactions by type: %v", len(v.Transactions), seen)
	if got := fmt.Sprint(seen); got != "map[0:2 1:1 2:2 3:1 4:1]" {
		t.Errorf("types seen: %s", got)
	}
	for _, m := range v.Messages {
		if got := MessageHash(m.Message); got != m.Digest {
			t.Errorf("message %q: digest %s, want %s", m.Message, got, m.Digest)
		}
	}
}
