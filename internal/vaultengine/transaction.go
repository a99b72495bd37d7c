// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (e *engine) transactionPaths() []*framework.Path {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	return []*framework.Path{{
		Pattern: "sign-transaction/" + anyAddress,
		Fields: map[string]*framework.FieldSchema{
			"address":              addressField(),
			"chainId":              text("Id of the chain, above 0. Required: without it the signature would count on every chain."),
			"nonce":                text("Required."),
			"gas":                  text("Gas limit. Required."),
			"to":                   text("Receiver; without it the transaction creates a contract from data."),
			"value":                text("wei; 0 if left out."),
			"data":                 text("Bytes as 0x and hexadecimal digits."),
			"input":                text("Another name of data; if both are given they must be equal."),
			"gasPrice":             text("wei per gas, of a legacy or EIP-2930 transaction."),
			"maxFeePerGas":         text("wei per gas, of an EIP-1559 transaction."),
			"maxPriorityFeePerGas": text("wei per gas, of an EIP-1559 transaction."),
			"type":                 text("0x0, 0x1 or 0x2; must agree with the fields. Left out, they decide."),
			"accessList":           {Type: framework.TypeSlice, Description: "EIP-2930: a list of {address, storageKeys}."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: operation(e.signTransaction, "Sign a transaction."),
		},
		HelpSynopsis: "Sign a legacy (EIP-155), EIP-2930 or EIP-1559 transaction.",
		HelpDescription: "The fields are those of eth_sendTransaction; numbers are decimal or 0x and hexadecimal digits. " +
			"Nothing is filled in: what is signed is what was given.",
	}}
}

func (e *engine) signTransaction(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	address, err := addressOf(d)
	if err != nil {
		return nil, err
	}
	unsigned, chainID, err := transaction(d)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	signer := types.LatestSignerForChainID(chainID)
	sig, err := sign(ctx, req.Storage, address, [32]byte(signer.Hash(unsigned)))
	if err != nil {
		return nil, err
	}
	signed, err := unsigned.WithSignature(signer, sig.Bytes())
	if err != nil {
		return nil, errors.New("the signature does not fit the transaction")
	}
	raw, err := signed.MarshalBinary()
	if err != nil {
		return nil, errors.New("the signed transaction does not encode")
	}
	if err := recheck(raw, unsigned, signer, common.HexToAddress(address)); err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		"address":            address,
		"signed_transaction": hexutil.Encode(raw),
		"transaction_hash":   signed.Hash().Hex(),
	}}, nil
}

// recheck decodes what will leave, as its receiver will.
func recheck(raw []byte, unsigned *types.Transaction, signer types.Signer, from common.Address) error {
	var decoded types.Transaction
	if err := decoded.UnmarshalBinary(raw); err != nil {
		return errors.New("the signed transaction does not decode")
	}
	sender, err := types.Sender(signer, &decoded)
	if err != nil || sender != from || !bytes.Equal(signer.Hash(&decoded).Bytes(), signer.Hash(unsigned).Bytes()) {
		return errors.New("the signed transaction is not the one that was asked for; it was thrown away")
	}
	return nil
}
