// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

const testKID = "https://treasury.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"

// rsakey writes an RSA key: private.der, and its public part in every form that
// key wrap reads.
func rsakey(ts *testscript.TestScript, _ bool, _ []string) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	ts.Check(err)
	jwk := map[string]string{
		"kid": testKID, "kty": "RSA-HSM", "n": base64.StdEncoding.EncodeToString(private.N.Bytes()),
		"e": base64.StdEncoding.EncodeToString(big.NewInt(int64(private.E)).Bytes()),
	}
	shown, err := json.Marshal(map[string]any{"attributes": map[string]any{"enabled": true}, "key": jwk})
	ts.Check(err)
	jwk["n"], jwk["e"], jwk["kid"] = base64.RawURLEncoding.EncodeToString(private.N.Bytes()), "AQAB", ""
	bare, err := json.Marshal(jwk)
	ts.Check(err)
	for name, content := range map[string][]byte{
		"private.der": x509.MarshalPKCS1PrivateKey(private), "public.der": der, "kek.json": shown, "jwk.json": bare,
		"public.b64": []byte(base64.StdEncoding.EncodeToString(der) + "\n"),
		"public.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), content, 0o600))
	}
}

// unwrap does what the provider's HSM does, and prints the private key: unwrap
// azure|aws_kms|gcp_kms FILE.
func unwrap(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs("private.der"))
	ts.Check(err)
	private, err := x509.ParsePKCS1PrivateKey(data)
	ts.Check(err)
	blob, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	hash := crypto.SHA256
	if args[0] == "azure" {
		var transfer struct {
			Schema     string `json:"schema_version"`
			Header     struct{ KID, Alg, Enc string }
			Ciphertext string
		}
		ts.Check(json.Unmarshal(blob, &transfer))
		if transfer.Schema != "1.0.0" || transfer.Header.KID != testKID || transfer.Header.Alg != "dir" || transfer.Header.Enc != "CKM_RSA_AES_KEY_WRAP" {
			ts.Fatalf("not the blob of Azure's specification: %s", blob)
		}
		blob, err = base64.RawURLEncoding.DecodeString(transfer.Ciphertext)
		ts.Check(err)
		hash = crypto.SHA1
	}
	payload, err := byok.Unwrap(private, hash, blob)
	ts.Check(err)
	secret, err := byok.ParsePKCS8(payload)
	ts.Check(err)
	_, err = ts.Stdout().Write([]byte(hex.EncodeToString(secret) + "\n"))
	ts.Check(err)
}
