// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

const requestVersion = "hsmsigner-approval-v1"

// Request is all of what is to be approved, as it is stored: its JSON has one
// form. Of Transaction, Message, TypedData and Document one is there.
type Request struct {
	Version     string         `json:"version"`
	Principal   Principal      `json:"principal"`
	Owner       Owner          `json:"owner"`
	Action      audit.Action   `json:"action"`
	Account     common.Address `json:"account"`
	ChainID     string         `json:"chain_id"` // decimal
	Transaction *Transaction   `json:"transaction,omitempty"`
	Message     *hexutil.Bytes `json:"message,omitempty"` // without the EIP-191 prefix
	TypedData   *TypedData     `json:"typed_data,omitempty"`
	Document    *Document      `json:"document,omitempty"`
}

// Principal is who asked.
type Principal struct {
	Name        string `json:"name"`
	Membership  string `json:"membership_id,omitempty"`
	Environment string `json:"environment_id,omitempty"`
}

// Owner is where the wallet stands.
type Owner struct {
	Consortium  string `json:"consortium_id,omitempty"`
	Environment string `json:"environment_id,omitempty"`
	Membership  string `json:"membership_id,omitempty"`
	Wallet      string `json:"wallet"`
	Service     string `json:"service_id,omitempty"`
}

// Transaction is a transaction that is to be signed.
type Transaction struct {
	// Payload is the unsigned transaction with its sidecar, nonce 0 unless that is
	// part of it (eth_signTransaction); the signed one if Presigned.
	Payload   hexutil.Bytes `json:"payload"`
	Presigned bool          `json:"presigned,omitempty"`
	Nonce     *uint64       `json:"nonce,omitempty"` // that the caller chose
	// The most that it may pay, wei per gas, in decimal. For a legacy transaction
	// the first is that of its gas price.
	MaxFeePerGas         string      `json:"max_fee_per_gas"`
	MaxPriorityFeePerGas string      `json:"max_priority_fee_per_gas"`
	MaxFeePerBlobGas     string      `json:"max_fee_per_blob_gas,omitempty"`
	IdempotencyKey       string      `json:"idempotency_key,omitempty"`
	Drawn                bool        `json:"drawn,omitempty"` // policy.Asked.Drawn: the key says nothing of its caller
	Asked                common.Hash `json:"asked"`           // policy.Asked.Hash
	// Origin is what the gateway was asked for, which words the outcome by it.
	Origin string `json:"origin,omitempty"`
}

// TypedData is an EIP-712 document, as JSON, and its digest.
type TypedData struct {
	Digest common.Hash     `json:"digest"`
	Data   json.RawMessage `json:"data"`
}

// Document is a document by its manifest.
type Document struct {
	SHA256    common.Hash `json:"sha256"`
	Size      int64       `json:"size"`
	Name      string      `json:"name"`
	MediaType string      `json:"media_type"`
}

// errUnfit says that a request cannot be put before people.
var errUnfit = errors.New("cannot be put before approvers")

// requestOf writes down what is asked for.
func requestOf(r policy.Request) (Request, error) {
	q := Request{
		Version:   requestVersion,
		Principal: Principal{r.Principal.Name, r.Principal.Membership, r.Principal.Environment},
		Owner:     Owner{r.Owner.Consortium, r.Owner.Environment, r.Owner.Membership, r.Owner.Wallet, r.Owner.Service},
		Action:    r.Action, Account: r.Account, ChainID: "0",
	}
	if r.ChainID != nil {
		q.ChainID = r.ChainID.String()
	} else if r.Transaction != nil && r.Transaction.ChainId() != nil {
		q.ChainID = r.Transaction.ChainId().String()
	}
	var err error
	switch {
	case r.Transaction != nil:
		q.Transaction, err = transactionOf(r)
	case r.TypedData != nil:
		q.TypedData, err = typedDataOf(r.TypedData)
	case r.Document != nil:
		q.Document = &Document{r.Document.SHA256, r.Document.Size, r.Document.Name, r.Document.MediaType}
	default:
		m := hexutil.Bytes(bytes.Clone(r.Message))
		q.Message = &m
	}
	return q, err
}

