// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// This file judges random requests by random policies a second time, slowly, from
// the models that both are made of: no part of the package reads or decides
// anything for it. See reference_model_test.go for the models.

// truth is what is known of a statement.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// expected is what the reference expects of a decision.
type expected struct {
	effect policy.Effect
	rule   string
	asks   []string
	takes  []string // limit, asset, amount
}

func reference(p model, r inquiry, now time.Time) expected {
	var denies, asks, allows []string
	for _, rule := range p.rules {
		t := rule.conditions.of(r, now, rule.effect != "deny")
		switch {
		case rule.effect == "deny" && t != no:
			denies = append(denies, rule.name)
		case rule.effect == "ask" && t == yes:
			asks = append(asks, rule.name)
		case rule.effect == "allow" && t == yes:
			allows = append(allows, rule.name)
		}
	}
	for _, list := range [][]string{denies, asks, allows} {
		slices.Sort(list)
	}
	e := expected{effect: policy.EffectDeny}
	switch {
	case len(denies) > 0:
		e.rule = denies[0]
		return e
	case len(asks) > 0:
		e.effect, e.rule, e.asks = policy.EffectAsk, strings.Join(asks, ", "), asks
	case len(allows) > 0:
		e.effect, e.rule = policy.EffectAllow, allows[0]
	case len(p.rules) > 0:
		e.rule = "no match"
		return e
	default:
		e.effect, e.rule = policy.EffectAllow, "default"
	}
	limits := slices.Clone(p.limits)
	slices.SortFunc(limits, func(a, b limitModel) int { return strings.Compare(a.name, b.name) })
	for _, l := range limits {
		if l.conditions.of(r, now, false) == no {
			continue
		}
		sums := map[string]*big.Int{}
		for _, m := range r.moves() {
			asset := m.asset
			switch {
			case m.asset == "all", m.asset == "tokens" && l.asset != "native":
				asset = l.asset
			case l.asset == "any-token" && m.asset != "native", l.asset == m.asset:
			default:
				continue
			}
			if sums[asset] == nil {
				sums[asset] = new(big.Int)
			}
			if sums[asset].Add(sums[asset], m.amount); m.amount.Cmp(endless) >= 0 {
				sums[asset].Set(endless)
			}
		}
		for asset, sum := range sums {
			switch {
			case sum.Sign() == 0 || r.raw && l.window != "transaction":
			case sum.Cmp(big.NewInt(l.max)) > 0:
				return expected{effect: policy.EffectDeny, rule: l.name}
			case l.window != "transaction":
				e.takes = append(e.takes, fmt.Sprintf("%s %s %s", l.name, strings.ToLower(asset), sum))
			}
		}
	}
	slices.Sort(e.takes)
	return e
}

// of says whether all conditions hold for a request. grants: for a rule that allows or asks.
func (c conditions) of(r inquiry, now time.Time, grants bool) truth {
	result := yes
	for _, t := range c.each(r, now, grants) {
		result = min(result, t)
	}
	return result
}

func (c conditions) each(r inquiry, now time.Time, grants bool) []truth {
	var all []truth
	words := r.words()
	named := c.actions
	switch {
	case named == nil: // of a deny rule or a limit: what its conditions can be asked of
		named = c.defaultActions()
	}
	listed := 0
	for _, w := range words {
		if slices.Contains(named, w) {
			listed++
		}
	}
	if grants {
		ok := listed == len(words)
		if slices.Equal(words, []string{"transaction", "create-contract"}) && slices.Contains(named, "create-contract") &&
			!slices.Contains(named, "transaction") && !slices.Contains(named, "sign-transaction") && !slices.Contains(named, "raw-transaction") {
			ok = true
		}
		all = append(all, is(ok))
	} else {
		all = append(all, is(listed > 0))
	}
	if listed == 0 {
		return all
	}
	if c.accounts != nil {
		all = append(all, is(slices.Contains(c.accounts, r.account)))
	}
	if c.principals != nil {
		kind, _, _ := strings.Cut(r.principal, ":")
		all = append(all, is(slices.Contains(c.principals, r.principal) || slices.Contains(c.principals, kind+":*")))
	}
	if c.hours != nil {
		clock := now.In(c.hours.zone)
		all = append(all, is(clock.Hour() >= c.hours.from && clock.Hour() < c.hours.to))
	}
	if r.isTransaction() {
		all = append(all, c.ofTransaction(r, grants)...)
	}
	if r.action == "message" && c.messageMax != nil {
		all = append(all, is(len(r.message) <= *c.messageMax))
	}
	if r.action == "message" && c.messagePrefix != nil {
		t := is(strings.HasPrefix(r.message, *c.messagePrefix) && !strings.Contains(r.message, "\n"))
		if strings.Contains(r.message, "\xff") {
			t = maybe
		}
		all = append(all, t)
	}
	if r.action == "document" && c.sizeMax != nil {
		all = append(all, is(r.size <= *c.sizeMax))
	}
	if r.action == "typed-data" {
		all = append(all, c.ofTypedData(r)...)
	}
	return all
}

