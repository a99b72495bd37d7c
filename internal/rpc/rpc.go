// SPDX-License-Identifier: Apache-2.0

// Package rpc is the JSON-RPC door: JSON-RPC 2.0 over HTTP and WebSocket on
// one URL per wallet, in front of the wallet's own methods and of the node
// that it is bound to.
//
// It guarantees that a request is parsed once and strictly, and that what is
// forwarded is that reading written anew, never the caller's bytes; that only
// methods named in an explicit list reach the node, and never one that a node
// would answer with keys of its own; that results and errors of the node come
// back byte for byte, under the caller's id; that every request, answer,
// batch, socket and subscription is bounded in size, number and time; that
// what is another membership's or environment's answers as if it did not
// exist, and nothing at all before the credential is known; and that no error
// tells a node's address, a provider's reply or a secret.
//
// It never signs, never decides about a nonce and never judges a transaction:
// that is behind the interfaces of [Service].
package rpc

import (
	"context"
	"encoding/json"
	"math/big"
	"net/http"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// Service is one wallet as the door sees it. It is not changed once a [Server]
// has it.
type Service struct {
	Name    string   // in logs, metrics and URLs
	Aliases []string // more names for URLs
	// Membership and Environment are whose it is, by id. A principal that is held
	// to others gets the answer that it gets for a wallet that does not exist.
	Membership  string
	Environment string

	ChainID  *big.Int // pinned; eth_chainId of the node is compared with it
	Accounts Accounts
	Signer   Signer
	Sender   Sender
	Node     Node

	// SignTransactionHex makes eth_signTransaction answer the bare hex string
	// that op-signer's clients want, instead of {raw, tx}.
	SignTransactionHex bool

	// ExtraMethods are further methods that are passed to the node, by exact
	// name. Names that must never get there are refused.
	ExtraMethods []string
}

// Accounts says which addresses a wallet has. Its methods do not block.
type Accounts interface {
	// Accounts lists the usable accounts in a stable order.
	Accounts() []common.Address
	// Has reports whether the wallet has this account, usable or not.
	Has(common.Address) bool
}

// Signer signs what is not sent.
type Signer interface {
	// SignMessage signs msg under the EIP-191 prefix (version 0x45), which it
	// adds itself. It returns r‖s‖v, 65 bytes, v ∈ {27, 28}.
	SignMessage(ctx context.Context, p auth.Principal, account common.Address, msg []byte) ([]byte, error)
	// SignTypedData signs under EIP-712. It returns r‖s‖v, 65 bytes,
	// v ∈ {27, 28}.
	SignTypedData(ctx context.Context, p auth.Principal, account common.Address, data *tx.TypedData) ([]byte, error)
	// SignTransaction signs without sending and without reserving the nonce.
	// It requires nonce, gas and fees.
	SignTransaction(ctx context.Context, p auth.Principal, args tx.Args) (*types.Transaction, error)
}

// Sender accepts transactions. *txmgr.Wallet is one.
type Sender interface {
	// Begin takes a transaction in and returns at once. Transactions that
	// share an Order get their nonces in the order in which they were begun;
	// the work and the waiting overlap. wait gives the hash, or the error that
	// the caller should see; if its own ctx ends first, the outcome is open.
	Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) (wait func(ctx context.Context) (common.Hash, error))
	// Owns reports whether an account of any wallet of this signer has this
	// address. It does not block.
	Owns(account common.Address) bool
	// SendRaw takes a transaction that one of the wallet's accounts signed
	// already. If handled is false it is to be passed to the node.
	SendRaw(ctx context.Context, p auth.Principal, raw []byte) (hash common.Hash, handled bool, err error)
	// Fill returns the unsigned transaction that Begin would make now.
	Fill(ctx context.Context, args tx.Args) (*types.Transaction, error)
	// PendingNonce returns the nonce that the account's next transaction
	// would get.
	PendingNonce(ctx context.Context, account common.Address) (uint64, error)
}

// Node is the node that a wallet is bound to. *node.Client is one.
type Node interface {
	// Forward passes one request on and returns the answer byte for byte.
	// Params are a JSON array.
	Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error)
	// ForwardBatch is Forward for several requests, in order. Each call has
	// its own outcome.
	ForwardBatch(ctx context.Context, calls []*node.ForwardCall, header http.Header)
	// Subscribe starts an eth_subscribe with these params. onEvent gets the
	// results one after the other and does not block.
	Subscribe(ctx context.Context, params []byte, onEvent func(result json.RawMessage)) (*node.Subscription, error)
}

var (
	_ Node   = (*node.Client)(nil)
	_ Sender = (*txmgr.Wallet)(nil)
)
