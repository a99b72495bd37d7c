// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// roomFor refuses a new resource, which is written already, where there are too
// many of its kind: one tenant must not fill the database and the memory of all.
// Consortia are the operator's own, and not counted.
func (p *Platform) roomFor(w *store.Writer, r row) error {
	most, where := p.cfg.MaxResources, "membership "+r.Membership
	switch r.kind() {
	case Consortia:
		return nil
	case APIKeys:
		return p.roomForKey(w, r)
	case Memberships, Environments:
		where = "consortium " + r.Consortium
	case Services:
		most = p.cfg.MaxServices
	}
	n, err := w.CountResources(store.ResourceFilter{Kind: r.Kind, Consortium: r.Consortium, Membership: r.Membership})
	if err != nil || n <= most {
		return err
	}
	return full(r, where, most)
}

// roomForKey counts API keys by where they grant something.
func (p *Platform) roomForKey(w *store.Writer, r row) error {
	all, err := w.Resources(store.ResourceFilter{Kind: string(APIKeys)})
	if err != nil {
		return err
	}
	n := make(map[auth.Grant]int)
	for _, stored := range all {
		key, err := readRow(stored)
		if err != nil {
			return err
		}
		for _, scope := range scopes(key.data.Grants) {
			n[scope]++
		}
	}
	for _, scope := range scopes(r.data.Grants) {
		if n[scope] <= p.cfg.MaxResources {
			continue
		}
		where := "the whole deployment"
		switch {
		case scope.Membership != "":
			where = "membership " + scope.Membership
		case scope.Consortium != "":
			where = "consortium " + scope.Consortium
		}
		return full(r, where, p.cfg.MaxResources)
	}
	return nil
}

// scopes are where grants hold, each once.
func scopes(grants []auth.Grant) []auth.Grant {
	var all []auth.Grant
	for _, g := range grants {
		g.Role = ""
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

func full(r row, where string, most int) error {
	what := fmt.Sprintf("%ss", r.kind().one())
	return conflict("there can be no more than %d %s in %s: delete some that are not used", most, what, where)
}
