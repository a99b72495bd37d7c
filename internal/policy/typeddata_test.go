// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

func TestConditionsOfTypedData(t *testing.T) {
	mail := func(message string) policy.Request {
		return typed(t, document712("Mail", "from Person,to Person[],n int8,ok bool,tag bytes4,raw bytes", message, "Person=wallet address,name string"))
	}
	const (
		ann = `{"wallet":"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed","name":"Ann"}`
		bob = `{"wallet":"0x00000000000000000000000000000000000000bb","name":"Bob"}`
	)
	letter := func(to string) policy.Request {
		return mail(`{"from":` + ann + `,"to":[` + to + `],"n":-5,"ok":true,"tag":"0xAABBCCDD","raw":"0x01"}`)
	}
	one, both, none := letter(ann), letter(ann+","+bob), letter("")
	encoding := "Mail(Person from,Person[] to,int8 n,bool ok,bytes4 tag,bytes raw)Person(address wallet,string name)"
	for condition, w := range map[string]struct{ one, both, none string }{ // what allow and deny do: +- allows only, -+ denies only, ++ both, -- none
		`names: [Coin]`:                       {"++", "++", "++"},
		`names: ["coin"]`:                     {"--", "--", "--"},
		`versions: ["1"]`:                     {"-+", "-+", "-+"}, // the domain has none
		`chains: [1]`:                         {"++", "++", "++"},
		`chains: [2]`:                         {"--", "--", "--"},
		`primary_types: [Mail]`:               {"++", "++", "++"},
		`primary_types: [mail]`:               {"--", "--", "--"},
		`primary_types: ["` + encoding + `"]`: {"++", "++", "++"},
		`primary_types: ["Mail(Person from)Person(address wallet)"]`:     {"--", "--", "--"},
		`verifying_contracts: ["` + strings.ToLower(token.Hex()) + `"]`:  {"++", "++", "++"},
		`members: {from.name: Ann}`:                                      {"++", "++", "++"},
		`members: {from.name: {pattern: "A.."}}`:                         {"++", "++", "++"},
		`members: {from.Name: Ann}`:                                      {"-+", "-+", "-+"},
		`members: {"to[].wallet": ["` + friend.Hex() + `"]}`:             {"++", "-+", "-+"},
		`members: {"to[].wallet": {not_in: ["` + stranger.Hex() + `"]}}`: {"++", "-+", "-+"},
		`members: {"to[1].wallet": ["` + stranger.Hex() + `"]}`:          {"-+", "++", "-+"},
		`members: {n: {min: -5, max: -5}}`:                               {"++", "++", "++"},
		`members: {n: ["-5"]}`:                                           {"++", "++", "++"},
		`members: {n: {min: -4}}`:                                        {"--", "--", "--"},
		`members: {ok: "true"}`:                                          {"++", "++", "++"},
		`members: {ok: false}`:                                           {"--", "--", "--"},
		`members: {tag: "0xaabbccdd"}`:                                   {"++", "++", "++"},
		`members: {raw: ["0x01"]}`:                                       {"++", "++", "++"},
		`members: {raw: {max: 5}}`:                                       {"-+", "-+", "-+"}, // bytes are no number
		`members: {from: x}`:                                             {"-+", "-+", "-+"},
		`members: {from.name: Ann}, primary_types: [Other]`:              {"--", "--", "--"},
	} {
		allowing := rules(t, "rules: [{name: it, effect: allow, actions: [typed-data], typed_data: {"+condition+"}}]")
		denying := rules(t, "rules: [{name: it, effect: deny, typed_data: {"+condition+"}}, {name: rest, effect: allow, actions: [typed-data]}]")
		for _, c := range []struct {
			req  policy.Request
			want string
		}{{one, w.one}, {both, w.both}, {none, w.none}} {
			got := "-"
			if allowing.Judge(c.req, noon).Effect == allow {
				got = "+"
			}
			if denying.Judge(c.req, noon).Effect == deny {
				got += "+"
			} else {
				got += "-"
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s for %v", condition, got, c.want, c.req.TypedData.Message["to"])
			}
			allowing.Explain(c.req, noon)
		}
	}
}

func TestADomainWithoutChainMayBeOfAnyChain(t *testing.T) {
	text := strings.Replace(permitText("5"), `"chainId":1,`, "", 1)
	text = strings.Replace(text, `{"name":"chainId","type":"uint256"},`, "", 1)
	r := rules(t, `rules: [{name: ban, effect: deny, typed_data: {chains: [5]}}, {name: rest, effect: allow, actions: typed-data}]`)
	want(t, r.Judge(typed(t, text), noon), deny, "ban")
	want(t, r.Judge(typed(t, permitText("5")), noon), allow, "rest")
}

