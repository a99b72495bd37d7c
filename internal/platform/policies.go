// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxPolicy bounds a document of rules, in bytes: all replicas keep all of them
// in memory.
const maxPolicy = 256 << 10

// PolicyMAC is the keyed hash over [store.Policy.Bytes]. Who may write to the
// database but has not the verifier's key can bring back a version as it once
// was, but make none.
func PolicyMAC(v Verifier) func([]byte) []byte {
	return func(row []byte) []byte { return v.Hash("policy", "", string(row)) }
}

// Policy is the rules of a scope: of the whole deployment with no kind, or of a
// consortium, a membership, a service or an app credential.
func (p *Platform) Policy(ctx context.Context, who auth.Access, kind Kind, at Path) (Policy, error) {
	s, err := p.scopeAt(ctx, who, auth.Auditor, kind, at)
	if err != nil {
		return Policy{}, err
	}
	live, err := p.cfg.Store.LivePolicies(ctx, s.name)
	if err != nil {
		return Policy{}, err
	}
	out, names := Policy{Scope: s.name, Outer: []string{}}, p.callNames()
	for _, r := range live {
		v := p.viewPolicy(ctx, names, r, true)
		switch r.State {
		case store.PolicyActive:
			out.Active = &v
		case store.PolicyProposed:
			out.Proposed = &v
		}
	}
	if s.declared.Set() {
		text := string(s.declared.Text)
		out.Declared = &DeclaredPolicy{Document: strings.TrimLeft(text, "\n"), SHA256: sumOf(text)}
	}
	counting, err := p.cfg.Store.ActivePolicies(ctx)
	if err != nil {
		return Policy{}, err
	}
	for _, scope := range s.around {
		declared := scope == deployment && p.cfg.DeclaredPolicy.Set()
		if declared || slices.ContainsFunc(counting, func(r store.Policy) bool { return r.Scope == scope && r.Document != "" }) {
			out.Outer = append(out.Outer, scope)
		}
	}
	out.Approvals, err = p.approvalsFor(ctx, s)
	return out, err
}

// PolicyVersions lists the newest 100 versions of the rules of a scope, the newest
// first, without their documents. Older ones are found by their number.
func (p *Platform) PolicyVersions(ctx context.Context, who auth.Access, kind Kind, at Path) ([]PolicyVersion, error) {
	s, err := p.scopeAt(ctx, who, auth.Auditor, kind, at)
	if err != nil {
		return nil, err
	}
	all, err := p.cfg.Store.Policies(ctx, s.name)
	out, names := make([]PolicyVersion, len(all)), p.callNames()
	for i, r := range all {
		out[i] = p.viewPolicy(ctx, names, r, false)
	}
	return out, err
}

// PolicyVersion is one version of the rules of a scope.
func (p *Platform) PolicyVersion(ctx context.Context, who auth.Access, kind Kind, at Path, version int64) (PolicyVersion, error) {
	s, err := p.scopeAt(ctx, who, auth.Auditor, kind, at)
	if err != nil {
		return PolicyVersion{}, err
	}
	r, err := p.cfg.Store.PolicyVersion(ctx, s.name, version)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return PolicyVersion{}, noVersion(version)
	case err != nil:
		return PolicyVersion{}, err
	}
	return p.viewPolicy(ctx, p.callNames(), r, true), nil
}

// PolicySchema is the JSON Schema of the documents.
func (p *Platform) PolicySchema() []byte { return policy.Schema() }

func noVersion(version int64) error {
	return &Error{Reason: NotFound, Msg: "the policy has no version of that number"}
}

// approvalsFor is how many admins beside its author a new version needs.
func (p *Platform) approvalsFor(ctx context.Context, s policyScope) (int, error) {
	id := s.consortium()
	if id == "" {
		return 0, nil
	}
	c, err := p.byID(ctx, id)
	return c.data.PolicyApprovals, err
}

// readRules checks a document, and gives the rules in it.
func readRules(text string) (*policy.Rules, error) {
	if len(text) > maxPolicy {
		return nil, invalid("document", "has more than %d bytes", maxPolicy)
	}
	if strings.TrimSpace(text) == "" {
		return nil, invalid("document", "is missing: want rules, as YAML or JSON, beginning with version: hsmsigner-policy-v1")
	}
	d, err := policy.Parse("policy", []byte(text))
	if err == nil {
		var rules *policy.Rules
		if rules, err = policy.Compile(d); err == nil {
			return rules, nil
		}
	}
	var wrong policy.Errors
	if errors.As(err, &wrong) {
		return nil, invalid("document", "%s", wrong.Error())
	}
	return nil, invalid("document", "%s", err)
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// viewPolicy is a version as callers see it.
func (p *Platform) viewPolicy(ctx context.Context, names names, r store.Policy, whole bool) PolicyVersion {
	v := PolicyVersion{
		Scope: r.Scope, Version: r.Version, State: string(r.State), SHA256: sumOf(r.Document),
		Author: r.Author, Approver: r.Approver, AuthorName: names.of(ctx, r.Author), ApproverName: names.of(ctx, r.Approver), Comment: r.Comment, Created: r.Created.UTC(),
	}
	if whole {
		v.Document = r.Document
	}
	if !r.Decided.IsZero() {
		decided := r.Decided.UTC()
		v.Decided = &decided
	}
	if !p.unforged(r) {
		v.Problem = "the row was changed outside of the API, or written with another key: while it counts, nothing is signed in this scope"
	}
	return v
}

// unforged reports whether the row is as this deployment wrote it.
func (p *Platform) unforged(r store.Policy) bool {
	return p.cfg.PolicyMAC != nil && hmac.Equal(r.MAC, p.cfg.PolicyMAC(r.Bytes()))
}
