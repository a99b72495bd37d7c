// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"math/big"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// Judge says what the policies would say; *judge.Judge is one.
type Judge interface {
	// Explain takes nothing off a limit and asks nobody.
	Explain(ctx context.Context, r policy.Request, try ...judge.Try) (judge.Explanation, error)
	Usage(ctx context.Context, scope string) ([]allowance.Usage, error)
	// Reload has a change count here at once.
	Reload(ctx context.Context) error
}

func (p *Platform) judge() (Judge, error) {
	if p.cfg.Judge == nil {
		return nil, unavailable("policies are not judged in this process")
	}
	return p.cfg.Judge, nil
}

// TestPolicy says what would become of a request to a service, and why. Nothing
// is signed, sent or stored, nobody is asked, and no limit is used up. Of the rules
// of wider scopes, whoever may not read them learns no more than whose
// requests meet them do: name and verdict. To try other rules takes who could set
// them; and there is one test at a time, since it may cost a second of a processor
// that signs for others.
func (p *Platform) TestPolicy(ctx context.Context, who auth.Access, at Path, t PolicyTest) (PolicyVerdict, error) {
	role := auth.Auditor
	if t.Document != "" {
		role = auth.Admin
	}
	r, err := p.service(ctx, who, role, at)
	if err != nil {
		return PolicyVerdict{}, err
	}
	j, err := p.judge()
	if err != nil {
		return PolicyVerdict{}, err
	}
	select {
	case p.trials <- struct{}{}:
		defer func() { <-p.trials }()
	case <-ctx.Done():
		return PolicyVerdict{}, unavailable("others test policies just now: try again")
	}
	request, err := p.testRequest(ctx, who, r, t)
	if err != nil {
		return PolicyVerdict{}, err
	}
	var try []judge.Try
	if t.Document != "" {
		scope := "service:" + r.ID
		rules, err := readRules(t.Document)
		if err != nil {
			return PolicyVerdict{}, err
		}
		try = append(try, judge.Try{Scope: scope, Rules: rules.In(scope)})
	}
	v, err := j.Explain(ctx, request, try...)
	if err != nil {
		return PolicyVerdict{}, unavailable("the policies cannot be judged just now: the log of the daemon has the cause")
	}
	return discreet(v, who, r), nil
}

// elsewhere stands for a reason that is not the caller's to know.
const elsewhere = "the rule is of a wider scope, whose admins can say more"

// discreet is an explanation without what the caller may not read.
func discreet(e judge.Explanation, who auth.Access, r row) PolicyVerdict {
	reason := func(scope, text string) string {
		if text != "" && !seesScope(who, scope, r) {
			return elsewhere
		}
		return text
	}
	decides, _, _ := strings.Cut(e.Rule, "/")
	v := PolicyVerdict{Effect: string(e.Effect), Rule: e.Rule, Reason: reason(decides, e.Reason), Policies: []PolicyOpinion{}, Limits: []LimitTake{}}
	for _, one := range e.Policies {
		o := PolicyOpinion{
			Scope: one.Scope, Version: one.Version, Effect: string(one.Effect), Rule: one.Rule,
			Reason: reason(one.Scope, one.Reason), Steps: []PolicyStep{},
		}
		if seesScope(who, one.Scope, r) {
			for _, s := range one.Steps {
				o.Steps = append(o.Steps, PolicyStep{s.Rule, string(s.Effect), s.Matched, s.Why})
			}
		}
		v.Policies = append(v.Policies, o)
	}
	for _, l := range e.Limits {
		if scope, _, _ := strings.Cut(l.Limit, "/"); !seesScope(who, scope, r) {
			l.Used, l.Max, l.Window = "", "", ""
		}
		v.Limits = append(v.Limits, LimitTake(l))
	}
	return v
}

// PolicyUsage says how much is used of the limits that the service itself has:
// those of its own rules and, for a wallet of the config file, of its own there.
// Limits of wider scopes count what others do as well, so they are shown with
// those scopes.
func (p *Platform) PolicyUsage(ctx context.Context, who auth.Access, kind Kind, at Path) ([]LimitUsage, error) {
	s, err := p.scopeAt(ctx, who, auth.Auditor, kind, at)
	if err != nil {
		return nil, err
	}
	j, err := p.judge()
	if err != nil {
		return nil, err
	}
	scopes := []string{s.name}
	switch {
	case kind == "":
		scopes = append(scopes, declaredScope)
	case s.row.declared != nil:
		scopes = []string{declaredScope + ":" + s.row.declared.Name}
	}
	out := []LimitUsage{}
	for _, scope := range scopes {
		used, err := j.Usage(ctx, scope)
		if err != nil {
			return nil, err
		}
		for _, u := range used {
			out = append(out, viewUsage(u))
		}
	}
	return out, nil
}

func viewUsage(u allowance.Usage) LimitUsage {
	v := LimitUsage{
		Limit: u.Limit, Per: strings.TrimLeft(strings.TrimPrefix(u.Key, u.Limit), "/ "), Asset: u.Asset,
		Max: whole(u.Max), Used: whole(u.Used), Left: whole(u.Left),
	}
	if u.Window > 0 {
		v.Window = u.Window.String()
	}
	return v
}

func whole(n *big.Int) string {
	if n == nil {
		return "0"
	}
	return n.String()
}
