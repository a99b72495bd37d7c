// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"math/big"
	"net/http"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func (e *engine) signPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "sign/" + anyAddress,
		Fields: map[string]*framework.FieldSchema{
			"address": addressField(),
			"digest":  {Type: framework.TypeString, Required: true, Description: "32 bytes in hexadecimal, which are signed as they are."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: operation(e.signDigest, "Sign a 32-byte digest."),
		},
		HelpSynopsis: "Sign a 32-byte digest.",
		HelpDescription: "Whoever may write here can have anything signed. It is meant for the HSM Signer daemon, " +
			"which makes the digests itself; give people and other programs sign-transaction.",
	}}
}

func (e *engine) signDigest(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	address, err := addressOf(d)
	if err != nil {
		return nil, err
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(d.Get("digest").(string), "0x"))
	if err != nil || len(digest) != 32 {
		return nil, refuse(http.StatusBadRequest, "digest: want 32 bytes as 64 hexadecimal digits")
	}
	sig, err := sign(ctx, req.Storage, address, [32]byte(digest))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		"address":   address,
		"signature": hexutil.Encode(sig.Bytes()), // r‖s‖v, v ∈ {0,1}
		"r":         hexutil.Encode(sig.R[:]), "s": hexutil.Encode(sig.S[:]), "v": int(sig.V),
	}}, nil
}

// sign signs with the key of an address that is switched on.
func sign(ctx context.Context, s logical.Storage, address string, digest [32]byte) (sig secp.Signature, err error) {
	r, err := find(ctx, s, address)
	if err != nil {
		return sig, err
	}
	if r.Disabled {
		return sig, refuse(http.StatusLocked, "the key of address %s is switched off", address)
	}
	err = withSecret(ctx, s, address, func(private []byte) error {
		sig, err = signWith(private, digest)
		return err
	})
	if err != nil {
		return secp.Signature{}, err
	}
	// A damaged entry or a fault of the processor makes a signature of another
	// key, or one that gives the key away: neither may leave.
	if secp.Check(common.HexToAddress(address), digest, sig) != nil {
		return secp.Signature{}, errors.New("the signature does not recover to the address; it was thrown away")
	}
	return sig, nil
}

// signWith signs in constant time where go-ethereum is built with cgo, which
// cmd/vault-plugin-hsmsigner insists on.
func signWith(private []byte, digest [32]byte) (secp.Signature, error) {
	//lint:ignore SA1019 ParseRawPrivateKey knows only the curves of NIST.
	k := &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: crypto.S256()}, D: new(big.Int).SetBytes(private)} //nolint:staticcheck // as above
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(k.D.Bits()) //nolint:staticcheck // as above
	raw, err := crypto.Sign(digest[:], k)
	if err != nil {
		return secp.Signature{}, errors.New("the stored key cannot sign")
	}
	return secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:64]), V: raw[64]}, nil
}
