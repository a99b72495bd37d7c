// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

func TestEveryArtifactIsWhole(t *testing.T) {
	all, err := token.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 20 {
		t.Errorf("there are %d artifacts", len(all))
	}
	names := map[string]bool{}
	for file, a := range all {
		c, err := abi.Parse(a.ABI)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var docs struct {
			DevDoc, UserDoc struct{ Methods map[string]json.RawMessage }
		}
		if err := json.Unmarshal(a.Docs, &docs); err != nil || docs.DevDoc.Methods["constructor"] == nil || docs.UserDoc.Methods == nil {
			t.Errorf("%s: its documentation is not as it should be: %v", file, err)
		}
		// EIP-170 and EIP-3860.
		if len(a.Bytecode) < 1000 || len(a.Bytecode) > 24576 || c.Constructor == nil || names[a.Name] || a.Compiler == "" || a.Library == "" {
			t.Errorf("%s: %s, %d bytes", file, a.Name, len(a.Bytecode))
		}
		names[a.Name] = true
	}
}

// option reads options of JSON and plans them.
func option(text string) (token.Options, error) {
	v, err := strictjson.Parse([]byte(text))
	if err != nil {
		return token.Options{}, err
	}
	o, err := token.ParseOptions(v)
	if err != nil {
		return o, err
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	_, err = o.Plan(alice)
	return o, err
}

func TestOptionsThatMakeNoSenseAreRefusedByName(t *testing.T) {
	const ok20, ok721 = `"type":"erc20","name":"Gold","symbol":"GLD","supply":"1"`, `"type":"erc721","name":"Art","symbol":"ART","supply":"1"`
	for _, c := range []struct{ text, want string }{
		{`[]`, "want an object with the options of a token, not an array"},
		{`{}`, "type: want erc20 or erc721"},
		{`{"type":20}`, "type: want text, not a number"},
		{`{"type":"erc1155","name":"x","symbol":"x"}`, "type: want erc20 or erc721"},
		{`{"type":"erc20"}`, "name: want 1 to 64 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":"` + strings.Repeat("x", 65) + `","symbol":"x"}`, "name: want 1 to 64 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":"a\u0000b","symbol":"x"}`, "name: want 1 to 64 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":"a\u202eb","symbol":"x"}`, "name: want 1 to 64 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":" a","symbol":"x"}`, "name: want 1 to 64 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":"a","symbol":""}`, "symbol: want 1 to 32 printable characters, without blanks at the ends"},
		{`{"type":"erc20","name":"a","symbol":"x"}`, "supply: want more than 0, or mintable: else there never is a token"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":"0.0"}`, "supply: want more than 0, or mintable: else there never is a token"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":-1}`, "supply: want an amount such as 1000 or 0.5"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":1e3}`, "supply: want an amount such as 1000 or 0.5"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":true}`, "supply: want a number of tokens, not a boolean"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":"0.001","decimals":2}`, "supply: want at most 2 digits after the point, as many as the token has"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":"0.5","decimals":0}`, "supply: want a whole number of tokens"},
		{`{"type":"erc20","name":"a","symbol":"x","supply":"1` + strings.Repeat("0", 60) + `"}`, "supply: want less: it is more than a contract can count (2^256 - 1 of the smallest unit)"},
		{`{` + ok20 + `,"decimals":37}`, "decimals: want a whole number from 0 to 36"},
		{`{` + ok20 + `,"decimals":-1}`, "decimals: want a whole number from 0 to 36"},
		{`{` + ok20 + `,"decimals":1.5}`, "decimals: want a whole number from 0 to 36"},
		{`{` + ok20 + `,"decimals":[]}`, "decimals: want a whole number from 0 to 36"},
		{`{` + ok20 + `,"cap":"5"}`, "cap: goes with mintable only: without it there never is more than the supply"},
		{`{` + ok20 + `,"cap":"0.5","mintable":true}`, "cap: want more than 0, and no less than the supply"},
		{`{"type":"erc20","name":"a","symbol":"x","cap":"0","mintable":true}`, "cap: want more than 0, and no less than the supply"},
		{`{` + ok20 + `,"mintable":"yes"}`, "mintable: want true or false"},
		{`{` + ok20 + `,"burnable":1}`, "burnable: want true or false"},
		{`{` + ok20 + `,"baseURI":"https://x/"}`, "baseURI: only tokens of erc721 have one"},
		{`{` + ok20 + `,"owner":"0x0000000000000000000000000000000000000000"}`, "owner: want an account, not the zero address"},
		{`{` + ok20 + `,"owner":"bob"}`, "owner: want an address: 0x and 40 hex digits"},
		{`{` + ok20 + `,"ownr":"bob"}`, `a token has no option "ownr": want some of type, name, symbol, decimals, supply, cap, mintable, burnable, pausable, baseURI, owner`},
		{`{` + ok721 + `,"decimals":0}`, "decimals: only tokens of erc20 have them"},
		{`{` + ok721 + `,"cap":"5","mintable":true}`, "cap: only tokens of erc20 have one"},
		{`{` + ok721 + `,"baseURI":"x y"}`, "baseURI: want a URI of at most 512 bytes, such as https://example.org/token/"},
		{`{` + ok721 + `,"baseURI":"no scheme"}`, "baseURI: want a URI of at most 512 bytes, such as https://example.org/token/"},
		{`{` + ok721 + `,"baseURI":"https://x/` + strings.Repeat("a", 512) + `"}`, "baseURI: want a URI of at most 512 bytes, such as https://example.org/token/"},
		{`{"type":"erc721","name":"a","symbol":"x","supply":"257"}`, "supply: want at most 256 tokens from the beginning; more are minted one by one"},
		{`{"type":"erc721","name":"a","symbol":"x","supply":"1.5"}`, "supply: want a whole number of tokens"},
		{`{"type":"erc721","name":"a","symbol":"x"}`, "supply: want more than 0, or mintable: else there never is a token"},
	} {
		_, err := option(c.text)
		var refused *token.OptionError
		if !errors.As(err, &refused) || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestOptionsAreReadInEveryWayTheyMayBeWritten(t *testing.T) {
	o, err := option(`{"type":"ERC-20","name":"Gold","symbol":"GLD","decimals":"6","supply":1000.25,"cap":"2000","mintable":"true","burnable":false,"pausable":null}`)
	six := 6
	want := token.Options{Kind: token.ERC20, Name: "Gold", Symbol: "GLD", Decimals: &six, Supply: "1000.25", Cap: "2000", Mintable: true}
	if err != nil || !reflect.DeepEqual(o, want) {
		t.Errorf("%+v, %v", o, err)
	}
	p, err := o.Plan(alice)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range p.Args {
		got = append(got, v.Text)
	}
	if s := strings.Join(got, " "); s != "Gold GLD 6 "+strings.ToLower(alice.Hex())+" 1000250000 2000000000" || p.Artifact.Name != "Token20MintableCapped" || p.Owner != alice {
		t.Errorf("%s of %s for %s", s, p.Artifact.Name, p.Owner)
	}
	again, err := option(string(o.Detail()))
	if err != nil || !reflect.DeepEqual(again, o) {
		t.Errorf("what is remembered reads as %+v, %v", again, err)
	}
}

func TestAmountsAreExact(t *testing.T) {
	for _, c := range []struct {
		text     string
		decimals int
		want     string
	}{
		{"0", 18, "0"},
		{"1", 0, "1"},
		{"0.5", 1, "5"},
		{"1.10", 1, "11"},
		{"007", 2, "700"},
		{"1.000", 0, "1"},
		{"0.000000000000000001", 18, "1"},
		{"115792089237316195423570985008687907853269984665640564039457.584007913129639935", 18, "115792089237316195423570985008687907853269984665640564039457584007913129639935"},
	} {
		n, err := token.Units(c.text, c.decimals)
		if err != nil || n.String() != c.want {
			t.Errorf("%s: %v, %v", c.text, n, err)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", " 1", "1 ", "1e3", "0x10", "1,5", "1.2.3", "٣", "1_0", "115792089237316195423570985008687907853269984665640564039457.584007913129639936", "1" + strings.Repeat("0", 100000)} {
		if n, err := token.Units(text, 18); err == nil {
			t.Errorf("%.20q is read as %v", text, n)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		b := make([]byte, r.IntN(33))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		n, decimals := new(big.Int).SetBytes(b), r.IntN(token.MaxDecimals+1)
		if back, err := token.Units(token.Amount(n, decimals), decimals); err != nil || back.Cmp(n) != 0 {
			t.Fatalf("%v with %d decimals is written %s and read %v, %v", n, decimals, token.Amount(n, decimals), back, err)
		}
	}
	if s := token.Amount(big.NewInt(-1500), 3); s != "-1.5" {
		t.Error(s)
	}
}

func TestWhatIsNoTokenIsNotTakenForOne(t *testing.T) {
	all, err := token.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	without := func(name, method string) []byte {
		var entries, left []map[string]any
		if err := json.Unmarshal(all[name].ABI, &entries); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e["name"] != method {
				left = append(left, e)
			}
		}
		b, err := json.Marshal(left)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	both := slices.Concat(bytes.TrimSuffix(all["erc20"].ABI, []byte("]")), []byte(","), all["erc721"].ABI[1:])
	for name, text := range map[string][]byte{
		"nothing": []byte("[]"), "without allowance": without("erc20", "allowance"), "without ownerOf": without("erc721", "ownerOf"), "both at once": both,
	} {
		c, err := abi.Parse(text)
		if err != nil {
			continue // it is no ABI either
		}
		if kind, is := token.KindOf(c); is {
			t.Errorf("%s is taken for %s", name, kind)
		}
	}
	c, err := abi.Parse(without("erc20-mintable-burnable", "burnFrom"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = token.Burn.Of(token.ERC20, c, token.From, token.Value)
	if err == nil || err.Error() != "burn of this token wants amount" {
		t.Error(err)
	}
	_, err = token.Pause.Of(token.ERC20, c)
	if err == nil || err.Error() != "the token does not offer pause: its contract has no method for it" {
		t.Error(err)
	}
	_, err = token.Transfer.Of(token.ERC20, c, token.ID)
	if err == nil || err.Error() != "transfer of this token wants to, amount; or from, to, amount" {
		t.Error(err)
	}
}
