// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

// wrapOrder is what key wrap is told.
type wrapOrder struct {
	provider string
	under    string // file with the wrapping key
	kid      string
	out      string
}

func (a *app) keyWrapCommand() *cobra.Command {
	var order wrapOrder
	var passwordFile string
	cmd := &cobra.Command{
		Use:   "wrap [FILE]",
		Short: "Wrap a private key for import into Azure, AWS or Google by their own tools, or into a wallet by the console",
		Long: `Wraps a private key under a public key of the provider's HSM, on a machine that
need not reach the provider: bring your own key. What it writes can be read by
that HSM alone. The key is read as key import reads it, from a v3 file or from
standard input; in clear it is in this process's memory only, and wiped.

The wrapping key is the provider's, as PEM or DER, or for Azure as JSON:

  azure    the key-exchange key (RSA-HSM, operation import):
           az keyvault key show --vault-name V --name KEK > kek.json
  aws_kms  aws kms get-parameters-for-import --key-id K --wrapping-key-spec RSA_4096
           --wrapping-algorithm RSA_AES_KEY_WRAP_SHA_256 (PublicKey, base64 decoded)
  gcp_kms  gcloud kms import-jobs describe J --location L --keyring R
           --format 'value(publicKey.pem)', method rsa-oaep-4096-sha256-aes-256
  hsmsigner
           the import key of a wallet: the console's page Import a key, or
           GET …/services/SERVICE/accounts/import (public_key)

Where this machine reaches the provider, key import does all of it in one step.`,
		Example: `  hsmsigner key wrap --for aws_kms --under wrapping.der --out wrapped.bin < key.hex
  hsmsigner key wrap --for azure --under kek.json --out old-1.byok UTC--2026-… --password-file pw
  hsmsigner key wrap --for hsmsigner --under import-key.pem --out wrapped.bin < key.hex`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.keyWrap(cmd, order, args, passwordFile) },
	}
	flags := cmd.Flags()
	flags.StringVar(&order.provider, "for", "", "azure, aws_kms, gcp_kms or hsmsigner")
	flags.StringVar(&order.under, "under", "", "`file` with the provider's wrapping key")
	flags.StringVar(&order.kid, "kid", "", "azure: identifier of the key-exchange `key` with its version, where --under has none")
	flags.StringVar(&order.out, "out", "", "`file` to write, which must not exist")
	flags.StringVar(&passwordFile, "password-file", "", "`file` with the password of FILE")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"azure", "aws_kms", "gcp_kms", forWallet}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// forWallet wraps for a wallet of ours, whatever its backend is.
const forWallet = "hsmsigner"

// wrappedKey is what key wrap says as JSON.
type wrappedKey struct {
	Address string `json:"address"`
	For     string `json:"for"`
	File    string `json:"file"`
}

