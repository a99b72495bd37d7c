// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const (
	alice = "0x00000000000000000000000000000000000000a1"
	bob   = "0xb0b0000000000000000000000000000000000b0b"
)

// args makes an argument object of a transfer from alice with more members.
func args(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"from":"` + alice + `","to":"` + bob + `"` + more + `}`
}

func TestMalformedArgumentsAreRefused(t *testing.T) {
	const (
		quantity = `want a hexadecimal quantity such as "0x1a"`
		address  = `want an address, 0x and 40 hexadecimal digits`
		auth     = `"chainId":"0x1","address":"` + bob + `","nonce":"0x0"`
	)
	hash := `"0x01` + strings.Repeat("ab", 31) + `"`
	tests := []struct{ doc, field, want string }{
		// the whole
		{`[]`, "", `want an object with the transaction's fields, got an array`},
		{`"0x"`, "", `want an object with the transaction's fields, got a string`},
		{`null`, "", `want an object with the transaction's fields, got null`},
		{`{}`, "from", `missing; want the address of the account that signs`},
		// names
		{args(`"gasLimit":"0x5208"`), "gasLimit", `unknown field; did you mean "gas"?`},
		{args(`"Value":"0x1"`), "Value", `unknown field; did you mean "value"?`},
		{args(`"gasprice":"0x1"`), "gasprice", `unknown field; did you mean "gasPrice"?`},
		{args(`"memo":"x"`), "memo", `unknown field of a transaction`},
		{args(`"":"x"`), "", `unknown field of a transaction`},
		{args(`"hash":"0x"`), "hash", `unknown field of a transaction`},
		{args(`"privateFor":[]`), "privateFor", `private transactions are not supported`},
		{args(`"privateFrom":"A1="`), "privateFrom", `private transactions are not supported`},
		{args(`"privacyGroupId":null`), "privacyGroupId", `private transactions are not supported`},
		{args(`"restriction":"restricted"`), "restriction", `private transactions are not supported`},
		{args(`"PRIVATEFOR":[]`), "PRIVATEFOR", `private transactions are not supported`},
		// addresses
		{`{"from":null}`, "from", `missing; want the address of the account that signs`},
		{`{"from":""}`, "from", address + `, got ""`},
		{`{"from":7}`, "from", address + `, got a number`},
		{`{"from":"0x00"}`, "from", address + `, got "0x00"`},
		{`{"from":"0x` + strings.Repeat("0", 41) + `"}`, "from", address + `, got "0x` + strings.Repeat("0", 41) + `"`},
		{`{"from":"0x` + strings.Repeat("g", 40) + `"}`, "from", address + `, got "0x` + strings.Repeat("g", 40) + `"`},
		{`{"from":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaec"}`, "from", `"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaec" has a wrong checksum (EIP-55); check for a typing error, or write it in lower case`},
		{`{"from":"` + alice + `","to":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD","to2":1}`, "to2", `unknown field of a transaction`},
		{`{"from":"` + alice + `","to":""}`, "to", address + `, got ""`},
		{`{"from":"` + alice + `","to":"` + bob[2:] + `"}`, "to", address + `, got "` + bob[2:] + `"`},
		{`{"from":"` + alice + `","to":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1beAed"}`, "to", `"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1beAed" has a wrong checksum (EIP-55); check for a typing error, or write it in lower case`},
		// quantities
		{args(`"gas":21000`), "gas", quantity + `, got a number`},
		{args(`"gas":"21000"`), "gas", quantity + `, got the decimal string "21000"`},
		{args(`"gas":"0x"`), "gas", quantity + `, got "0x"`},
		{args(`"gas":""`), "gas", quantity + `, got ""`},
		{args(`"gas":"0x05208"`), "gas", `must not have leading zeros; ` + quantity + `, got "0x05208"`},
		{args(`"gas":"0x10000000000000000"`), "gas", `larger than 64 bits`},
		{args(`"gas":"0x8000000000000000"`), "gas", `too large: want at most 0x7fffffffffffffff`},
		{args(`"gas":" 0x1"`), "gas", quantity + `, got " 0x1"`},
		{args(`"value":"-0x1"`), "value", `must not be negative; ` + quantity + `, got "-0x1"`},
		{args(`"value":-1`), "value", quantity + `, got a number`},
		{args(`"value":"0x1.5"`), "value", quantity + `, got "0x1.5"`},
		{args(`"value":"0x1` + strings.Repeat("0", 64) + `"`), "value", `larger than 256 bits`},
		{args(`"value":{}`), "value", quantity + `, got an object`},
		{args(`"value":"1 ether"`), "value", quantity + `, got "1 ether"`},
		{args(`"gasPrice":true`), "gasPrice", quantity + `, got a boolean`},
		{args(`"nonce":"0xzz"`), "nonce", quantity + `, got "0xzz"`},
		{args(`"nonce":"0xffffffffffffffff"`), "nonce", `too large: the highest nonce is 0xfffffffffffffffe (EIP-2681)`},
		{args(`"chainId":1`), "chainId", quantity + `, got a number`},
		{args(`"chainId":"0x0"`), "chainId", `must not be zero: such a signature could be replayed on any chain`},
		// data
		{args(`"data":"60fe"`), "data", `want hexadecimal data such as "0x" or "0x60fe", got "60fe"`},
		{args(`"data":"0x6"`), "data", `want whole bytes, got an odd number of hexadecimal digits`},
		{args(`"data":"0xgg"`), "data", `want hexadecimal data such as "0x" or "0x60fe", got "0xgg"`},
		{args(`"data":[1,2]`), "data", `want hexadecimal data such as "0x" or "0x60fe", got an array`},
		{args(`"data":"0x01","input":"0x02"`), "input", `"data" and "input" are both given and differ; give one of them`},
		{args(`"data":"0x","input":"0x02"`), "input", `"data" and "input" are both given and differ; give one of them`},
		{args(`"input":"0x` + strings.Repeat("00", MaxSize+1) + `"`), "input", `131073 bytes are more than fit into a transaction (131072)`},
		{`{"from":"` + alice + `"}`, "to", `missing; to create a contract give its code in "data"`},
		{`{"from":"` + alice + `","to":null,"data":"0x"}`, "to", `missing; to create a contract give its code in "data"`},
		// fees
		{args(`"gasPrice":"0x1","maxFeePerGas":"0x1"`), "gasPrice", `given together with maxFeePerGas; give one kind of fee`},
		{args(`"gasPrice":"0x0","maxPriorityFeePerGas":"0x0"`), "gasPrice", `given together with maxPriorityFeePerGas; give one kind of fee`},
		{args(`"maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x2"`), "maxPriorityFeePerGas", `2 is above maxFeePerGas 1 (wei per gas)`},
		// types
		{args(`"type":"0x5"`), "type", `transaction type 0x5 is not supported; want 0x0 to 0x4`},
		{args(`"type":"0x7e"`), "type", `transaction type 0x7e is not supported; want 0x0 to 0x4`},
		{args(`"type":2`), "type", quantity + `, got a number`},
		{args(`"type":"0x02"`), "type", `must not have leading zeros; ` + quantity + `, got "0x02"`},
		{args(`"type":"0x0","maxFeePerGas":"0x1"`), "type", `0x0 does not go with maxFeePerGas`},
		{args(`"type":"0x1","maxPriorityFeePerGas":"0x1"`), "type", `0x1 does not go with maxPriorityFeePerGas`},
		{args(`"type":"0x2","gasPrice":"0x1"`), "type", `0x2 does not go with gasPrice`},
		{args(`"type":"0x0","accessList":[]`), "type", `0x0 does not go with accessList`},
		{args(`"type":"0x2","blobVersionedHashes":[` + hash + `]`), "type", `0x2 does not go with blobs`},
		{args(`"type":"0x3"`), "blobs", `missing; type 0x3 needs "blobs" or "blobVersionedHashes"`},
		{args(`"type":"0x4"`), "authorizationList", `missing; type 0x4 needs it`},
		// access lists
		{args(`"accessList":{}`), "accessList", `want an array of objects with address and storageKeys, got an object`},
		{args(`"accessList":["0x"]`), "accessList[0]", `want an object, got a string`},
		{args(`"accessList":[{"address":"` + bob + `"}]`), "accessList[0].storageKeys", `missing`},
		{args(`"accessList":[{"storageKeys":[]}]`), "accessList[0].address", `missing`},
		{args(`"accessList":[{"address":"` + bob + `","storageKeys":[],"x":1}]`), "accessList[0].x", `unknown field`},
		{args(`"accessList":[{"address":"0x1","storageKeys":[]}]`), "accessList[0].address", address + `, got "0x1"`},
		{args(`"accessList":[{"address":"` + bob + `","storageKeys":["0x1"]}]`), "accessList[0].storageKeys[0]", `want 32 bytes, 0x and 64 hexadecimal digits, got "0x1"`},
		{args(`"accessList":[{"address":"` + bob + `","storageKeys":[1]}]`), "accessList[0].storageKeys[0]", `want a byte string, got a number`},
		// blobs
		{`{"from":"` + alice + `","data":"0x01","blobVersionedHashes":[` + hash + `]}`, "to", `missing; a blob transaction cannot create a contract`},
		{args(`"blobVersionedHashes":[]`), "blobVersionedHashes", `must not be empty`},
		{args(`"blobVersionedHashes":["0x02` + strings.Repeat("ab", 31) + `"]`), "blobVersionedHashes[0]", `want a versioned hash, which begins with 0x01, got 0x02` + strings.Repeat("ab", 31)},
		{args(`"blobVersionedHashes":[` + strings.Repeat(hash+",", 6) + hash + `]`), "blobVersionedHashes", `want at most 6 byte strings, got 7`},
		{args(`"blobs":[]`), "blobs", `must not be empty`},
		{args(`"blobs":["0x00"]`), "blobs[0]", `want 131072 bytes, 0x and 262144 hexadecimal digits, got "0x00"`},
		{args(`"maxFeePerBlobGas":"0x1"`), "maxFeePerBlobGas", `given without "blobs" or "blobVersionedHashes"`},
		{args(`"maxFeePerBlobGas":"0x0","blobVersionedHashes":[` + hash + `]`), "maxFeePerBlobGas", `must not be zero`},
		{args(`"gasPrice":"0x1","blobVersionedHashes":[` + hash + `]`), "gasPrice", `given together with blobs; such a transaction wants maxFeePerGas and maxPriorityFeePerGas`},
		{args(`"commitments":["0x` + strings.Repeat("00", 48) + `"]`), "commitments", `given without "blobs"`},
		{args(`"proofs":["0x` + strings.Repeat("00", 48) + `"]`), "proofs", `given without "blobs"`},
		{args(`"proofs":["0x` + strings.Repeat("00", 47) + `"]`), "proofs[0]", `want 48 bytes, 0x and 96 hexadecimal digits, got "0x` + strings.Repeat("00", 23) + `…"`},
		// authorisations
		{`{"from":"` + alice + `","data":"0x01","authorizationList":[{` + auth + `,"yParity":"0x0","r":"0x1","s":"0x1"}]}`, "to", `missing; a transaction with an authorizationList cannot create a contract`},
		{args(`"authorizationList":[]`), "authorizationList", `must not be empty`},
		{args(`"authorizationList":[{` + auth + `}]`), "authorizationList[0].yParity", `missing`},
		{args(`"authorizationList":[{` + auth + `,"yParity":"0x2","r":"0x1","s":"0x1"}]`), "authorizationList[0].yParity", `want 0x0 or 0x1, got 0x2`},
		{args(`"authorizationList":[{` + auth + `,"yParity":"0x0","r":"0x1","s":"0x01"}]`), "authorizationList[0].s", `must not have leading zeros; ` + quantity + `, got "0x01"`},
		{args(`"authorizationList":[{` + auth + `,"yParity":"0x0","r":"0x1","s":"0x1","v":"0x1b"}]`), "authorizationList[0].v", `unknown field`},
		{args(`"gasPrice":"0x1","authorizationList":[{` + auth + `,"yParity":"0x0","r":"0x1","s":"0x1"}]`), "gasPrice", `given together with authorizationList; such a transaction wants maxFeePerGas and maxPriorityFeePerGas`},
		{args(`"blobVersionedHashes":[` + hash + `],"authorizationList":[{` + auth + `,"yParity":"0x0","r":"0x1","s":"0x1"}]`), "authorizationList", `given together with blobs; no transaction type has both`},
	}
	for _, tt := range tests {
		_, err := ParseArgs(parse(t, tt.doc))
		var arg *ArgError
		if !errors.As(err, &arg) || arg.Field != tt.field || arg.Msg != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s: %s", excerpt(tt.doc), err, tt.field, tt.want)
		}
	}
	t.Logf("%d malformed argument objects", len(tests))
	if len(tests) < 90 {
		t.Errorf("only %d cases", len(tests))
	}
}