func (c conditions) ofTransaction(r inquiry, grants bool) []truth {
	var all []truth
	kinds := c.types
	if kinds == nil && grants {
		kinds = []string{"legacy", "access-list", "dynamic-fee"}
	}
	if kinds != nil {
		all = append(all, is(slices.Contains(kinds, []string{"legacy", "access-list", "dynamic-fee", "blob", "set-code"}[r.kind])))
	}
	if c.to != nil {
		switch {
		case r.to != "":
			all = append(all, is(slices.Contains(c.to, r.to) != c.toNot))
		case grants:
			all = append(all, no)
		default:
			all = append(all, is(c.toNot))
		}
	}
	if c.data != "" {
		all = append(all, is((r.data != "none") == (c.data == "some")))
	}
	if c.valueMin != nil {
		all = append(all, is(r.value >= *c.valueMin))
	}
	if c.valueMax != nil {
		all = append(all, is(r.value <= *c.valueMax))
	}
	if c.feeMax != nil {
		fee := r.gas * max(r.feeCap, r.ceiling)
		if r.kind == types.BlobTxType {
			fee += 2 * 131072 * 2
		}
		all = append(all, is(fee <= *c.feeMax))
	}
	if c.methods != nil {
		best := no
		for _, m := range c.methods {
			best = max(best, m.of(r))
		}
		all = append(all, best)
	}
	return all
}

func (m methodModel) of(r inquiry) truth {
	if r.to == "" || r.data == "none" || r.method != m.name {
		return no
	}
	if r.data != "good" {
		return maybe
	}
	result := yes
	if m.amountMax != nil && m.name != "pay" {
		result = min(result, is(r.amount <= *m.amountMax))
	}
	if m.who != nil {
		t := is(slices.Contains(m.who, r.who[0]))
		if m.name == "pay" { // each of a list: who allows wants all of them, who denies any
			hits := 0
			for _, w := range r.who {
				if slices.Contains(m.who, w) {
					hits++
				}
			}
			switch {
			case hits == len(r.who):
				t = yes
			case hits == 0:
				t = no
			default:
				t = maybe
			}
		}
		result = min(result, t)
	}
	return result
}

func (c conditions) ofTypedData(r inquiry) []truth {
	var all []truth
	if c.primary != nil {
		all = append(all, is(slices.Contains(c.primary, r.primary)))
	}
	if c.contracts != nil {
		t := is(slices.Contains(c.contracts, r.contract))
		if r.contract == "" {
			t = maybe
		}
		all = append(all, t)
	}
	if c.memberMax != nil {
		t := is(r.amount <= *c.memberMax)
		if r.primary == "Login" { // which has no such member
			t = maybe
		}
		all = append(all, t)
	}
	return all
}

// endless stands for an amount that no limit lets through.
var endless = new(big.Int).Lsh(big.NewInt(1), 300)

type move struct {
	asset  string // native, an address, "tokens" (who knows which), "all"
	amount *big.Int
}

func (r inquiry) moves() []move {
	n := big.NewInt(r.amount)
	switch {
	case r.action == "typed-data" && r.primary == "Permit" && r.contract == "":
		if r.amount == 0 {
			return nil
		}
		return []move{{"tokens", endless}}
	case r.action == "typed-data" && r.primary == "Permit":
		return []move{{r.contract, n}}
	case !r.isTransaction():
		return nil
	}
	all := []move{{"native", big.NewInt(r.value)}}
	switch {
	case r.to == "" || r.data == "none":
	case r.to == r.account:
		all = append(all, move{"all", endless})
	case r.method == "pay":
	case r.data != "good":
		all = append(all, move{r.to, endless})
	default:
		all = append(all, move{r.to, n})
	}
	return all
}

