// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"reflect"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/auth/oidc"
)

func TestClaimsGiveTheGrantsOfTheRules(t *testing.T) {
	p := newProvider(t)
	root := auth.Grant{Role: auth.Admin}
	whole := auth.Grant{Consortium: "h0conso001", Role: auth.Operates}
	one := auth.Grant{Consortium: "h0conso001", Membership: "h0membe001", Role: auth.Auditor}
	o := believing(p,
		oidc.Rule{Claim: "groups", Value: "admins", Grant: root},
		oidc.Rule{Claim: "groups", Value: "ops", Grant: whole},
		oidc.Rule{Claim: "department", Value: "ops", Grant: whole}, // twice the same
		oidc.Rule{Claim: "email", Value: "ada@example.org", Grant: one},
		oidc.Rule{Claim: "realm_access.roles", Value: "auditor", Grant: one},
		oidc.Rule{Claim: "https://example.org/roles", Value: "auditor", Grant: one},
		oidc.Rule{Claim: "staff", Value: "true", Grant: one},
		oidc.Rule{Claim: "", Value: "", Grant: root},
		oidc.Rule{Claim: "groups", Value: "", Grant: root},
	)
	for name, c := range map[string]struct {
		claims map[string]any
		want   []auth.Grant
	}{
		"nothing":                 {map[string]any{"groups": nil}, nil},
		"an empty list":           {map[string]any{"groups": []string{}}, nil},
		"another group":           {map[string]any{"groups": []string{"Admins", "admins2", "xadmins", ""}}, nil},
		"one of a list":           {map[string]any{"groups": []string{"a", "admins"}}, []auth.Grant{root}},
		"text instead of a list":  {map[string]any{"groups": "admins"}, []auth.Grant{root}},
		"text that has it within": {map[string]any{"groups": "a,admins"}, nil},
		"a list in a list":        {map[string]any{"groups": []any{[]string{"admins"}}}, nil},
		"an object":               {map[string]any{"groups": map[string]any{"admins": true}}, nil},
		"a number":                {map[string]any{"groups": 1}, nil},
		"two rules, one grant":    {map[string]any{"groups": []string{"ops"}, "department": "ops"}, []auth.Grant{whole}},
		"two grants":              {map[string]any{"groups": []string{"ops", "admins"}}, []auth.Grant{root, whole}},
		"an address":              {map[string]any{"groups": nil, "email_verified": true}, []auth.Grant{one}},
		"an unverified address":   {map[string]any{"groups": nil, "email_verified": false}, nil},
		"verified in words":       {map[string]any{"groups": nil, "email_verified": "true"}, nil},
		"an object's list":        {map[string]any{"groups": nil, "realm_access": map[string]any{"roles": []string{"auditor"}}}, []auth.Grant{one}},
		"an object that is text":  {map[string]any{"groups": nil, "realm_access": "roles"}, nil},
		"a name with dots":        {map[string]any{"groups": nil, "https://example.org/roles": []string{"auditor"}}, []auth.Grant{one}},
		"simply true":             {map[string]any{"groups": nil, "staff": true}, []auth.Grant{one}},
		"simply false":            {map[string]any{"groups": nil, "staff": false}, nil},
	} {
		who, err := o.Identify(t.Context(), p.sign(c.claims))
		if err != nil || !reflect.DeepEqual(who.Grants, c.want) {
			t.Errorf("%s: got %v, %v, want %v", name, who.Grants, err, c.want)
		}
	}
}
