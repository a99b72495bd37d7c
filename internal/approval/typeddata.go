// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// typedDataOf writes down an EIP-712 document that somebody wants signed. The
// digest is made from what is written down, by the code that makes the one which
// is signed.
func typedDataOf(d *apitypes.TypedData) (*TypedData, error) {
	data, err := json.Marshal(map[string]any{
		"types": d.Types, "primaryType": d.PrimaryType, "domain": domainOf(d), "message": d.Message,
	})
	if err != nil {
		return nil, fmt.Errorf("approval: encode typed data: %w", err)
	}
	v, err := strictjson.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("approval: read typed data back: %w", err)
	}
	read, err := tx.ParseTypedData(v)
	if err != nil {
		return nil, fmt.Errorf("approval: read typed data back: %w", err)
	}
	digest, err := read.Hash()
	if err != nil {
		return nil, fmt.Errorf("approval: hash typed data: %w", err)
	}
	return &TypedData{Digest: digest, Data: data}, nil
}

// domainOf has every field that the document's own type of the domain has: those
// that are empty are dropped by go-ethereum's struct.
func domainOf(d *apitypes.TypedData) map[string]any {
	out := map[string]any{}
	for _, f := range d.Types["EIP712Domain"] {
		switch f.Name {
		case "name":
			out[f.Name] = d.Domain.Name
		case "version":
			out[f.Name] = d.Domain.Version
		case "chainId":
			if d.Domain.ChainId != nil {
				out[f.Name] = (*big.Int)(d.Domain.ChainId).String()
			}
		case "verifyingContract":
			out[f.Name] = d.Domain.VerifyingContract
		case "salt":
			out[f.Name] = d.Domain.Salt
		}
	}
	return out
}
