// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// domainFields are the types that ethers gives the fields of a domain.
var domainFields = [][2]string{
	{"name", "string"}, {"version", "string"}, {"chainId", "uint256"}, {"verifyingContract", "address"}, {"salt", "bytes32"},
}

func TestTypedDataVectorsOfEthers(t *testing.T) {
	var list []struct {
		Name        string
		PrimaryType string
		Domain      map[string]json.RawMessage
		Types       map[string]json.RawMessage
		Data        json.RawMessage
		Digest      common.Hash
		PrivateKey  string
		Signature   string
	}
	readGzip(t, "eip712/eip712.json.gz", &list)
	digests, signatures, strs := 0, 0, 0
	for _, v := range list {
		fields := []map[string]string{}
		for _, f := range domainFields {
			if v.Domain[f[0]] != nil {
				fields = append(fields, map[string]string{"name": f[0], "type": f[1]})
			}
		}
		v.Types[domainType], _ = json.Marshal(fields)
		doc, err := json.Marshal(map[string]any{"types": v.Types, "primaryType": v.PrimaryType, "domain": v.Domain, "message": v.Data})
		if err != nil {
			t.Fatal(err)
		}
		td, err := ParseTypedData(parse(t, string(doc)))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		got, err := td.Hash()
		if err != nil || got != v.Digest {
			t.Fatalf("%s: digest %s, want %s, error %v", v.Name, got, v.Digest, err)
		}
		digests++
		if v.Signature != "" {
			s := sign(t, got, testKey(t, v.PrivateKey)).Bytes()
			s[64] += 27
			if fmt.Sprintf("0x%x", s) != v.Signature {
				t.Errorf("%s: signature %x, want %s", v.Name, s, v.Signature)
			}
			signatures++
		}
		again, err := ParseTypedData(strictjson.StringValue(string(doc)))
		if err != nil {
			t.Fatalf("%s: as a string: %v", v.Name, err)
		}
		if h, err := again.Hash(); err != nil || h != got {
			t.Errorf("%s: as a string: digest %s, error %v", v.Name, h, err)
		}
		strs++
	}
	t.Logf("%d digests, %d signatures, %d documents as strings", digests, signatures, strs)
	if got := fmt.Sprint(digests, signatures, strs); got != "1025 1 1025" {
		t.Errorf("counts %s", got)
	}
}

