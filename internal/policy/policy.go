// SPDX-License-Identifier: Apache-2.0

// Package policy says what a principal may have signed. It is asked twice for
// a transaction: when it is accepted, and again just before the backend signs.
package policy

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Owner is where a wallet stands: ids, and the name of the wallet itself.
type Owner struct {
	Consortium  string
	Environment string
	Membership  string
	Wallet      string // as in store, txmgr and audit: the service's id, or the name of a declared wallet
	Service     string // id of the service
}

// Document is a document that is to be signed, by its manifest.
type Document struct {
	SHA256    [32]byte
	Size      int64 // bytes
	Name      string
	MediaType string
}

// Request is one thing that somebody wants signed. Exactly one of
// Transaction, Message, TypedData and Document is set, by Action.
type Request struct {
	Principal   auth.Principal
	Owner       Owner    // filled in by package wallet
	ChainID     *big.Int // of the wallet; filled in by package wallet
	Account     common.Address
	Action      audit.Action
	Transaction *types.Transaction // unsigned, complete; its nonce counts only at signing
	Message     []byte             // without the EIP-191 prefix
	TypedData   *apitypes.TypedData
	Document    *Document

	// ID is what an allowance is reserved for: the transaction's id, else the
	// audit intent's.
	ID string
	// Signing says that this is the second time, just before the backend is asked,
	// and Clearance is what the first verdict gave: nothing is reserved twice.
	Signing   bool
	Clearance string
	// Approval is the id of the approval that brings the request; only package
	// approval sets it.
	Approval string
	// Presigned says that the signature exists already (a raw transaction of our
	// own account): the rules judge it, but no allowance is taken for it.
	Presigned bool
	// FeeCeiling is the most that a replacement may pay per gas, in wei; nil: what
	// the transaction says. Fee caps are judged by it.
	FeeCeiling *big.Int
	// Asked is what Transaction does not say of a transaction that is to be sent:
	// an approval keeps it, since it is sent later. No rule looks at it.
	Asked Asked
}

// Asked is how the caller of eth_sendTransaction asked. The transaction manager
// fills it in at acceptance; it is zero otherwise.
type Asked struct {
	IdempotencyKey string   // empty for none
	Drawn          bool     // the key was drawn for this one request: its caller repeats it under another
	Hash           [32]byte // tx.Args.RequestHash: of what the caller gave, before anything was filled in
	Nonce          *uint64  // that the caller chose; nil for none
	Origin         string   // what the gateway was asked for; empty if it came by another door
}

// Verdict is the answer, with the rule that gave it.
type Verdict struct {
	Allow  bool
	Rule   string // name of the deciding rule, or limit
	Reason string // for a person; empty when allowed
	// Clearance is to be stored with what was allowed and given back to Judge when
	// it is signed, and to Settle; empty if there is nothing to remember.
	Clearance string
	// Uses is what takes the approval that brought a transaction: it has to be
	// stored in the commit that stores the transaction's row (store.Tx.Uses), or
	// the row must not be stored. Empty if there is none.
	Uses string
	// Limit says that a limit refuses, which may let the same through later.
	Limit bool
}

// String is how a verdict stands in the audit row.
func (v Verdict) String() string {
	if v.Allow {
		return "allow: " + v.Rule
	}
	return "deny: " + v.Rule
}

// Use says what became of what a clearance had reserved.
type Use int

// The uses.
const (
	// Stored: the row that has the clearance, or the audit intent, is committed.
	Stored Use = iota
	// Unused: no backend was asked, or another transaction was mined at the nonce.
	// It is given back.
	Unused
)

// Policy judges requests. Its methods are safe for concurrent use.
type Policy interface {
	// Judge gives a verdict. A *PendingError says that people are asked first. Any
	// other error means that no verdict could be reached, and nothing is signed.
	Judge(ctx context.Context, r Request) (Verdict, error)
	// Settle tells what became of a clearance; it may be told more than once, and
	// returns at once. What nobody tells is found out from the rows.
	Settle(id, clearance string, use Use)
}

// DeniedError is the refusal that a caller sees.
type DeniedError struct{ Verdict Verdict }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("denied by policy: rule %q: %s", e.Verdict.Rule, e.Verdict.Reason)
}

// UndecidedError says that it is not known just now whether a request is allowed,
// for no fault of its caller: nothing was stored, no backend was asked, and it may
// be asked for again.
type UndecidedError struct{ Why string }

func (e *UndecidedError) Error() string { return e.Why + "; nothing was signed" }

// PendingError says that the request waits for people.
type PendingError struct {
	ID         string // of the approval
	Rule       string // that asks for it
	Have, Need int
	Expires    time.Time
	Key        string // the idempotency key under which it is sent once it is approved; empty for none
	Waits      string // why it is not sent yet although it is approved; empty for none
}

func (e *PendingError) Error() string {
	if e.Waits != "" {
		return fmt.Sprintf("approved and not sent yet: request %s is tried again until %s: %s", e.ID, e.Expires.UTC().Format(time.RFC3339), e.Waits)
	}
	return fmt.Sprintf("approval needed: request %s waits for %d of %d approvers (rule %q) until %s",
		e.ID, e.Need-e.Have, e.Need, e.Rule, e.Expires.UTC().Format(time.RFC3339))
}

// AllowAll is the policy where no rules are configured.
type AllowAll struct{}

// Judge allows everything.
func (AllowAll) Judge(context.Context, Request) (Verdict, error) {
	return Verdict{Allow: true, Rule: "default"}, nil
}

// Settle has nothing to settle.
func (AllowAll) Settle(string, string, Use) {}
