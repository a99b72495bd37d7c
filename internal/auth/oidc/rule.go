// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Rule gives a grant to everybody of whom a claim says something.
type Rule struct {
	// Claim is the claim's name; dots lead into objects, as in
	// realm_access.roles, unless there is a claim of the whole name.
	Claim string
	// Value is what the claim is, or has among others if it is a list; "true" for
	// one that is simply true.
	Value string
	Grant auth.Grant
}

// holds reports whether the rule is about who has these claims.
func (r Rule) holds(c claims) bool {
	if r.Claim == "" || r.Value == "" {
		return false
	}
	// Anybody may write any address into some providers' profiles.
	if verified, _ := c["email_verified"].(bool); r.Claim == "email" && !verified {
		return false
	}
	return r.says(find(c, r.Claim))
}

func (r Rule) says(value any) bool {
	switch v := value.(type) {
	case string:
		return v == r.Value
	case bool:
		return v && r.Value == "true"
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { s, ok := item.(string); return ok && s == r.Value })
	}
	return false
}

func find(c map[string]any, name string) any {
	if v, ok := c[name]; ok {
		return v
	}
	for rest := name; ; {
		first, after, more := strings.Cut(rest, ".")
		v, ok := c[first]
		if !ok || !more {
			return v
		}
		if c, ok = v.(map[string]any); !ok {
			return nil
		}
		rest = after
	}
}
