// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"math/big"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

const (
	allow = policy.EffectAllow
	deny  = policy.EffectDeny
	ask   = policy.EffectAsk
)

func TestNoMatchIsDenyAndDenyWinsOverAskOverAllow(t *testing.T) {
	const text = `
rules:
  - {name: pay, effect: allow, actions: [transaction], value: {max: 5 ether}}
  - {name: big, effect: ask, actions: [transaction], value: {min: 1 ether}, approval: {roles: [admin]}}
  - {name: huge, effect: deny, value: {min: 3 ether}}
`
	r := rules(t, text)
	for value, w := range map[string]struct {
		effect policy.Effect
		rule   string
	}{"0.5": {allow, "pay"}, "1": {ask, "big"}, "4": {deny, "huge"}, "9": {deny, "huge"}} {
		want(t, r.Judge(send(&friend, ether(value), nil), noon), w.effect, w.rule)
	}
	want(t, r.Judge(texts("hello"), noon), deny, "no match")
	want(t, r.Judge(send(nil, ether("0"), []byte{1}), noon), deny, "no match")
}

func texts(s string) policy.Request { return text(s) }

func TestEachPolicyThatHasRulesMustAllow(t *testing.T) {
	pay := rules(t, `rules: [{name: pay, effect: allow, actions: [transaction]}]`).In("service:1")
	ban := rules(t, `rules: [{name: ban, effect: deny, to: ["`+stranger.Hex()+`"]}, {name: rest, effect: allow, actions: [transaction]}]`).In("deployment")
	only := rules(t, `limits: [{name: daily, asset: native, per: account, max: 1 ether, window: 24h}]`).In("credential:1")
	all := []*policy.Rules{ban, pay, only}

	d := policy.JudgeAll(all, send(&friend, ether("1"), nil), noon)
	want(t, d, allow, "deployment/rest, service:1/pay")
	if len(d.Takes) != 1 || d.Takes[0].Limit != "credential:1/daily" || d.Takes[0].Amount.Cmp(ether("1")) != 0 {
		t.Errorf("takes %+v", d.Takes)
	}
	want(t, policy.JudgeAll(all, send(&stranger, ether("1"), nil), noon), deny, "deployment/ban")
	want(t, policy.JudgeAll(all, send(&friend, ether("2"), nil), noon), deny, "credential:1/daily")
	want(t, policy.JudgeAll(all, texts("hi"), noon), deny, "deployment/no match")
	want(t, policy.JudgeAll(nil, texts("hi"), noon), allow, "default")
	want(t, only.Judge(texts("hi"), noon), allow, "default")
}

func TestAllAskRulesThatMatchAreAsked(t *testing.T) {
	r := rules(t, `
rules:
  - {name: any, effect: ask, actions: [transaction], approval: {roles: [operator, admin], needed: 2, expires: 2h}}
  - {name: big, effect: ask, actions: [transaction], value: {min: 1 ether}, approval: {names: ["person:ann"], addresses: ["`+friend.Hex()+`"]}}
`)
	d := r.Judge(send(&friend, ether("2"), nil), noon)
	want(t, d, ask, "any, big")
	if len(d.Asks) != 2 || d.Asks[0].Needed != 2 || d.Asks[0].Expires != 2*time.Hour || d.Asks[1].Needed != 1 || d.Asks[1].Expires != 24*time.Hour ||
		d.Asks[1].Approvers.Names[0] != "person:ann" || d.Asks[1].Approvers.Addresses[0] != friend {
		t.Errorf("asks %+v", d.Asks)
	}
}

// everyAuditAction finds the constants of package audit, so that one that is added
// later cannot be forgotten here.
func everyAuditAction(t *testing.T) []audit.Action {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../audit/audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []audit.Action
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Action" {
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					s, _ := strconv.Unquote(lit.Value)
					all = append(all, audit.Action(s))
				}
			}
		}
		return true
	})
	if len(all) < 9 || !slices.Contains(all, audit.SignDocument) {
		t.Fatalf("found only %v", all)
	}
	return all
}

