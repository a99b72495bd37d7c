// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// freezes are what the routes of the stop switch need of a Platform.
type freezes interface {
	Freezes(ctx context.Context, who auth.Access) ([]platform.Freeze, error)
	FreezeState(ctx context.Context, who auth.Access, t platform.FreezeTarget) (platform.FreezeState, error)
	Freeze(ctx context.Context, who auth.Access, t platform.FreezeTarget, reason string) (platform.FreezeState, error)
	Release(ctx context.Context, who auth.Access, t platform.FreezeTarget, reason string) (platform.FreezeState, error)
}

func freezeScopes() []scope {
	return []scope{
		{"", "", "Everything", "everything"},
		{platform.Memberships, "/consortia/{consortium_id}/memberships/{membership_id}", "Membership", "a membership"},
		{platform.Services, aService, "Service", "a service"},
		{platform.Services, oneAccount, "Account", "an account of a service"},
	}
}

func freezeRoutes() []route {
	shown := shape[platform.Freeze]()
	table := []route{{
		method: http.MethodGet, path: "/freezes", name: "listFreezes", tag: "Freeze", title: "List what is frozen",
		answers: []answers{{http.StatusOK, &schema.Schema{Type: schema.Array, Items: shown}, "As far as the caller may see it."}}, serve: listFreezes,
	}}
	for _, s := range freezeScopes() {
		table = append(table, s.freezeRoutes()...)
	}
	return table
}

func (s scope) freezeRoutes() []route {
	path := s.path + "/freeze"
	one := []answers{{http.StatusOK, shape[platform.FreezeState](), "Whether it is frozen now, and by what."}}
	return of("Freeze", s.kind, []route{
		{
			method: http.MethodGet, path: path, name: "get" + s.noun + "Freeze", title: "Show whether " + s.of + " is frozen", answers: one, serve: getFreeze,
		},
		{
			method: http.MethodPut, path: path, name: "freeze" + s.noun, title: "Freeze " + s.of,
			doc: "Nothing of it is signed or sent any more: here at once, on all replicas within two seconds. What was accepted waits, and nothing is lost. " +
				"For operators and admins.",
			body: newFreeze("Why. It is told to everybody whose requests are refused by it.", "reason"), answers: one, errors: []int{http.StatusConflict}, serve: putFreeze,
		},
		{
			method: http.MethodDelete, path: path, name: "release" + s.noun, title: "Release " + s.of,
			doc: "What has waited goes on at once. For admins only, and of what somebody above them has frozen, only for those above: an operator's key in wrong hands " +
				"may be why it is frozen.",
			parameters: []parameter{{name: "reason", doc: "For the audit trail.", is: textOf("", 1024)}},
			answers:    one, errors: []int{http.StatusConflict}, serve: deleteFreeze,
		},
	})
}

func newFreeze(doc string, required ...string) *schema.Schema {
	return object("NewFreeze", map[string]*schema.Schema{
		"reason": {Type: schema.String, MinLength: 1, MaxLength: 1024, Pattern: `^[^<>]*$`, Description: doc},
	}, required...)
}

func listFreezes(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	all, err := p.Freezes(ctx, c.who)
	return ok(all), err
}

// target is what a path leads to.
func (c *call) target(rt *route) (platform.FreezeTarget, error) {
	t := platform.FreezeTarget{Kind: rt.kind, At: c.at}
	if c.leaf == "" {
		return t, nil
	}
	address, err := addressOf(c.leaf)
	if err == nil && address == (common.Address{}) {
		err = notFound()
	}
	t.Account = &address
	return t, err
}

func getFreeze(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	t, err := c.target(rt)
	if err != nil {
		return reply{}, err
	}
	s, err := p.FreezeState(ctx, c.who, t)
	return ok(s), err
}

func putFreeze(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	t, err := c.target(rt)
	if err != nil {
		return reply{}, err
	}
	s, err := p.Freeze(ctx, c.who, t, c.body.Get("reason").Text)
	return ok(s), err
}

func deleteFreeze(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	t, err := c.target(rt)
	if err != nil {
		return reply{}, err
	}
	s, err := p.Release(ctx, c.who, t, c.query.Get("reason"))
	return ok(s), err
}
