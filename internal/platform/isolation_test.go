// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// call is one way to reach a resource by its id.
type call struct {
	name string
	kind platform.Kind
	do   func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error
}

func calls() []call {
	all := []call{
		{"status", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Status(ctx, who, at)
			return err
		}},
		{"accounts", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Accounts(ctx, who, at, platform.AccountQuery{})
			return err
		}},
		{"account", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Account(ctx, who, at, common.Address{1}, platform.AccountQuery{})
			return err
		}},
		{"refresh", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.RefreshAccounts(ctx, who, at)
			return err
		}},
		{"create account", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.CreateAccount(ctx, who, at, platform.NewAccount{})
			return err
		}},
		{"import key", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.ImportKey(ctx, who, at)
			return err
		}},
		{"import account", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.ImportAccount(ctx, who, at, platform.ImportedAccount{})
			return err
		}},
		{"label", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.LabelAccount(ctx, who, at, common.Address{1}, "x")
			return err
		}},
		{"transactions", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Transactions(ctx, who, at, platform.TransactionQuery{})
			return err
		}},
		{"transaction", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Transaction(ctx, who, at, strings.Repeat("0", 32))
			return err
		}},
		{"cancel", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.CancelTransaction(ctx, who, at, strings.Repeat("0", 32))
			return err
		}},
		{"speed up", platform.Services, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.SpeedUpTransaction(ctx, who, at, strings.Repeat("0", 32), big.NewInt(1), nil)
			return err
		}},
		{"regenerate", platform.AppCreds, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Regenerate(ctx, who, at)
			return err
		}},
		{"reset", platform.Services, reset(platform.Services)},
		{"reset", platform.Nodes, reset(platform.Nodes)},
	}
	for _, kind := range kinds() {
		all = append(all, call{"get", kind, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Get(ctx, who, kind, at)
			return err
		}}, call{"update", kind, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Update(ctx, who, kind, at, []byte(`{"name":"taken","org_name":"taken"}`))
			return err
		}}, call{"delete", kind, func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
			_, err := p.Delete(ctx, who, kind, at)
			return err
		}})
	}
	return all
}

func reset(kind platform.Kind) func(context.Context, *platform.Platform, auth.Access, platform.Path) error {
	return func(ctx context.Context, p *platform.Platform, who auth.Access, at platform.Path) error {
		_, err := p.Reset(ctx, who, kind, at)
		return err
	}
}

func kinds() []platform.Kind {
	return []platform.Kind{
		platform.Consortia, platform.Memberships, platform.Environments, platform.Nodes,
		platform.Configurations, platform.Services, platform.AppCreds, platform.APIKeys,
	}
}

// tenant is a membership with one of everything.
type tenant struct {
	consortium, environment, membership string
	ids                                 map[platform.Kind]string
}

