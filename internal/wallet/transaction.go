// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// SignTransaction signs a complete transaction and returns it
// (eth_signTransaction). Intent and outcome are committed before it returns;
// nothing is reserved and nothing is sent.
func (w *Wallet) SignTransaction(ctx context.Context, p auth.Principal, addr common.Address, unsigned *types.Transaction) (*types.Transaction, error) {
	if err := w.checkUnsigned(unsigned); err != nil {
		return nil, err
	}
	j, signed := w.transactionJob(p, addr, audit.SignTransaction, unsigned)
	if _, err := w.sign(ctx, j); err != nil {
		return nil, err
	}
	return *signed, nil
}

// Accepted is a transaction that was accepted: judged, and stored together with
// its audit intent.
type Accepted struct {
	ID string // of the transaction; see policy.Request.ID
	// Wallet is the name of that by which it was accepted; empty: this one. Another
	// stands in for one that is gone: then the rules of both count.
	Wallet    string
	Intent    string // id of the audit intent that stands for this signature
	Principal auth.Principal
	Action    audit.Action // audit.SendTransaction or audit.Repair, and no other
	Address   common.Address
	Unsigned  *types.Transaction
	// Clearance is what it was allowed by. SignAccepted makes it what is to be kept
	// with the transaction from then on.
	Clearance  string
	FeeCeiling *big.Int // see policy.Request.FeeCeiling
}

// SignAccepted signs a transaction whose intent the transaction manager has
// committed with its acceptance. The policy is judged again, unless the action is
// [audit.Repair]: a repair must be a self-transfer of nothing, and needs no
// tenant's verdict. The caller commits the outcome, on success together with
// the signed bytes and before they leave; on an error its Error is set.
//
// A transaction was promised to be sent, so a backend that is away is waited for
// until ctx ends; only then there is a [*BackendError]. Everything else that is to
// be signed is refused with one as soon as the backend is known to be away. What
// is frozen is a [*freeze.FrozenError] at once, repairs too: the caller asks again
// when it is released.
func (w *Wallet) SignAccepted(ctx context.Context, a *Accepted) (signed *types.Transaction, outcome audit.Outcome, err error) {
	if err := w.checkAccepted(a); err != nil {
		return nil, audit.Outcome{ID: store.NewID(), Intent: a.Intent, At: time.Now(), Error: err.Error()}, err
	}
	j, result := w.transactionJob(a.Principal, a.Address, a.Action, a.Unsigned)
	j.intent, j.cameBy, j.patient, j.kept = a.Intent, a.Wallet, true, true
	if a.Action == audit.Repair {
		j.request, j.exempt = nil, "allow: repair"
	} else {
		j.request.ID, j.request.Signing = a.ID, true
		j.request.Clearance, j.request.FeeCeiling = a.Clearance, a.FeeCeiling
	}
	outcome, err = w.sign(ctx, j)
	if j.request != nil {
		a.Clearance = j.request.Clearance
	}
	if err != nil {
		return nil, outcome, err
	}
	return *result, outcome, nil
}

// transactionJob makes the job of signing a checked transaction; *signed is
// set when the job has succeeded.
func (w *Wallet) transactionJob(p auth.Principal, addr common.Address, action audit.Action, unsigned *types.Transaction) (job, **types.Transaction) {
	digest := tx.Digest(unsigned, w.cfg.ChainID)
	signed := new(*types.Transaction)
	return job{
		principal: p, address: addr, action: action, digest: digest, subject: digest.Hex(),
		whole: &wholeTx{unsigned: unsigned, chainID: w.ChainID()},
		request: &policy.Request{
			Principal: p, Account: addr, Action: action, Transaction: unsigned,
		},
		seal: func(sig secp.Signature) (common.Hash, error) {
			candidate, err := tx.Signed(unsigned, w.cfg.ChainID, sig)
			if err != nil {
				return common.Hash{}, err
			}
			if err := w.checkSigned(candidate, digest, sig); err != nil {
				return common.Hash{}, err
			}
			*signed = candidate
			return candidate.Hash(), nil
		},
	}, signed
}

