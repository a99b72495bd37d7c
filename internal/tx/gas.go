// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"bytes"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// IntrinsicGas is the least gas limit that a node takes for t: the cost of
// the transaction before any code runs (EIPs 2, 2028, 2930, 3860, 7702).
//
// The calldata floor of EIP-7623 counts only for type 4, which proves that
// the chain is at Prague: private chains at older forks take transactions
// below it, and theirs must not be refused here.
func IntrinsicGas(t *types.Transaction) uint64 {
	gas := params.TxGas
	size := uint64(len(t.Data())) // at most MaxSize or so: no sum below overflows
	zeros := uint64(bytes.Count(t.Data(), []byte{0}))
	if t.To() == nil {
		gas = params.TxGasContractCreation + (size+31)/32*params.InitCodeWordGas
	}
	gas += zeros*params.TxDataZeroGas + (size-zeros)*params.TxDataNonZeroGasEIP2028
	gas += uint64(len(t.AccessList())) * params.TxAccessListAddressGas
	gas += uint64(t.AccessList().StorageKeys()) * params.TxAccessListStorageKeyGas
	gas += uint64(len(t.SetCodeAuthorizations())) * params.CallNewAccountGas
	if t.Type() == types.SetCodeTxType {
		gas = max(gas, FloorGas(t.Data()))
	}
	return gas
}

// FloorGas is the least that a transaction with this calldata pays from
// Prague on (EIP-7623).
func FloorGas(data []byte) uint64 {
	zeros := uint64(bytes.Count(data, []byte{0}))
	tokens := zeros + (uint64(len(data))-zeros)*params.TxTokenPerNonZeroByte
	return params.TxGas + tokens*params.TxCostFloorPerToken
}
