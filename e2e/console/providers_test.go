// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmstest"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// backend is a key backend that runs with one key, and what a person has of it.
type backend struct {
	title  string            // of its provider in the wizard
	fields map[string]string // of the wizard, but for the secret
	secret string
	extra  string // YAML of the operator's file
	first  common.Address
	add    func(name string) common.Address // makes one more key
	stop   func() error
	denied string // what the page says of a wrong secret
	away   string // what it says when the backend does not answer
}

// newKey makes a key with the command line, as its owner would.
func newKey(t *testing.T, name, secret string, env []string, provider string, set ...string) common.Address {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	command := []string{"key", "create", "--output", "json", "--name", name, "--provider", provider}
	for _, s := range append(set, "user_secret.file="+file) {
		command = append(command, "--set", s)
	}
	cmd := exec.CommandContext(t.Context(), built.Of(t).Hsmsigner, command...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("hsmsigner %s: %v: %s", strings.Join(command, " "), err, failed.Stderr)
	}
	must(t, err)
	var made struct{ Address common.Address }
	must(t, json.Unmarshal(out, &made))
	return made.Address
}

func startMoto(t *testing.T) backend {
	t.Helper()
	server, err := awskmstest.Start(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	add := func(name string) common.Address {
		return newKey(t, name, awskmstest.SecretAccessKey, nil, "aws_kms", "user_id="+awskmstest.AccessKeyID, "target_region="+awskmstest.Region, "target_address="+server.URL)
	}
	return backend{
		title: "AWS KMS", secret: awskmstest.SecretAccessKey,
		fields: map[string]string{"details.target_region": awskmstest.Region, "details.user_id": awskmstest.AccessKeyID, "details.target_address": server.URL},
		first:  add("ops-1"), add: add, stop: server.Close, away: "AWS",
	}
}

// startAzure starts our own fake of Key Vault: the emulators of Azure have no
// secp256k1.
func startAzure(t *testing.T) backend {
	t.Helper()
	server, err := azuretest.Start()
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: server.RootCAs()}}).DialContext(t.Context(), "tcp", server.Vault.Host())
	must(t, err)
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().VerifiedChains[0]
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}))
	add := func(name string) common.Address {
		_, account, err := server.NewKey(name)
		must(t, err)
		return account
	}
	return backend{
		title: "Azure Key Vault", secret: server.Entra.Secret(),
		fields: map[string]string{
			"details.tenant_id": server.Entra.Tenant, "details.user_id": server.Entra.ClientID, "details.subscription_id": "5f0e8f4e-1d0a-4a58-9f0c-0e6a6a2f9f11",
			"details.target_address": server.Vault.URL(), "details.ca_cert": authority,
		},
		extra: fmt.Sprintf("  azure: {authority_address: %q, relaxed_hosts: [%q]}\n", server.Entra.URL(), server.Vault.Host()),
		first: add("ops-1"), add: add, stop: server.Close, denied: "secret", away: "Azure",
	}
}

// startToken makes a SoftHSM token whose first key has an attack for a label.
func startToken(t *testing.T) backend {
	t.Helper()
	token, err := softhsm.New(t.Context(), "signing")
	must(t, err)
	t.Cleanup(func() { _ = token.Close() })
	name, value, _ := strings.Cut(token.Env()[0], "=")
	add := func(name string) common.Address {
		return newKey(t, name, token.PIN, token.Env(), "pkcs11", "module="+token.Module, "token_label=signing")
	}
	tokens := filepath.Join(token.Dir(), "tokens")
	return backend{
		title: "PKCS#11 HSM", secret: token.PIN,
		fields: map[string]string{"details.module": "luna", "details.token_label": "signing"},
		extra: fmt.Sprintf("pkcs11_modules: {luna: {path: %q, environment: {%s: %q}}}\ngrants: [{membership: %s, pkcs11: [{module: luna, token_label: signing}]}]\n",
			token.Module, name, value, membership),
		first: add(evil), add: add, stop: func() error { return os.Rename(tokens, tokens+".away") }, denied: "PIN", away: "in order?",
	}
}

