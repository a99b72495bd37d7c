// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"github.com/ethereum/go-ethereum/core/types"
)

// undecided is the implied type of arguments that leave the choice between
// legacy, access-list and dynamic-fee to the chain.
const undecided = -1

// impliedType returns the transaction type that the fields ask for, or
// undecided. It refuses fields that no single type has.
//
// Unlike geth, which turns a gasPrice with an accessList into a legacy
// transaction and drops the list, that pair means type 1 here.
func (a *Args) impliedType() (int, error) {
	blob := a.Blobs != nil || a.BlobHashes != nil
	dynamic := ""
	switch {
	case a.MaxFeePerGas != nil:
		dynamic = "maxFeePerGas"
	case a.MaxPriorityFeePerGas != nil:
		dynamic = "maxPriorityFeePerGas"
	}
	switch {
	case a.GasPrice != nil && dynamic != "":
		return 0, argErr("gasPrice", "given together with %s; give one kind of fee", dynamic)
	case a.AuthorizationList != nil && len(a.AuthorizationList) == 0:
		return 0, argErr("authorizationList", "must not be empty")
	case a.AuthorizationList != nil && blob:
		return 0, argErr("authorizationList", "given together with blobs; no transaction type has both")
	case a.GasPrice != nil && a.AuthorizationList != nil:
		return 0, argErr("gasPrice", "given together with authorizationList; such a transaction wants maxFeePerGas and maxPriorityFeePerGas")
	case a.GasPrice != nil && blob:
		return 0, argErr("gasPrice", "given together with blobs; such a transaction wants maxFeePerGas and maxPriorityFeePerGas")
	case a.MaxFeePerBlobGas != nil && !blob:
		return 0, argErr("maxFeePerBlobGas", `given without "blobs" or "blobVersionedHashes"`)
	}
	kind := undecided
	switch {
	case a.AuthorizationList != nil:
		kind = types.SetCodeTxType
	case blob:
		kind = types.BlobTxType
	case dynamic != "":
		kind = types.DynamicFeeTxType
	case a.GasPrice != nil && a.AccessList != nil:
		kind = types.AccessListTxType
	case a.GasPrice != nil:
		kind = types.LegacyTxType
	}
	if a.Type == nil {
		return kind, nil
	}
	return a.agree(int(*a.Type), kind, dynamic)
}

// agree checks the caller's explicit type against the fields.
func (a *Args) agree(want, kind int, dynamic string) (int, error) {
	if want > types.SetCodeTxType {
		return 0, argErr("type", "transaction type %#x is not supported; want 0x0 to 0x4", want)
	}
	clash := ""
	switch {
	case want != types.SetCodeTxType && a.AuthorizationList != nil:
		clash = "authorizationList"
	case want != types.BlobTxType && kind == types.BlobTxType:
		clash = "blobs"
	case want < types.DynamicFeeTxType && dynamic != "":
		clash = dynamic
	case want >= types.DynamicFeeTxType && a.GasPrice != nil:
		clash = "gasPrice"
	case want == types.LegacyTxType && a.AccessList != nil:
		clash = "accessList"
	}
	if clash != "" {
		return 0, argErr("type", "%#x does not go with %s", want, clash)
	}
	switch {
	case want == types.SetCodeTxType && a.AuthorizationList == nil:
		return 0, argErr("authorizationList", "missing; type 0x4 needs it")
	case want == types.BlobTxType && kind != types.BlobTxType:
		return 0, argErr("blobs", `missing; type 0x3 needs "blobs" or "blobVersionedHashes"`)
	}
	return want, nil
}
