// SPDX-License-Identifier: Apache-2.0

// Package tx turns what a caller wants signed into a digest: transaction
// arguments into an unsigned transaction, messages by EIP-191, typed data by
// EIP-712. Transaction types, RLP and hashing are go-ethereum's.
//
// Arguments are read strictly: what is unknown, doubtful or contradictory is
// refused with an [ArgError] that names the field, never ignored, since a
// field that is dropped changes what the signature means. Legacy transactions
// are always bound to a chain (EIP-155). The package holds no key, signs
// nothing, and reaches the node only through the [Chain] that it is given.
package tx

import (
	"bytes"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
	"github.com/ethereum/go-ethereum/params"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Args are the arguments of eth_sendTransaction, eth_signTransaction and
// eth_fillTransaction (ethereum/execution-apis, GenericTransaction). A nil
// field is one that the caller left out.
type Args struct {
	From common.Address
	To   *common.Address // nil creates a contract

	Gas                  *uint64
	GasPrice             *big.Int // wei per gas
	MaxFeePerGas         *big.Int // wei per gas, EIP-1559
	MaxPriorityFeePerGas *big.Int // wei per gas, EIP-1559

	Value   *big.Int // wei
	Nonce   *uint64
	Data    []byte // from "data" or "input"
	ChainID *big.Int
	Type    *uint8 // EIP-2718; as the caller gave it, or as FillFees chose

	AccessList *types.AccessList // EIP-2930; a pointer to an empty list is not the same as nil

	MaxFeePerBlobGas *big.Int // wei per blob gas, EIP-4844
	BlobHashes       []common.Hash
	Blobs            []kzg4844.Blob
	Commitments      []kzg4844.Commitment
	Proofs           []kzg4844.Proof // one per blob, or 128 cell proofs per blob (EIP-7594)

	AuthorizationList []types.SetCodeAuthorization // EIP-7702
}

// members are the names that ParseArgs understands.
var members = []string{
	"from", "to", "gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "value", "nonce",
	"data", "input", "chainId", "type", "accessList", "maxFeePerBlobGas", "blobVersionedHashes",
	"blobs", "commitments", "proofs", "authorizationList",
}

// private are names by which Quorum, Besu and Tessera ask for privacy. A
// transaction that was meant to be private must never be sent in the open.
var private = []string{
	"privateFor", "privateFrom", "privacyGroupId", "privacyFlag", "restriction", "mandatoryFor",
}

// ParseArgs reads the arguments strictly. Members that are null count as
// absent. Every error is an *[ArgError].
func ParseArgs(v strictjson.Value) (Args, error) {
	if v.Kind != strictjson.Object {
		return Args{}, argErr("", "want an object with the transaction's fields, got %s", v.Kind)
	}
	for _, m := range v.Members {
		if err := checkMember(m.Name); err != nil {
			return Args{}, err
		}
	}
	a, err := readArgs(reader{v: v})
	if err != nil {
		return Args{}, err
	}
	if err := a.check(); err != nil {
		return Args{}, err
	}
	return a, nil
}

func checkMember(name string) error {
	if slices.Contains(members, name) {
		return nil
	}
	for _, p := range private {
		if strings.EqualFold(p, name) {
			return argErr(excerpt(name), "private transactions are not supported")
		}
	}
	if name == "gasLimit" {
		return argErr(name, `unknown field; did you mean "gas"?`)
	}
	for _, m := range members {
		if strings.EqualFold(m, name) {
			return argErr(excerpt(name), "unknown field; did you mean %q?", m)
		}
	}
	return argErr(excerpt(name), "unknown field of a transaction")
}

func readArgs(r reader) (Args, error) {
	from := r.address("from", true)
	a := Args{
		To:                   r.address("to", false),
		Gas:                  r.uint64("gas"),
		GasPrice:             r.big("gasPrice"),
		MaxFeePerGas:         r.big("maxFeePerGas"),
		MaxPriorityFeePerGas: r.big("maxPriorityFeePerGas"),
		Value:                r.big("value"),
		Nonce:                r.uint64("nonce"),
		ChainID:              r.big("chainId"),
		Type:                 r.txType("type"),
		AccessList:           r.accessList("accessList"),
		MaxFeePerBlobGas:     r.big("maxFeePerBlobGas"),
		BlobHashes:           r.hashes("blobVersionedHashes"),
		Blobs:                fixedList[kzg4844.Blob](&r, "blobs", params.BlobTxMaxBlobs),
		Commitments:          fixedList[kzg4844.Commitment](&r, "commitments", params.BlobTxMaxBlobs),
		Proofs:               fixedList[kzg4844.Proof](&r, "proofs", params.BlobTxMaxBlobs*kzg4844.CellProofsPerBlob),
		AuthorizationList:    r.authorizations("authorizationList"),
	}
	data, input := r.bytes("data"), r.bytes("input")
	if r.err != nil {
		return Args{}, r.err
	}
	if data != nil && input != nil && !bytes.Equal(data, input) {
		return Args{}, argErr("input", `"data" and "input" are both given and differ; give one of them`)
	}
	if a.Data = input; input == nil {
		a.Data = data
	}
	if from == nil {
		return Args{}, argErr("from", "missing; want the address of the account that signs")
	}
	a.From = *from
	return a, nil
}

// check refuses contradictions between fields that no chain could resolve.
func (a *Args) check() error {
	kind, err := a.impliedType()
	if err != nil {
		return err
	}
	if a.ChainID != nil && a.ChainID.Sign() == 0 {
		return argErr("chainId", "must not be zero: such a signature could be replayed on any chain")
	}
	if a.Nonce != nil && *a.Nonce == math.MaxUint64 {
		return argErr("nonce", "too large: the highest nonce is 0xfffffffffffffffe (EIP-2681)")
	}
	if a.Gas != nil && *a.Gas > math.MaxInt64 {
		return argErr("gas", "too large: want at most 0x7fffffffffffffff")
	}
	if a.MaxFeePerGas != nil && a.MaxPriorityFeePerGas != nil && a.MaxPriorityFeePerGas.Cmp(a.MaxFeePerGas) > 0 {
		return argErr("maxPriorityFeePerGas", "%s is above maxFeePerGas %s (wei per gas)", a.MaxPriorityFeePerGas, a.MaxFeePerGas)
	}
	if a.To == nil {
		switch {
		case kind == types.BlobTxType:
			return argErr("to", "missing; a blob transaction cannot create a contract")
		case kind == types.SetCodeTxType:
			return argErr("to", "missing; a transaction with an authorizationList cannot create a contract")
		case len(a.Data) == 0:
			return argErr("to", `missing; to create a contract give its code in "data"`)
		}
	}
	return a.checkBlobs()
}

func (a *Args) checkBlobs() error {
	if a.MaxFeePerBlobGas != nil && a.MaxFeePerBlobGas.Sign() == 0 {
		return argErr("maxFeePerBlobGas", "must not be zero")
	}
	n := len(a.Blobs)
	switch {
	case a.BlobHashes != nil && len(a.BlobHashes) == 0:
		return argErr("blobVersionedHashes", "must not be empty")
	case a.Blobs != nil && n == 0:
		return argErr("blobs", "must not be empty")
	case a.Blobs == nil && a.Commitments != nil:
		return argErr("commitments", `given without "blobs"`)
	case a.Blobs == nil && a.Proofs != nil:
		return argErr("proofs", `given without "blobs"`)
	case (a.Commitments == nil) != (a.Proofs == nil):
		return argErr("proofs", `"commitments" and "proofs" go together: give both or neither`)
	case a.Commitments != nil && len(a.Commitments) != n:
		return argErr("commitments", "want one for each of the %d blobs, got %d", n, len(a.Commitments))
	case a.Proofs != nil && len(a.Proofs) != n && len(a.Proofs) != n*kzg4844.CellProofsPerBlob:
		return argErr("proofs", "want one for each of the %d blobs, or %d cell proofs, got %d", n, n*kzg4844.CellProofsPerBlob, len(a.Proofs))
	case a.Blobs != nil && a.BlobHashes != nil && len(a.BlobHashes) != n:
		return argErr("blobVersionedHashes", "want one for each of the %d blobs, got %d", n, len(a.BlobHashes))
	}
	return nil
}