func (r *rig) tenant(consortium, environment string) tenant {
	r.t.Helper()
	x := tenant{consortium: consortium, environment: environment, ids: map[platform.Kind]string{}}
	if consortium == "" {
		x.consortium = must[*platform.Consortium](r, platform.Consortia, platform.Path{}, `{"name":"c"}`).ID
		x.environment = must[*platform.Environment](r, platform.Environments, platform.Path{Consortium: x.consortium}, `{"name":"e"}`).ID
	}
	there := platform.Path{Consortium: x.consortium, Environment: x.environment}
	x.membership = must[*platform.Membership](r, platform.Memberships, there, `{"org_name":"m"}`).ID
	mine := func(body string) string { return strings.ReplaceAll(body, platform.DefaultMembership, x.membership) }
	x.ids[platform.Consortia], x.ids[platform.Environments], x.ids[platform.Memberships] = x.consortium, x.environment, x.membership
	x.ids[platform.Nodes] = must[*platform.Node](r, platform.Nodes, there, mine(nodeBody(""))).ID
	x.ids[platform.Configurations] = must[*platform.Configuration](r, platform.Configurations, there, mine(vaultBody(""))).ID
	x.ids[platform.Services] = must[*platform.Service](r, platform.Services, there, mine(`{"name":"s",`+member+`,"service":"cloudhsm","details":{"cloudhsm_id":"`+x.ids[platform.Configurations]+`"}}`)).ID
	x.ids[platform.AppCreds] = must[*platform.AppCred](r, platform.AppCreds, there, mine(`{`+member+`}`)).ID
	x.ids[platform.APIKeys] = must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"k","grants":[{"role":"admin","consortium_id":"`+x.consortium+`","membership_id":"`+x.membership+`"}]}`).ID
	return x
}

func (x tenant) admin() auth.Access {
	return auth.Access{Principal: auth.Principal{Name: "key:" + x.membership}, Grants: []auth.Grant{{Consortium: x.consortium, Membership: x.membership, Role: auth.Admin}}}
}

// TestNothingOfAnotherTenantCanBeToldFromWhatDoesNotExist asks for everything of
// another tenant, in the same consortium and in another, and for the same ids in
// one's own places.
func TestNothingOfAnotherTenantCanBeToldFromWhatDoesNotExist(t *testing.T) {
	r := newRig(t)
	a := r.tenant("", "")
	neighbour := r.tenant(a.consortium, a.environment)
	stranger := r.tenant("", "")
	const none = "u0nothing0"
	before := text(r.rows())
	for _, c := range calls() {
		for _, victim := range []tenant{neighbour, stranger} {
			id := victim.ids[c.kind]
			if victim.consortium == a.consortium && (c.kind == platform.Consortia || c.kind == platform.Environments) {
				continue // theirs, too
			}
			for _, path := range []platform.Path{
				{Consortium: a.consortium, Environment: a.environment},
				{Consortium: victim.consortium, Environment: victim.environment},
				{Consortium: a.consortium, Environment: victim.environment},
			} {
				missing := strings.NewReplacer(none, id).Replace(refused(t, c.do(t.Context(), r.p, a.admin(), at(path, none))))
				if got := refused(t, c.do(t.Context(), r.p, a.admin(), at(path, id))); got != missing {
					t.Errorf("%s %s at %v: %q, and for what is not there %q", c.name, c.kind, path, got, missing)
				} else if !strings.HasPrefix(got, "not_found: there is no ") {
					t.Errorf("%s %s at %v: %q", c.name, c.kind, path, got)
				}
			}
		}
	}
	if after := text(r.rows()); after != before {
		t.Error("something was changed")
	}
	for _, kind := range kinds() {
		all, err := r.p.List(t.Context(), a.admin(), kind, platform.Path{Consortium: a.consortium, Environment: a.environment})
		if err != nil || len(all) != 1 || !strings.Contains(text(all), a.ids[kind]) {
			t.Errorf("%s: the tenant sees %s, %v", kind, text(all), err)
		}
		if kind == platform.Consortia || kind == platform.APIKeys {
			continue
		}
		_, err = r.p.List(t.Context(), a.admin(), kind, platform.Path{Consortium: stranger.consortium, Environment: stranger.environment})
		if got := refused(t, err); got != "not_found: there is no consortium "+stranger.consortium {
			t.Errorf("%s: %s", kind, got)
		}
		_, err = r.p.Create(t.Context(), a.admin(), kind, platform.Path{Consortium: stranger.consortium, Environment: stranger.environment}, []byte(`{}`))
		if got := refused(t, err); got != "not_found: there is no consortium "+stranger.consortium {
			t.Errorf("%s: %s", kind, got)
		}
	}
	_, err := r.p.Create(t.Context(), a.admin(), platform.Nodes, platform.Path{Consortium: a.consortium, Environment: a.environment},
		[]byte(strings.ReplaceAll(nodeBody(""), platform.DefaultMembership, neighbour.membership)))
	if got := refused(t, err); got != "invalid: membership_id: there is no membership "+neighbour.membership+" in this consortium" {
		t.Error(got)
	}
}

func TestResourceIsFoundOnlyWhereItStands(t *testing.T) {
	r := newRig(t)
	a, b := r.tenant("", ""), r.tenant("", "")
	for _, kind := range kinds() {
		if kind == platform.Consortia || kind == platform.APIKeys {
			continue // stand nowhere
		}
		id := b.ids[kind]
		for _, path := range []platform.Path{
			{Consortium: a.consortium, Environment: a.environment}, {Consortium: b.consortium, Environment: a.environment}, {Consortium: a.consortium, Environment: b.environment},
		} {
			if kind != platform.Nodes && !strings.Contains("configurations services appcreds", string(kind)) && path.Consortium == b.consortium {
				continue // stands in no environment
			}
			_, err := r.p.Get(t.Context(), root(), kind, at(path, id))
			if got := refused(t, err); !strings.HasPrefix(got, "not_found: there is no ") {
				t.Errorf("%s at %v: %s", kind, path, got)
			}
		}
		for _, other := range kinds() {
			if other == kind {
				continue
			}
			if _, err := r.p.Get(t.Context(), root(), other, at(platform.Path{Consortium: b.consortium, Environment: b.environment}, id)); err == nil {
				t.Errorf("a %s is found as %s", kind, other)
			}
		}
	}
}

func TestRolesMayDoWhatTheyAreFor(t *testing.T) {
	r := newRig(t)
	x := r.tenant("", "")
	path := platform.Path{Consortium: x.consortium, Environment: x.environment}
	as := func(role auth.Role) auth.Access {
		return auth.Access{Grants: []auth.Grant{{Consortium: x.consortium, Membership: x.membership, Role: role}}}
	}
	need := map[string]auth.Role{
		"get": auth.Auditor, "status": auth.Auditor, "accounts": auth.Auditor, "account": auth.Auditor, "transactions": auth.Auditor, "transaction": auth.Auditor,
		"refresh": auth.Operates, "label": auth.Operates, "cancel": auth.Operates, "speed up": auth.Operates, "reset": auth.Operates,
		"create account": auth.Admin, "import key": auth.Admin, "import account": auth.Admin, "regenerate": auth.Admin, "update": auth.Admin, "delete": auth.Admin,
	}
	for _, c := range calls() {
		want, ok := need[c.name]
		if !ok {
			t.Fatalf("nobody says who may %s", c.name)
		}
		for _, role := range auth.Roles() {
			if c.name == "delete" && role == auth.Admin {
				continue // would take away what the others look at
			}
			err := c.do(t.Context(), r.p, as(role), at(path, x.ids[c.kind]))
			forbidden := err != nil && strings.HasPrefix(text(err), `{"Reason":"forbidden"`)
			below := role == auth.Auditor && want != auth.Auditor || role == auth.Operates && want == auth.Admin
			// What is the whole consortium's, its members may only look at.
			shared := (c.kind == platform.Consortia || c.kind == platform.Environments) && c.name != "get"
			if forbidden != (below || shared) {
				t.Errorf("%s may %s %s: %v", role, c.name, c.kind, err)
			}
		}
	}
	for _, kind := range kinds() {
		_, err := r.p.Create(t.Context(), as(auth.Operates), kind, path, []byte(`{"name":"x","org_name":"x","grants":[{"role":"auditor","consortium_id":"`+x.consortium+`","membership_id":"`+x.membership+`"}],"membership_id":"`+x.membership+`"}`))
		if got := refused(t, err); !strings.HasPrefix(got, "forbidden: ") {
			t.Errorf("an operator makes %s: %s", kind, got)
		}
	}
}
