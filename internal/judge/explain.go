// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"context"
	"errors"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// Explanation is what a verdict would be, and why.
type Explanation struct {
	Effect   policy.Effect `json:"effect"` // allow, deny or ask
	Rule     string        `json:"rule"`   // that decides: scope and name of a rule or a limit
	Reason   string        `json:"reason,omitempty"`
	Policies []Explained   `json:"policies"` // each that applies, the widest scope first
	Limits   []Limit       `json:"limits"`   // each that the request would count for
	Asks     []policy.Ask  `json:"-"`        // who would be asked
}

// Explained is what one policy says.
type Explained struct {
	Scope   string        `json:"scope"`   // as in table policy; "declared" and "declared:<wallet>" for the config file's
	Version int64         `json:"version"` // 0: the config file's, or one that was only tried
	Effect  policy.Effect `json:"effect"`
	Rule    string        `json:"rule"`
	Reason  string        `json:"reason,omitempty"`
	Steps   []policy.Step `json:"steps"` // every rule of it
}

// Limit is what a request would take off a limit.
type Limit struct {
	Limit  string `json:"limit"` // with the scope of its policy
	Asset  string `json:"asset"`
	Amount string `json:"amount"`           // decimal; "unlimited"
	Used   string `json:"used"`             // decimal
	Max    string `json:"max"`              // decimal
	Window string `json:"window,omitempty"` // a Go duration; empty: in total
	Holds  bool   `json:"holds"`
}

// Try is rules that do not count yet.
type Try struct {
	Scope string        // as in table policy
	Rules *policy.Rules // nil: as if the scope had none. In their scope, as by policy.Rules.In
}

// Explain is Judge that asks nobody and takes nothing: the verdict if r came now
// for the first time, with all its reasons. try takes the place of what counts in
// its scopes, to see what rules would do that do not count yet.
func (j *Judge) Explain(ctx context.Context, r policy.Request, try ...Try) (Explanation, error) {
	set, err := j.rules.current(ctx)
	if err != nil {
		return Explanation{}, err
	}
	r.Signing, r.Clearance = false, ""
	now := j.cfg.Now()
	e := Explanation{Policies: []Explained{}, Limits: []Limit{}}
	var rules []*policy.Rules
	var refused *problem
	for _, p := range set.with(try).policies(r) {
		if p.problem != "" {
			if refused == nil {
				refused = &problem{scope: p.scope, text: p.problem}
			}
			e.Policies = append(e.Policies, Explained{
				Scope: p.scope, Version: p.version, Effect: policy.EffectDeny, Rule: p.scope, Reason: p.problem, Steps: []policy.Step{},
			})
			continue
		}
		d := p.rules.Explain(r, now)
		e.Policies = append(e.Policies, Explained{
			Scope: p.scope, Version: p.version, Effect: d.Effect, Rule: d.Rule, Reason: d.Reason, Steps: d.Steps,
		})
		rules = append(rules, p.rules)
	}
	d := policy.JudgeAll(rules, r, now)
	e.Effect, e.Rule, e.Reason, e.Asks = d.Effect, d.Rule, d.Reason, d.Asks
	if refused != nil {
		e.Effect, e.Rule, e.Reason = policy.EffectDeny, refused.scope, refused.text
	}
	return e, j.explainLimits(ctx, &e, d.Takes)
}

// explainLimits adds what the request would take off limits, and denies if they
// do not allow it.
func (j *Judge) explainLimits(ctx context.Context, e *Explanation, takes []policy.Take) error {
	looks, err := j.cfg.Limits.Look(ctx, takes)
	if err != nil {
		return err
	}
	for _, look := range looks {
		l := Limit{
			Limit: look.Take.Limit, Asset: look.Take.Asset, Amount: "unlimited", Used: look.Used.String(),
			Max: look.Take.Max.String(), Holds: look.Err == nil,
		}
		if look.Take.Amount != nil {
			l.Amount = look.Take.Amount.String()
		}
		if look.Take.Window > 0 {
			l.Window = look.Take.Window.String()
		}
		e.Limits = append(e.Limits, l)
		if look.Err != nil && e.Effect != policy.EffectDeny {
			e.Effect, e.Rule, e.Reason = policy.EffectDeny, look.Take.Limit, look.Err.Error()
		}
	}
	return nil
}

// with is the set with some scopes' policies in place of its own.
func (s *set) with(try []Try) *set {
	if len(try) == 0 {
		return s
	}
	byScope := make(map[string]one, len(s.byScope)+len(try))
	for scope, p := range s.byScope {
		byScope[scope] = p
	}
	for _, t := range try {
		delete(byScope, t.Scope)
		if t.Rules != nil {
			byScope[t.Scope] = one{scope: t.Scope, rules: t.Rules}
		}
	}
	return &set{revision: s.revision, count: s.count, byScope: byScope}
}

// Usage is how much is used of the limits of the policy of a scope ("declared" and
// "declared:<wallet>" for those of the config file). Limits of which nothing was
// reserved for long are not there.
func (j *Judge) Usage(ctx context.Context, scope string) ([]allowance.Usage, error) {
	if scope == "" {
		return nil, errors.New("judge: usage is of the limits of one scope, and none is given")
	}
	return j.cfg.Limits.Usage(ctx, scope+"/")
}