// TestTypedDataThatFitsItsTypesBadlyIsUnreadable has documents that package tx would refuse.
func TestTypedDataThatFitsItsTypesBadlyIsUnreadable(t *testing.T) {
	good := typed(t, permitText("5"))
	limited := rules(t, `limits: [{name: it, asset: any-token, per: account, max: 1000, window: total}]`)
	named := rules(t, `rules: [{name: it, effect: allow, actions: typed-data, typed_data: {members: {value: {max: 1000}}}}]`)
	want(t, limited.Judge(good, noon), allow, "default")
	want(t, named.Judge(good, noon), allow, "it")
	for name, change := range map[string]func(*apitypes.TypedData){
		"a number of floating point": func(td *apitypes.TypedData) { td.Message["value"] = 5.0 },
		"too large":                  func(td *apitypes.TypedData) { td.Message["value"] = new(big.Int).Lsh(big.NewInt(1), 256) },
		"negative":                   func(td *apitypes.TypedData) { td.Message["value"] = big.NewInt(-1) },
		"nil":                        func(td *apitypes.TypedData) { td.Message["value"] = (*big.Int)(nil) },
		"missing":                    func(td *apitypes.TypedData) { delete(td.Message, "value") },
		"one too many":               func(td *apitypes.TypedData) { td.Message["more"] = true },
		"no message":                 func(td *apitypes.TypedData) { td.Message = nil },
		"a type within itself": func(td *apitypes.TypedData) {
			td.Types["Permit"][2].Type = "Permit"
		},
		"an unknown type": func(td *apitypes.TypedData) {
			td.Types["Permit"][2].Type = "uint7"
		},
	} {
		r := typed(t, permitText("5"))
		change(r.TypedData)
		want(t, limited.Judge(r, noon), deny, "it")
		if d := named.Judge(r, noon); d.Effect != deny {
			t.Errorf("%s: allowed", name)
		}
	}
	odd := typed(t, document712("M", "n int256,two uint8[2]", `{"n":1,"two":[1,1]}`))
	both := rules(t, `rules: [{name: it, effect: allow, actions: typed-data, typed_data: {members: {n: 1, "two[]": 1}}}]`)
	want(t, both.Judge(odd, noon), allow, "it")
	odd.TypedData.Message["n"] = new(big.Int).Sub(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256))
	want(t, both.Judge(odd, noon), deny, "no match") // the same word as 1, were it cut
	odd.TypedData.Message["n"], odd.TypedData.Message["two"] = big.NewInt(1), []any{big.NewInt(1)}
	want(t, both.Judge(odd, noon), deny, "no match")
	// As approvals keep documents, in JSON: numbers as text or in go-ethereum's type.
	for _, v := range []any{"5", "0x5", (*math.HexOrDecimal256)(big.NewInt(5))} {
		r := typed(t, permitText("5"))
		r.TypedData.Message["value"] = v
		want(t, named.Judge(r, noon), allow, "it")
	}
	for _, td := range []apitypes.TypedData{{}, {PrimaryType: "Permit"}, {PrimaryType: "X[]"}, {PrimaryType: "[", Types: apitypes.Types{"[": {{Name: "a", Type: "[][1]"}}}}} {
		r := policy.Request{Account: own, Action: audit.SignTypedData, TypedData: &td}
		if d := named.Judge(r, noon); d.Effect != deny {
			t.Errorf("%+v: %s", td, d.Effect)
		}
	}
}

func FuzzTypedData(f *testing.F) {
	f.Add(permitText("5"))
	f.Add(document712("PermitBatch", "details PermitDetails[],spender address,sigDeadline uint256",
		`{"details":[{"token":"`+token.Hex()+`","amount":1,"expiration":1,"nonce":1}],"spender":"`+own.Hex()+`","sigDeadline":1}`,
		"PermitDetails=token address,amount uint160,expiration uint48,nonce uint48"))
	f.Add(document712("M", "a uint8[2][],b bytes3", `{"a":[[1,2]],"b":"0x010203"}`))
	r := rules(f, fmt.Sprintf(`
rules: [{name: it, effect: deny, typed_data: {primary_types: ["Permit(address a)"], members: {"details[].token": ["%s"], "a[0][]": {max: 5}}}}]
limits: [{name: most, asset: any-token, per: account, max: 5, window: total}]
`, token.Hex()))
	f.Fuzz(func(t *testing.T, text string) {
		v, err := strictjson.Parse([]byte(text))
		if err != nil {
			return
		}
		td, err := tx.ParseTypedData(v)
		if err != nil {
			return
		}
		r.Explain(policy.Request{Account: own, Action: audit.SignTypedData, TypedData: &td.Data}, noon)
	})
}
