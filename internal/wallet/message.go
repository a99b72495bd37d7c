// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/document"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// SignMessage signs msg with the EIP-191 prefix (personal_sign, eth_sign) and
// returns r‖s‖v, 65 bytes, v 27 or 28. Intent and outcome are committed
// before it returns. The prefix is what keeps a "message" of 32 bytes from
// being the digest of a transaction. A message that could be taken for the
// manifest of a document is a [*RequestError]: that is what SignDocument signs.
func (w *Wallet) SignMessage(ctx context.Context, p auth.Principal, addr common.Address, msg []byte) ([]byte, error) {
	if document.Resembles(msg) {
		return nil, &RequestError{"the message looks like what is signed for a document (" + document.Version + "): have the document signed"}
	}
	return w.signBytes(ctx, job{
		principal: p, address: addr, action: audit.SignMessage,
		digest:  tx.MessageHash(msg),
		subject: crypto.Keccak256Hash(msg).Hex(),
		request: &policy.Request{
			Principal: p, Account: addr, Action: audit.SignMessage, Message: msg,
		},
	})
}

// SignTypedData signs EIP-712 typed data and returns r‖s‖v, 65 bytes, v 27 or
// 28. A domain that names another chain than the wallet's is refused with a
// [*tx.ChainError]. Intent and outcome are committed before it returns.
func (w *Wallet) SignTypedData(ctx context.Context, p auth.Principal, addr common.Address, td *tx.TypedData) ([]byte, error) {
	if td == nil {
		return nil, &RequestError{"there is no typed data to sign"}
	}
	if err := td.CheckChain(w.cfg.ChainID); err != nil {
		return nil, err
	}
	digest, err := td.Hash()
	if err != nil {
		return nil, &RequestError{fmt.Sprintf("typed data: %v", err)}
	}
	return w.signBytes(ctx, job{
		principal: p, address: addr, action: audit.SignTypedData,
		digest:  digest,
		subject: digest.Hex(),
		request: &policy.Request{
			Principal: p, Account: addr, Action: audit.SignTypedData, TypedData: &td.Data,
		},
	})
}

// signBytes does a job whose result is the bare signature.
func (w *Wallet) signBytes(ctx context.Context, j job) ([]byte, error) {
	if w.whole != nil {
		return nil, errOnlyTransactions
	}
	var signature []byte
	j.seal = func(sig secp.Signature) (common.Hash, error) {
		signature = sig.Bytes()
		signature[64] += 27 // as ecrecover and every wallet library want it
		return common.Hash{}, nil
	}
	if _, err := w.sign(ctx, j); err != nil {
		return nil, err
	}
	return signature, nil
}