func transactionOf(r policy.Request) (*Transaction, error) {
	payload := r.Transaction
	if !r.Presigned && r.Action == audit.SendTransaction {
		payload = withNonce(payload, 0)
	}
	raw, err := payload.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("approval: encode the transaction: %w", err)
	}
	t := &Transaction{Payload: raw, Presigned: r.Presigned, Nonce: r.Asked.Nonce, IdempotencyKey: r.Asked.IdempotencyKey, Drawn: r.Asked.Drawn, Asked: r.Asked.Hash, Origin: r.Asked.Origin}
	fee, tip := r.Transaction.GasFeeCap(), r.Transaction.GasTipCap()
	if r.FeeCeiling != nil && r.FeeCeiling.Cmp(fee) > 0 {
		// What replaces it may pay so much, tip and all.
		fee, tip = r.FeeCeiling, r.FeeCeiling
	}
	t.MaxFeePerGas, t.MaxPriorityFeePerGas = fee.String(), tip.String()
	if blob := r.Transaction.BlobGasFeeCap(); blob != nil {
		t.MaxFeePerBlobGas = blob.String()
	}
	return t, nil
}

// sends reports whether the daemon sends it once it is approved.
func (q Request) sends() bool {
	return q.Action == audit.SendTransaction && q.Transaction != nil && !q.Transaction.Presigned
}

// principal is who asked.
func (q Request) principal() auth.Principal {
	return auth.Principal{Name: q.Principal.Name, Membership: q.Principal.Membership, Environment: q.Principal.Environment}
}

// text is the stored form.
func (q Request) text() (string, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("approval: encode the request: %w", err)
	}
	if len(b) > maxRequest {
		return "", fmt.Errorf("a request of %d bytes %w: at most %d are stored", len(b), errUnfit, maxRequest)
	}
	return string(b), nil
}

// readRequest reads the stored form.
func readRequest(text string) (q Request, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fmt.Errorf("approval: read a stored request: %w", err)
	}
	if q.Version != requestVersion {
		return q, fmt.Errorf("approval: a stored request is of version %q, want %q", q.Version, requestVersion)
	}
	return q, nil
}

// hashOf is what approvers sign in place of the whole request.
func hashOf(text string) common.Hash { return crypto.Keccak256Hash([]byte(text)) }

// identity finds a request again when its caller repeats it: by his idempotency
// key, or by what he asked for, in his own words where he is known to have used
// any, since what was filled in for him is other every time.
func (q Request) identity() [32]byte {
	h := sha256.New()
	put := func(parts ...string) {
		for _, part := range parts {
			fmt.Fprintf(h, "%d:%s", len(part), part)
		}
	}
	put(requestVersion, q.Principal.Name, q.Principal.Membership, q.Principal.Environment, q.Owner.Wallet, string(q.Action), q.Account.Hex())
	t := q.Transaction
	switch {
	case t == nil:
		put("content", q.ChainID, q.content())
	case q.keyed():
		put("key", t.IdempotencyKey)
	case q.sends() && t.Asked != (common.Hash{}):
		put("asked", t.Asked.Hex())
	default:
		put("payload", q.ChainID, string(t.Payload))
	}
	return [32]byte(h.Sum(nil))
}

// keyed reports whether the caller finds it again by a key of his own.
func (q Request) keyed() bool {
	return q.sends() && q.Transaction.IdempotencyKey != "" && !q.Transaction.Drawn
}

// content is what is to be signed, but of a transaction.
func (q Request) content() string {
	switch {
	case q.TypedData != nil:
		return "typed-data " + q.TypedData.Digest.Hex() + string(q.TypedData.Data)
	case q.Document != nil:
		b, _ := json.Marshal(q.Document)
		return "document " + string(b)
	case q.Message != nil:
		return "message " + q.Message.String()
	}
	return ""
}

// transaction is the stored transaction.
func (q Request) transaction() (*types.Transaction, error) {
	var t types.Transaction
	if err := t.UnmarshalBinary(q.Transaction.Payload); err != nil {
		return nil, fmt.Errorf("approval: read a stored transaction: %w", err)
	}
	return &t, nil
}

// amount reads one of our own decimal numbers.
func amount(text string) *big.Int {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}
