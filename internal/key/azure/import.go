// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1" // #nosec G505 -- of OAEP in Azure's key transfer blob, which has no other
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const opImport = "import key"

// Import takes a private key into the vault under a name that is not in use.
//
// With Config.KEK it crosses the wire wrapped by that key of the vault (kty
// RSA-HSM, permitted operation import only), and ends HSM-protected: bring your
// own key, learn.microsoft.com/azure/key-vault/keys/byok-specification. Without
// KEK it is refused, unless Config.PlainImport: then TLS alone protects it on
// its way. It needs the rights Import, List and, with a KEK, Get.
func (b *Backend) Import(ctx context.Context, name string, private []byte, tags map[string]string) (key.Key, error) {
	public, err := publicOf(private)
	if err != nil {
		return key.Key{}, err
	}
	if err := b.unused(ctx, opImport, name); err != nil {
		return key.Key{}, err
	}
	parameters := azkeys.ImportKeyParameters{Tags: pointers(tags)}
	switch {
	case b.cfg.KEK != "":
		parameters.Key, err = b.wrapped(ctx, private)
	case b.cfg.PlainImport:
		parameters.Key = b.plain(private, public)
		defer clear(parameters.Key.D)
		hsm := !b.cfg.Software || b.vault.managed
		parameters.HSM = &hsm
	default:
		err = &key.CallError{
			Op: "azure: " + opImport, Kind: key.ErrDenied,
			Why: "no key-exchange key is configured to wrap it with: make one (az keyvault key create --kty RSA-HSM --size 4096 --ops import) and set kek to its name",
		}
	}
	if err != nil {
		return key.Key{}, err
	}
	answer, err := call(ctx, b, func(ctx context.Context) (azkeys.ImportKeyResponse, error) {
		return b.client.ImportKey(ctx, name, parameters, nil)
	})
	if err != nil {
		return key.Key{}, b.failure(ctx, opImport, "", err)
	}
	made, err := b.made(opImport, name, answer.KeyBundle)
	if err == nil && made.Address != public.Address() {
		return key.Key{}, &key.CallError{Op: "azure: " + opImport, Ref: made.Ref, Kind: key.ErrBadResponse, Why: "the vault holds another key than the one that was sent: delete it"}
	}
	return made, err
}

func publicOf(private []byte) (secp.PublicKey, error) {
	public, err := byok.PublicKey(private)
	if err != nil {
		return secp.PublicKey{}, &key.CallError{Op: "azure: " + opImport, Kind: key.ErrDenied, Why: "a private key is 32 bytes, from 1 to n-1"}
	}
	return public, nil
}

// plain is the private key as a JWK (RFC 7518 §6.2.2).
func (b *Backend) plain(private []byte, public secp.PublicKey) *azkeys.JSONWebKey {
	kty, curve := b.keyType(), azkeys.CurveNameP256K
	return &azkeys.JSONWebKey{
		Kty: &kty, Crv: &curve, KeyOps: signOperations(),
		D: slices.Clone(private), X: public[:32], Y: public[32:],
	}
}

// transferBlob is the key transfer blob of the specification.
type transferBlob struct {
	Schema string `json:"schema_version"`
	Header struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
		Enc string `json:"enc"`
	} `json:"header"`
	Ciphertext string `json:"ciphertext"`
	Generator  string `json:"generator"`
}

// wrapped wraps the private key by the vault's key-exchange key.
func (b *Backend) wrapped(ctx context.Context, private []byte) (*azkeys.JSONWebKey, error) {
	kid, kek, err := b.exchangeKey(ctx)
	if err != nil {
		return nil, err
	}
	failed := func(why string) (*azkeys.JSONWebKey, error) {
		return nil, &key.CallError{Op: "azure: " + opImport, Kind: key.ErrDenied, Why: why}
	}
	der, err := byok.PKCS8(private)
	if err != nil {
		return failed("a private key is 32 bytes, from 1 to n-1")
	}
	defer clear(der)
	ciphertext, err := byok.RSAAESWrap(kek, crypto.SHA1, der)
	if err != nil {
		return failed("the key-exchange key cannot wrap: it must be RSA-HSM of 2048 bits or more")
	}
	blob := transferBlob{Schema: "1.0.0", Ciphertext: base64.RawURLEncoding.EncodeToString(ciphertext), Generator: "HSM Signer; software"}
	blob.Header.KID, blob.Header.Alg, blob.Header.Enc = kid, "dir", "CKM_RSA_AES_KEY_WRAP"
	text, err := json.Marshal(blob)
	if err != nil {
		return failed("the key transfer blob cannot be written")
	}
	kty, curve := azkeys.KeyTypeECHSM, azkeys.CurveNameP256K
	return &azkeys.JSONWebKey{Kty: &kty, Crv: &curve, KeyOps: signOperations(), T: text}, nil
}

// exchangeKey fetches the key-exchange key: its identifier with the version and
// its public part.
func (b *Backend) exchangeKey(ctx context.Context) (kid string, public *rsa.PublicKey, err error) {
	var answer azkeys.GetKeyResponse
	err = b.read(ctx, "get key-exchange key", "", func(ctx context.Context) (err error) {
		answer, err = b.client.GetKey(ctx, b.cfg.KEK, "", nil)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	refuse := func(why string) (string, *rsa.PublicKey, error) {
		return "", nil, &key.CallError{Op: "azure: " + opImport, Kind: key.ErrDenied, Why: "the key-exchange key " + b.cfg.KEK + " " + why}
	}
	j := answer.Key
	if j == nil || j.KID == nil || j.Kty == nil || *j.Kty != azkeys.KeyTypeRSAHSM {
		return refuse("is not of the type RSA-HSM")
	}
	k, ok := parseKID(string(*j.KID))
	if !ok || k.name != b.cfg.KEK || k.version == "" {
		return refuse("has an identifier that cannot be read")
	}
	if !slices.ContainsFunc(j.KeyOps, func(op *azkeys.KeyOperation) bool { return op != nil && *op == azkeys.KeyOperationImport }) {
		return refuse("may not import: its only permitted operation must be import")
	}
	e := new(big.Int).SetBytes(j.E)
	n := new(big.Int).SetBytes(j.N)
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 || n.BitLen() < 2048 || n.BitLen() > 8192 {
		return refuse("has a public key that cannot be used")
	}
	return string(*j.KID), &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}
