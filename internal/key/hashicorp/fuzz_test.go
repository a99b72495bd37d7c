// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

func FuzzParseSignature(f *testing.F) {
	f.Add("0x" + hex.EncodeToString(make([]byte, 65)))
	f.Add("0x" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" + "0000000000000000000000000000000000000000000000000000000000000001" + "01")
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := parseSignature("a", "a", text)
		if err != nil {
			return
		}
		again := "0x" + hex.EncodeToString(append(append(sig.R[:], sig.S[:]...), sig.Hint))
		if len(text) != 132 || !equalFold(again, text) {
			t.Errorf("%q was read as %q", text, again)
		}
	})
}

func equalFold(a, b string) bool {
	x, err1 := hex.DecodeString(a[2:])
	y, err2 := hex.DecodeString(b[2:])
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Only bytes that a node takes as this transaction by this sender pass.
func FuzzCompare(f *testing.F) {
	k, err := crypto.ToECDSA(common.FromHex("4646464646464646464646464646464646464646464646464646464646464646"))
	if err != nil {
		f.Fatal(err)
	}
	chain, to := big.NewInt(1), common.HexToAddress("0x3535353535353535353535353535353535353535")
	inner := &types.LegacyTx{Nonce: 9, GasPrice: big.NewInt(20_000_000_000), Gas: 21_000, To: &to, Value: big.NewInt(1_000_000_000_000_000_000)}
	unsigned := types.NewTx(inner)
	signer := types.NewEIP155Signer(chain)
	signed := types.MustSignNewTx(k, signer, inner)
	raw, err := signed.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	from := crypto.PubkeyToAddress(k.PublicKey)
	if _, why := compare(raw, signed.Hash().Hex(), chain, unsigned, from); why != "" {
		f.Fatal(why)
	}
	f.Add(raw, signed.Hash().Hex())
	f.Fuzz(func(t *testing.T, raw []byte, hash string) {
		if _, why := compare(raw, hash, chain, unsigned, from); why != "" {
			return
		}
		var tx types.Transaction
		if err := tx.UnmarshalBinary(raw); err != nil {
			t.Fatal(err)
		}
		sender, err := types.Sender(signer, &tx)
		if err != nil || sender != from || signer.Hash(&tx) != signer.Hash(unsigned) {
			t.Errorf("%x passed: %s, %v", raw, sender, err)
		}
	})
}