// TestEveryActionAndTypeIsJudged asks rules that allow one thing each for every
// action there is, with every kind of content, and every type of transaction.
func TestEveryActionAndTypeIsJudged(t *testing.T) {
	permit := typed(t, permitText(`"5"`))
	content := map[string]policy.Request{
		"message": texts("hi"), "typed-data": permit, "document": document("text/plain", 5),
		"nothing": {Account: own},
		"two":     {Account: own, Message: []byte("hi"), Document: &policy.Document{}},
	}
	for kind := uint8(0); kind <= types.SetCodeTxType; kind++ {
		content["transaction"+strconv.Itoa(int(kind))] = ofType(send(&friend, ether("1"), nil), kind)
		if kind < types.BlobTxType {
			content["create"+strconv.Itoa(int(kind))] = ofType(send(nil, ether("1"), []byte{0x60}), kind)
		}
	}
	all := func(effect string, names ...string) *policy.Rules {
		text := "rules:\n  - {name: it, effect: " + effect + ", actions: ["
		for _, n := range names {
			text += n + ", "
		}
		return rules(t, text+"]}")
	}
	everything := []string{"transaction", "sign-transaction", "raw-transaction", "create-contract", "message", "typed-data", "document"}
	word := map[audit.Action]string{
		audit.SendTransaction: "transaction", audit.SignTransaction: "sign-transaction", audit.SignMessage: "message",
		audit.SignTypedData: "typed-data", audit.SignDocument: "document",
	}
	judged := 0
	for _, action := range append(everyAuditAction(t), "", "sign-something-new") {
		for name, r := range content {
			for _, raw := range []bool{false, true} {
				r.Action, r.Presigned = action, raw
				fits := word[action] != "" && (name == word[action] || (action == audit.SendTransaction || action == audit.SignTransaction) && r.Transaction != nil ||
					action == audit.SignMessage && name == "nothing") // an empty message
				needs := []string{word[action]}
				if fits && r.Transaction != nil {
					if raw {
						needs = []string{"raw-transaction"}
					}
					if r.Transaction.To() == nil {
						needs = append(needs, "create-contract")
					}
				}
				// Nobody gets through who is not one of the known kinds, whole.
				d := all("allow", everything...).Judge(r, noon)
				special := r.Transaction != nil && r.Transaction.Type() > 2
				if got := d.Effect == allow; got != (fits && !special) {
					t.Errorf("%q with %s, raw %v: everything allowed: %s (%s)", action, name, raw, d.Effect, d.Reason)
				}
				judged++
				if !fits {
					want(t, all("deny", "message").Judge(r, noon), deny, "not judgable")
					continue
				}
				for _, n := range needs { // each word of it is enough for a deny, and all are needed to allow
					want(t, all("deny", n).Judge(r, noon), deny, "it")
					without := slices.DeleteFunc(slices.Clone(everything), func(s string) bool { return s == n })
					want(t, all("allow", without...).Judge(r, noon), deny, "no match")
				}
				if special {
					text := "rules: [{name: it, effect: allow, actions: [transaction, sign-transaction, raw-transaction], transaction_types: [blob, set-code]}]"
					want(t, rules(t, text).Judge(r, noon), allow, "it")
				}
			}
		}
	}
	if judged < 250 {
		t.Errorf("only %d requests were judged", judged)
	}
}

func TestCreateContractByItselfMeansOneThatIsSent(t *testing.T) {
	r := rules(t, `rules: [{name: deploy, effect: allow, actions: create-contract}]`)
	want(t, r.Judge(send(nil, ether("1"), []byte{1}), noon), allow, "deploy")
	want(t, r.Judge(send(&friend, ether("1"), []byte{1}), noon), deny, "no match")
	signed := send(nil, ether("1"), []byte{1})
	signed.Action = audit.SignTransaction
	want(t, r.Judge(signed, noon), deny, "no match")
	limited := rules(t, `limits: [{name: most, asset: native, per: nothing, max: 1 ether, window: total}]`)
	want(t, limited.Judge(send(nil, ether("1.1"), []byte{1}), noon), deny, "most")
	if d := limited.Judge(send(nil, ether("1"), []byte{1}), noon); len(d.Takes) != 1 {
		t.Error("the value of a new contract was not counted")
	}
}

func TestANewContractIsOnNoListOfRecipients(t *testing.T) {
	create := send(nil, ether("0"), []byte{1})
	only := rules(t, `rules: [{name: only, effect: deny, to: {not_in: ["`+friend.Hex()+`"]}}, {name: rest, effect: allow, actions: [transaction, create-contract]}]`)
	want(t, only.Judge(create, noon), deny, "only")
	want(t, only.Judge(send(&friend, ether("0"), nil), noon), allow, "rest")
	ban := rules(t, `rules: [{name: ban, effect: deny, to: ["`+friend.Hex()+`"]}, {name: rest, effect: allow, actions: [transaction, create-contract]}]`)
	want(t, ban.Judge(create, noon), allow, "rest")
	want(t, ban.Judge(send(&friend, ether("0"), nil), noon), deny, "ban")
	named := rules(t, `rules: [{name: named, effect: allow, actions: transaction, to: {not_in: ["`+friend.Hex()+`"]}}]`)
	want(t, named.Judge(create, noon), deny, "no match")
}