func TestTypedDataOfGoEthereum(t *testing.T) {
	wantErr := map[string]string{
		"expfail_arraytype_overload.json":  `types.Person[]: "Person[]" cannot be the name of a struct type`,
		"expfail_datamismatch_1.json":      `message.contents: want an object of type Person, got a string`,
		"expfail_extradata.json":           `message.blahonga: type Mail has no such field`,
		"expfail_malformeddomainkeys.json": `domain.vFAILFAILerifyingContract: type EIP712Domain has no such field`,
		"expfail_nonexistant_type.json":    `types.Mail[2].type: type "Blahonga" is not defined`,
		"expfail_nonexistant_type2.json":   `types.EIP712Domain[2].type: type "uint256 ... and now for something completely dif…" is not defined`,
		"expfail_toolargeuint.json":        `message.test: 257 is out of range; want an integer of type uint8, as a number or a decimal or 0x-string`,
		"expfail_toolargeuint2.json":       `message.test: 257 is out of range; want an integer of type uint8, as a number or a decimal or 0x-string`,
		"expfail_unconvertiblefloat.json":  `message.test: not an integer: "255.3"; want an integer of type uint8, as a number or a decimal or 0x-string`,
		"expfail_unconvertiblefloat2.json": `message.test: not an integer: 255.3; want an integer of type uint8, as a number or a decimal or 0x-string`,
	}
	// Digests by go-ethereum v1.17.8's own TypedDataAndHash.
	wantHash := map[string]string{
		"arrays-1.json":         "0x6e6fd7405a0c7f044acdcc7e591e36ad82c6e4b1439de741d7fac715f8ec5653",
		"custom_arraytype.json": "0x528c9e0892b9ae24cf1dd215db6a9ea1910b0b2472cd2c95101214601a5add53",
		"eip712.json":           "0x78e95bf9921b27376adfb9554684113fe27fbfd8dfc84805eb014b0073c6d5f4",
	}
	files, err := filepath.Glob(testdata + "eip712/go-ethereum/*.json")
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, path := range files {
		name := filepath.Base(path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		td, err := ParseTypedData(parse(t, string(b)))
		if want, fails := wantErr[name]; fails {
			bad++
			if err == nil || err.Error() != want {
				t.Errorf("%s: error %v\nwant %s", name, err, want)
			}
			continue
		}
		good++
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h, err := td.Hash(); err != nil || h.Hex() != wantHash[name] {
			t.Errorf("%s: digest %s, error %v", name, h, err)
		}
	}
	fuzz, err := filepath.Glob(testdata + "eip712/go-ethereum/fuzzing/*")
	if err != nil {
		t.Fatal(err)
	}
	crashers := 0
	for _, path := range fuzz {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		crashers++
		v, err := strictjson.Parse(b)
		if err != nil {
			continue
		}
		if td, err := ParseTypedData(v); err == nil {
			if _, err := td.Hash(); err != nil {
				t.Errorf("%s: accepted, but not hashed: %v", filepath.Base(path), err)
			}
		}
	}
	t.Logf("%d good, %d refused, %d former crashers", good, bad, crashers)
	if got := fmt.Sprint(good, bad, crashers); got != "3 10 7" {
		t.Errorf("counts %s", got)
	}
}

// document makes typed data from its parts; empty parts are the usual ones.
func document(types, domain, message string) string {
	if domain == "" {
		domain = `{"name":"Test","chainId":1}`
	}
	return `{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"}],` + types +
		`},"primaryType":"M","domain":` + domain + `,"message":` + message + `}`
}

func one(typ, value string) string {
	return document(`"M":[{"name":"v","type":"`+typ+`"}]`, "", `{"v":`+value+`}`)
}

func TestMalformedTypedDataIsRefused(t *testing.T) {
	deep := strings.Repeat("[2]", 12)
	wide := make([]string, 65)
	for i := range wide {
		wide[i] = fmt.Sprintf(`"T%d":[]`, i)
	}
	fields := make([]string, 98)
	for i := range fields {
		fields[i] = fmt.Sprintf(`{"name":"f%d","type":"bool"}`, i)
	}
	hundred := `"H":[` + strings.Join(fields, ",") + `]`
	tests := []struct{ doc, want string }{
		{`[]`, `want a typed-data object (EIP-712); the array form of eth_signTypedData (version 1) is not supported`},
		{`7`, `want a typed-data object (EIP-712), got a number`},
		{`"{"`, `the typed data in the string is not valid JSON: expected a member name in quotes at byte 1`},
		{`"\"x\""`, `want a typed-data object (EIP-712), got a string`},
		{`{"types":{},"primaryType":"M","domain":{},"message":{},"extra":1}`, `extra: unknown field; typed data has types, primaryType, domain and message`},
		{`{"primaryType":"M","domain":{},"message":{}}`, `types: want an object with the type definitions, got nothing`},
		{`{"types":{"M":[]},"primaryType":"M","domain":{},"message":{}}`, `types: EIP712Domain is missing; list the fields of the domain there`},
		{`{"types":{"EIP712Domain":[]},"primaryType":"M","domain":{},"message":{}}`, `primaryType: type "M" is not defined under types`},
		{`{"types":{"EIP712Domain":[]},"primaryType":"EIP712Domain","domain":{},"message":{}}`, `primaryType: must not be EIP712Domain: there would be no message`},
		{`{"types":{"EIP712Domain":[]},"domain":{},"message":{}}`, `primaryType: want the name of a type, got nothing`},
		{`{"types":{"EIP712Domain":[],"M":[]},"primaryType":"M","message":{}}`, `domain: want an object of type EIP712Domain, got nothing`},
		{`{"types":{"EIP712Domain":[],"M":[]},"primaryType":"M","domain":{}}`, `message: want an object of type M, got nothing`},
		{`{"types":{"EIP712Domain":[],"M":7},"primaryType":"M","domain":{},"message":{}}`, `types.M: want an array of {name, type}, got a number`},
		{`{"types":{"EIP712Domain":[{"name":"chainId","type":"string"}],"M":[]},"primaryType":"M","domain":{"chainId":"1"},"message":{}}`, `types.EIP712Domain[0].type: the domain's chainId must be a uint256, not "string"`},
		{`{"types":{"EIP712Domain":[{"name":"host","type":"string"}],"M":[]},"primaryType":"M","domain":{"host":"1"},"message":{}}`, `types.EIP712Domain[0].type: the domain has no field "host" of type "string" (EIP-712: name, version, chainId, verifyingContract, salt)`},
		{`{"types":{"EIP712Domain":[],` + strings.Join(wide[:64], ",") + `},"primaryType":"T1","domain":{},"message":{}}`, `types: 65 types exceed the limit of 64`},
		{document(`"M":[7]`, "", `{}`), `types.M[0]: want an object {name, type}, got a number`},
		{document(`"M":[{"name":"a","type":"bool","internalType":"x"}]`, "", `{}`), `types.M[0].internalType: unknown field; want name and type`},
		{document(`"M":[{"name":"a,b","type":"bool"}]`, "", `{}`), `types.M[0].name: want an identifier, got "a,b"`},
		{document(`"M":[{"name":"a"}]`, "", `{}`), `types.M[0].type: want the name of a type, got nothing`},
		{document(`"M":[{"name":"a","type":"bool"},{"name":"a","type":"bool"}]`, "", `{}`), `types.M[1].name: "a" is listed twice`},
		{document(`"M":[],"uint8":[]`, "", `{}`), `types.uint8: "uint8" cannot be the name of a struct type`},
		{document(`"M":[],"uint7":[]`, "", `{}`), `types.uint7: "uint7" cannot be the name of a struct type`},
		{document(`"M":[],"A(bool b)":[]`, "", `{}`), `types.A(bool b): "A(bool b)" cannot be the name of a struct type`},
		{document(`"M":[],"":[]`, "", `{}`), `types.: "" cannot be the name of a struct type`},
		{document(`"M":[{"name":"a","type":""}]`, "", `{}`), `types.M[0].type: type "" is not defined`},
		{document(`"M":[{"name":"a","type":"M"}]`, "", `{}`), `types.M: the type contains itself; recursive types are not supported`},
		{document(`"M":[{"name":"a","type":"N[]"}],"N":[{"name":"a","type":"M"}]`, "", `{}`), `types.M: the type contains itself; recursive types are not supported`},
		{document(`"M":[{"name":"v","type":"uint8"}]`, `{"name":"x"}`, `{"v":1}`), `domain.chainId: missing; type EIP712Domain wants a value of type uint256 here`},
		{document(`"M":[{"name":"v","type":"uint8"}]`, `{"name":"x","chainId":1,"salt":"0x"}`, `{"v":1}`), `domain.salt: type EIP712Domain has no such field`},
		{document(`"M":[{"name":"v","type":"uint8"}]`, "", `{}`), `message.v: missing; type M wants a value of type uint8 here`},
		{one("uint8", `null`), `message.v: missing; type M wants a value of type uint8 here`},
		{one("uint8[x]", `[]`), `types.M[0].type: "uint8[x]" is not a type`},
		{one("uint8[0]", `[]`), `types.M[0].type: "uint8[0]" is not a type`},
		{one("uint8[", `[]`), `types.M[0].type: "uint8[" is not a type`},
		{one("uint8[]]", `[]`), `types.M[0].type: "uint8[]]" is not a type`},
		{one("uint7", `1`), `types.M[0].type: type "uint7" is not defined`},
		{one("uint264", `1`), `types.M[0].type: type "uint264" is not defined`},
		{one("bytes33", `1`), `types.M[0].type: type "bytes33" is not defined`},
		{one("bytes0", `1`), `types.M[0].type: type "bytes0" is not defined`},
		{one("function", `1`), `types.M[0].type: type "function" is not defined`},
		{one("uint8", `-1`), `message.v: -1 is out of range; want an integer of type uint8, as a number or a decimal or 0x-string`},
		{one("int8", `128`), `message.v: 128 is out of range; want an integer of type int8, as a number or a decimal or 0x-string`},
		{one("int8", `"-129"`), `message.v: -129 is out of range; want an integer of type int8, as a number or a decimal or 0x-string`},
		{one("uint", `""`), `message.v: not an integer: ""; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `"0x"`), `message.v: not an integer: "0x"; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `"1_0"`), `message.v: not an integer: "1_0"; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `"--1"`), `message.v: not an integer: "--1"; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `true`), `message.v: not an integer: a boolean; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `1e99999999`), `message.v: the number's exponent is too large; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("uint", `1`+strings.Repeat("0", 100)), `message.v: the number is too long; want an integer of type uint, as a number or a decimal or 0x-string`},
		{one("bool", `"true"`), `message.v: want true or false, got "true"`},
		{one("bool", `1`), `message.v: want true or false, got a number`},
		{one("string", `1`), `message.v: want a string, got a number`},
		{one("address", `"0x12"`), `message.v: want an address, 0x and 40 hexadecimal digits, got "0x12"`},
		{one("address", `"00000000000000000000000000000000000000aa"`), `message.v: want an address, 0x and 40 hexadecimal digits, got "00000000000000000000000000000000000000aa"`},
		{one("bytes", `"0x123"`), `message.v: want bytes such as "0x60fe", got "0x123"`},
		{one("bytes", `[1,2]`), `message.v: want bytes such as "0x60fe", got an array`},
		{one("bytes4", `"0x112233"`), `message.v: want bytes4, 0x and two hexadecimal digits for each byte, got "0x112233"`},
		{one("uint8[2]", `[1]`), `message.v: want exactly 2 values of type uint8, got 1`},
		{one("uint8[]", `[null]`), `message.v[0]: not an integer: null; want an integer of type uint8, as a number or a decimal or 0x-string`},
		{one("uint8[]", `[[1]]`), `message.v[0]: not an integer: an array; want an integer of type uint8, as a number or a decimal or 0x-string`},
		{one("uint8[2][]", `[[1,2],[3]]`), `message.v[1]: want exactly 2 values of type uint8, got 1`},
		{one("uint8[]", `{}`), `message.v: want an array of uint8, got an object`},
		{one("uint8"+deep, `[]`), `message.v: want exactly 2 values of type uint8` + strings.Repeat("[2]", 11) + `, got 0`},
		{document(`"M":[{"name":"a","type":"A:B"}],"A:B":[]`, "", `{"a":{}}`), `types.M[0].type: "A:B" can be a primaryType, but not the type of a field`},
		{document(`"M":[{"name":"a","type":"N[]"}],"N":[],`+hundred, "", `{"a":[`+strings.Repeat("{},", 6000)+`{}]}`), `message.a[4462]: too many struct values for so many types; split the document`},
		{one("bool[]", `[`+strings.Repeat("true,", maxValues)+`true]`), `message: more than 16384 values`},
	}
	for _, tt := range tests {
		_, err := ParseTypedData(parse(t, tt.doc))
		var arg *ArgError
		if !errors.As(err, &arg) || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", excerpt(tt.doc), err, tt.want)
		}
	}
	t.Logf("%d malformed documents", len(tests))
}

