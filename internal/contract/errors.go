// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
)

// The errors of this file are found with errors.As and errors.Is; their texts are
// made for the caller. Those of Begin (packages txmgr, tx, policy, freeze,
// wallet) and of Forward (package node) come through as they are, and so do
// *abi.ArgError and *abi.ParseError.

// InputError says that something that the caller gave is wrong. Nothing was done.
type InputError struct {
	Field string // "name", "abi", "bytecode", "id", …
	Msg   string
}

func (e *InputError) Error() string { return e.Field + ": " + e.Msg }

func inputErr(field, format string, args ...any) error {
	return &InputError{Field: field, Msg: fmt.Sprintf(format, args...)}
}

// NotFoundError says that there is no such thing in this place.
type NotFoundError struct {
	What string // "abi", "contract" or "reply"
	Ref  string // what the caller gave, shortened
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no %s %q here", e.What, e.Ref) }

// ConflictError says that what is there stands against what was asked. Nothing
// was done.
type ConflictError struct{ Msg string }

func (e *ConflictError) Error() string { return e.Msg }

func conflict(format string, args ...any) error {
	return &ConflictError{Msg: fmt.Sprintf(format, args...)}
}

// PendingContractError says that a contract has no address yet: its deployment is
// not mined.
type PendingContractError struct {
	Name  string
	Reply string // id of the deployment's reply
}

func (e *PendingContractError) Error() string {
	return fmt.Sprintf("the contract is still being deployed: see the reply %s", e.Reply)
}

// AccountError says that the account which is to send is not the wallet's.
type AccountError struct{ Address common.Address }

func (e *AccountError) Error() string { return fmt.Sprintf("unknown account %s", e.Address) }

// Reverted is what a contract said when it refused.
type Reverted struct {
	Data    []byte      // as the node gave it; may be empty
	Decoded *abi.Revert // nil if Data is nothing that is known
	Reason  string      // in words; empty if there are none
}

// RevertedError says that a call, or a transaction whose gas was estimated,
// reverts. No nonce was spent. It wraps the error of the node or of Begin.
type RevertedError struct {
	Reverted
	Err error
}

func (e *RevertedError) Error() string {
	if e.Reason == "" {
		return "execution reverted"
	}
	return "execution reverted: " + e.Reason
}

// Unwrap gives the error that it was made of.
func (e *RevertedError) Unwrap() error { return e.Err }

// ApprovalError says that people are asked first. The request is sent under ID once
// they have approved. It wraps the *policy.PendingError.
type ApprovalError struct {
	ID  string // of the reply
	Err error
}

func (e *ApprovalError) Error() string { return e.Err.Error() }

// Unwrap gives the error that it was made of.
func (e *ApprovalError) Unwrap() error { return e.Err }

// UnfinishedError says that it is not known what becomes of a request. Made again
// under ID it is sent once only.
type UnfinishedError struct {
	ID  string
	Err error
}

func (e *UnfinishedError) Error() string {
	return "no answer in time: the transaction may still be sent. Ask for the reply " + e.ID + ", or make the request again under this id"
}

// Unwrap gives the error that it was made of.
func (e *UnfinishedError) Unwrap() error { return e.Err }

// NodeError is the node's own refusal of a question.
type NodeError struct {
	Code int
	Msg  string
}

func (e *NodeError) Error() string { return e.Msg }

// ErrIDUsed says that the id belongs to another request. Nothing was done.
var ErrIDUsed = errors.New("the id was used for another request: use a new id, or send that request again unchanged")
