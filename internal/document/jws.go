// SPDX-License-Identifier: Apache-2.0

package document

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// header is the one header that our JWS have. kid is the signer's address with
// its checksum (EIP-55); typ keeps them from being taken for tokens (RFC 8725
// §3.11).
func header(signer common.Address) string {
	return `{"alg":"ES256K","kid":"` + signer.Hex() + `","typ":"` + Version + `"}`
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signingInput is what RFC 7515 §5.1 has signed.
func (m Manifest) signingInput() string {
	return base64url([]byte(header(m.Signer))) + "." + base64url(m.Bytes())
}

// JWS is the compact form with a signature (RFC 7515 §7.1, RFC 8812 §3.2: r‖s, 64
// bytes).
func (m Manifest) JWS(sig secp.Signature) string {
	return m.signingInput() + "." + base64url(append(sig.R[:], sig.S[:]...))
}

// EIP191 is a signature as personal_sign gives it: 0x and the hex of r‖s‖v, v 27
// or 28.
func EIP191(sig secp.Signature) string {
	b := sig.Bytes()
	b[64] += 27
	return fmt.Sprintf("0x%x", b)
}

// checkJWS checks a compact JWS of the manifest by its signer.
func (m Manifest) checkJWS(jws string) error {
	before, last, ok := cutLast(jws)
	if !ok || before != m.signingInput() {
		return errors.New("is not a compact JWS over this manifest with the header " + header(m.Signer))
	}
	raw, err := base64.RawURLEncoding.DecodeString(last)
	if err != nil || len(raw) != 64 || base64url(raw) != last {
		return errors.New("the signature is not the base64url of 64 bytes, without padding")
	}
	sig := secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:])}
	// A JWS does not say which of two keys has signed; the address does.
	var why error
	for sig.V = range byte(2) {
		err := secp.Check(m.Signer, m.JWSDigest(), sig)
		if err == nil {
			return nil
		}
		if why == nil || errors.Is(err, secp.ErrWrongKey) {
			why = err
		}
	}
	return why
}

func cutLast(jws string) (before, last string, ok bool) {
	i := strings.LastIndexByte(jws, '.')
	if i < 0 {
		return "", "", false
	}
	return jws[:i], jws[i+1:], true
}

// checkEIP191 checks a personal signature of the manifest by its signer.
func (m Manifest) checkEIP191(text string) error {
	raw := common.FromHex(text)
	if len(raw) != 65 || fmt.Sprintf("0x%x", raw) != text || raw[64] != 27 && raw[64] != 28 {
		return errors.New("is not 0x and the lower-case hex of 65 bytes, of which the last is 1b or 1c")
	}
	sig := secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:64]), V: raw[64] - 27}
	return secp.Check(m.Signer, m.EIP191Digest(), sig)
}

func recoverKey(digest common.Hash, sig secp.Signature) (PublicKey, error) {
	point, err := crypto.Ecrecover(digest[:], sig.Bytes())
	if err != nil {
		return PublicKey{}, err
	}
	return publicKey(secp.PublicKey(point[1:])), nil
}

// PublicKey is a key on secp256k1 as a JWK (RFC 7517, RFC 8812 §3.1).
type PublicKey struct {
	Curve string `json:"crv"` // secp256k1
	ID    string `json:"kid"` // the address, EIP-55
	Type  string `json:"kty"` // EC
	X     string `json:"x"`   // base64url of 32 bytes
	Y     string `json:"y"`
}

func publicKey(k secp.PublicKey) PublicKey {
	return PublicKey{Curve: "secp256k1", ID: k.Address().Hex(), Type: "EC", X: base64url(k[:32]), Y: base64url(k[32:])}
}

// KeyOf is the public key that a signature of the manifest is by.
func (m Manifest) KeyOf(eip191 secp.Signature) (PublicKey, error) {
	if err := secp.Check(m.Signer, m.EIP191Digest(), eip191); err != nil {
		return PublicKey{}, err
	}
	return recoverKey(m.EIP191Digest(), eip191)
}