// checkSigned reads the bytes that would leave as a node will read them: they
// must be the transaction that was judged, with the signature that was found
// to recover to the account. A node recovers the sender from exactly these,
// digest and signature, so recovering it here once more could only say the
// same; it is the dearest thing that happens to a transaction.
func (w *Wallet) checkSigned(signed *types.Transaction, digest common.Hash, sig secp.Signature) error {
	raw, err := signed.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode signed transaction: %w", err)
	}
	var read types.Transaction
	if err := read.UnmarshalBinary(raw); err != nil {
		return fmt.Errorf("read back signed transaction: %w", err)
	}
	switch {
	// The digest is made with the wallet's chain id, whatever the transaction
	// names: that it names the same has to be looked at for itself.
	case read.ChainId().Cmp(w.cfg.ChainID) != 0:
		return fmt.Errorf("signed transaction reads back as one of chain %s: %w", read.ChainId(), secp.ErrMalformed)
	case tx.Digest(&read, w.cfg.ChainID) != digest, read.Hash() != signed.Hash():
		return fmt.Errorf("signed transaction reads back as another one: %w", secp.ErrMalformed)
	case !w.carries(&read, sig):
		return fmt.Errorf("signed transaction reads back with another signature: %w", secp.ErrMalformed)
	}
	return nil
}

// carries reports whether t has this very signature: in a legacy transaction v
// is the recovery id + 35 + 2 × chain id (EIP-155), in all others the id.
func (w *Wallet) carries(t *types.Transaction, sig secp.Signature) bool {
	v := new(big.Int)
	if t.Type() == types.LegacyTxType {
		v.Lsh(w.cfg.ChainID, 1)
		v.Add(v, big.NewInt(35))
	}
	v.Add(v, big.NewInt(int64(sig.V)))
	r, s := new(big.Int).SetBytes(sig.R[:]), new(big.Int).SetBytes(sig.S[:])
	got := signatureOf(t)
	return got[0].Cmp(v) == 0 && got[1].Cmp(r) == 0 && got[2].Cmp(s) == 0
}

func (w *Wallet) checkAccepted(a *Accepted) error {
	switch {
	case a.Intent == "":
		return &RequestError{"an accepted transaction has an audit intent"}
	case a.Action != audit.SendTransaction && a.Action != audit.Repair:
		return &RequestError{fmt.Sprintf("no accepted transaction is signed for the action %q", a.Action)}
	}
	if err := w.checkUnsigned(a.Unsigned); err != nil {
		return err
	}
	if a.Action == audit.Repair && !selfTransfer(a.Unsigned, a.Address) {
		return &RequestError{"a repair has to be a transfer of nothing to its own sender"}
	}
	return nil
}

// selfTransfer reports whether t does nothing but use up a nonce.
func selfTransfer(t *types.Transaction, addr common.Address) bool {
	return t.To() != nil && *t.To() == addr && t.Value().Sign() == 0 && len(t.Data()) == 0 &&
		len(t.AccessList()) == 0 && len(t.SetCodeAuthorizations()) == 0 && len(t.BlobHashes()) == 0
}

// checkUnsigned refuses what no wallet signs, whatever its policy says.
func (w *Wallet) checkUnsigned(t *types.Transaction) error {
	if t == nil {
		return &RequestError{"there is no transaction to sign"}
	}
	for _, n := range signatureOf(t) {
		if n != nil && n.Sign() != 0 {
			return &RequestError{"the transaction is signed already"}
		}
	}
	switch t.Type() {
	case types.LegacyTxType: // its chain id is in the signature (EIP-155)
	case types.AccessListTxType, types.DynamicFeeTxType, types.BlobTxType, types.SetCodeTxType:
		if t.ChainId().Cmp(w.cfg.ChainID) != 0 {
			return &tx.ChainError{Got: t.ChainId(), Want: w.ChainID()}
		}
	default:
		return &RequestError{fmt.Sprintf("transaction type %d is not supported", t.Type())}
	}
	if err := w.signable(t); err != nil {
		return err
	}
	// An authorisation (EIP-7702) spends a nonce of the account that signed
	// it, behind the transaction manager's back: TXMGR no. 18.
	for _, authority := range tx.Authorities(t) {
		if _, ours := w.Account(authority); ours {
			return &RequestError{fmt.Sprintf("authorizationList: %s, an account of this wallet, has signed an authorisation; "+
				"those of its own accounts are not supported", authority.Hex())}
		}
	}
	return nil
}

func signatureOf(t *types.Transaction) [3]*big.Int {
	v, r, s := t.RawSignatureValues()
	return [3]*big.Int{v, r, s}
}
