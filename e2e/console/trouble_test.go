// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

const aGrant = `{"role":"admin","consortium_id":"h0consort0","membership_id":"h0member00"}`

func TestWrongAPIKeySignsNobodyIn(t *testing.T) {
	t.Parallel()
	r := start(t, "")
	b := r.open(nil)
	b.fill(map[string]string{"key": "h0h0h0h0h0-nothing"})
	b.press("Sign in")
	b.see("That is no API key that is valid here")
	b.quiet(http.StatusUnauthorized)

	t.Log("a session ends with its key, and the person comes back to where he was")
	key, id := r.apiKey("laptop", aGrant)
	second, _ := r.apiKey("laptop-2", aGrant)
	b = r.signIn(key, nil)
	b.visit(home + "/wallets")
	form := b.beside()
	form.visit(home + "/nodes/new")
	form.fill(map[string]string{"name": "typed", "chain_id": "1337", "urls.rpc": r.node.URL})
	r.Want(http.StatusNoContent, "DELETE", "/apikeys/"+id, "")
	b.seeAt("main", "Sign in") // without anybody doing anything
	form.press("Save")
	form.see("Your session has ended")
	form.see("Nothing was changed")
	b.fill(map[string]string{"key": second})
	b.press("Sign in")
	b.seeAt("h1", "Cloud HSM Wallets")

	t.Log("signing out in one tab signs out the others")
	other := b.beside()
	other.visit(home + "/nodes")
	b.click("details.person summary")
	b.click(`details.person button`)
	b.seeAt("main", "Sign in")
	other.click(`nav.side a:has-text("Memberships")`)
	other.seeAt("main", "API key")
	b.quiet(http.StatusUnauthorized)
	other.quiet(http.StatusUnauthorized)
}

func TestNamesThatAreTakenOrNoneAreRefusedBesideTheirFields(t *testing.T) {
	t.Parallel()
	r := start(t, "")
	r.make("/nodes", `{"name":"mainnet","chain_id":%d,"urls":{"rpc":%q}}`, r.node.ChainID, r.node.URL)
	b := r.signIn(r.Key, nil)
	for name, why := range map[string]string{"mainnet": "Another node here has this name", strings.Repeat("x", 300): "want 1 to 64"} {
		b.visit(home + "/nodes/new")
		b.fill(map[string]string{"name": name, "chain_id": "1337", "urls.rpc": r.node.URL})
		b.press("Save")
		b.seeAt(".field.wrong", why)
		if got := b.run(`document.querySelector("[name=name]").value`); got != name {
			t.Errorf("what was typed is gone: %v", got)
		}
		b.quiet(http.StatusUnprocessableEntity)
	}
	b.visit(home + "/nodes/new")
	b.fill(map[string]string{"name": "meta", "chain_id": "1", "urls.rpc": "http://169.254.169.254/latest"})
	b.press("Save")
	b.seeAt(".field.wrong", "which no tenant may reach")
	b.quiet(http.StatusUnprocessableEntity)
}

// A wallet of a key backend that goes away says so on its page, and says when it
// is back, to somebody who only looks.
func TestKeyBackendThatIsAwayShowsByItself(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	b := s.signIn(s.Key, nil)
	b.visit(home + "/wallets/" + s.ids["wallet"])
	b.seeAt("main", "ready")
	s.vault.SetIntercept(func(w http.ResponseWriter, _ *http.Request) bool {
		vaultfake.Refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
		return true
	})
	if _, err := s.pay(s.accounts[0], "0x1"); err == nil {
		t.Error("meanwhile something was sent")
	}
	b.seeAt("main", "Vault is sealed")
	s.vault.SetIntercept(nil)
	s.eventually("accepted", func() bool { _, err := s.pay(s.accounts[0], "0x1"); return err == nil })
	b.seeAt("main", "confirmed")
	b.seeAt("main", "ready")
	b.quiet()
}

// The same wizard with a PKCS#11 token, whose PIN is wrong at first.
func TestTokenIsConfiguredWithItsRightPIN(t *testing.T) {
	t.Parallel()
	token, err := softhsm.New(t.Context(), "signing")
	must(t, err)
	t.Cleanup(func() { _ = token.Close() })
	name, value, _ := strings.Cut(token.Env()[0], "=")
	r := start(t, fmt.Sprintf("pkcs11_modules: {luna: {path: %q, environment: {%s: %q}}}\ngrants: [{membership: %s, pkcs11: [{module: luna, token_label: signing}]}]\n",
		token.Module, name, value, membership))
	r.make("/nodes", `{"name":"devnet","chain_id":%d,"urls":{"rpc":%q}}`, r.node.ChainID, r.node.URL)
	b := r.signIn(r.Key, nil)
	b.visit(home + "/configurations/new?provider=pkcs11")
	b.fill(map[string]string{"name": "token", "details.module": "luna", "details.token_label": "signing", "details.user_secret": "not the PIN"})
	b.press("Test connection")
	b.seeAt("#trial", "PIN")
	b.fill(map[string]string{"details.user_secret": token.PIN})
	b.press("Test connection")
	b.seeAt("#trial", "shows no secp256k1 key yet")
	b.press("Save")
	b.see("The configuration is saved")
	b.click(`a:has-text("Make a wallet of it")`)
	b.fill(map[string]string{"name": "cold"})
	b.press("Make the wallet")
	b.seeAt("main", "started")
	b.click(`nav.tabs a:has-text("Wallet")`)
	b.seeAt("main", "No account yet")
	b.seeAt("main", "has no admin credential")
	b.quiet()
}
