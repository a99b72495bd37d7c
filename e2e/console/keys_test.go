// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// A configuration is given an admin credential; then a key is made in a real Vault,
// and one is taken in that was wrapped as the page says. What looks like a key in
// clear does not leave the browser.
func TestKeysAreMadeAndImportedFromTheBrowser(t *testing.T) {
	t.Parallel()
	v := startVault(t)
	token, err := v.Token(t.Context(), []string{vaulttest.Administrator}, nil)
	must(t, err)
	signer, err := v.Token(t.Context(), []string{vaulttest.DigestSigner}, nil)
	must(t, err)
	r := start(t, "")
	node := r.make("/nodes", `{"name":"devnet","chain_id":%d,"urls":{"rpc":%q}}`, r.node.ChainID, r.node.URL)
	configuration := r.make("/configurations", `{"name":"vault","type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,"user_secret":%q}}`, v.URL(), signer)
	wallet := r.make("/services", `{"name":"treasury","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, configuration, node)
	r.started(wallet)
	b := r.signIn(r.Key, nil)

	t.Log("no admin credential yet")
	b.visit(home + "/wallets/" + wallet + "/accounts")
	b.seeAt("main", "has no admin credential")
	b.click(`main a:has-text("Change the configuration")`)
	b.fill(map[string]string{"details.admin.user_secret": token}) // its section is open
	b.press("Save changes")
	b.see("The configuration is changed")

	t.Log("a key is made")
	b.visit(home + "/wallets/" + wallet + "/accounts")
	b.click(`summary:has-text("Have the key backend make a key")`)
	b.fill(map[string]string{"name": "not a name!"})
	b.press("Make the key")
	b.seeAt(".notice.bad", "want 1 to 128 letters")
	b.fill(map[string]string{"name": "till-3", "label": "Till 3", "tags": "team=pay"})
	b.press("Make the key")
	b.see("has made the key")
	b.seeAt("main table", "Till 3")

	t.Log("a key is imported")
	secret := make([]byte, 32)
	copy(secret, "everybody knows this private key")
	private, err := crypto.ToECDSA(secret)
	must(t, err)
	b.click(`main a:has-text("Import a key that exists")`)
	b.do("drop", args{"at": ".drop", "name": "key.json", "text": `{"version":3,"crypto":{}}` + strings.Repeat(" ", 400)})
	b.seeAt("[data-refuses]", "was not sent")
	b.fill(map[string]string{"name": "old-1", "label": "Paper wallet", "wrapped_key": hex.EncodeToString(secret)})
	b.press("Import the key")
	b.seeAt("[data-refuses]", "was not sent")
	if left := b.run(`document.querySelector("[name=wrapped_key]").value`); left != "" {
		t.Errorf("the key in clear stays in the field: %v", left)
	}
	given := b.do("save", args{"at": `main a:has-text("Download the import key")`})
	folder := t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, given.URL), []byte(given.Text), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// The command that stands on the page, but for the program's path.
	line := strings.Fields(strings.TrimSuffix(b.text(".steps pre code"), "< key.hex"))
	wrap := exec.CommandContext(ctx, built.Of(t).Hsmsigner, line[1:]...)
	wrap.Dir, wrap.Stdin = folder, strings.NewReader(hex.EncodeToString(secret))
	out, err := wrap.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wrapped, err := os.ReadFile(filepath.Join(folder, "wrapped.bin"))
	must(t, err)
	b.fill(map[string]string{"wrapped_key": base64.StdEncoding.EncodeToString(wrapped)})
	b.press("Import the key")
	b.see("has taken the key in")
	address := crypto.PubkeyToAddress(private.PublicKey)
	b.seeAt("main table", short(address))
	b.seeAt("main table", "Paper wallet")
	b.quiet(422)

	t.Log("at another wallet it is worth nothing")
	other := r.make("/services", `{"name":"other","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, configuration, node)
	r.started(other)
	b.visit(home + "/wallets/" + other + "/accounts/import")
	b.fill(map[string]string{"name": "old-2", "wrapped_key": base64.StdEncoding.EncodeToString(wrapped)})
	b.press("Import the key")
	b.seeAt(".what", "does not open")
	b.quiet(422)
}
