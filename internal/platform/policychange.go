// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// SetPolicy adds a version of the rules of a scope. It counts at once, or, where
// the consortium wants another admin to agree, is proposed. A document that counts
// already changes nothing. A version without a document ends the rules.
func (p *Platform) SetPolicy(ctx context.Context, who auth.Access, kind Kind, at Path, n NewPolicy) (PolicyVersion, error) {
	s, err := p.changeableScope(ctx, who, kind, at)
	if err != nil {
		return PolicyVersion{}, err
	}
	if n.Document != "" {
		if _, err := readRules(n.Document); err != nil {
			return PolicyVersion{}, err
		}
	}
	if !printable(n.Comment, maxDescription) {
		return PolicyVersion{}, invalid("comment", "want at most %d letters, digits, spaces and signs but < and >", maxDescription)
	}
	return p.changePolicy(ctx, who, s, func(w *store.Writer) (store.Policy, string, error) {
		return p.add(w, who, s, n)
	})
}

// ApprovePolicy has a proposed version count. It takes an admin of the scope who is
// not its author, nor somebody behind him.
func (p *Platform) ApprovePolicy(ctx context.Context, who auth.Access, kind Kind, at Path, version int64) (PolicyVersion, error) {
	return p.decide(ctx, who, kind, at, version, func(w *store.Writer, r store.Policy) (store.Policy, string, error) {
		if err := independent(w.Resource, r.Author, who); err != nil {
			return r, "", err
		}
		if !p.unforged(r) {
			return r, "", conflict("the proposed version was changed outside of the API: reject it")
		}
		live, _, err := w.LivePolicies(r.Scope)
		if err == nil {
			err = p.retire(w, live)
		}
		if err != nil {
			return r, "", err
		}
		r.State, r.Approver, r.Decided = store.PolicyActive, who.Principal.Name, instant()
		r = p.sealPolicy(r)
		return r, "policy-approve", w.DecidePolicy(r, store.PolicyProposed)
	})
}

// RejectPolicy drops a proposed version. Any admin of the scope may, its author
// too.
func (p *Platform) RejectPolicy(ctx context.Context, who auth.Access, kind Kind, at Path, version int64) (PolicyVersion, error) {
	return p.decide(ctx, who, kind, at, version, func(w *store.Writer, r store.Policy) (store.Policy, string, error) {
		genuine := p.unforged(r)
		r.State, r.Approver, r.Decided = store.PolicyRejected, who.Principal.Name, instant()
		if genuine { // else it must not get a hash by which it would seem so
			r = p.sealPolicy(r)
		}
		return r, "policy-reject", w.DecidePolicy(r, store.PolicyProposed)
	})
}

// changeableScope is a scope whose rules the caller may change.
func (p *Platform) changeableScope(ctx context.Context, who auth.Access, kind Kind, at Path) (policyScope, error) {
	s, err := p.scopeAt(ctx, who, auth.Admin, kind, at)
	switch {
	case err != nil:
		return s, err
	case p.cfg.PolicyMAC == nil:
		return s, unavailable("rules cannot be set here: this process has no key to vouch for them")
	case s.row.declared != nil:
		return s, conflict("the service stands in the operator's config file: its rules stand there, too, under policy")
	case s.row.State == Deleting:
		return s, conflict("the %s is being deleted", s.row.kind().one())
	}
	return s, nil
}

// policyEdit is one change of the versions of a scope. It gives the version that it
// is about and the kind of event; no kind: nothing has changed.
type policyEdit func(w *store.Writer) (store.Policy, string, error)

// changePolicy carries out a change, its event in the same commit, again from the
// start if somebody else was faster.
func (p *Platform) changePolicy(ctx context.Context, who auth.Access, s policyScope, edit policyEdit) (PolicyVersion, error) {
	names := p.callNames()
	called := names.of(ctx, who.Principal.Name)
	for try := range attempts {
		var is store.Policy
		var event audit.Event
		err := p.cfg.Store.Write(ctx, func(w *store.Writer) error {
			r, kind, err := edit(w)
			is, event = r, audit.Event{}
			if err != nil || kind == "" {
				return err
			}
			event = policyEvent(who, called, s, kind, r)
			return w.AuditEvent(event)
		})
		if errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrExists) {
			giveWay(ctx, try)
			continue
		}
		if err != nil {
			return PolicyVersion{}, err
		}
		if event.Kind != "" {
			p.policyChanged(ctx, event, is)
		}
		return p.viewPolicy(ctx, names, is, true), nil
	}
	return PolicyVersion{}, conflict("the rules are being changed by others: try again")
}

