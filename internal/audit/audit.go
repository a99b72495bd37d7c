// SPDX-License-Identifier: Apache-2.0

// Package audit is the vocabulary of the audit trail: who meant to sign what,
// and what came of it. Rows are append-only. An intent is committed before a
// key backend is asked, its outcome before the signed bytes leave or return:
// no audit record, no signature.
package audit

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Action is what a signature is wanted for.
type Action string

// The actions that package wallet signs for, and nothing else.
const (
	SendTransaction Action = "send-transaction" // signed, stored and sent by the transaction manager
	SignTransaction Action = "sign-transaction" // eth_signTransaction: signed and returned
	SignMessage     Action = "sign-message"     // EIP-191
	SignTypedData   Action = "sign-typed-data"  // EIP-712
	SignDocument    Action = "sign-document"    // a manifest of package document, by JWS and by EIP-191
	ProvePossession Action = "prove-possession" // our own challenge, TXMGR.md no. 23
	Repair          Action = "repair"           // a self-transfer that fills or cancels a nonce
)

// What is done to keys beside signing; an intent of it names the key in Subject.
const (
	CreateKey  Action = "create-key" // its address is not known before
	ImportKey  Action = "import-key"
	DisableKey Action = "disable-key"
	EnableKey  Action = "enable-key"
	DeleteKey  Action = "delete-key"
)

// Intent says that a signature is about to be asked for.
type Intent struct {
	ID        string // unique, sorts by time
	At        time.Time
	Principal string
	Wallet    string
	Address   common.Address
	Action    Action
	Subject   string // transaction id, or keccak256 of the message or typed data
	Verdict   string // the policy's verdict: "allow: <rule>" or "deny: <rule>"
	Detail    string // JSON for people: what is to be signed; may be empty
}

// Outcome says what came of an intent. One intent has several outcomes when a
// transaction is signed again at another nonce.
type Outcome struct {
	ID        string
	Intent    string
	At        time.Time
	Digest    common.Hash // what the backend signed; zero if it was not asked
	Hash      common.Hash // hash of the signed transaction; zero for messages
	RequestID string      // the provider's id of the signing request
	Error     string      // why there is no signature; empty on success
}

// Event is something that happened and is no signature: a change of a resource,
// a sign-in, an approval, a freeze.
type Event struct {
	ID          string // unique, sorts by time
	At          time.Time
	Principal   string // who did it; may be empty where nobody is known
	Kind        string // what, in words with hyphens: "service-create", "sign-in", "freeze"
	Consortium  string // ids of where it happened; empty if nowhere
	Environment string
	Membership  string
	Wallet      string
	Subject     string // id of what it happened to
	Detail      string // JSON; never a secret
}

// Log writes audit rows durably. Both methods return only once the row is
// committed; on an error the caller must not go on.
type Log interface {
	WriteIntent(ctx context.Context, intent Intent) error
	WriteOutcome(ctx context.Context, outcome Outcome) error
}
