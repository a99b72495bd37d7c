// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"
)

// Rules is a policy ready to judge. It is immutable and safe for concurrent use.
type Rules struct {
	prefix string // of names: empty, or the scope and a slash
	rules  []rule
	limits []limit
}

// Compile makes a policy ready to judge, in no scope.
func Compile(b *Rulebook) (*Rules, error) {
	if b == nil || len(b.rules)+len(b.limits) == 0 {
		return nil, errors.New("policy: there are no rules to compile")
	}
	// Sorted, so that the rule that is named as deciding does not depend on the order
	// either.
	r := &Rules{rules: slices.Clone(b.rules), limits: slices.Clone(b.limits)}
	slices.SortFunc(r.rules, func(a, b rule) int { return cmp.Compare(a.name, b.name) })
	slices.SortFunc(r.limits, func(a, b limit) int { return cmp.Compare(a.name, b.name) })
	return r, nil
}

// In gives the same rules in a scope, such as "service:<id>". The scope stands
// before the names of rules and limits and in the keys of what limits count, so
// that limits of the same name in two policies are counted apart.
func (r *Rules) In(scope string) *Rules {
	in := &Rules{prefix: scope + "/", rules: slices.Clone(r.rules), limits: slices.Clone(r.limits)}
	for i := range in.rules {
		in.rules[i].name = in.prefix + strings.TrimPrefix(in.rules[i].name, r.prefix)
	}
	for i := range in.limits {
		in.limits[i].name = in.prefix + strings.TrimPrefix(in.limits[i].name, r.prefix)
	}
	return in
}

// Judge decides about a request at a time. It reads no clock and reserves nothing.
func (r *Rules) Judge(req Request, now time.Time) Decision {
	return JudgeAll([]*Rules{r}, req, now)
}

// Explain is Judge with Steps: slower, for a dry run.
func (r *Rules) Explain(req Request, now time.Time) Decision {
	return ExplainAll([]*Rules{r}, req, now)
}

// JudgeAll is what several policies say together: each that has rules must allow,
// or ask, and the limits of all of them count. Where nothing has rules, what the
// limits leave is allowed, by the rule "default".
func JudgeAll(all []*Rules, req Request, now time.Time) Decision { return judge(all, req, now, false) }

// ExplainAll is JudgeAll with Steps.
func ExplainAll(all []*Rules, req Request, now time.Time) Decision {
	return judge(all, req, now, true)
}

const (
	byDefault = "default"      // no policy has rules
	noMatch   = "no match"     // there are rules, and none allows; no rule can have this name
	notJudged = "not judgable" // no rule can be about the request; no rule can have this name
)

func judge(all []*Rules, req Request, now time.Time, explain bool) Decision {
	j := judgement{explain: explain}
	f, err := gather(req, now)
	if err != nil {
		return Decision{Effect: EffectDeny, Rule: notJudged, Reason: err.Error()}
	}
	j.facts = f
	for _, r := range all {
		j.rules(r)
	}
	for _, r := range all {
		j.limits(r)
	}
	return j.decision()
}

// judgement is how far the judging of one request is.
type judgement struct {
	facts   *facts
	explain bool

	denied  string // by which rule or limit; the first one counts
	reason  string
	asks    []Ask
	allowed []string // by which rules
	takes   []Take
	steps   []Step
}

func (j *judgement) deny(name, reason string) {
	if j.denied == "" {
		j.denied, j.reason = name, reason
	}
}

// rules applies the rules of one policy.
func (j *judgement) rules(r *Rules) {
	if len(r.rules) == 0 {
		return
	}
	var allow, deny, reason string
	asks := len(j.asks)
	for i := range r.rules {
		rule := &r.rules[i]
		surely := rule.effect != EffectDeny
		o := rule.match.matches(j.facts)
		matched := o.surely || !surely && o.possibly
		if j.explain {
			j.step(rule, matched)
		}
		if !matched {
			continue
		}
		switch rule.effect {
		case EffectDeny:
			if deny == "" {
				deny, reason = rule.name, "the rule forbids it"
				if !o.surely {
					reason = "the rule forbids it, since nobody can tell whether it is what the rule is about"
				}
			}
		case EffectAsk:
			ask := rule.ask
			ask.Rule = rule.name
			j.asks = append(j.asks, ask)
		case EffectAllow:
			if allow == "" {
				allow = rule.name
			}
		}
	}
	switch {
	case deny != "":
		j.deny(deny, reason)
	case len(j.asks) > asks: // an ask rule allows by itself
	case allow == "":
		j.deny(r.prefix+noMatch, "no rule allows "+j.facts.describe())
	default:
		j.allowed = append(j.allowed, allow)
	}
}

// step explains a rule.
func (j *judgement) step(rule *rule, matched bool) {
	s := Step{Rule: rule.name, Effect: rule.effect, Matched: matched}
	switch o := rule.match.matches(j.facts); {
	case !matched:
		s.Why = rule.match.why(j.facts, rule.effect != EffectDeny)
	case o.surely:
		s.Why = "everything that the rule wants holds"
	default:
		s.Why = "it cannot be told whether everything that the rule wants holds; " + rule.match.why(j.facts, true)
	}
	j.steps = append(j.steps, s)
}

func (j *judgement) decision() Decision {
	d := Decision{Steps: j.steps}
	switch {
	case j.denied != "":
		d.Effect, d.Rule, d.Reason = EffectDeny, j.denied, j.reason
		return d
	case len(j.asks) > 0:
		names := make([]string, len(j.asks))
		for i, a := range j.asks {
			names[i] = a.Rule
		}
		d.Effect, d.Rule, d.Asks = EffectAsk, strings.Join(names, ", "), j.asks
		d.Reason = "people must approve " + j.facts.describe()
	case len(j.allowed) > 0:
		d.Effect, d.Rule = EffectAllow, strings.Join(j.allowed, ", ")
	default:
		d.Effect, d.Rule = EffectAllow, byDefault
	}
	d.Takes = j.takes
	return d
}
