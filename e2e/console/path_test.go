// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// vault is a Vault with our plugin and one key, and an AppRole that may sign.
type vault struct {
	*vaulttest.Server
	roleID, secretID string
	accounts         []common.Address
}

func startVault(t *testing.T) *vault {
	t.Helper()
	server, err := vaulttest.Start(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	role, err := server.AppRole(t.Context(), "signer", []string{vaulttest.DigestSigner}, nil)
	must(t, err)
	v := &vault{Server: server, roleID: role.RoleID}
	v.secretID, err = server.SecretID(t.Context(), role)
	must(t, err)
	v.newKey(t, "ops-1")
	return v
}

func (v *vault) newKey(t *testing.T, name string) common.Address {
	t.Helper()
	a, err := v.CreateKey(t.Context(), vaulttest.Mount, name)
	must(t, err)
	v.accounts = append(v.accounts, a)
	return a
}

// short is how pages show an address.
func short(a common.Address) string { return a.Hex()[:6] }

// The path that the seeds describe, in a browser alone, from an API key to a
// transaction that is in the chain; and what goes wrong on the way.
func TestWholePathOfAnOperator(t *testing.T) {
	t.Parallel()
	v := startVault(t)
	r := start(t, "", v.accounts...)
	b := r.signIn(r.Key, nil)

	t.Log("configuration")
	b.click(`nav.side a:has-text("Cloud HSM")`)
	b.click(`main a:has-text("New configuration")`)
	b.click(`a.choice:has-text("HashiCorp Vault")`)
	b.fill(map[string]string{"name": "treasury-vault", "details.target_address": v.URL(), "details.role_id": v.roleID, "details.user_secret": "not the secret"})
	b.press("Test connection")
	b.seeAt("#trial", "gave no list of keys")
	if why := b.text("#trial"); !strings.Contains(why, "secret") {
		t.Errorf("the page does not say what is wrong: %s", why)
	}
	b.quiet()
	b.fill(map[string]string{"details.user_secret": v.secretID})
	b.press("Test connection")
	b.seeAt("#trial", "1 key found")
	b.seeAt("#trial", "ops-1")
	b.press("Save")
	b.see("The configuration is saved")
	if strings.Contains(fmt.Sprint(b.run("document.documentElement.outerHTML")), v.secretID) {
		t.Error("the page shows the secret")
	}

	t.Log("node")
	b.click(`nav.side a:has-text("Nodes")`)
	b.click(`main a:has-text("New node")`)
	b.fill(map[string]string{"name": "devnet", "chain_id": fmt.Sprint(r.node.ChainID), "urls.rpc": r.node.URL})
	b.press("Save")
	b.see("The node is saved")

	t.Log("wallet")
	b.click(`nav.side a:has-text("Cloud HSM Wallets")`)
	b.click(`main a:has-text("New wallet")`)
	b.fill(map[string]string{"name": "treasury"})
	b.press("Make the wallet")
	b.seeAt("h1", "treasury") // the wallet's page, and not the form any more
	loaded := b.run("performance.timeOrigin")
	b.seeAt("main", "ready")
	if b.run("performance.timeOrigin") != loaded {
		t.Error("the page was loaded anew to say that the wallet is started")
	}
	wallet := regexp.MustCompile(`/wallets/(\w+)`).FindStringSubmatch(fmt.Sprint(b.run("location.pathname")))[1]

	t.Log("accounts")
	b.click(`nav.tabs a:has-text("Wallet")`)
	b.seeAt("main table", short(v.accounts[0]))
	second := v.newKey(t, "ops-2")
	b.press("Refresh Accounts")
	b.see("2 keys found, 1 of them new")
	b.seeAt("main table", short(second))

	t.Log("credential and transaction")
	b.click(`nav.tabs a:has-text("Connect")`)
	b.fill(map[string]string{"name": "shop"})
	b.press("Make a credential")
	b.see("The credential is made")
	user, password := b.text(".once dd:nth-of-type(1) code"), b.text(".once dd:nth-of-type(2) code")
	url := b.text(`dl.facts dd code`)
	hash, err := r.call(url, user, password, "eth_sendTransaction", map[string]any{"from": v.accounts[0], "to": harness.Fresh(), "value": "0xde0b6b3a7640000"})
	must(t, err)
	b.click(`nav.tabs a:has-text("Transactions")`)
	b.seeAt("main table", hash[:6])
	b.click(`main table tbody tr a`)
	b.reach("/transactions/")
	loaded = b.run("performance.timeOrigin")
	b.seeAt("main", "confirmed")
	if b.run("performance.timeOrigin") != loaded {
		t.Error("the page was loaded anew to say that the transaction is confirmed")
	}
	harness.WaitNonce(t, r.node, v.accounts[0], 1, patience)
	b.quiet()

	t.Log("key backend away")
	b.visit(home + "/wallets/" + wallet)
	must(t, v.Seal(t.Context()))
	b.press("Connect anew")
	b.reach("done=wallet-reset")
	b.seeAt("main", "sealed")
	must(t, v.Unseal(t.Context()))
	b.press("Connect anew")
	b.seeAt("main", "ready")
	b.quiet()
}
