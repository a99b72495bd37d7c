// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
)

// MessageHash is the digest of a message with the prefix of EIP-191 version
// 0x45, "\x19Ethereum Signed Message:\n" and the length, as eth_sign and
// personal_sign want it. The prefix keeps a message from being a transaction.
func MessageHash(msg []byte) common.Hash {
	return common.BytesToHash(accounts.TextHash(msg))
}