// policyChanged has the rules count here at once; elsewhere they do within a
// second.
func (p *Platform) policyChanged(ctx context.Context, e audit.Event, is store.Policy) {
	p.cfg.Logger.InfoContext(ctx, "policy changed", "change", e.Kind, "scope", is.Scope, "version", is.Version,
		"state", string(is.State), "document_sha256", sumOf(is.Document), "by", e.Principal)
	if p.cfg.Judge == nil {
		return
	}
	if err := p.cfg.Judge.Reload(context.WithoutCancel(ctx)); err != nil {
		p.cfg.Logger.WarnContext(ctx, "the changed policy cannot be read yet", "scope", is.Scope, "err", err)
	}
}

// add is the edit of SetPolicy.
func (p *Platform) add(w *store.Writer, who auth.Access, s policyScope, n NewPolicy) (store.Policy, string, error) {
	var none, active store.Policy
	live, newest, err := w.LivePolicies(s.name)
	if err != nil {
		return none, "", err
	}
	for _, r := range live {
		switch r.State {
		case store.PolicyProposed:
			return none, "", conflict("version %d is proposed: it has to be approved or rejected first", r.Version)
		case store.PolicyActive:
			active = r
		}
	}
	if n.Replaces != nil && *n.Replaces != active.Version {
		return none, "", conflict("the rules were changed meanwhile: version %d counts; read it again", active.Version)
	}
	switch {
	case active.Version == 0 && n.Document == "":
		return none, "", conflict("there are no rules that could be ended")
	case active.Version > 0 && active.Document == n.Document && p.unforged(active):
		return active, "", nil
	}
	needed, err := approvalsIn(w, s)
	if err != nil {
		return none, "", err
	}
	now := instant()
	r := store.Policy{
		Scope: s.name, Version: newest + 1, State: store.PolicyActive, Document: n.Document,
		Author: who.Principal.Name, Comment: n.Comment, Created: now, Decided: now,
	}
	if needed > 0 {
		r.State, r.Decided = store.PolicyProposed, time.Time{}
		r = p.sealPolicy(r)
		return r, "policy-propose", w.InsertPolicy(r)
	}
	if err := p.retire(w, live); err != nil {
		return none, "", err
	}
	r = p.sealPolicy(r)
	return r, "policy-set", w.InsertPolicy(r)
}

// retire ends what counts.
func (p *Platform) retire(w *store.Writer, live []store.Policy) error {
	for _, r := range live {
		if r.State != store.PolicyActive {
			continue
		}
		genuine := p.unforged(r)
		r.State = store.PolicyPast
		if genuine { // else it must not get a hash by which it would seem so
			r = p.sealPolicy(r)
		}
		if err := w.DecidePolicy(r, store.PolicyActive); err != nil {
			return err
		}
	}
	return nil
}

// decide changes the state of a proposed version.
func (p *Platform) decide(ctx context.Context, who auth.Access, kind Kind, at Path, version int64,
	edit func(w *store.Writer, r store.Policy) (store.Policy, string, error),
) (PolicyVersion, error) {
	s, err := p.changeableScope(ctx, who, kind, at)
	if err != nil {
		return PolicyVersion{}, err
	}
	return p.changePolicy(ctx, who, s, func(w *store.Writer) (store.Policy, string, error) {
		r, err := w.PolicyVersion(s.name, version)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return r, "", noVersion(version)
		case err != nil:
			return r, "", err
		case r.State != store.PolicyProposed:
			return r, "", conflict("version %d is %s: only a proposed one can be approved or rejected", version, r.State)
		}
		return edit(w, r)
	})
}

func (p *Platform) sealPolicy(r store.Policy) store.Policy {
	r.MAC = p.cfg.PolicyMAC(r.Bytes())
	return r
}

// approvalsIn is approvalsFor within a commit.
func approvalsIn(w *store.Writer, s policyScope) (int, error) {
	id := s.consortium()
	if id == "" {
		return 0, nil
	}
	stored, err := w.Resource(id)
	if err != nil {
		return 0, err
	}
	c, err := readRow(stored)
	return c.data.PolicyApprovals, err
}
