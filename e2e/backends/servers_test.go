// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmstest"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

func startSoftHSM(t *testing.T) backend {
	t.Helper()
	token, err := softhsm.New(t.Context(), "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() })
	name, value, _ := strings.Cut(token.Env()[0], "=")
	pin := secretFile(t, "pin", token.PIN)
	return backend{
		details: fmt.Sprintf("{provider: pkcs11, module: softhsm, token_label: signer, user_secret: {file: %q}, admin: {user_secret: {file: %q}}}", pin, pin),
		extra:   fmt.Sprintf("pkcs11_modules: {softhsm: {path: %q, protection: software, environment: {%s: %q}}}\n", token.Module, name, value),
		secrets: []string{token.PIN, token.SOPIN},
		imports: true, deletes: "cannot be brought back",
	}
}

func startVault(t *testing.T) backend {
	t.Helper()
	ctx := t.Context()
	server, err := vaulttest.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	login := func(name, policy string) (id, file, secret string) {
		role, err := server.AppRole(ctx, name, []string{policy}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if secret, err = server.SecretID(ctx, role); err != nil {
			t.Fatal(err)
		}
		return role.RoleID, secretFile(t, name, secret), secret
	}
	signer, signerFile, signerSecret := login("signer", vaulttest.DigestSigner)
	admin, adminFile, adminSecret := login("keymaster", vaulttest.Administrator)
	return backend{
		details: fmt.Sprintf("{provider: hashicorp, target_address: %q, mount: %q, role_id: %q, user_secret: {file: %q}, admin: {role_id: %q, user_secret: {file: %q}}}",
			server.URL(), vaulttest.Mount, signer, signerFile, admin, adminFile),
		secrets: []string{signerSecret, adminSecret, server.RootToken()},
		imports: true, deletes: "cannot be brought back",
	}
}

func startMoto(t *testing.T) backend {
	t.Helper()
	server, err := awskmstest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	secret := secretFile(t, "aws", awskmstest.SecretAccessKey)
	credential := fmt.Sprintf("user_id: %s, user_secret: {file: %q}", awskmstest.AccessKeyID, secret)
	return backend{
		details: fmt.Sprintf("{provider: aws_kms, target_region: %s, target_address: %q, tagging_address: %q, %s, admin: {%s}}",
			awskmstest.Region, server.URL, server.URL, credential, credential),
		secrets: []string{awskmstest.SecretAccessKey},
		tags:    true, deletes: "the provider can bring it back", // moto cannot import: awskmsfake has that test
	}
}

func startGoogleFake(t *testing.T) backend {
	t.Helper()
	server, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	account := func(name string) (file, secret string) {
		_, text, err := server.NewAccountKey(name)
		if err != nil {
			t.Fatal(err)
		}
		_, secret, _ = strings.Cut(text, `"private_key":"`)
		return secretFile(t, name, text), secret[40:80]
	}
	signer, signerSecret := account("signer")
	admin, adminSecret := account("keymaster")
	return backend{
		details: fmt.Sprintf("{provider: gcp_kms, key_ring: %q, target_address: \"http://%s\", user_secret: {file: %q}, admin: {user_secret: {file: %q}}, rate_limit: 200}",
			server.Ring(), server.Addr(), signer, admin),
		secrets: []string{signerSecret, adminSecret},
		tags:    true, imports: true, deletes: "the provider can bring it back",
	}
}

func startAzure(t *testing.T) backend {
	t.Helper()
	server, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	secret, ca := secretFile(t, "azure", server.Entra.Secret()), rootFile(t, server.Vault.Host(), server.RootCAs())
	credential := fmt.Sprintf("tenant_id: %s, user_id: %s, user_secret: {file: %q}", server.Entra.Tenant, server.Entra.ClientID, secret)
	return backend{
		details: fmt.Sprintf("{provider: azure, target_address: %q, authority_address: %q, relaxed_hosts: [%q], ca_cert: {file: %q}, plain_import: true, %s, admin: {%s}}",
			server.Vault.URL(), server.Entra.URL(), server.Vault.Host(), ca, credential, credential),
		secrets: []string{server.Entra.Secret()},
		tags:    true, imports: true, deletes: "the provider can bring it back",
	}
}

// rootFile writes the certificate that a server's own one is trusted by.
func rootFile(t *testing.T, host string, roots *x509.CertPool) string {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().VerifiedChains[0]
	return secretFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})))
}
