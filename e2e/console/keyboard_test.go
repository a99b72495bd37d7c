// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"fmt"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// focused tells whether what has the focus is a thing, and whether one can see that
// it has: by an outline, or what stands for one.
const focused = `((at) => {
  const el = document.activeElement;
  if (!el || el === document.body) return "";
  if (!el.matches(at)) return "elsewhere";
  const is = getComputedStyle(el);
  return is.outlineStyle !== "none" && parseFloat(is.outlineWidth) > 0 || is.boxShadow !== "none" ? "seen" : "unseen";
})(%q)`

// tabTo goes to a thing by the Tab key alone, and demands that one sees where one is.
func (b *tab) tabTo(at string) {
	b.t.Helper()
	for range 150 {
		switch b.run(fmt.Sprintf(focused, at)) {
		case "seen":
			return
		case "unseen":
			b.t.Fatalf("%s has the focus, and nothing shows it", at)
		}
		b.do("key", args{"name": "Tab"})
	}
	b.t.Fatalf("the Tab key does not get to %s", at)
}

// enter goes to a thing and presses Enter.
func (b *tab) enter(at string) { b.t.Helper(); b.tabTo(at); b.do("key", args{"name": "Enter"}) }

// write goes to fields, in their order on the page, and types into each.
func (b *tab) write(fields ...[2]string) {
	b.t.Helper()
	for _, f := range fields {
		b.tabTo(fmt.Sprintf("main [name=%q]", f[0]))
		b.do("type", args{"text": f[1]})
	}
}

// From signing in to a wallet whose accounts are refreshed and whose freeze is
// released, without a mouse: by Tab, Enter, Space and typing.
func TestWholePathWithoutAMouse(t *testing.T) {
	t.Parallel()
	vault := vaultfake.New(1)
	t.Cleanup(vault.Close)
	r := start(t, "", common.HexToAddress(vault.Addresses()[0]))
	b := r.open(nil)
	b.write([2]string{"key", r.Key})
	b.do("key", args{"name": "Enter"})
	b.see("Overview")

	t.Log("a node")
	b.enter(`nav.side a[href$="/nodes"]`)
	b.seeAt("h1", "Nodes")
	b.enter("a.skip") // past the navigation; the focus moves with the browser's next frame
	b.becomes("document.activeElement.id", "main")
	b.enter(`main a[href$="/nodes/new"]`)
	b.seeAt("h1", "New node")
	b.write([2]string{"name", "devnet"}, [2]string{"chain_id", fmt.Sprint(r.node.ChainID)}, [2]string{"urls.rpc", r.node.URL})
	b.do("key", args{"name": "Enter"})
	b.see("The node is saved")

	t.Log("a configuration, tested first")
	b.enter(`nav.side a[href$="/configurations"]`)
	b.seeAt("h1", "Cloud HSM")
	b.enter(`main a[href$="/configurations/new"]`)
	b.see("Where are the keys?")
	b.enter(`main a[href$="provider=hashicorp"]`)
	b.seeAt("h1", "HashiCorp Vault")
	b.write([2]string{"name", "vault"}, [2]string{"details.target_address", vault.URL()}, [2]string{"details.user_secret", vaultfake.Token})
	b.enter(`main button[data-try="trial"]`)
	b.seeAt("#trial", "1 key found")
	for range 3 { // back, past what is beside it
		if b.run(`document.activeElement.textContent.trim()`) == "Save" {
			break
		}
		b.do("key", args{"name": "Shift+Tab"})
	}
	b.do("key", args{"name": "Space"})
	b.see("The configuration is saved")

	t.Log("a wallet of it")
	b.enter(`main a[href*="/wallets/new"]`)
	b.seeAt("h1", "New wallet")
	b.write([2]string{"name", "treasury"})
	b.do("key", args{"name": "Enter"})
	b.seeAt("main", "ready")
	b.enter(`nav.tabs a[href$="/accounts"]`)
	b.seeAt("main table", "key-1")
	b.enter(`main form[action$="/accounts/refresh"] button`)
	b.see("1 key found")

	t.Log("a freeze, and its release behind a button that asks first")
	b.enter(`nav.side a[href$="/freeze"]`)
	b.see("Nothing is frozen")
	b.tabTo("#z-wallet")
	b.do("type", args{"text": "t"}) // chooses treasury in the list
	b.tabTo("#z-reason-wallet")
	b.do("type", args{"text": "Drill"})
	b.do("key", args{"name": "Enter"})
	b.seeAt(".stopped", "treasury")
	b.enter(".stopped summary")
	b.enter(`.stopped form button[type="submit"]`)
	b.see("Nothing is frozen")

	t.Log("a menu closes by Escape, and gives the focus back")
	b.enter("details.person summary")
	b.tabTo("details.person button")
	b.do("key", args{"name": "Escape"})
	if b.run(`document.activeElement.matches("details.person:not([open]) summary")`) != true {
		t.Error("Escape does not close the menu, or loses the focus")
	}
	b.do("key", args{"name": "Enter"})
	b.enter("details.person button")
	b.seeAt("main", "API key")
	b.quiet()
}