func (a *app) keyWrap(cmd *cobra.Command, order wrapOrder, args []string, passwordFile string) error {
	hash, next := crypto.SHA256, ""
	switch config.Provider(order.provider) {
	case forWallet:
		next = "the console: Wallet, Import a key, %s; or POST …/accounts/import with it in base64 as wrapped_key"
	case config.ProviderAzure:
		hash = crypto.SHA1 // the only one that Azure's blob has
		next = "az keyvault key import --kty EC --curve P-256K --ops sign verify --byok-file %s --vault-name … --name …"
	case config.ProviderAWSKMS:
		next = "aws kms import-key-material --encrypted-key-material fileb://%s --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE --import-token fileb://… --key-id …"
	case config.ProviderGCPKMS:
		next = "gcloud kms keys versions import --algorithm ec-sign-secp256k1-sha256 --wrapped-key-file %s --import-job … --location … --keyring … --key …"
	default:
		return &usageError{errors.New("--for: want azure, aws_kms, gcp_kms or hsmsigner"), cmd.CommandPath()}
	}
	if order.under == "" || order.out == "" {
		return &usageError{errors.New("want --under with the wrapping key and --out with the file to write"), cmd.CommandPath()}
	}
	under, kid, err := readWrappingKey(order.under)
	if err != nil {
		return fmt.Errorf("--under %s: %w", order.under, err)
	}
	if order.kid != "" {
		kid = order.kid
	}
	if order.provider == string(config.ProviderAzure) && !azureKID.MatchString(kid) {
		return &usageError{errors.New("--kid: want https://VAULT/keys/NAME/VERSION of the key-exchange key"), cmd.CommandPath()}
	}
	secret, err := readSecretKey(cmd, args, passwordFile)
	if err != nil {
		return err
	}
	defer clear(secret)
	address, err := addressOfKey(secret)
	if err != nil {
		return err
	}
	payload, err := byok.PKCS8(secret)
	if err != nil {
		return err
	}
	defer clear(payload)
	wrapped, err := byok.RSAAESWrap(under, hash, payload)
	if err != nil {
		return err
	}
	if order.provider == string(config.ProviderAzure) {
		if wrapped, err = transferBlob(kid, wrapped); err != nil {
			return err
		}
	}
	if err := writePrivate(order.out, string(wrapped)); err != nil {
		return err
	}
	return a.print(cmd, wrappedKey{address.Hex(), order.provider, order.out}, func(w io.Writer) {
		fmt.Fprintf(w, "%s\nwrapped in %s; import it with\n  "+next+"\n", address.Hex(), order.out, order.out)
	})
}

var azureKID = regexp.MustCompile(`^https://[a-zA-Z0-9.-]+(:[0-9]+)?/keys/[a-zA-Z0-9-]{1,127}/[0-9a-zA-Z]{32}$`)

// transferBlob is Azure's container of a wrapped key
// (learn.microsoft.com/azure/key-vault/keys/byok-specification).
func transferBlob(kid string, ciphertext []byte) ([]byte, error) {
	type header struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
		Enc string `json:"enc"`
	}
	return json.Marshal(struct {
		Schema     string `json:"schema_version"`
		Header     header `json:"header"`
		Ciphertext string `json:"ciphertext"`
		Generator  string `json:"generator"`
	}{"1.0.0", header{kid, "dir", "CKM_RSA_AES_KEY_WRAP"}, base64.RawURLEncoding.EncodeToString(ciphertext), "HSM Signer; software"})
}

// readWrappingKey reads an RSA public key: PEM, DER, base64 of DER, or a JSON
// Web Key, also as az keyvault key show prints it. kid is empty but for JSON.
func readWrappingKey(path string) (pub *rsa.PublicKey, kid string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, "", err
	}
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("{")) {
		return readWebKey(trimmed)
	}
	der := data
	if block, _ := pem.Decode(data); block != nil {
		der = block.Bytes
	} else if decoded, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
		der = decoded
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, "", errors.New("want an RSA public key as PEM or DER (SubjectPublicKeyInfo)")
	}
	pub, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, "", errors.New("is a public key, but not of RSA")
	}
	return pub, "", nil
}

// readWebKey reads a JSON Web Key (RFC 7517) of RSA.
func readWebKey(data []byte) (*rsa.PublicKey, string, error) {
	type webKey struct {
		KID string `json:"kid"`
		N   string `json:"n"`
		E   string `json:"e"`
	}
	var doc struct {
		webKey
		Key webKey `json:"key"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, "", errors.New("is not JSON")
	}
	k := doc.webKey
	if doc.Key.N != "" {
		k = doc.Key
	}
	n, errN := webKeyNumber(k.N)
	e, errE := webKeyNumber(k.E)
	if errN != nil || errE != nil || n.Sign() == 0 || !e.IsInt64() || e.Int64() < 3 || e.Int64() >= 1<<31 {
		return nil, "", errors.New("is JSON, but no JSON Web Key of RSA with n and e")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, k.KID, nil
}

// webKeyNumber reads base64url, or base64 as az prints it.
func webKeyNumber(s string) (*big.Int, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.StdEncoding.DecodeString(s)
	}
	return new(big.Int).SetBytes(b), err
}
