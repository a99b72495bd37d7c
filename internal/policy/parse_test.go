// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

const head = "version: hsmsigner-policy-v1\n"

// TestParseRefuses has a text for each thing that can be wrong, and a part of the message.
func TestParseRefuses(t *testing.T) {
	rule := func(s string) string {
		return head + "rules: [{name: a, effect: allow, actions: [transaction], " + s + "}]"
	}
	denial := func(s string) string { return head + "rules: [{name: a, effect: deny, " + s + "}]" }
	limit := func(s string) string { return head + "limits: [{name: a, asset: native, per: account, " + s + "}]" }
	for _, c := range []struct{ text, want string }{
		{"", "is empty"},
		{"# nothing\n", "is empty"},
		{"[]", "want a mapping"},
		{"a: [", "not valid YAML"},
		{head, "neither rules nor limits"},
		{head + "rules: []", "empty list"},
		{head + "rules:", "is empty"},
		{"rules: [{name: a, effect: deny}]", "version: is missing"},
		{"version: v2\nrules: [{name: a, effect: deny}]", "not one of hsmsigner-policy-v1"},
		{head + "rules: [{name: a, effect: deny}]\n---\nx: 1", "second YAML document"},
		{head + "rules: &x [{name: a, effect: deny}]", "anchors"},
		{head + "rules: [&x {name: a, effect: deny}, *x]", "anchors"},
		{head + "rules: [{<<: {name: a}, effect: deny}]", "merge keys"},
		{head + "rules: [{name: !!str a, effect: deny}]", "tag"},
		{head + "rules: [{name: a, name: b, effect: deny}]", "given twice"},
		{head + "rules: [{name: a, effect: deny, \"effect\": ask}]", "given twice"},
		{head + "rules: [{name: a, Effect: deny}]", "unknown key"},
		{head + "rules: [{name: a, effect: deny}, {name: a, effect: deny}]", "another rule or limit"},
		{head + "rules: [{effect: deny}]", "name: is missing"},
		{head + "rules: [{name: \"no match\", effect: deny}]", "not allowed"},
		{head + "rules: [{name: \"p\u0430y\", effect: deny}]", "not allowed"}, // a Cyrillic а
		{head + "rules: [{name: a, effect: Deny}]", "not one of"},
		{head + "rules: [{name: a, effect: allow}]", "actions: is missing"},
		{head + "rules: [{name: a, effect: ask, actions: [message]}]", "who is asked"},
		{rule("approval: {roles: [admin]}"), "only a rule with effect ask"},
		{rule("to: []"), "empty list"},
		{rule("to: {}"), "want in or not_in"},
		{rule("to: [0x12]"), "not an address"},
		{rule("to: [0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed]"), "wrong checksum"},
		{rule("to: [\"0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\"]"), "not an address"},
		{rule("to: [\"5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\"]"), "not an address"},
		{rule("value: {max: 5}"), "no unit"},
		{rule("value: {max: 1.5 wei}"), "not a whole number"},
		{rule("value: {max: 1e18 wei}"), "want an amount"},
		{rule("value: {max: -1 ether}"), "want an amount"},
		{rule("value: {max: 1 eth}"), "not a unit"},
		{rule("value: {min: 2 ether, max: 1 ether}"), "min is more than max"},
		{rule("value: {}"), "is empty"},
		{rule("value: 1 ether"), "want a mapping"},
		{rule("messages: {pattern: x}"), "means nothing for transaction"},
		{rule("typed_data: {names: [x]}"), "means nothing for transaction"},
		{rule("data: maybe"), "not one of none, some"},
		{rule("transaction_types: [eip1559]"), "not one of legacy"},
		{rule("principals: [\"app*\"]"), "* can only stand"},
		{rule("principals: [\"*\"]"), "* can only stand"},
		{rule("principals: [\"app:\u202e1\"]"), "cannot be seen"},
		{rule("times: [{from: \"08:00\"}]"), "zone: is missing"},
		{rule("times: [{zone: Local}]"), "not a time zone"},
		{rule("times: [{zone: ../etc/passwd}]"), "not a time zone"},
		{rule("times: [{zone: Europe/Zuerich}]"), "not a time zone"},
		{rule("times: [{zone: UTC, from: 8}]"), "time of day"},
		{rule("times: [{zone: UTC, to: \"24:01\"}]"), "time of day"},
		{rule("methods: [transfer]"), "transfer(address to"},
		{rule("methods: [{signature: \"f(address a)\", args: {b: x}}]"), "is no argument of"},
		{rule("methods: [{signature: \"f(address a)\", args: {a: [5]}}]"), "is none"},
		{rule("methods: [{signature: \"f(address a)\", args: {a: {max: 5}}}]"), "no such condition"},
		{rule("methods: [{signature: \"f(uint8 a)\", args: {a: [256]}}]"), "is none"},
		{rule("methods: [{signature: \"f(uint8[] a)\", args: {a: [1]}}]"), "no such condition"},
		{rule("methods: [{signature: \"f(uint8[2] a)\", args: {\"a[2]\": [1]}}]"), "is no argument of"},
		{rule("methods: [{signature: \"f(uint8 a)\", args: {\"a..b\": [1]}}]"), "want a path"},
		{rule("methods: [{signature: \"f(uint8 a)\", args: {a: {pattern: x}}}]"), "no such condition"},
		{rule("methods: [{signature: \"f(string a)\", args: {a: {pattern: \"(\"}}}]"), "regular expression"},
		{head + "rules: [{name: a, effect: allow, actions: [create-contract], methods: [\"f()\"]}]", "means nothing for create-contract"},
		{head + "rules: [{name: a, effect: allow, actions: [transaction, message], transaction_types: [blob]}]", "means nothing for message"},
		{head + "rules: [{name: a, effect: allow, actions: [message], messages: {pattern: '\\Qx'}}]", "not a whole regular expression"},
		{head + "rules: [{name: a, effect: allow, actions: [document], documents: {media_types: [Application/PDF]}}]", "media type in lower case"},
		{head + "rules: [{name: a, effect: ask, actions: [message], approval: {needed: 2, names: [person:x]}}]", "wants 2 approvers and names 1"},
		{head + "rules: [{name: a, effect: ask, actions: [message], approval: {needed: 2, names: [person:x, person:x]}}]", "twice"},
		{head + "rules: [{name: a, effect: ask, actions: [message], approval: {names: [app:x]}}]", "key:<id>"},
		{head + "rules: [{name: a, effect: ask, actions: [message], approval: {}}]", "names nobody"},
		{denial("to: [" + friend.Hex() + "], messages: {pattern: x}"), "no request has all of"},
		{denial("actions: [message], value: {min: 1 ether}"), "means nothing for message"},
		{denial("actions: [create-contract], to: [" + friend.Hex() + "]"), "means nothing for create-contract"},
		{limit("max: 5, window: 1h"), "no unit"},
		{limit("max: 5 ether"), "window: is missing"},
		{limit("max: 5 ether, window: forever"), "want a duration"},
		{limit("max: 5 ether, window: 1s"), "want a duration"},
		{limit("max: 5 ether, window: 1h, count: pieces"), "only tokens"},
		{limit("max: 5 ether, window: 1h, effect: allow"), "unknown key"},
		{head + "limits: [{name: a, asset: dollars, per: account, max: 5, window: 1h}]", "want native, any-token"},
		{head + "limits: [{name: a, asset: any-token, per: person, max: 5, window: 1h}]", "not one of account"},
		{head + "limits: [{name: a, asset: any-token, per: account, max: -5, window: 1h}]", "negative"},
	} {
		text, want := c.text, c.want
		_, err := policy.Parse("policy.yaml", []byte(text))
		var problems policy.Errors
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n\tgot  %v\n\twant %s", text, err, want)
		}
	}
}

