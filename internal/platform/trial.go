// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// trialTimeout bounds a trial: a person waits for it.
const trialTimeout = 20 * time.Second

// MaxTrialKeys is how many keys a trial shows.
const MaxTrialKeys = 50

// Trial is what a configuration would find, asked of the backend itself. Nothing
// is stored and nothing signed.
type Trial struct {
	OK       bool             `json:"ok"`               // the backend let us list its keys
	Reason   string           `json:"reason,omitempty"` // why not, and what would mend it
	Keys     []TrialKey       `json:"keys"`             // the first of them
	More     bool             `json:"more"`             // there are more
	Problems []AccountProblem `json:"problems"`         // keys that could not be used
	TookMS   int64            `json:"took_ms"`
}

// TrialKey is a key that a trial has found.
type TrialKey struct {
	Address    string `json:"address"`
	Name       string `json:"name"`
	KeyRef     string `json:"key_ref"`
	Protection string `json:"protection"`
	State      string `json:"state"`
	Reason     string `json:"state_reason,omitempty"`
}

// TryConfiguration asks a key backend what keys it would show to a configuration,
// as the body of POST has it; or, if at has an ID, to the one that is there with
// the details of the body merged into its own. The caller must be an admin of the
// membership. A backend that refuses, or does not answer, is a Trial that is not
// OK; an error is a mistake in the request.
func (p *Platform) TryConfiguration(ctx context.Context, who auth.Access, at Path, text []byte) (Trial, error) {
	b, err := parseBody(text)
	if err != nil {
		return Trial{}, err
	}
	r, err := p.toTry(ctx, who, at, b)
	if err != nil {
		return Trial{}, err
	}
	patch, given, err := b.object("details")
	switch {
	case err != nil:
		return Trial{}, err
	case !given && r.Revision == 0:
		return Trial{}, invalid("details", "is missing: want the provider and its credentials")
	case !given:
		patch = body{strictjson.Value{Kind: strictjson.Object}}
	}
	m, err := p.mergeDetails(ctx, r, patch.Value)
	if err != nil {
		return Trial{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	began := time.Now()
	page, err := p.cfg.Runtime.Try(ctx, r.Membership, m.parsed, MaxTrialKeys)
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return Trial{}, ctx.Err() // the caller has gone away
	}
	return viewTrial(page, err, time.Since(began)), nil
}

// toTry is the row of what is to be tried.
func (p *Platform) toTry(ctx context.Context, who auth.Access, at Path, b body) (row, error) {
	if at.ID == "" {
		if err := p.place(ctx, who, Configurations, at); err != nil {
			return row{}, err
		}
		d, err := p.blank(ctx, who, Configurations, at, b)
		if err != nil {
			return row{}, err
		}
		return d.row, nil
	}
	r, err := p.find(ctx, who, Configurations, at)
	if err == nil {
		err = allowed(who, auth.Admin, r)
	}
	return r, err
}

func viewTrial(page key.Page, err error, took time.Duration) Trial {
	t := Trial{OK: err == nil, Keys: []TrialKey{}, Problems: []AccountProblem{}, More: page.Next != "", TookMS: took.Milliseconds()}
	if err != nil {
		t.Reason, _ = reasonOf(err)
	}
	for _, k := range page.Keys {
		a := viewAccount(wallet.Account{
			Address: k.Address, Ref: k.Ref, Name: k.Name, Protection: k.Protection, State: k.State, Reason: k.Reason,
		}, "")
		t.Keys = append(t.Keys, TrialKey{a.Address, a.Name, a.KeyRef, a.Protection, a.State, a.Reason})
	}
	for _, bad := range page.Problems {
		t.Problems = append(t.Problems, AccountProblem{bad.Name, string(bad.Ref), bad.Reason})
	}
	return t
}
