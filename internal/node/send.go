// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// SendRaw sends signed transactions in this order, in as few requests as the
// node allows, each raw as eth_sendRawTransaction takes it. One error per
// transaction; nil means that the node answered with its hash. Judge the
// others with Classify.
//
// All go to one endpoint. It never repeats anything by itself. After a request without an answer the
// rest is not sent and gets the same error.
func (c *Client) SendRaw(ctx context.Context, raws [][]byte) []error {
	const method = "eth_sendRawTransaction"
	size := 0
	for _, raw := range raws {
		size += 2*len(raw) + len(`["0x"]`)
	}
	text := make([]byte, 0, size)
	questions := make([]question, len(raws))
	qs := make([]*question, len(raws))
	for i, raw := range raws {
		start := len(text)
		text = append(appendHex(append(text, '['), raw), ']')
		questions[i] = question{method: method, params: text[start:len(text):len(text)], own: true}
		qs[i] = &questions[i]
	}
	c.active().batch(ctx, qs, nil)
	errs := make([]error, len(raws))
	for i, q := range qs {
		var hash common.Hash
		switch err := q.decode(nil); {
		case err != nil:
			errs[i] = err
		case !fixed(hash[:], q.answer.Result):
			errs[i] = fmt.Errorf("node: %s: %w", method, errForm())
		case hash != txHash(raws[i]):
			errs[i] = fmt.Errorf("node: %s: %w", method, badResponse("hash of another transaction"))
		}
	}
	return errs
}

// txHash is the hash of a signed transaction as it is mined. For a blob
// transaction with its sidecar that is not the hash of these bytes (EIP-4844).
func txHash(raw []byte) common.Hash {
	if len(raw) > 0 && raw[0] == types.BlobTxType {
		var tx types.Transaction
		if tx.UnmarshalBinary(raw) == nil {
			return tx.Hash()
		}
	}
	return crypto.Keccak256Hash(raw)
}
