// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
	"github.com/holiman/uint256"
)

// transactions are arguments for every type of transaction, and for a contract's
// creation. They are complete, so that no node is asked before they are judged.
func (r *rig) transactions() map[string]map[string]any {
	r.Helper()
	base := func(more map[string]any) map[string]any {
		args := map[string]any{"from": r.keys.Addresses[0], "to": to(), "value": "0x1", "gas": "0x186a0", "chainId": hexutil.Uint64(r.node.ChainID)}
		for name, v := range more {
			args[name] = v
		}
		return args
	}
	fees := func(more map[string]any) map[string]any {
		args := base(more)
		args["maxFeePerGas"], args["maxPriorityFeePerGas"] = "0x12a05f200", "0x3b9aca00"
		return args
	}
	create := fees(map[string]any{"data": "0x600160005500", "value": "0x0"})
	delete(create, "to")
	return map[string]map[string]any{
		"legacy":      base(map[string]any{"gasPrice": "0x12a05f200"}),
		"access list": base(map[string]any{"gasPrice": "0x12a05f200", "accessList": types.AccessList{{Address: *to(), StorageKeys: []common.Hash{{1}}}}}),
		"dynamic fee": fees(nil),
		"blob":        fees(map[string]any{"maxFeePerBlobGas": "0x3b9aca00", "blobs": []string{hexutil.Encode(new(kzg4844.Blob)[:])}}),
		"set code":    fees(map[string]any{"authorizationList": []types.SetCodeAuthorization{r.authorization()}}),
		"create":      create,
	}
}

// authorization is one of somebody else's account.
func (r *rig) authorization() types.SetCodeAuthorization {
	r.Helper()
	somebody, err := crypto.GenerateKey()
	must(r.T, err)
	a, err := types.SignSetCode(somebody, types.SetCodeAuthorization{ChainID: *uint256.NewInt(r.node.ChainID), Address: *to(), Nonce: 1})
	must(r.T, err)
	return a
}

// raw are transactions of every type that are signed by the account already.
func (r *rig) raw() (all [][]byte) {
	r.Helper()
	id, fee, tip, gas := new(big.Int).SetUint64(r.node.ChainID), big.NewInt(5e9), big.NewInt(1e9), uint64(100_000)
	id256, fee256, tip256 := uint256.MustFromBig(id), uint256.MustFromBig(fee), uint256.MustFromBig(tip)
	var blob kzg4844.Blob
	commitment, err := kzg4844.BlobToCommitment(&blob)
	must(r.T, err)
	proof, err := kzg4844.ComputeBlobProof(&blob, commitment)
	must(r.T, err)
	sidecar := types.NewBlobTxSidecar(types.BlobSidecarVersion0, []kzg4844.Blob{blob}, []kzg4844.Commitment{commitment}, []kzg4844.Proof{proof})
	for _, data := range []types.TxData{
		&types.LegacyTx{GasPrice: fee, Gas: gas, To: to(), Value: common.Big1},
		&types.AccessListTx{ChainID: id, GasPrice: fee, Gas: gas, To: to(), Value: common.Big1},
		&types.DynamicFeeTx{ChainID: id, GasFeeCap: fee, GasTipCap: tip, Gas: gas, To: to(), Value: common.Big1},
		&types.DynamicFeeTx{ChainID: id, GasFeeCap: fee, GasTipCap: tip, Gas: gas, Data: []byte{0x60, 1, 0x60, 0, 0x55, 0}},
		&types.BlobTx{ChainID: id256, GasFeeCap: fee256, GasTipCap: tip256, Gas: gas, To: *to(), Value: uint256.NewInt(1), BlobFeeCap: tip256, BlobHashes: sidecar.BlobHashes(), Sidecar: sidecar},
		&types.SetCodeTx{ChainID: id256, GasFeeCap: fee256, GasTipCap: tip256, Gas: gas, To: *to(), Value: uint256.NewInt(1), AuthList: []types.SetCodeAuthorization{r.authorization()}},
	} {
		signed, err := types.SignNewTx(r.key(), types.LatestSignerForChainID(id), data)
		must(r.T, err)
		text, err := signed.MarshalBinary()
		must(r.T, err)
		all = append(all, text)
	}
	return all
}