func TestRandomPoliciesAndRequestsAgainstTheReference(t *testing.T) {
	policies := 400
	if n, err := strconv.Atoi(os.Getenv("HSMSIGNER_POLICY_TRIALS")); err == nil {
		policies = n
	}
	random := rand.New(rand.NewPCG(uint64(policies), 7))
	seen := map[string]int{}
	for range policies {
		p := randomModel(random)
		r := rules(t, p.text())
		for range 12 {
			q := randomRequest(random)
			now := noon.Add(time.Duration(random.IntN(365*24)) * time.Hour)
			req := q.request(t)
			want := reference(p, q, now)
			d := r.Judge(req, now)
			got := expected{effect: d.Effect, rule: d.Rule}
			for _, a := range d.Asks {
				got.asks = append(got.asks, a.Rule)
			}
			for _, take := range d.Takes {
				got.takes = append(got.takes, fmt.Sprintf("%s %s %s", take.Limit, take.Asset, take.Amount))
			}
			slices.Sort(got.takes)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("got  %v (%s)\nwant %v\nat %s\n%+v\n%s", got, d.Reason, want, now, q, p.text())
			}
			if e := r.Explain(req, now); e.Effect != d.Effect || e.Rule != d.Rule || len(e.Steps) != len(p.rules)+len(p.limits) {
				t.Fatalf("Explain says %s by %s", e.Effect, e.Rule)
			}
			seen[string(want.effect)+strings.Repeat(" with takes", min(1, len(want.takes)))]++
			if want.effect == policy.EffectDeny && want.rule != "no match" {
				seen["deny by "+want.rule[:1]]++
			}
		}
	}
	t.Log(seen)
	for _, kind := range []string{"allow", "allow with takes", "ask", "ask with takes", "deny", "deny by r", "deny by l"} {
		if seen[kind] < policies/50 {
			t.Errorf("%s came only %d times", kind, seen[kind])
		}
	}
}

// request makes the real request of a model.
func (r inquiry) request(t testing.TB) policy.Request {
	var req policy.Request
	switch {
	case r.isTransaction():
		req = r.transaction(t)
	case r.action == "message":
		req = text(r.message)
	case r.action == "document":
		req = document("text/plain", r.size)
	case r.primary == "Login":
		req = typed(t, r.bound(document712("Login", "nonce uint256", `{"nonce":1}`)))
	default:
		req = typed(t, r.bound(permitText(strconv.FormatInt(r.amount, 10))))
	}
	req.Account, req.Principal.Name = common.HexToAddress(r.account), r.principal
	return req
}

// bound puts the domain's contract into a document, or takes it out.
func (r inquiry) bound(text string) string {
	if r.contract != "" {
		return strings.Replace(text, token.Hex(), r.contract, 1)
	}
	text = strings.Replace(text, `,"verifyingContract":"`+token.Hex()+`"`, "", 1)
	return strings.Replace(text, `,{"name":"verifyingContract","type":"address"}`, "", 1)
}

func (r inquiry) transaction(t testing.TB) policy.Request {
	var to *common.Address
	if r.to != "" {
		a := common.HexToAddress(r.to)
		to = &a
	}
	var data []byte
	if r.data != "none" {
		who := make([]common.Address, len(r.who))
		for i, w := range r.who {
			who[i] = common.HexToAddress(w)
		}
		if r.method == "pay" {
			data = call(t, "pay(address[],uint8)", who, uint8(7))
		} else {
			data = call(t, r.method+"(address,uint256)", who[0], big.NewInt(r.amount))
		}
		switch r.data {
		case "dirty":
			data[4] = 0xff
		case "long":
			data = append(data, 0)
		case "short":
			data = data[:len(data)-1]
		}
	}
	req := send(to, big.NewInt(r.value), data)
	legacy := &types.LegacyTx{To: to, Value: big.NewInt(r.value), Data: data, Gas: uint64(r.gas), GasPrice: big.NewInt(r.feeCap)}
	req.Transaction = types.NewTx(legacy)
	if r.kind != types.LegacyTxType {
		req.Transaction = r.ofKind(to, data)
	}
	if r.action == "sign-transaction" {
		req.Action = audit.SignTransaction
	}
	req.Presigned = r.raw
	if r.ceiling > 0 {
		req.FeeCeiling = big.NewInt(r.ceiling)
	}
	return req
}
