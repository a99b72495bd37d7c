// SPDX-License-Identifier: Apache-2.0

package auth

import "slices"

// Role says what somebody may do with the resources in the scope of a [Grant].
// Each role may do what those before it may.
type Role string

// The roles.
const (
	Auditor  Role = "auditor"  // see everything but secrets
	Operates Role = "operator" // and keep it running: refresh, reset, cancel, speed up, label
	Admin    Role = "admin"    // and change resources, credentials and keys
)

// Roles are all of them, the weakest first.
func Roles() []Role { return []Role{Auditor, Operates, Admin} }

// includes reports whether r may do what want may.
func (r Role) includes(want Role) bool {
	have := slices.Index(Roles(), r)
	return have >= 0 && have >= slices.Index(Roles(), want)
}

// Grant is a role in a scope: the whole deployment if Consortium is empty, a
// whole consortium if Membership is, else what is the membership's.
type Grant struct {
	Consortium string `json:"consortium_id,omitempty"`
	Membership string `json:"membership_id,omitempty"`
	Role       Role   `json:"role"`
}

// Access is a caller of the management API: who it is, and what it may do.
// The zero Access may do nothing.
type Access struct {
	Principal Principal // Name is "key:<id>", "person:<subject>", or "operator"
	Grants    []Grant
}

// Operating is the access of whoever may open the control socket or read the
// store: the operator of the deployment.
func Operating() Access {
	return Access{Principal: Operator, Grants: []Grant{{Role: Admin}}}
}

// Can reports whether the caller has the role for what is the membership's in
// the consortium. An empty membership asks about what is the whole
// consortium's, an empty consortium about the deployment.
func (a Access) Can(role Role, consortium, membership string) bool {
	return slices.ContainsFunc(a.Grants, func(g Grant) bool {
		return g.Role.includes(role) &&
			(g.Consortium == "" || g.Consortium == consortium && consortium != "") &&
			(g.Membership == "" || g.Membership == membership && membership != "")
	})
}

// Sees reports whether the caller may know that a consortium exists: it has any
// role in it or in one of its memberships.
func (a Access) Sees(consortium string) bool {
	return slices.ContainsFunc(a.Grants, func(g Grant) bool {
		return g.Role.includes(Auditor) && (g.Consortium == "" || g.Consortium == consortium)
	})
}
