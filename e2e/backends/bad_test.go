// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// secret is what stands in every bad configuration, and must show nowhere.
const secret = "hunter2-hunter2-hunter2"

// bad is a configuration with one thing wrong.
type bad struct {
	name    string
	details string
	extra   string
	want    []string // what the message says: which setting, and what to do
}

// TestBadConfigurationIsExplained has config check and the daemon's log say the
// same: which setting is wrong and what would mend it, and never the secret.
func TestBadConfigurationIsExplained(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) []bad{
		"pkcs11": badPKCS11, "hashicorp": badVault, "aws_kms": badAWS, "azure": badAzure, "gcp_kms": badGoogle,
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range start(t) {
				t.Run(b.name, func(t *testing.T) { explained(t, b) })
			}
		})
	}
}

func explained(t *testing.T, b bad) {
	t.Helper()
	cli := newCommand(t, backend{details: b.details, extra: b.extra, secrets: []string{secret}})
	out, code := cli.run("", "config", "check", "--output", "json")
	if code != 3 {
		t.Fatalf("config check: exit code %d, want 3\n%s", code, out)
	}
	var checked struct{ Backends []struct{ Error string } }
	if err := json.NewDecoder(strings.NewReader(out[strings.Index(out, "{"):])).Decode(&checked); err != nil || len(checked.Backends) != 1 {
		t.Fatalf("config check: %v\n%s", err, out)
	}
	message := checked.Backends[0].Error
	for _, want := range b.want {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
	t.Log(message)

	// The daemon starts all the same, and logs it.
	config := filepath.Join(t.TempDir(), "config.yaml")
	text, err := os.ReadFile(cli.config)
	if err != nil {
		t.Fatal(err)
	}
	door, admin := harness.FreeAddress(t), harness.FreeAddress(t)
	head := fmt.Sprintf("log: {format: json}\nrpc: {listen: %q}\nadmin: {listen: %q}\n", door, admin)
	if err := os.WriteFile(config, append([]byte(head), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := harness.Start(t, "hsmsigner", cli.bin.Hsmsigner, "serve", "--config", config)
	for end := time.Now().Add(3 * time.Minute); !logged(daemon.Output(), message); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) || daemon.Ended() {
			t.Fatalf("the daemon (ended: %v) does not log\n%s\nbut\n%s", daemon.Ended(), message, daemon.Output())
		}
	}
	if code := daemon.Stop(); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	cli.shown.WriteString(daemon.Output())
	cli.showsNoSecret()
}

// logged looks for the message in the records of a log in JSON, but for what may
// differ: the id of the request, and which of several calls under way has failed
// first.
func logged(output, message string) bool {
	message, _, _ = strings.Cut(message, " (request ")
	_, message, _ = strings.Cut(message, ": ")
	for line := range strings.Lines(output) {
		var record struct{ Err string }
		if json.Unmarshal([]byte(line), &record) == nil && strings.Contains(record.Err, message) {
			return true
		}
	}
	return false
}

func badPKCS11(t *testing.T) []bad {
	token, err := softhsm.New(t.Context(), "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() })
	name, value, _ := strings.Cut(token.Env()[0], "=")
	modules := fmt.Sprintf("pkcs11_modules: {softhsm: {path: %q, environment: {%s: %q}}, gone: /nonexistent/lib.so, text: /etc/passwd}\n", token.Module, name, value)
	pin := secretFile(t, "pin", secret)
	return []bad{
		{"WrongPIN", fmt.Sprintf("{provider: pkcs11, module: softhsm, token_label: signer, user_secret: {file: %q}}", pin), modules, []string{"denied", "PIN"}},
		{"UnknownToken", fmt.Sprintf("{provider: pkcs11, module: softhsm, token_label: nobody, user_secret: {file: %q}}", pin), modules, []string{"token", "nobody"}},
		{"MissingModule", fmt.Sprintf("{provider: pkcs11, module: gone, token_label: signer, user_secret: {file: %q}}", pin), modules, []string{"/nonexistent/lib.so"}},
		{"ModuleIsNoLibrary", fmt.Sprintf("{provider: pkcs11, module: text, token_label: signer, user_secret: {file: %q}}", pin), modules, []string{"/etc/passwd"}},
	}
}

func badVault(t *testing.T) []bad {
	ctx := t.Context()
	server, err := vaulttest.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	role, err := server.AppRole(ctx, "signer", []string{vaulttest.DigestSigner}, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := server.SecretID(ctx, role)
	if err != nil {
		t.Fatal(err)
	}
	token, err := server.Token(ctx, []string{"default"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf("role_id: %q, user_secret: {file: %q}", role.RoleID, secretFile(t, "id", id))
	root := secretFile(t, "root", server.RootToken())
	return []bad{
		{"WrongSecret", fmt.Sprintf("{provider: hashicorp, target_address: %q, role_id: %q, user_secret: %s}", server.URL(), role.RoleID, secret), "", []string{"denied"}},
		{"WrongToken", fmt.Sprintf("{provider: hashicorp, target_address: %q, user_secret: %s}", server.URL(), secret), "", []string{"denied", "token"}},
		{"RootToken", fmt.Sprintf("{provider: hashicorp, target_address: %q, user_secret: {file: %q}}", server.URL(), root), "", []string{"root"}},
		{"MissingRight", fmt.Sprintf("{provider: hashicorp, target_address: %q, user_secret: {file: %q}}", server.URL(), secretFile(t, "token", token)), "", []string{"denied", "polic"}},
		{"UnknownMount", fmt.Sprintf("{provider: hashicorp, target_address: %q, mount: nothing, %s}", server.URL(), good), "", []string{"nothing"}},
		{"Unreachable", fmt.Sprintf("{provider: hashicorp, target_address: \"http://127.0.0.1:1\", user_secret: %s}", secret), "", []string{"unavailable"}},
		{"TLSMismatch", fmt.Sprintf("{provider: hashicorp, target_address: %q, user_secret: %s}", strings.Replace(server.URL(), "http:", "https:", 1), secret), "", []string{"unavailable", "http"}},
	}
}

func badAWS(t *testing.T) []bad {
	known := awskmsfake.Start(awskmsfake.Config{Secrets: map[string]string{"AKIAIOSFODNN7EXAMPLE": "another"}})
	t.Cleanup(known.Close)
	denies := awskmsfake.Start(awskmsfake.Config{})
	t.Cleanup(denies.Close)
	denies.Fail(awskmsfake.Fault{Operation: "ListKeys", Code: "AccessDeniedException", Message: "User: x is not authorized to perform: kms:ListKeys"})
	secure := awskmsfake.Start(awskmsfake.Config{TLS: true})
	t.Cleanup(secure.Close)
	details := func(address, id string) string {
		return fmt.Sprintf("{provider: aws_kms, target_region: eu-central-1, target_address: %q, user_id: %s, user_secret: %s}", address, id, secret)
	}
	return []bad{
		{"WrongSecret", details(known.URL, "AKIAIOSFODNN7EXAMPLE"), "", []string{"denied", "secret"}},
		{"UnknownAccessKey", details(known.URL, "AKIAIOSFODNN7NOBODY0"), "", []string{"denied", "access key"}},
		{"MissingRight", details(denies.URL, "AKIAIOSFODNN7EXAMPLE"), "", []string{"denied", "kms:ListKeys"}},
		{"Unreachable", details("http://127.0.0.1:1", "AKIAIOSFODNN7EXAMPLE"), "", []string{"unavailable", "endpoint"}},
		{"TLSMismatch", details(secure.URL, "AKIAIOSFODNN7EXAMPLE"), "", []string{"unavailable", "certificate"}},
	}
}

func badAzure(t *testing.T) []bad {
	server, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	denies, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = denies.Close() })
	denies.Vault.SetRights("sign")
	details := func(s *azuretest.Server, address, more, secret string) string {
		return fmt.Sprintf("{provider: azure, target_address: %q, authority_address: %q, tenant_id: %s, user_id: %s, user_secret: {file: %q}%s}",
			address, s.Entra.URL(), s.Entra.Tenant, s.Entra.ClientID, secretFile(t, "azure", secret), more)
	}
	trusted := func(s *azuretest.Server) string {
		return fmt.Sprintf(", relaxed_hosts: [%q], ca_cert: {file: %q}", s.Vault.Host(), rootFile(t, s.Vault.Host(), s.RootCAs()))
	}
	return []bad{
		{"WrongSecret", details(server, server.Vault.URL(), trusted(server), secret), "", []string{"denied", "user_secret"}},
		{"MissingRight", details(denies, denies.Vault.URL(), trusted(denies), denies.Entra.Secret()), "", []string{"denied", "List"}},
		{"UnknownVault", details(server, "https://nobody.vault.invalid", trusted(server), server.Entra.Secret()), "", []string{"unavailable", "vault_name"}},
		{"Unreachable", details(server, "https://127.0.0.1:1", trusted(server), server.Entra.Secret()), "", []string{"unavailable"}},
		{"TLSMismatch", details(server, server.Vault.URL(), "", server.Entra.Secret()), "", []string{"unavailable", "certificate"}},
	}
}

func badGoogle(t *testing.T) []bad {
	server, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	stranger, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	denies, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(denies.Close)
	denies.Deny("cloudkms.cryptoKeys.list", true)
	secure, err := gcpkmsfake.Start(gcpkmsfake.Options{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secure.Close)
	account := func(s *gcpkmsfake.Server) string {
		_, text, err := s.NewAccountKey("signer")
		if err != nil {
			t.Fatal(err)
		}
		return secretFile(t, "gcp.json", text)
	}
	own := account(server) // from now on the server knows whom it lets in
	details := func(address, ring, account string) string {
		return fmt.Sprintf("{provider: gcp_kms, target_address: %q, key_ring: %q, user_secret: {file: %q}}", address, ring, account)
	}
	return []bad{
		{"WrongSecret", details("http://"+server.Addr(), server.Ring(), account(stranger)), "", []string{"denied", "key"}},
		{"MissingRight", details("http://"+denies.Addr(), denies.Ring(), account(denies)), "", []string{"denied", "cloudkms.cryptoKeys.list"}},
		{"UnknownKeyRing", details("http://"+server.Addr(), server.Ring()+"-2", own), "", []string{"key ring"}},
		{"Unreachable", details("http://127.0.0.1:1", server.Ring(), own), "", []string{"unavailable"}},
		{"TLSMismatch", details("https://"+secure.Addr(), secure.Ring(), own), "", []string{"unavailable", "certificate"}},
	}
}