func mustTyped(t *testing.T, doc string) *TypedData {
	t.Helper()
	td, err := ParseTypedData(parse(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func mustHash(t *testing.T, doc string) common.Hash {
	t.Helper()
	h, err := mustTyped(t, doc).Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestIntegersAreNotRounded(t *testing.T) {
	// 2^53+1 has no float64; a parser that goes through one signs 2^53.
	number, text := mustHash(t, one("uint256", `9007199254740993`)), mustHash(t, one("uint256", `"9007199254740993"`))
	if number != text {
		t.Error("a JSON number and the same decimal string differ")
	}
	if number == mustHash(t, one("uint256", `9007199254740992`)) {
		t.Error("2^53+1 was rounded to 2^53")
	}
	for _, same := range []string{`9007199254740993.0`, `"0x20000000000001"`, `9.007199254740993e15`} {
		if mustHash(t, one("uint256", same)) != number {
			t.Errorf("%s differs", same)
		}
	}
	if mustHash(t, one("int8", `-128`)) != mustHash(t, one("int8", `"-0x80"`)) {
		t.Error("-128 differs from -0x80")
	}
}

func TestDomainChainIsChecked(t *testing.T) {
	td := mustTyped(t, one("bool", "true"))
	if err := td.CheckChain(big.NewInt(1)); err != nil {
		t.Error(err)
	}
	err := td.CheckChain(big.NewInt(1337))
	var chain *ChainError
	if !errors.As(err, &chain) || err.Error() != "chain id 1 does not match 1337" {
		t.Errorf("error %v", err)
	}
	free := mustTyped(t, `{"types":{"EIP712Domain":[],"M":[]},"primaryType":"M","domain":{},"message":{}}`)
	if err := free.CheckChain(big.NewInt(1337)); err != nil {
		t.Errorf("domain without chainId: %v", err)
	}
}

func TestVersion3HasNoArrays(t *testing.T) {
	if err := mustTyped(t, one("bytes32", `"0x`+strings.Repeat("00", 32)+`"`)).CheckV3(); err != nil {
		t.Error(err)
	}
	err := mustTyped(t, one("bool[]", `[]`)).CheckV3()
	if err == nil || err.Error() != "types: eth_signTypedData_v3 has no arrays; use eth_signTypedData_v4" {
		t.Errorf("error %v", err)
	}
}

func TestEmptyDomainNameIsHashed(t *testing.T) {
	empty := document(`"M":[]`, `{"name":"","chainId":1}`, `{}`)
	if mustHash(t, empty) == mustHash(t, document(`"M":[]`, "", `{}`)) {
		t.Error("an empty name hashes like another one")
	}
}