func TestBlobCountsMustAgree(t *testing.T) {
	blob, fixed48 := `"0x`+strings.Repeat("00", 131072)+`"`, `"0x`+strings.Repeat("00", 48)+`"`
	for more, want := range map[string]string{
		`"blobs":[` + blob + `],"commitments":[` + fixed48 + `]`:                                                                     `proofs: "commitments" and "proofs" go together: give both or neither`,
		`"blobs":[` + blob + `],"commitments":[` + fixed48 + `,` + fixed48 + `],"proofs":[` + fixed48 + `]`:                          `commitments: want one for each of the 1 blobs, got 2`,
		`"blobs":[` + blob + `],"commitments":[` + fixed48 + `],"proofs":[` + fixed48 + `,` + fixed48 + `]`:                          `proofs: want one for each of the 1 blobs, or 128 cell proofs, got 2`,
		`"blobs":[` + blob + `],"blobVersionedHashes":["0x01` + strings.Repeat("0", 62) + `","0x01` + strings.Repeat("0", 62) + `"]`: `blobVersionedHashes: want one for each of the 1 blobs, got 2`,
	} {
		if _, err := ParseArgs(parse(t, args(more))); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestArgumentsAreRead(t *testing.T) {
	a := mustArgs(t, `{"from":"`+alice[2:]+`","to":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed","gas":"0x5208","value":"0xde0b6b3a7640000",
		"maxFeePerGas":"0x2","maxPriorityFeePerGas":"0X1","nonce":"0x0","data":"0x0A","input":"0x0a","chainId":"0x539","type":"0x2",
		"accessList":null,"gasPrice":null}`)
	switch {
	case a.From.Hex() != "0x00000000000000000000000000000000000000A1", a.To.Hex() != "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		*a.Gas != 21000, a.Value.Cmp(big.NewInt(1e18)) != 0, a.MaxFeePerGas.Int64() != 2, a.MaxPriorityFeePerGas.Int64() != 1,
		*a.Nonce != 0, len(a.Data) != 1 || a.Data[0] != 10, a.ChainID.Int64() != 1337, *a.Type != 2, a.AccessList != nil, a.GasPrice != nil:
		t.Errorf("read %+v", a)
	}
	for _, to := range []string{"0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"} {
		if b := mustArgs(t, `{"from":"`+alice+`","to":"`+to+`"}`); *b.To != *a.To {
			t.Errorf("%s was read as %s", to, b.To)
		}
	}
	if got := mustArgs(t, args(`"data":""`)).Data; len(got) != 0 {
		t.Errorf("empty data was read as %x", got)
	}
}

func TestRequestHashIsEqualForEqualMeaning(t *testing.T) {
	base := mustArgs(t, args(`"gasPrice":"0x1","data":"0x0a"`)).RequestHash()
	for _, same := range []string{
		args(`"data":"0x0A","gasPrice":"0x1"`),
		args(`"gasPrice":"0x1","input":"0x0a"`),
		args(`"gasPrice":"0x1","input":"0x0a","data":"0x0a"`),
		args(`"gasPrice":"0x1","data":"0x0a","value":"0x0","nonce":null`),
		args(`"gasPrice":"0x1","data":"0x0a","type":"0x0"`),
		`{"data":"0x0a","gasPrice":"0x1","to":"0x` + strings.ToUpper(bob[2:]) + `","from":"` + alice[2:] + `"}`,
	} {
		if mustArgs(t, same).RequestHash() != base {
			t.Errorf("%s has another hash", same)
		}
	}
	for _, other := range []string{
		args(`"gasPrice":"0x2","data":"0x0a"`),
		args(`"gasPrice":"0x1","data":"0x0b"`),
		args(`"gasPrice":"0x1","data":"0x0a","value":"0x1"`),
		args(`"gasPrice":"0x1","data":"0x0a","nonce":"0x0"`),
		args(`"gasPrice":"0x1","data":"0x0a","gas":"0x5208"`),
		args(`"gasPrice":"0x1","data":"0x0a","chainId":"0x1"`),
		args(`"gasPrice":"0x1","data":"0x0a","accessList":[]`),
		args(`"data":"0x0a"`),
		`{"from":"` + bob + `","to":"` + bob + `","gasPrice":"0x1","data":"0x0a"}`,
	} {
		if mustArgs(t, other).RequestHash() == base {
			t.Errorf("%s has the same hash", other)
		}
	}
}

func TestCallJSONHoldsWhatAnEstimateNeeds(t *testing.T) {
	a := mustArgs(t, args(`"input":"0x0a","nonce":"0x5","chainId":"0x1","value":"0x2","maxFeePerGas":"0x3","type":"0x2","accessList":[]`))
	want := `{"from":"` + alice + `","to":"` + bob + `","maxFeePerGas":"0x3","value":"0x2","data":"0x0a","accessList":[]}`
	if got := string(a.CallJSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzArgs(f *testing.F) {
	f.Add([]byte(args(`"gas":"0x5208","gasPrice":"0x1"`)))
	f.Add([]byte(args(`"gas":"0xffff","maxFeePerGas":"0x2","maxPriorityFeePerGas":"0x1","data":"0x0a","accessList":[{"address":"` + bob + `","storageKeys":[]}]`)))
	f.Add([]byte(args(`"gas":"0xffff","maxFeePerGas":"0x2","maxPriorityFeePerGas":"0x1","maxFeePerBlobGas":"0x1","blobVersionedHashes":["0x01` + strings.Repeat("ab", 31) + `"]`)))
	f.Add([]byte(args(`"gas":"0xffff","maxFeePerGas":"0x2","maxPriorityFeePerGas":"0x1","authorizationList":[{"chainId":"0x0","address":"` + bob + `","nonce":"0x0","yParity":"0x0","r":"0x1","s":"0x1"}]`)))
	f.Add([]byte(`{"from":"` + alice + `","data":"0x6000","gas":"0xfffff","gasPrice":"0x0","accessList":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := strictjson.Parse(doc)
		if err != nil {
			return
		}
		a, err := ParseArgs(v)
		if err != nil {
			var arg *ArgError
			if !errors.As(err, &arg) {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		again, err := strictjson.Parse(v.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseArgs(again)
		if err != nil || a.RequestHash() != b.RequestHash() {
			t.Fatalf("%s re-serialised has another hash, error %v", doc, err)
		}
		canonical, _ := a.MarshalJSON()
		c, err := ParseArgs(parse(t, string(canonical)))
		if err != nil || a.RequestHash() != c.RequestHash() {
			t.Fatalf("%s in canonical form %s has another hash, error %v", doc, canonical, err)
		}
		chain := a.ChainID
		if chain == nil {
			chain = big.NewInt(1337)
		}
		u, err := a.Unsigned(chain, 7)
		if err != nil {
			return
		}
		stored, err := EncodeUnsigned(u)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeUnsigned(stored)
		if err != nil || Digest(back, chain) != Digest(u, chain) {
			t.Fatalf("%s: digest changed by storing, error %v", doc, err)
		}
	})
}

func FuzzTypedData(f *testing.F) {
	f.Add([]byte(one("uint8[2][]", `[[1,2],[3,4]]`)))
	f.Add([]byte(document(`"M":[{"name":"a","type":"N[]"}],"N":[{"name":"b","type":"bytes4"}]`, "", `{"a":[{"b":"0x01020304"}]}`)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := strictjson.Parse(doc)
		if err != nil {
			return
		}
		td, err := ParseTypedData(v)
		if err != nil {
			return
		}
		if _, err := td.Hash(); err != nil {
			t.Fatalf("%s was accepted, but: %v", doc, err)
		}
	})
}
