// SPDX-License-Identifier: Apache-2.0

// Package policy says what a principal may have signed. It is asked twice for
// a transaction: when it is accepted, and again just before the backend signs.
package policy

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Request is one thing that somebody wants signed. Exactly one of
// Transaction, Message and TypedData is set, by Action.
type Request struct {
	Principal   auth.Principal
	Wallet      string
	Account     common.Address
	Action      audit.Action
	Transaction *types.Transaction // unsigned, complete; its nonce counts only at signing
	Message     []byte             // without the EIP-191 prefix
	TypedData   *apitypes.TypedData
}

// Verdict is the answer, with the rule that gave it.
type Verdict struct {
	Allow  bool
	Rule   string // name of the deciding rule
	Reason string // for a person; empty when allowed
}

// String is how a verdict stands in the audit row.
func (v Verdict) String() string {
	if v.Allow {
		return "allow: " + v.Rule
	}
	return "deny: " + v.Rule
}

// Policy judges requests. Judge is safe for concurrent use. An error means
// that no verdict could be reached, and counts as a denial.
type Policy interface {
	Judge(ctx context.Context, r Request) (Verdict, error)
}

// DeniedError is the refusal that a caller sees.
type DeniedError struct{ Verdict Verdict }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("denied by policy: rule %q: %s", e.Verdict.Rule, e.Verdict.Reason)
}

// AllowAll is the policy where no rules are configured.
type AllowAll struct{}

// Judge allows everything.
func (AllowAll) Judge(context.Context, Request) (Verdict, error) {
	return Verdict{Allow: true, Rule: "default"}, nil
}
