// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// forms of the page of documents.
const (
	signing  = "form[data-sign]"
	checking = "form[data-verify]"
)

// check drops a document and its bundle, and gives the verdict.
func (b *tab) check(name, text, bundle, signer string) string {
	b.t.Helper()
	b.do("drop", args{"at": checking + " .drop:has([name=bundle])", "name": name + ".bundle.json", "text": bundle})
	b.do("drop", args{"at": checking + " .drop:has([name=document])", "name": name, "text": text})
	b.do("fill", args{"at": checking + " [name=account]", "text": signer})
	b.click(checking + " button")
	b.do("see", args{"at": checking + " [data-outcome] .outcome-title"})
	b.seeAt(checking+" button", "Check it") // it can be pressed again
	return b.text(checking + " [data-outcome]")
}

// A document is dropped and signed by the account that was chosen; the bundle that
// the browser saves holds for it, here and offline, and for no other document.
func TestDocumentIsSignedAndCheckedOnItsPage(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	s.Want(http.StatusOK, "PATCH", s.service("/accounts/"+s.accounts[1].Hex()), `{"label":"Notary"}`)
	b := s.signIn(s.Key, nil)
	b.click(`nav.side a:has-text("Documents")`)

	const name, text = "Übergabe & Abnahme.txt", "The goods were handed over.\n"
	b.do("choose", args{"at": "#d-wallet", "text": "treasury"})
	b.do("choose", args{"at": signing + " [name=account]", "text": s.accounts[1].Hex()[:6] + "…" + s.accounts[1].Hex()[38:] + " Notary"})
	b.do("drop", args{"at": signing + " .drop", "name": name, "text": text})
	b.seeAt(signing+" .drop", name+", 28 bytes")
	saved := b.do("save", args{"at": signing + " button"})
	b.seeAt(signing+" [data-outcome]", name+" is signed")
	bundle := saved.Text
	if saved.URL != name+".bundle.json" {
		t.Errorf("the bundle is saved as %q", saved.URL)
	}
	if again := b.do("save", args{"at": signing + " a:has-text('Save the bundle')"}); again.Text != bundle {
		t.Error("the button saves another bundle than the browser did")
	}
	b.fine("document signed")

	signer, other := s.accounts[1].Hex(), s.accounts[0].Hex()
	s.eventually("under a checkpoint", func() bool {
		verdict := b.check(name, text, bundle, signer)
		if strings.Contains(verdict, "does not hold") {
			t.Fatalf("its own document: %s", verdict)
		}
		return strings.Contains(verdict, "The signature holds, in every part")
	})
	if verdict := b.text(checking + " [data-outcome]"); !strings.Contains(verdict, name) || !strings.Contains(verdict, signer) {
		t.Errorf("the verdict does not say what was signed and by whom: %s", verdict)
	}
	b.fine("document holds")
	for what, of := range map[string]struct{ text, bundle, signer, says string }{
		"another document": {text + "Not.\n", bundle, signer, "The document is the one that was signed"},
		"another signer":   {text, bundle, other, "The signer is the one that you expect"},
		"another name":     {text, strings.Replace(bundle, "Abnahme", "Annahme", 1), signer, "parts fail"},
	} {
		verdict := b.check(name, of.text, of.bundle, of.signer)
		if !strings.Contains(verdict, "The signature does not hold") || !strings.Contains(verdict, of.says) {
			t.Errorf("%s: %s", what, verdict)
		}
	}
	b.fine("document does not hold")
	if verdict := b.check(name, text, "{}", ""); !strings.Contains(verdict, "That did not work") && !strings.Contains(verdict, "does not hold") {
		t.Errorf("no bundle: %s", verdict)
	}
	b.quiet(http.StatusBadRequest, http.StatusUnprocessableEntity)

	t.Log("the same by the command line, with nothing but the log's key that the page of the audit shows")
	b.visit(home + "/audit")
	document := filepath.Join(t.TempDir(), "document")
	must(t, os.WriteFile(document, []byte(text), 0o600))
	must(t, os.WriteFile(document+".json", []byte(bundle), 0o600))
	b.offline("document", "verify", "--key", b.text(logKey), "--address", signer, document, document+".json")
}

// logKey is where the page of the audit shows the log's key.
const logKey = ".log-state dt:text-is('Key') + dd code"

// offline runs a command that has to say that something holds.
func (b *tab) offline(command ...string) {
	b.t.Helper()
	if out, err := exec.CommandContext(b.t.Context(), built.Of(b.t).Hsmsigner, command...).CombinedOutput(); err != nil {
		b.t.Errorf("hsmsigner %s: %v: %s", strings.Join(command, " "), err, out)
	}
}