func TestConditionsOfTransactions(t *testing.T) {
	for condition, w := range map[string][2]policy.Request{ // one that matches, one that does not
		`accounts: ["0x00000000000000000000000000000000000000a1"]`: {send(&friend, ether("0"), nil), func() policy.Request { r := send(&friend, ether("0"), nil); r.Account = friend; return r }()},
		`principals: ["app:*"]`:                              {send(&friend, ether("0"), nil), by("key:1")},
		`principals: ["app:1", "key:1"]`:                     {by("key:1"), by("app:11")},
		`principals: {not_in: ["person:*"]}`:                 {by("app:1"), by("person:x")},
		`principals: {in: ["app:*"], not_in: ["app:2"]}`:     {by("app:1"), by("app:2")},
		`wallets: treasury`:                                  {by("app:1"), func() policy.Request { r := by("app:1"); r.Owner.Wallet = "other"; return r }()},
		`to: ["0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED"]`: {send(&friend, ether("0"), nil), send(&stranger, ether("0"), nil)},
		`data: none`:                              {send(&friend, ether("0"), nil), send(&friend, ether("0"), []byte{0})},
		`data: some`:                              {send(&friend, ether("0"), []byte{0}), send(&friend, ether("0"), nil)},
		`value: {min: 1 gwei, max: 1 ether}`:      {send(&friend, ether("1"), nil), send(&friend, ether("1.000000000000000001"), nil)},
		`gas: {max: 100000}`:                      {by("app:1"), gas(100_001)},
		`max_fee_per_gas: {max: 30 gwei}`:         {by("app:1"), ceiling(30_000_000_001)},
		`max_priority_fee_per_gas: {max: 1 gwei}`: {by("app:1"), ofType(by("app:1"), 0)},
		`total_fee: {max: 0.003 ether}`:           {by("app:1"), ceiling(30_000_000_001)},
		`transaction_types: [legacy]`:             {ofType(by("app:1"), 0), by("app:1")},
		`transaction_types: [blob], total_fee: {max: 0.003524288 ether}`:       {ofType(by("app:1"), 3), by("app:1")},
		`times: [{days: [wed], from: "12:00", to: "12:01", zone: UTC}]`:        {by("app:1"), policy.Request{}},
		`methods: ["transfer(address,uint256)"]`:                               {send(&token, ether("0"), call(t, "transfer(address,uint256)", friend, ether("1"))), send(&token, ether("0"), call(t, "approve(address,uint256)", friend, ether("1")))},
		`methods: [{signature: "f(bool b)", args: {b: true}}, "g(uint8[] x)"]`: {send(&token, ether("0"), call(t, "f(bool)", true)), send(&token, ether("0"), call(t, "f(bool)", false))},
	} {
		r := rules(t, "rules: [{name: it, effect: allow, actions: [transaction], "+condition+"}]")
		if d := r.Judge(w[0], noon); d.Effect != allow {
			t.Errorf("%s did not match: %+v", condition, r.Explain(w[0], noon).Steps)
		}
		if d := r.Judge(w[1], noon); d.Effect != deny {
			t.Errorf("%s matched", condition)
		}
	}
}

func by(name string) policy.Request {
	r := send(&friend, ether("0"), nil)
	r.Principal.Name = name
	return r
}

func gas(n uint64) policy.Request {
	r := by("app:1")
	r.Transaction = types.NewTx(&types.LegacyTx{To: &friend, Gas: n, GasPrice: common.Big1})
	return r
}

func ceiling(wei int64) policy.Request {
	r := by("app:1")
	r.FeeCeiling = big.NewInt(wei)
	return r
}

func TestChainsAreThoseOfTheWallet(t *testing.T) {
	r := rules(t, `
rules:
  - {name: it, effect: allow, actions: [message, transaction], chains: [1, 5]}
  - {name: ban, effect: deny, chains: {in: [5]}}
limits: [{name: most, asset: native, per: nothing, max: 5 ether, window: total}]
`)
	on := func(id int64) policy.Request { q := texts("x"); q.ChainID = big.NewInt(id); return q }
	want(t, r.Judge(on(1), noon), allow, "it")
	want(t, r.Judge(on(5), noon), deny, "ban")
	want(t, r.Judge(on(7), noon), deny, "no match")
	want(t, r.Judge(texts("x"), noon), deny, "ban") // who can tell
	one, two := by("app:1"), by("app:1")
	one.Transaction = send(&friend, ether("1"), nil).Transaction
	two.Transaction = one.Transaction
	one.ChainID, two.ChainID = big.NewInt(1), big.NewInt(2)
	limit := rules(t, "limits: [{name: most, asset: native, per: nothing, max: 5 ether, window: total}]")
	if limit.Judge(one, noon).Takes[0].Key == limit.Judge(two, noon).Takes[0].Key {
		t.Error("the currencies of two chains are added up")
	}
}