// The whole path of an operator in the browser with each kind of key backend: a
// wrong secret, the right one, a name that is taken, a wallet, a key that is added in
// the backend, a transaction, and the backend away. Of Vault, with what lies around
// it, TestWholePathOfAnOperator goes the same path.
func TestEveryProviderFromTheWizardToATransaction(t *testing.T) {
	t.Parallel()
	all := []backend{startMoto(t), startAzure(t), startToken(t)}
	extra := ""
	var fund []common.Address
	for _, is := range []int{1, 0, 2} { // what belongs to egress stands right below it
		extra += all[is].extra
	}
	for _, is := range all {
		fund = append(fund, is.first)
	}
	r := start(t, extra, fund...)
	r.make("/nodes", `{"name":"devnet","chain_id":%d,"urls":{"rpc":%q}}`, r.node.ChainID, r.node.URL)
	for _, is := range all {
		t.Run(is.title, func(t *testing.T) {
			t.Parallel()
			b := r.signIn(r.Key, nil)
			b.t = t
			b.provide(r, is)
		})
	}
}

// wizard opens the wizard of a provider, and fills it but for the secret.
func (b *tab) wizard(is backend) {
	b.t.Helper()
	b.visit(home + "/configurations")
	b.click(`main a:has-text("New configuration")`)
	b.click(fmt.Sprintf("a.choice:has-text(%q)", is.title))
	b.fill(map[string]string{"name": is.title})
	b.fill(is.fields)
}

func (b *tab) provide(r *rig, is backend) {
	b.t.Helper()
	b.t.Log("configuration")
	b.wizard(is)
	b.fill(map[string]string{"details.user_secret": "not the secret"})
	if is.denied != "" { // moto takes every secret
		b.press("Test connection")
		b.seeAt("#trial", "gave no list of keys")
		if why := b.text("#trial"); !strings.Contains(why, is.denied) || strings.Contains(why, is.secret) {
			b.t.Errorf("a wrong secret is answered by: %s", why)
		}
		b.fine(is.title + " with a wrong secret")
	}
	b.fill(map[string]string{"details.user_secret": is.secret})
	b.press("Test connection")
	b.seeAt("#trial", "1 key found")
	b.seeAt("#trial", short(is.first))
	b.press("Save")
	b.see("The configuration is saved")
	saved := fmt.Sprint(b.run("location.pathname"))
	b.t.Log("the same name again")
	b.wizard(is)
	b.fill(map[string]string{"details.user_secret": is.secret})
	b.press("Save")
	b.seeAt(".field.wrong", "Another configuration here has this name")
	b.quiet(http.StatusUnprocessableEntity)

	b.t.Log("wallet")
	b.visit(saved)
	if strings.Contains(fmt.Sprint(b.run("document.documentElement.outerHTML")), is.secret) {
		b.t.Error("the page shows the secret")
	}
	b.click(`a:has-text("Make a wallet of it")`)
	b.fill(map[string]string{"name": is.title})
	b.press("Make the wallet")
	b.seeAt("main", "ready")
	wallet := fmt.Sprint(b.run("location.pathname"))
	b.click(`nav.tabs a:has-text("Wallet")`)
	b.seeAt("main table", short(is.first))
	second := is.add("ops-2")
	b.press("Refresh Accounts")
	b.seeAt("main", "2 keys found")
	b.visit(wallet + "/accounts")
	b.seeAt("main table", short(second))

	b.t.Log("transaction")
	b.click(`nav.tabs a:has-text("Connect")`)
	b.fill(map[string]string{"name": is.title})
	b.press("Make a credential")
	b.see("The credential is made")
	hash, err := r.call(b.text(`dl.facts dd code`), b.text(".once dd:nth-of-type(1) code"), b.text(".once dd:nth-of-type(2) code"), "eth_sendTransaction",
		map[string]any{"from": is.first, "to": harness.Fresh(), "value": halfEther})
	must(b.t, err)
	b.click(`nav.tabs a:has-text("Transactions")`)
	b.click(fmt.Sprintf("main table a:has-text(%q)", hash[:6]))
	b.seeAt("main", "confirmed")
	harness.WaitNonce(b.t, r.node, is.first, 1, patience)

	b.t.Log("key backend away")
	must(b.t, is.stop())
	b.visit(wallet)
	b.press("Connect anew")
	b.seeAt("main", "down")
	b.seeAt("main", is.away)
	if shown := b.text("main"); strings.Contains(shown, "?.") || strings.Contains(shown, "..") {
		b.t.Errorf("a sentence ends twice: %s", shown)
	}
	b.quiet()
}
