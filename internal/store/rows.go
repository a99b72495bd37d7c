// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// TxState is where a transaction stands. docs/architecture.md draws the
// transitions.
type TxState string

// The states of a transaction.
const (
	Offered    TxState = "offered"    // stored by a replica that does not hold the sender's lease; Nonce is a wanted one
	Queued     TxState = "queued"     // stored, no nonce yet
	Held       TxState = "held"       // has the caller's nonce, which is ahead of its turn; not signed
	Assigned   TxState = "assigned"   // has a nonce, is being signed
	Signed     TxState = "signed"     // bytes stored; sent, or about to be
	Sent       TxState = "sent"       // a node has answered that it took the bytes
	Mined      TxState = "mined"      // in a block that is not yet deep enough
	Superseded TxState = "superseded" // a recorded replacement took its nonce; its hashes are still watched
	Confirmed  TxState = "confirmed"  // final: mined, and deep enough
	Replaced   TxState = "replaced"   // final: its recorded replacement was mined
	Displaced  TxState = "displaced"  // final: a transaction that we did not make was mined at its nonce
	Failed     TxState = "failed"     // final: never left, never will; Error says why
)

// Live reports whether a row in this state occupies its nonce.
func (s TxState) Live() bool {
	switch s {
	case Held, Assigned, Signed, Sent, Mined, Confirmed, Displaced:
		return true
	}
	return false
}

// Final reports whether the state never changes again.
func (s TxState) Final() bool {
	switch s {
	case Confirmed, Replaced, Displaced, Failed:
		return true
	}
	return false
}

// TxKind says where a transaction came from.
type TxKind string

// The kinds of transaction.
const (
	UserTx TxKind = "user" // eth_sendTransaction
	RawTx  TxKind = "raw"  // eth_sendRawTransaction of one of our accounts; signed by the caller's eth_signTransaction
	FillTx TxKind = "fill" // our self-transfer that fills a nonce
)

// Tx is one accepted transaction.
type Tx struct {
	ID             string
	Wallet         string // name of the wallet it came in by, whose backend signs it
	Credential     string // auth.Principal.Name of the caller
	IdempotencyKey string // empty if the caller gave none
	RequestHash    [32]byte
	Intent         string // id of its audit intent
	Sender         string // Sender.ID
	Nonce          *uint64
	Explicit       bool   // the caller chose the nonce
	Kind           TxKind // where it came from
	Payload        []byte // the unsigned transaction, EIP-2718 binary; its nonce field means nothing
	State          TxState
	FeeCeiling     *big.Int // wei per gas that no replacement of ours may pass; fixed at acceptance
	Replaces       string   // id of the transaction whose nonce it took by replacement
	Trace          string   // W3C traceparent of the request; empty if it is not traced
	Clearance      string   // what the policy allowed it by; empty if nothing is to be remembered
	Origin         string   // what the gateway was asked for, as JSON; empty if it came by another door
	Timing         Timing   // how long its stages took, as far as that is known
	Uses           string   // ApprovalUse that goes with its row into one commit; no column, and never read
	Expires        time.Time
	Created        time.Time
	Updated        time.Time

	Hash      common.Hash // of the attempt that was disclosed last, or was mined
	Block     uint64      // number of the block it was mined in
	BlockHash common.Hash
	Succeeded bool   // receipt status, false if its cancellation is what was mined; counts once mined
	Error     string // why it is Failed, for its caller
}

// AttemptKind says why an encoding was signed.
type AttemptKind string

// The kinds of attempt.
const (
	FirstAttempt  AttemptKind = "first"
	CancelAttempt AttemptKind = "cancel" // self-transfer with a higher fee at the same nonce
	BumpAttempt   AttemptKind = "bump"   // the same payload with a higher fee
)

// AttemptOutcome says what became of an attempt.
type AttemptOutcome string

// The outcomes of an attempt.
const (
	Open       AttemptOutcome = "open"
	Void       AttemptOutcome = "void"       // moved away from before it left; its signature may never be stored
	Impossible AttemptOutcome = "impossible" // a node proved that these bytes can never become valid
	Won        AttemptOutcome = "won"        // mined
	Lost       AttemptOutcome = "lost"       // something else was mined at its nonce
)

// Attempt is one signed encoding of a transaction, or one about to be signed.
// That the only one of a confirmed transaction has won is not written down; see
// OutcomeIn.
type Attempt struct {
	ID      string
	Tx      string
	Sender  string
	Nonce   uint64
	Kind    AttemptKind
	Digest  common.Hash // what the backend is asked to sign
	Payload []byte      // the unsigned bytes where they differ from Tx.Payload (bump, cancel); else nil
	Raw     []byte      // signed bytes, EIP-2718 binary; nil until stored
	Hash    common.Hash // keccak256(Raw)
	Epoch   int64       // of the lease under which it was made
	Outcome AttemptOutcome
	Created time.Time
}

// OutcomeIn is the outcome of an attempt of t. It saves a write for each
// transaction that an attempt which is open in its row has won if it is the one
// that was confirmed.
func (a Attempt) OutcomeIn(t Tx) AttemptOutcome {
	if a.Outcome == Open && t.State == Confirmed && a.Raw != nil && a.Hash == t.Hash {
		return Won
	}
	return a.Outcome
}

// Sender is one address on one chain.
type Sender struct {
	ID         string // <chain id>-<first 4 bytes of the genesis hash>[-<instance>]-<address>, lower case
	ChainID    uint64
	Genesis    common.Hash
	Instance   string // label of the node's configuration that tells chains with one genesis apart
	Address    common.Address
	Membership string // the only membership whose wallets may use it
	Proven     bool   // its backend has signed our challenge
	Parked     string // why it waits for `tx repair`; empty if it does not
	// The last confirmed block in which one of its transactions was mined;
	// zero hash if none was. A different hash at that height is a chain reset
	// or a deep reorganisation.
	ConfirmedNumber uint64
	ConfirmedHash   common.Hash
}

// Lease is the right of one process to assign nonces for a sender.
type Lease struct {
	Sender  string
	Owner   string // unique per process start
	Epoch   int64  // rises with every grant
	Expires time.Time
}

// Account is one account of a wallet as discovery last saw it.
type Account struct {
	Wallet     string
	Address    common.Address
	Ref        string // key.Ref
	Name       string
	Protection string
	State      string // key.State, or "missing" if the last refresh did not find it
	Reason     string
	Tags       map[string]string
	Seen       time.Time // when discovery last found it
}

// TxFilter narrows a list of transactions. Zero fields do not filter.
type TxFilter struct {
	Wallet  string
	Sender  string
	Address common.Address
	States  []TxState
	ID      string
	Hash    common.Hash // of any of its attempts
	Nonce   *uint64     // that it has, or had last
	Key     string      // idempotency key, of whichever credential; of the gateway's without GatewayKey as well
	Before  string      // id; only rows with a smaller id (older), for paging
	Limit   int         // default 50, at most 1000
}