func TestContentsOfMessagesAndDocuments(t *testing.T) {
	r := rules(t, `
rules:
  - {name: login, effect: allow, actions: message, messages: {pattern: "Log in to [a-z.]+ at [0-9]+", max_bytes: 40}}
  - {name: ban, effect: deny, messages: {contains: "(?i)transfer"}}
  - {name: pdf, effect: allow, actions: document, documents: {media_types: [application/pdf, text/*], max_size: 1KiB}}
`)
	for s, w := range map[string][2]string{
		"Log in to example.org at 5":                   {"allow", "login"},
		"Log in to example.org at 5\nand pay":          {"deny", "no match"},
		"x Log in to example.org at 5":                 {"deny", "no match"},
		"Log in to transfer.org at 5":                  {"deny", "ban"},
		"Log in to example.org at 5555555555555555555": {"deny", "no match"},
		"\xff": {"deny", "ban"}, // not text: who can tell
		"":     {"deny", "no match"},
	} {
		want(t, r.Judge(texts(s), noon), policy.Effect(w[0]), w[1])
	}
	for _, c := range []struct {
		media string
		size  int64
		want  policy.Effect
	}{
		{"application/pdf", 1024, allow},
		{"Text/Plain; charset=utf-8", 5, allow},
		{"application/pdf", 1025, deny},
		{"application/json", 5, deny},
		{"", 5, deny},
		{"text", 5, deny},
	} {
		if d := r.Judge(document(c.media, c.size), noon); d.Effect != c.want {
			t.Errorf("%s of %d bytes: %s", c.media, c.size, d.Effect)
		}
	}
	banned := rules(t, `rules: [{name: ban, effect: deny, documents: {media_types: [application/x-msdownload]}}, {name: rest, effect: allow, actions: document}]`)
	want(t, banned.Judge(document("nonsense;;", 1), noon), deny, "ban")
	want(t, banned.Judge(document("text/plain", 1), noon), allow, "rest")
}

func TestExplainSaysWhyOfEveryRuleAndLimit(t *testing.T) {
	r := rules(t, `
rules:
  - {name: pay, effect: allow, actions: [transaction], to: ["`+friend.Hex()+`"], value: {max: 1 ether}}
  - {name: sign, effect: allow, actions: [message]}
limits:
  - {name: daily, asset: native, per: account, max: 10 ether, window: 24h}
`).In("service:1")
	d := r.Explain(send(&friend, ether("2"), nil), noon)
	want(t, d, deny, "service:1/no match")
	got := map[string]string{}
	for _, s := range d.Steps {
		got[s.Rule] = s.Why
	}
	for rule, why := range map[string]string{
		"service:1/pay":   "value: it is 2000000000000000000 wei",
		"service:1/sign":  "actions: this is transaction",
		"service:1/daily": "counts 2 ether of native; at most 10 ether per 24h0m0s",
	} {
		if got[rule] != why {
			t.Errorf("%s: %q", rule, got[rule])
		}
	}
	if r.Judge(send(&friend, ether("2"), nil), noon).Steps != nil {
		t.Error("Judge explains, which costs time")
	}
}

func TestPresignedIsJudgedButTakesNothing(t *testing.T) {
	r := rules(t, `
rules: [{name: raw, effect: allow, actions: [raw-transaction]}]
limits:
  - {name: daily, asset: native, per: account, max: 1 ether, window: 24h}
  - {name: each, asset: native, per: account, max: 2 ether, window: transaction}
`)
	req := send(&friend, ether("2"), nil)
	want(t, r.Judge(req, noon), deny, "no match")
	req.Presigned = true
	d := r.Judge(req, noon)
	want(t, d, allow, "raw")
	if len(d.Takes) != 0 {
		t.Errorf("takes %+v", d.Takes)
	}
	req = send(&friend, ether("2.1"), nil)
	req.Presigned = true
	want(t, r.Judge(req, noon), deny, "each")
}
