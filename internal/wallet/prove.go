// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"crypto/rand"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// provingDomain begins the preimage of every challenge.
const provingDomain = "hsmsigner proof of possession v1"

// Prove has the backend sign a fresh challenge and checks that the signature
// is by addr: a vault that merely lists an address cannot claim it (TXMGR
// no. 23). The signature is thrown away. The caller remembers the result.
//
// A backend that signs no digests is given a transaction that carries the
// challenge and that no chain will ever take. A backend that is away is waited
// for until ctx ends, since a transaction waits for the proof.
func (w *Wallet) Prove(ctx context.Context, addr common.Address) error {
	challenge := w.challenge(addr)
	var whole *wholeTx
	if w.whole != nil {
		whole = challengeTx(addr, challenge)
		challenge = tx.Digest(whole.unsigned, whole.chainID)
	}
	_, err := w.sign(ctx, job{
		principal: auth.System, address: addr, action: audit.ProvePossession,
		digest:  challenge,
		subject: challenge.Hex(),
		whole:   whole,
		patient: true,
		exempt:  "allow: proof of possession", // nothing that leaves is signed
		seal:    func(secp.Signature) (common.Hash, error) { return common.Hash{}, nil },
	})
	return err
}

// challenge returns keccak256(domain ‖ wallet ‖ address ‖ 32 random bytes).
//
// It can be the digest of nothing else, since digests are of preimages that
// begin otherwise. This one begins with 'h' (0x68) and 's' (0x73). A legacy
// transaction is an RLP list, which begins with 0xc0 or more; a typed one
// (EIP-2718) and an EIP-7702 authorisation begin with their type, 0x01 to
// 0x05, and even a type 0x68 of some later day would, as all do, go on with an
// RLP list and not with 0x73; EIP-191 messages and EIP-712 data begin with
// 0x19. The random bytes keep everybody, the backend's owner included, from
// choosing it. The parts behind the wallet's name have fixed lengths, so no
// two wallets can share a preimage.
func (w *Wallet) challenge(addr common.Address) common.Hash {
	var random [32]byte
	rand.Read(random[:]) // never fails (crypto/rand, Go 1.24)
	return crypto.Keccak256Hash([]byte(provingDomain), []byte(w.cfg.Name), addr[:], random[:])
}
