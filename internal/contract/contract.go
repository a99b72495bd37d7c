// SPDX-License-Identifier: Apache-2.0

// Package contract is the work behind the gateway for contracts: which
// interfaces and contracts a membership has on a chain ([Book]), and what is
// asked of them, sent to them and replied ([Desk]).
//
// It guarantees that a request with an id is sent at most once, however often it
// is made and whoever dies in between, since the id is the transaction's
// idempotency key; that a name belongs to one contract of its place and chain at
// most, and that a deployment which was accepted never loses the name it was to
// have; and that a reply says what the transaction's row and the chain say now,
// so that it is true after a reorganisation too.
//
// It never signs, judges or sends by itself: every transaction goes through the
// wallet's Begin, as one from the JSON-RPC door. It knows nothing of HTTP, and
// trusts its caller's word on who may do what: it keeps places apart, and asks no
// roles.
package contract

import (
	"context"
	"encoding/json"
	"math/big"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// Place is where interfaces and contracts stand: what is in one place is not
// found from another.
type Place struct {
	Environment string // id
	Membership  string // id
}

// Wallet is the service by which a chain is reached and which signs.
// *fleet.Wallet is one.
type Wallet interface {
	// Name is the wallet's name in the store.
	Name() string
	// ChainID is the chain that it is pinned to.
	ChainID() *big.Int
	// Has reports whether the account is one of its own.
	Has(account common.Address) bool
	// Begin takes a transaction in; see txmgr.Wallet.
	Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) (wait func(context.Context) (common.Hash, error))
	// Forward asks the chain's node; see node.Client.
	Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error)
}

// Target is who asks, where, and by which wallet.
type Target struct {
	Principal auth.Principal
	Place     Place
	Wallet    Wallet
}

// Upload is an interface that somebody wants kept.
type Upload struct {
	Name        string          // at most 128 characters; empty: what the compiler called it, or nothing
	Description string          // at most 1024 characters
	ABI         json.RawMessage // the array of the Solidity ABI specification
	Bytecode    []byte          // creation code; nil if it is not to be deployed
	Docs        json.RawMessage // NatSpec, {"devdoc": {…}, "userdoc": {…}}; nil for none
	Compiler    string          // version that made it; empty if not known
}

// ABI is an interface that is kept.
type ABI struct {
	ID          string
	Name        string
	Description string
	Compiler    string
	Principal   string // who uploaded it
	Created     time.Time
	Deployable  bool // it has creation code

	// What follows is not in lists.
	Document json.RawMessage // the ABI as it was uploaded
	Docs     json.RawMessage // NatSpec, {"devdoc": {…}, "userdoc": {…}}; nil for none
	Bytecode []byte          // creation code; shared, must not be changed
	Contract *abi.Contract   // Document, parsed; shared, must not be changed
}

// Kinds of contract.
const (
	KindContract = "contract"
	KindERC20    = "erc20"
	KindERC721   = "erc721"
)

// Contract is one that was deployed here or registered.
type Contract struct {
	ID      string
	Chain   *big.Int
	Address *common.Address // nil while it is being deployed
	Name    string          // empty for none
	ABI     string          // id of its interface; empty if it was deployed by one that is not kept
	Kind    string          // KindContract, KindERC20 or KindERC721
	Wallet  string          // name of the wallet that deployed it; empty if it was registered
	Reply   string          // id of the deployment's reply; empty if it was registered
	Detail  json.RawMessage // what its kind wants remembered; nil for nothing
	// Settled says that nothing can change Address any more: it was registered, or
	// its deployment is final. Until then a reorganisation may.
	Settled   bool
	Principal string
	Created   time.Time
}

// Terms are what a call may say besides what it calls. Nil: not given.
type Terms struct {
	From                 *common.Address // an account of the wallet, for what is sent
	Value                *big.Int        // wei
	Gas                  *uint64
	GasPrice             *big.Int // wei per gas
	MaxFeePerGas         *big.Int // wei per gas, EIP-1559
	MaxPriorityFeePerGas *big.Int // wei per gas, EIP-1559
	Nonce                *uint64
}

