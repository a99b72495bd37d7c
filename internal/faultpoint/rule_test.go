// SPDX-License-Identifier: Apache-2.0

package faultpoint_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

func TestRulesReadWhatTheyWrite(t *testing.T) {
	want := []faultpoint.Rule{
		{Point: faultpoint.Send, Action: faultpoint.Kill, Nth: 17},
		{Point: faultpoint.Store, Action: faultpoint.Stop, P: 0.01, Seed: 7, Times: 1},
		{Point: faultpoint.Sign, Action: faultpoint.Delay, Delay: 40 * time.Millisecond, Sigma: 0.5, Limit: 64},
		{Point: faultpoint.Sign, Action: faultpoint.Fail, Kind: "unavailable", P: 0.2},
		{Point: faultpoint.CommitAfter, Action: faultpoint.Fail},
	}
	var texts []string
	for _, r := range want {
		texts = append(texts, r.String())
	}
	got, err := faultpoint.ParseRules(strings.Join(texts, "; "))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %v\nwant %v", err, got, want)
	}
}

func TestRulesThatMeanNothingAreRefused(t *testing.T) {
	for _, text := range []string{
		"send", "nowhere:kill", "send:explode", "send:kill=1", "send:delay", "send:delay=-1s", "send:delay=soon",
		"send:kill,n=x", "send:kill,p=0", "send:kill,p=2", "sign:delay=1s,limit=0", "sign:delay=1s,sigma=9", "send:kill,when=now",
	} {
		if rules, err := faultpoint.ParseRules(text); err == nil {
			t.Errorf("%q: taken as %v", text, rules)
		} else if !strings.Contains(err.Error(), text) {
			t.Errorf("%q: the error does not name it: %v", text, err)
		}
	}
	if rules, err := faultpoint.ParseRules(" ;\n "); err != nil || len(rules) != 0 {
		t.Errorf("no rules: %v %v", rules, err)
	}
}
