// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// treasury is a policy of the size that people write: twenty rules, four limits.
func treasury(t testing.TB) *policy.Rules {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 16 {
		fmt.Fprintf(&b, "  - {name: supplier-%d, effect: allow, actions: [transaction], to: [\"0x%040x\"], value: {max: 1 ether}, data: none}\n", i, i+1000)
	}
	fmt.Fprintf(&b, `
  - {name: pay, effect: allow, actions: [transaction], to: ["%[1]s"], methods: [{signature: "transfer(address to,uint256 amount)", args: {to: ["%[2]s"], amount: {max: 5000 ether}}}]}
  - {name: big, effect: ask, actions: [transaction], value: {min: 10 ether}, approval: {roles: [admin]}}
  - {name: fees, effect: deny, total_fee: {min: 0.1 ether}}
  - {name: night, effect: deny, times: [{from: "22:00", to: "05:00", zone: Europe/Zurich}]}
  - {name: permit, effect: allow, actions: [typed-data], typed_data: {primary_types: [Permit], verifying_contracts: ["%[1]s"], members: {spender: ["%[2]s"], value: {max: 1000}}}}
limits:
  - {name: hourly, asset: native, per: account, max: 5 ether, window: 1h}
  - {name: daily, asset: native, per: wallet, max: 50 ether, window: 24h}
  - {name: coin, asset: "%[1]s", per: wallet, max: 100000 ether, window: 24h}
  - {name: each, asset: any-token, per: account, max: 5000 ether, window: transaction}
`, token.Hex(), friend.Hex())
	return rules(t, b.String()).In("service:1")
}

func BenchmarkJudge(b *testing.B) {
	r := treasury(b)
	for name, req := range map[string]policy.Request{
		"transfer": send(&token, ether("0"), call(b, "transfer(address,uint256)", friend, big.NewInt(5))),
		"ether":    func() policy.Request { to := friend; to[0] = 0; return send(&to, ether("1"), nil) }(),
		"permit":   typed(b, permitText("5")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Judge(req, noon)
			}
		})
	}
}

// TestJudgingAllocatesLittle stands for the benchmark where time cannot be measured.
func TestJudgingAllocatesLittle(t *testing.T) {
	r := treasury(t)
	req := send(&token, ether("0"), call(t, "transfer(address,uint256)", friend, big.NewInt(5)))
	want(t, r.Judge(req, noon), allow, "service:1/pay")
	if n := testing.AllocsPerRun(100, func() { r.Judge(req, noon) }); n > 80 {
		t.Errorf("%v allocations", n)
	}
}