// Call is one call of a method.
type Call struct {
	Terms
	ID     string // the caller's, by which the same request is known again; empty: a new one is made
	To     common.Address
	ABI    ABI // Contract words errors and events, and may be nil; ID stands in the reply
	Method *abi.Method
	Args   abi.Args
	Block  string // for Query: a tag, a decimal or a 0x number; empty: latest
	Ack    string // stands in the reply's Origin, for the door
}

// Deployment is a contract that is to be created.
type Deployment struct {
	Terms
	ID     string // as in Call
	ABI    ABI    // with Contract and Bytecode; ID is empty if it is not kept
	Args   abi.Args
	Name   string          // that it is to have; empty for none
	Kind   string          // empty: KindContract
	Detail json.RawMessage // what its kind wants remembered; nil for nothing
	Ack    string
}

// Registration is a contract that is there already.
type Registration struct {
	ABI     string // id
	Address common.Address
	Name    string // empty for none
	Kind    string // empty: KindContract
	Detail  json.RawMessage
}

// Sent says that a transaction was accepted.
type Sent struct {
	ID      string      // of its reply
	Hash    common.Hash // zero while Pending
	Pending bool        // stored, and may still be sent; its outcome is not known yet
	// Contract is the row of what is being deployed; zero for other transactions.
	Contract string
}

// State is how far a transaction is, for its reply.
type State string

// The states of a reply.
const (
	StatePending   State = "pending"   // accepted, and not mined yet
	StateSucceeded State = "succeeded" // mined, status 1
	StateReverted  State = "reverted"  // mined, status 0
	StateReplaced  State = "replaced"  // another transaction was mined in its place
	StateFailed    State = "failed"    // never left and never will, or was cancelled
)

// Reply is what became of one request, worded from its row and the chain as they
// are now.
type Reply struct {
	ID       string // of the request
	Tx       string // id of the transaction
	Origin   Origin
	State    State
	Final    bool // nothing changes any more
	Received time.Time
	Updated  time.Time
	From     common.Address
	To       *common.Address // nil: it creates a contract
	Nonce    *uint64         // nil: none yet, or none any more
	Value    *big.Int        // wei
	Hash     common.Hash     // zero if nothing was signed
	Failure  error           // with StateFailed: as Begin would have given it
	Receipt  *Receipt        // with StateSucceeded and StateReverted, if the node has it
	Events   []Event         // of the receipt, those that the interface knows, decoded
	// Revert is why it was reverted, if the node could be asked; nil if not known.
	Revert *Reverted
	// Contract is the address that it created; nil if it created none.
	Contract *common.Address
}

// Origin is what a request was for. It stands in the transaction's row.
type Origin struct {
	Kind     string `json:"kind"`               // OriginSend or OriginDeploy; empty if it is not known
	ID       string `json:"id"`                 // of the request
	ABI      string `json:"abi,omitempty"`      // id of the interface
	Method   string `json:"method,omitempty"`   // its signature
	Name     string `json:"name,omitempty"`     // that the deployed contract is to have
	Contract string `json:"contract,omitempty"` // row of the deployed contract
	Ack      string `json:"ack,omitempty"`      // for the door
}

// Kinds of Origin.
const (
	OriginSend   = "send"
	OriginDeploy = "deploy"
)

// Receipt is a transaction's receipt.
type Receipt struct {
	BlockHash         common.Hash
	BlockNumber       uint64
	Hash              common.Hash
	Index             uint64
	From              common.Address
	To                *common.Address
	Contract          *common.Address
	Status            uint64 // 1 success, 0 reverted
	GasUsed           uint64
	CumulativeGasUsed uint64
	EffectiveGasPrice *big.Int // wei per gas; nil if the node does not say
	Logs              []Log
}

// Log is one log entry of a receipt.
type Log struct {
	Address common.Address
	Topics  []common.Hash
	Data    []byte
	Index   uint64 // the chain's: within the block
}

// Event is a log entry that was decoded.
type Event struct {
	Address   common.Address
	Name      string
	Signature string
	Index     uint64          // the chain's: within the block
	Data      json.RawMessage // an object of its arguments
}

// ReplyFilter narrows a list of replies. Zero fields do not filter.
type ReplyFilter struct {
	From   *common.Address
	Before string // id of a transaction (Reply.Tx): only older ones, for paging
	Since  time.Time
	Limit  int // default 50, at most 200
}
