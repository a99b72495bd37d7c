// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// wrappingBits makes the wrapping key as strong as the keys under it: 128 bits
// (NIST SP 800-57 part 1, table 2).
const wrappingBits = 3072

func addressText(p secp.PublicKey) string { return strings.ToLower(p.Address().Hex()) }

func (e *engine) importPaths() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: "wrapping-key",
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: write(e.readWrappingKey, "Read the RSA key to import under."), // the first read makes it
			},
			HelpSynopsis: "The public RSA key that private keys are wrapped with for import.",
		},
		{
			Pattern: "keys/" + framework.GenericNameRegex("name") + "/import",
			Fields: newFields(map[string]*framework.FieldSchema{
				"ciphertext": {Type: framework.TypeString, Required: true, Description: "Base64 of OAEP(k) followed by AES-KWP(k, PKCS#8 of the private key), with SHA-256 in OAEP: CKM_RSA_AES_KEY_WRAP, as transit's import takes it."},
			}),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: write(e.importKey, "Import a wrapped private key."),
			},
			HelpSynopsis: "Import a private key that was wrapped with the wrapping key.",
		},
	}
}

func (e *engine) readWrappingKey(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	k, err := e.wrappingKey(ctx, req.Storage, true)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode the wrapping key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return &logical.Response{Data: map[string]any{"public_key": string(text)}}, nil
}

// wrappingKey returns the RSA key of the mount; nil if there is none yet and it
// is not to be made.
func (e *engine) wrappingKey(ctx context.Context, s logical.Storage, mayMake bool) (*rsa.PrivateKey, error) {
	defer e.lock(wrappingEntry)()
	var der []byte
	defer func() { clear(der) }()
	found, err := get(ctx, s, wrappingEntry, &der)
	if err != nil {
		return nil, err
	}
	if found {
		k, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			return nil, errors.New("read the storage: the wrapping key is damaged")
		}
		return k, nil
	}
	if !mayMake {
		return nil, refuse(http.StatusBadRequest, "ciphertext: not wrapped with this mount's wrapping key, which nobody has read yet")
	}
	k, err := rsa.GenerateKey(e.GetRandomReader(), wrappingBits)
	if err != nil {
		return nil, fmt.Errorf("make the wrapping key: %w", err)
	}
	der = x509.MarshalPKCS1PrivateKey(k)
	return k, put(ctx, s, wrappingEntry, der)
}

func (e *engine) importKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	blob, err := base64.StdEncoding.DecodeString(d.Get("ciphertext").(string))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "ciphertext: not base64")
	}
	wrapping, err := e.wrappingKey(ctx, req.Storage, false)
	if err != nil {
		return nil, err
	}
	// What goes wrong in between is not told apart: that would be an oracle.
	der, err := byok.Unwrap(wrapping, crypto.SHA256, blob)
	defer clear(der)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "ciphertext: does not unwrap to a secp256k1 key in PKCS#8")
	}
	private, err := byok.ParsePKCS8(der)
	defer clear(private)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "ciphertext: does not unwrap to a secp256k1 key in PKCS#8")
	}
	return e.store(ctx, req, d, private, true)
}
