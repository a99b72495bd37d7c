// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"regexp"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Version is what the version of a policy must say.
const Version = "hsmsigner-policy-v1"

// Limits of a policy, so that judging stays fast.
const (
	maxRules  = 500
	maxLimits = 100
)

// Rulebook is a policy as its author wrote it, checked. Only [Parse] makes one.
type Rulebook struct {
	rules  []rule
	limits []limit
}

// Rules is how many rules there are. Without any, what the limits leave is allowed.
func (b *Rulebook) Rules() int { return len(b.rules) }

// Limits is how many limits there are.
func (b *Rulebook) Limits() int { return len(b.limits) }

// rule is one rule. It is not changed once it was parsed.
type rule struct {
	name   string
	effect Effect
	match  matcher
	ask    Ask // of EffectAsk; its Rule is not set
}

// limit bounds what moves, whichever rule allows it.
type limit struct {
	name   string
	match  matcher
	asset  limitAsset
	token  common.Address // of assetToken
	pieces bool           // count tokens (ERC-721), not amounts
	per    string
	max    *big.Int
	window time.Duration // 0: in total
	each   bool          // each request by itself: nothing is summed up
}

type limitAsset uint8

const (
	assetNative limitAsset = iota
	assetToken
	assetAny // each token by itself
)

// Parse checks text, YAML or JSON, as the policy that messages call file. The error
// is an [Errors] with everything that is wrong, in the order of the lines.
func Parse(file string, text []byte) (*Rulebook, error) {
	top, problem := root(text)
	if problem != nil {
		problem.File = file
		return nil, Errors{*problem}
	}
	r := &reader{file: file}
	b := r.rulebook(node{r, top, ""})
	if len(r.problems) > 0 {
		return nil, r.problems.Sorted()
	}
	return b, nil
}

func (r *reader) rulebook(n node) *Rulebook {
	b := &Rulebook{}
	o := n.object()
	if v, ok := o.need("version"); ok {
		parsed(v, Version, oneOf(Version))
	}
	o.note()
	names := map[string]bool{}
	rules, hasRules := o.given("rules")
	if hasRules {
		for _, item := range rules.sequence(maxRules) {
			b.rules = append(b.rules, r.rule(item, names))
		}
	}
	limits, hasLimits := o.given("limits")
	if hasLimits {
		for _, item := range limits.sequence(maxLimits) {
			b.limits = append(b.limits, r.limit(item, names))
		}
	}
	o.done()
	if o != nil && !hasRules && !hasLimits {
		n.fail("has neither rules nor limits: want at least one")
	}
	return b
}

// sequence is list for items that are mappings.
func (n node) sequence(most int) []node {
	items := n.list()
	if len(items) > most {
		n.fail("has %d items: want at most %d", len(items), most)
		return nil
	}
	return items
}

// note reads the text for people that may stand anywhere.
func (o *object) note() {
	if v, ok := o.given("note"); ok {
		if v.plain() && v.yaml.ShortTag() != "!!str" {
			v.fail("want text, not %s", v.is())
		}
	}
}

var rulePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// name reads the name of a rule or limit; no two have the same.
func (o *object) name(names map[string]bool) string {
	v, ok := o.need("name")
	if !ok {
		return ""
	}
	name, ok := parsed(v, "a name", matching(rulePattern, "1 to 63 letters, digits, '.', '_' and '-', a letter or digit first"))
	if ok && names[name] {
		v.fail("another rule or limit is called %q too", name)
	}
	names[name] = true
	return name
}

func (r *reader) rule(n node, names map[string]bool) rule {
	o := n.object()
	out := rule{name: o.name(names)}
	if v, ok := o.need("effect"); ok {
		out.effect, _ = parsed(v, "an effect", oneOf(EffectAllow, EffectDeny, EffectAsk))
	}
	o.note()
	out.match = r.matcher(o, out.effect)
	approval, ok := o.given("approval")
	switch {
	case ok && out.effect == EffectAsk:
		out.ask = r.approval(approval)
	case ok:
		approval.fail("only a rule with effect ask has it")
	case out.effect == EffectAsk:
		n.fail("approval is missing: who is asked?")
	}
	o.done()
	return out
}

const (
	minWindow = time.Minute
	maxWindow = 3660 * 24 * time.Hour
)

func (r *reader) limit(n node, names map[string]bool) limit {
	o := n.object()
	out := limit{name: o.name(names)}
	o.note()
	if v, ok := o.need("asset"); ok {
		out.readAsset(v)
	}
	if v, ok := o.given("count"); ok {
		way, _ := parsed(v, "amounts or pieces", oneOf("amounts", "pieces"))
		if out.pieces = way == "pieces"; out.pieces && out.asset == assetNative {
			v.fail("only tokens have pieces")
		}
	}
	if v, ok := o.need("per"); ok {
		out.per, _ = parsed(v, "account, wallet, credential or nothing", oneOf("account", "wallet", "credential", "nothing"))
	}
	if v, ok := o.need("max"); ok {
		parse := integer
		if out.asset == assetNative {
			parse = wei
		}
		if out.max, ok = parsed(v, "the largest amount", parse); ok && out.max.Sign() < 0 {
			v.fail("is negative")
		}
	}
	if v, ok := o.need("window"); ok {
		out.readWindow(v)
	}
	out.match = r.matcher(o, "")
	o.done()
	return out
}

func (l *limit) readAsset(n node) {
	s, ok := n.text("native, any-token, or a token's address")
	switch {
	case !ok:
	case s == Native:
	case s == "any-token":
		l.asset = assetAny
	default:
		l.asset = assetToken
		var err error
		if l.token, err = addressLiteral(s); err != nil {
			n.fail("want native, any-token, or a token's address: %s", err)
		}
	}
}

func (l *limit) readWindow(n node) {
	s, ok := n.text("a duration, total or transaction")
	switch {
	case !ok:
	case s == "total":
	case s == "transaction":
		l.each = true
	default:
		l.window, _ = parsed(n, "a duration, total or transaction", span(minWindow, maxWindow))
	}
}
