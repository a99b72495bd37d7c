// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// The author of a rule and whoever has a message signed may be one tenant, who
// would have the processor for himself.
func TestPatternsThatCompileToTooMuchAreRefused(t *testing.T) {
	many := func(n int, pattern string) string {
		var b strings.Builder
		b.WriteString(head + "rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {name: r%d, effect: allow, actions: message, messages: {contains: '%s'}}\n", i, pattern)
		}
		return b.String()
	}
	for text, want := range map[string]string{
		many(1, "(?:x|xx?){400}y"):     "is too large",
		many(500, "(?:ab|ac?){4}[yz]"): "want at most 4000 in a policy",
	} {
		if _, err := policy.Parse("p.yaml", []byte(text)); err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("want %s once, not %v", want, err)
		}
	}
	if _, err := policy.Parse("p.yaml", []byte(many(100, "Log in to [a-z.]+ at [0-9]+"))); err != nil {
		t.Error(err)
	}
}

func TestPatternsSayNothingOfTextsThatAreTooLong(t *testing.T) {
	r := rules(t, `
rules:
  - {name: login, effect: allow, actions: message, messages: {pattern: "x*"}}
  - {name: ban, effect: deny, messages: {contains: "y"}}
`)
	want(t, r.Judge(texts(strings.Repeat("x", 4096)), noon), policy.EffectAllow, "login")
	want(t, r.Judge(texts(strings.Repeat("x", 4097)), noon), policy.EffectDeny, "ban")
}

func TestAPatternLooksAtNoMoreOfAListThanOfOneText(t *testing.T) {
	r := rules(t, `
rules:
  - name: notes
    effect: allow
    actions: transaction
    methods: [{signature: "note(string[] lines)", args: {"lines[]": {pattern: "x*"}}}]
`)
	lines := func(n int) policy.Request {
		all := make([]string, n)
		for i := range all {
			all[i] = strings.Repeat("x", 1024)
		}
		return send(&friend, nil, call(t, "note(string[])", all))
	}
	want(t, r.Judge(lines(4), noon), policy.EffectAllow, "notes")
	want(t, r.Judge(lines(5), noon), policy.EffectDeny, "no match")
}

func TestTheCostliestPolicyJudgesWithinSeconds(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 4 {
		fmt.Fprintf(&b, "  - {name: r%d, effect: allow, actions: message, messages: {contains: '(?:x|xx?){160}y'}}\n", i)
	}
	r := rules(t, b.String())
	request := texts(strings.Repeat("x", 4096))
	began := time.Now()
	r.Judge(request, noon)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("judged for %v", took)
	} else {
		t.Log(took)
	}
}
