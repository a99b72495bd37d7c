// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Reason says of which sort an [Error] is.
type Reason string

// The sorts of errors.
const (
	Invalid     Reason = "invalid"     // the request; nothing was changed
	NotFound    Reason = "not_found"   // or not the caller's, which nobody can tell apart
	Forbidden   Reason = "forbidden"   // the caller's, but not with this role
	Conflict    Reason = "conflict"    // with what is there: in use, changed meanwhile, read-only
	Unavailable Reason = "unavailable" // try again later; nothing was changed
	Unsupported Reason = "unsupported" // this backend never does it
)

// Error is a refusal as the caller may see it.
type Error struct {
	Reason Reason
	Field  string // of the request, like details.vault_name; empty if it is about no field
	Msg    string // what was wrong and what would be right, never a secret
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Msg
	}
	return e.Msg
}

func invalid(field, format string, args ...any) *Error {
	return &Error{Invalid, field, fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Error {
	return &Error{Reason: Conflict, Msg: fmt.Sprintf(format, args...)}
}

func unavailable(format string, args ...any) *Error {
	return &Error{Reason: Unavailable, Msg: fmt.Sprintf(format, args...)}
}

// missing is the answer about whatever the caller may not know of, whether it is
// there or not.
func missing(kind Kind, id string) *Error {
	if !isID(id) {
		id = "with that id" // what a caller sends is not sent back
	}
	return &Error{Reason: NotFound, Msg: fmt.Sprintf("there is no %s %s", kind.one(), id)}
}

func forbidden(role auth.Role, where string) *Error {
	return &Error{Reason: Forbidden, Msg: fmt.Sprintf("this needs the role %s for %s", role, where)}
}

// one is the kind's name in a sentence.
func (k Kind) one() string {
	switch k {
	case Consortia:
		return "consortium"
	case Memberships:
		return "membership"
	case Environments:
		return "environment"
	case Nodes:
		return "node"
	case Configurations:
		return "configuration"
	case Services:
		return "service"
	case AppCreds:
		return "app credential"
	case APIKeys:
		return "API key"
	}
	return string(k)
}

// known reports whether there is such a kind.
func (k Kind) known() bool { return k.one() != string(k) }

// inEnvironment reports whether resources of the kind stand in an environment
// and belong to a membership.
func (k Kind) inEnvironment() bool {
	switch k {
	case Nodes, Configurations, Services, AppCreds:
		return true
	}
	return false
}
