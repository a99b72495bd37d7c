// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"fmt"
)

// InputError says what of a request cannot be taken, and what would be right.
type InputError struct {
	Field string // path in the body, such as webhook.url
	Msg   string
}

func (e *InputError) Error() string { return e.Field + ": " + e.Msg }

func badInput(field, format string, args ...any) error {
	return &InputError{Field: field, Msg: fmt.Sprintf(format, args...)}
}

// NotFoundError says that there is no such stream or subscription here.
type NotFoundError struct{ What, ID string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no %s %q here", e.What, e.ID) }

// ConflictError says that what is there does not allow it.
type ConflictError struct{ Msg string }

func (e *ConflictError) Error() string { return e.Msg }

func conflict(format string, args ...any) error {
	return &ConflictError{Msg: fmt.Sprintf(format, args...)}
}

// NodeError says that the chain's node could not be asked, or refused.
type NodeError struct{ Msg string }

func (e *NodeError) Error() string { return e.Msg }
