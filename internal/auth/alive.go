// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"encoding/json"
	"strings"
)

// Standing is what a principal who has asked for something may do some time after.
type Standing int

// The standings. They are ordered: of two, the higher one counts.
const (
	Gone   Standing = iota // may not: it was revoked, or has not the role there
	Absent                 // a person who is signed in nowhere: nobody knows
	Stands                 // may
)

// Standing reports whether who may still ask for something where it takes role of
// people and API keys; app credentials need to be there, in the same membership and
// environment. Of a person it is known as long as a session of theirs is in force,
// with what that session may do; it reads them from the store. Principals that are
// none of the directory's stand, and those of the operator's file look to it as if
// they were revoked: whose they are, the caller has to know.
func (d *Directory) Standing(ctx context.Context, who Principal, role Role, consortium, membership string) (Standing, error) {
	now := d.now.Load()
	kind, id, _ := strings.Cut(who.Name, ":")
	switch kind {
	case "app", "cert":
		if now.byWho[who] == nil {
			return Gone, nil
		}
	case "key":
		if k := now.keys[id]; k == nil || !k.access.Can(role, consortium, membership) {
			return Gone, nil
		}
	case "person":
		return d.person(ctx, id, role, consortium, membership)
	}
	return Stands, nil
}

func (d *Directory) person(ctx context.Context, subject string, role Role, consortium, membership string) (Standing, error) {
	rows, err := d.cfg.Store.SignIns(ctx, subject)
	if err != nil {
		return Absent, unavailable(err)
	}
	standing := Absent
	for _, row := range rows {
		var may sessionGrants
		if json.Unmarshal(row.Grants, &may) != nil || !same(may.MAC, boundSession(d.cfg.Verifier, row, may.Rules, may.Grants)) {
			continue // whoever comes with it is told
		}
		switch {
		case may.Rules != d.cfg.Rules: // also that of an API key, whose subject is an id
		case Access{Grants: may.Grants}.Can(role, consortium, membership):
			return Stands, nil
		default:
			standing = Gone
		}
	}
	return standing, nil
}
