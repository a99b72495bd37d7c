// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmstest"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// vault is a key backend that runs, with one key, and the request that makes a
// configuration of it.
type vault struct {
	request string // as published, but for the addresses of the test's servers
	extra   string // YAML of the operator's file
	account common.Address
	secret  string
}

// The requests are those that Kaleido publishes for Azure Key Vault and AWS KMS,
// with the ids and the host filled in, without the comma that is too much in the
// second; and the same for the providers whose fields were never published.
func TestPublishedRequestsGiveAServiceThatSends(t *testing.T) {
	for name, start := range map[string]func(*testing.T) vault{
		"azure": azureVault, "aws_kms": awsKMS, "hashicorp": hashicorpVault, "aws_cloudhsm": cloudHSM,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := start(t)
			declared := harness.NewKeys(t, 1)
			devnet := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, v.account)
			o := devnet.Options(declared)
			o.Extra = "egress:\n  allow: [127.0.0.1/32]\n" + v.extra
			m := &managed{t: t, keys: harness.Keys{Addresses: []common.Address{v.account}}}
			m.Daemon = harness.StartDaemon(t, binaries(t), o)
			m.root = m.bootstrap()
			m.want(201, "POST", place+"/nodes", fmt.Sprintf(`{"name":"devnet","membership_id":%q,"chain_id":%d,"urls":{"rpc":%q}}`, membership, o.ChainID, o.NodeURL))
			m.configuration = m.want(201, "POST", place+"/configurations", v.request)["_id"].(string)
			m.service = m.want(201, "POST", place+"/services", fmt.Sprintf(`{
  "name": "cloudhsm-%s",
  "membership_id": %q,
  "service": "cloudhsm",
  "details": {
    "cloudhsm_id": %q
  }
}`, strings.ReplaceAll(name, "_", "-"), membership, m.configuration))["_id"].(string)
			m.started(m.service)
			made := m.want(201, "POST", place+"/appcreds", fmt.Sprintf(`{"name":"shop","membership_id":%q}`, membership))
			m.cred, m.password = made["_id"].(string), made["password"].(string)
			hash := m.send()
			harness.WaitNonce(t, devnet, v.account, 1, patience)
			if shown := m.want(200, "GET", place+"/services/"+m.service+"/transactions/"+hash, ""); shown["hash"] != hash {
				t.Errorf("shown as %v", shown)
			}
			_, conf := m.ask(m.root, "GET", place+"/configurations/"+m.configuration, "")
			if strings.Contains(string(conf)+m.Output(), v.secret) {
				t.Error("the secret shows")
			}
		})
	}
}

// secretFile writes a secret where only its owner can read it.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newKey makes a key with the command line, as its owner would.
func newKey(t *testing.T, env []string, provider string, set ...string) common.Address {
	t.Helper()
	args := []string{"key", "create", "--output", "json", "--name", "ops-1", "--provider", provider}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	cmd := exec.CommandContext(t.Context(), binaries(t).Hsmsigner, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var made struct{ Address common.Address }
	if err != nil || json.Unmarshal(out[strings.IndexByte(string(out), '{'):], &made) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return made.Address
}

func azureVault(t *testing.T) vault {
	server, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	_, account, err := server.NewKey("ops-1")
	if err != nil {
		t.Fatal(err)
	}
	return vault{
		request: fmt.Sprintf(`{
  "type": "cloudhsm",
  "name": "azure-key-vault",
  "membership_id": %q,
  "details": {
    "provider": "azure",
    "user_id": %q,
    "user_secret": %q,
    "subscription_id": "5f0e8f4e-1d0a-4a58-9f0c-0e6a6a2f9f11",
    "tenant_id": %q,
    "target_address": %q,
    "ca_cert": %q
  }
}`, membership, server.Entra.ClientID, server.Entra.Secret(), server.Entra.Tenant, server.Vault.URL(), authority(t, server)),
		extra:   fmt.Sprintf("  azure: {authority_address: %q, relaxed_hosts: [%q]}\n", server.Entra.URL(), server.Vault.Host()),
		account: account, secret: server.Entra.Secret(),
	}
}

// authority is the certificate that the vault's own one is trusted by, as PEM.
func authority(t *testing.T, server *azuretest.Server) string {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: server.RootCAs()}}).DialContext(t.Context(), "tcp", server.Vault.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().VerifiedChains[0]
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}))
}

func awsKMS(t *testing.T) vault {
	server, err := awskmstest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return vault{
		request: fmt.Sprintf(`{
  "type": "cloudhsm",
  "name": "aws-kms",
  "membership_id": %q,
  "details": {
    "provider": "aws_kms",
    "user_id": %q,
    "user_secret": %q,
    "target_region": %q,
    "target_address": %q
  }
}`, membership, awskmstest.AccessKeyID, awskmstest.SecretAccessKey, awskmstest.Region, server.URL),
		account: newKey(t, nil, "aws_kms", "user_id="+awskmstest.AccessKeyID, "user_secret.file="+secretFile(t, awskmstest.SecretAccessKey),
			"target_region="+awskmstest.Region, "target_address="+server.URL),
		secret: awskmstest.SecretAccessKey,
	}
}

func hashicorpVault(t *testing.T) vault {
	server, err := vaulttest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	login := func(name, policy string) (id, secret string) {
		role, err := server.AppRole(t.Context(), name, []string{policy}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if secret, err = server.SecretID(t.Context(), role); err != nil {
			t.Fatal(err)
		}
		return role.RoleID, secret
	}
	id, secret := login("signer", vaulttest.DigestSigner)
	admin, adminSecret := login("keymaster", vaulttest.Administrator)
	return vault{
		request: fmt.Sprintf(`{
  "type": "cloudhsm",
  "name": "vault",
  "membership_id": %q,
  "details": {
    "provider": "hashicorp",
    "target_address": %q,
    "mount": %q,
    "role_id": %q,
    "user_secret": %q
  }
}`, membership, server.URL(), vaulttest.Mount, id, secret),
		account: newKey(t, nil, "hashicorp", "target_address="+server.URL(), "mount="+vaulttest.Mount, "role_id="+admin, "user_secret.file="+secretFile(t, adminSecret)),
		secret:  secret,
	}
}

// cloudHSM is a SoftHSM token that looks as AWS CloudHSM's library does: one
// token, whose PIN is the crypto user's name and password.
func cloudHSM(t *testing.T) vault {
	token, err := softhsm.New(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() })
	const user, password = "crypto_user", "hsm password 4711"
	for _, args := range [][]string{
		{"--delete-token", "--token", "first"},
		{"--init-token", "--free", "--label", "hsm1", "--so-pin", token.SOPIN, "--pin", user + ":" + password},
	} {
		if out, err := token.Util(t.Context(), args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	name, value, _ := strings.Cut(token.Env()[0], "=")
	modules := fmt.Sprintf("pkcs11_modules: {cloudhsm: {path: %q, environment: {%s: %q}}}\n", token.Module, name, value)
	return vault{
		request: fmt.Sprintf(`{
  "type": "cloudhsm",
  "name": "aws-cloudhsm",
  "membership_id": %q,
  "details": {
    "provider": "aws_cloudhsm",
    "module": "cloudhsm",
    "user_id": %q,
    "user_secret": %q
  }
}`, membership, user, password),
		extra:   modules + fmt.Sprintf("grants: [{membership: %s, pkcs11: [{module: cloudhsm, user_id: %s}]}]\n", membership, user),
		account: newKey(t, token.Env(), "aws_cloudhsm", "module="+token.Module, "user_id="+user, "user_secret.file="+secretFile(t, password)),
		secret:  password,
	}
}
