// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"errors"
	"math/big"

	"github.com/ethereum/go-ethereum/core/types"
)

// ErrUnsupported says that this kind of backend can never do what was asked,
// whatever its settings and rights are.
var ErrUnsupported = errors.New("key backend does not support this")

// TransactionSigner is a backend that signs whole legacy transactions and no
// digests: Kaleido's ethsign plugin for Vault. A backend that has these methods
// is asked for nothing else: its SignDigest gives [ErrUnsupported] without a
// call. Package wallet uses r and s of what it returns and nothing more, after
// it has compared everything.
type TransactionSigner interface {
	// Signable returns nil if the backend can sign a transaction of this shape,
	// else an error that wraps [ErrUnsupported] and says what to do. It is asked
	// before a nonce is spent, and makes no call.
	Signable(unsigned *types.Transaction) error
	// SignTransaction has a Signable legacy transaction signed for chainID
	// (EIP-155) with the key of ref. It costs one call to the backend. A chain
	// id of up to 248 bits, a gas limit of 0 and a nonce of 2⁶⁴-1 have to pass
	// unchanged: proofs of possession have them, so that no chain takes them.
	SignTransaction(ctx context.Context, ref Ref, chainID *big.Int, unsigned *types.Transaction) (RawTransaction, error)
}

// RawTransaction is what a [TransactionSigner] returned, unchecked.
type RawTransaction struct {
	Raw       []byte // RLP of the signed legacy transaction
	RequestID string // the provider's id of this request, for the audit row; may be empty
}
