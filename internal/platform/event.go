// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// eventOf is a change of a resource, or an order about one, for the audit trail:
// what was changed, and never to what, since that may be a secret. What a key may
// do is none.
func eventOf(who auth.Principal, verb string, r row, about []string) audit.Event {
	e := placed(who, word(r.kind().one())+"-"+word(verb), r)
	e.Subject = r.ID
	e.Detail = detail(struct {
		Name   string       `json:"name,omitempty"`
		Fields []string     `json:"fields,omitempty"`
		Grants []auth.Grant `json:"grants,omitempty"`
	}{r.Name, about, r.data.Grants})
	return e
}

// policyEvent is a change of the rules of a scope.
func policyEvent(who auth.Access, called string, s policyScope, kind string, r store.Policy) audit.Event {
	e := placed(who.Principal, kind, s.row)
	e.Subject = r.Scope
	e.Detail = detail(struct {
		Version int64  `json:"version"`
		State   string `json:"state"`
		SHA256  string `json:"document_sha256"`
		Author  string `json:"author"`
		Name    string `json:"name,omitempty"` // what people call who has done it
	}{r.Version, string(r.State), sumOf(r.Document), r.Author, called})
	return e
}

// placed is an event where a resource stands; nowhere, if it is none.
func placed(who auth.Principal, kind string, r row) audit.Event {
	consortium, membership := r.owner()
	if r.kind() == APIKeys && len(r.data.Grants) > 0 {
		consortium, membership = commonScope(r.data.Grants)
	}
	e := audit.Event{
		ID: store.NewID(), At: instant(), Principal: who.Name, Kind: kind,
		Consortium: consortium, Environment: r.Environment, Membership: membership,
	}
	switch r.kind() {
	case Environments:
		e.Environment = r.ID
	case Services:
		e.Wallet = r.wallet()
	}
	return e
}

// commonScope is where all of the grants hold: who may look there may know of the
// key.
func commonScope(grants []auth.Grant) (consortium, membership string) {
	consortium, membership = grants[0].Consortium, grants[0].Membership
	for _, g := range grants[1:] {
		if g.Consortium != consortium {
			return "", ""
		}
		if g.Membership != membership {
			membership = ""
		}
	}
	return consortium, membership
}

// word is how words stand in a kind of event.
func word(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") }

// detail is an object of texts and numbers, which always has a JSON.
func detail(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
