// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// page is docs/policy.md, and its examples by the comment they begin with.
func page(t *testing.T) (string, map[string]*policy.Rules) {
	t.Helper()
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]*policy.Rules{}
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		book, err := policy.Parse("docs/policy.md", []byte(block))
		if err != nil {
			t.Errorf("%v\nof\n%s", err, block)
			continue
		}
		r, err := policy.Compile(book)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(block, "\n")
		examples[strings.TrimPrefix(name, "# ")] = r
	}
	return string(text), examples
}

func TestThePageHasEveryKeyOfTheSchema(t *testing.T) {
	text, _ := page(t)
	for key := range loadSchema(t).keys {
		if !strings.Contains(text, "`"+key+"`") && !strings.Contains(text, key+":") && !strings.Contains(text, "{"+key+",") &&
			!slices.Contains([]string{"min", "max"}, key) {
			t.Errorf("docs/policy.md does not say what %s is", key)
		}
	}
	for _, action := range everyAuditAction(t) {
		if action == audit.SignDocument && !strings.Contains(text, "`document`") {
			t.Error("documents are missing")
		}
	}
}

func TestTheWorkedExamplesDoWhatThePageSays(t *testing.T) {
	_, examples := page(t)
	proxy := common.HexToAddress("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")
	at := func(r policy.Request, name string, chain int64) policy.Request {
		r.Principal.Name, r.ChainID = name, big.NewInt(chain)
		return r
	}
	sunday := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	upgrade := call(t, "upgradeToAndCall(address,bytes)", stranger, []byte{})
	for _, c := range []struct {
		example string
		req     policy.Request
		now     time.Time
		effect  policy.Effect
		rule    string
	}{
		{"treasury", send(&friend, ether("2"), nil), noon, allow, "suppliers"},
		{"treasury", send(&friend, ether("2"), nil), sunday, deny, "no match"},
		{"treasury", send(&stranger, ether("3"), nil), sunday, ask, "large"},
		{"treasury", send(&friend, ether("501"), nil), noon, deny, "no match"},
		{"treasury", send(&friend, ether("1"), []byte{1, 2, 3, 4}), noon, deny, "no match"},
		{"exchange", at(send(&stranger, ether("20"), nil), "app:withdrawals", 1), noon, allow, "withdraw-ether"},
		{"exchange", at(send(&stranger, ether("20"), nil), "app:other", 1), noon, deny, "no match"},
		{"exchange", at(send(&token, ether("0"), call(t, "transfer(address,uint256)", stranger, ether("50000"))), "app:withdrawals", 1), noon, allow, "withdraw-coin"},
		{"exchange", at(send(&token, ether("0"), call(t, "transfer(address,uint256)", stranger, ether("50001"))), "app:withdrawals", 1), noon, deny, "coin-each"},
		{"exchange", at(send(&token, ether("0"), call(t, "approve(address,uint256)", stranger, ether("1"))), "app:withdrawals", 1), noon, deny, "no match"},
		{"deployer", at(send(nil, ether("0"), []byte{1}), "app:ci", 11155111), noon, allow, "deploy"},
		{"deployer", at(send(nil, ether("0"), []byte{1}), "app:ci", 1), noon, deny, "no match"},
		{"deployer", at(send(nil, ether("1"), []byte{1}), "app:ci", 11155111), noon, deny, "no match"},
		{"deployer", at(send(&proxy, ether("0"), upgrade), "app:ci", 11155111), noon, allow, "upgrade"},
		{"deployer", at(send(&friend, ether("0"), upgrade), "app:ci", 11155111), noon, deny, "no match"},
	} {
		r := examples[c.example]
		if r == nil {
			t.Fatalf("there is no example %s", c.example)
		}
		want(t, r.Judge(c.req, c.now), c.effect, c.rule)
	}
}