func TestParseReportsEverythingAtOnceWithLines(t *testing.T) {
	text := head + `rules:
  - name: a
    effect: alow
    actions: [transaction]
    to: [0x12]
  - name: a
    effect: deny
    colour: red
limits:
  - {name: l, asset: native, per: account, window: 1h}
`
	_, err := policy.Parse("p.yaml", []byte(text))
	want := []string{
		`p.yaml:4: rules[0].effect: "alow" is not one of allow, deny, ask`,
		`p.yaml:6: rules[0].to[0]: "0x12" is not an address: want 0x and 40 hexadecimal digits`,
		`p.yaml:7: rules[1].name: another rule or limit is called "a" too`,
		`p.yaml:9: rules[1].colour: unknown key, want one of: `,
		`p.yaml:11: limits[0].max: is missing`,
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

func TestCompileWantsAParsedPolicy(t *testing.T) {
	for _, b := range []*policy.Rulebook{nil, {}} {
		if _, err := policy.Compile(b); err == nil {
			t.Error("rules were made of nothing, and would allow everything")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(everyKey)
	f.Add(head + "rules: [{name: a, effect: deny}]")
	f.Add(`{"version":"hsmsigner-policy-v1","limits":[{"name":"a","asset":"native","per":"nothing","max":"1 ether","window":"7d"}]}`)
	f.Add(head + "rules: &a [*a]")
	f.Add(head + "rules: [{name: a, effect: ask, actions: message, approval: {needed: 99999999999999999999, expires: 1e9h}}]")
	f.Fuzz(func(t *testing.T, text string) {
		book, err := policy.Parse("p", []byte(text))
		var problems policy.Errors
		switch {
		case err == nil:
			r, err := policy.Compile(book)
			if err != nil {
				t.Fatal(err)
			}
			r.Explain(send(&friend, ether("1"), []byte{1, 2, 3, 4}), noon)
			r.Explain(texts("x"), noon)
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Fatalf("%T %v", err, err)
		}
	})
}
