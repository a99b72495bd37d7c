// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// rulesBelow are rules that let payments below so much ether pass.
func rulesBelow(ether string) string {
	return fmt.Sprintf("version: hsmsigner-policy-v1\nrules:\n  - {name: payments, effect: allow, actions: [transaction], value: {max: %s ether}}\nlimits:\n  - {name: daily, asset: native, per: account, max: 50 ether, window: 24h}\n", ether)
}

// verdict asks whether a payment of so much ether would pass, and waits for the
// answer.
func (b *tab) verdict(ether, answer string) {
	b.t.Helper()
	b.do("fill", args{"at": "#t-value", "text": ether})
	b.click(`button[data-try="verdict"]`)
	b.seeAt("#verdict", answer)
}

// Rules are tried in the editor before they count, count at once when they are
// saved, and are told by their line when they cannot be read.
func TestRulesAreTriedAndThenCount(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	b := s.signIn(s.Key, nil)
	page := home + "/wallets/" + s.ids["wallet"] + "/policy"
	b.visit(page)
	b.do("fill", args{"at": "#t-to", "text": harness.Fresh().Hex()})
	b.verdict("3", "Yes, this would pass")

	t.Log("a draft")
	edit := func(text string) { b.do("fill", args{"at": "#f-document", "text": text}) }
	edit(rulesBelow("2"))
	b.do("check-box", args{"at": "[name=draft]"})
	b.verdict("3", "No, this would be refused")
	b.seeAt("#verdict", "which do not count yet")
	b.verdict("1", "Yes, this would pass")
	for _, text := range []string{"payments", "daily", "1 ETH"} {
		b.seeAt("#verdict", text)
	}
	b.fine("verdict of a draft")
	b.verdict("much", "want a number of ether")
	b.quiet(http.StatusUnprocessableEntity)
	if _, err := s.pay(s.accounts[0], tenEther); err != nil {
		t.Errorf("a draft counts: %v", err)
	}

	t.Log("saved")
	b.fill(map[string]string{"comment": "Small payments only"})
	b.press("Have these rules count")
	b.see("The rules that count: version 1")
	s.eventually("refused", func() bool {
		_, err := s.pay(s.accounts[0], tenEther)
		return err != nil && strings.Contains(err.Error(), "no rule allows")
	})
	_, err := s.pay(s.accounts[0], halfEther)
	must(t, err)
	b.visit(page)
	b.seeAt("main", "Limits, and how much of them is used")
	b.fine("rules that count")

	t.Log("with mistakes")
	edit(strings.Replace(rulesBelow("5"), "effect: allow", "effect: alow", 1))
	b.press("Have these rules count")
	b.see("These rules cannot be read as they are")
	b.seeAt(".lines", "alow")
	b.click(".lines button")
	if chosen := fmt.Sprint(b.run(`((a) => a.value.slice(a.selectionStart, a.selectionEnd))(document.activeElement)`)); !strings.Contains(chosen, "alow") {
		t.Errorf("the line that is wrong is not shown, but %q", chosen)
	}
	b.fine("rules with a mistake")
	b.quiet(http.StatusUnprocessableEntity)

	t.Log("another version, beside somebody who has an old one in his editor")
	other := b.beside()
	other.visit(page)
	edit(rulesBelow("5"))
	b.press("Have these rules count")
	b.see("The rules that count: version 2")
	other.do("fill", args{"at": "#f-document", "text": rulesBelow("7")})
	other.press("Have these rules count")
	other.seeAt("[role=alert]", "version")
	other.quiet(http.StatusUnprocessableEntity, http.StatusConflict)
	b.visit(page)
	b.click(`main a:has-text("Version 1")`)
	b.seeAt("main", "The editor shows version 1")
	if got := fmt.Sprint(b.run(`document.querySelector("#f-document").value`)); !strings.Contains(got, "max: 2 ether") {
		t.Errorf("version 1 is shown as %s", got)
	}
	b.visit(page)
	b.click("summary:has-text('End the rules of this scope')")
	b.press("Yes, end them")
	b.see("No rules of its own")
	s.eventually("allowed again", func() bool { _, err := s.pay(s.accounts[0], tenEther); return err == nil })
	b.quiet()
}

// The page of the audit says that the log holds, finds records, and proves one, also
// to somebody who has only the file.
func TestAuditPageShowsThatTheLogHolds(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	_, err := s.pay(s.accounts[0], halfEther)
	must(t, err)
	s.Want(http.StatusOK, "PUT", s.service("/policy"), fmt.Sprintf(`{"document":%q,"comment":"first"}`, rulesBelow("2")))
	b := s.signIn(s.Key, nil)
	b.click(`nav.side a:has-text("Audit")`)
	s.eventually("all is under a checkpoint", func() bool {
		b.visit(home + "/audit")
		return strings.Contains(b.text(".log-state"), "Nothing waits: the newest record is under a signed checkpoint")
	})
	b.seeAt("main table", "policy set")
	b.do("choose", args{"at": "#f-kind", "text": "outcome"})
	b.do("choose", args{"at": "#f-wallet", "text": "treasury"})
	b.do("choose", args{"at": "#f-action", "text": "send transaction"})
	b.press("Show")
	b.reach("kind=outcome") // what is not filtered has such records too
	b.seeAt("main table", "signed")
	if shown := b.text("main table"); strings.Contains(shown, "policy set") || !strings.Contains(shown, s.accounts[0].Hex()[:6]) {
		t.Errorf("the filters do not count: %s", shown)
	}
	b.do("fill", args{"at": "#f-address", "text": "nobody"})
	b.press("Show")
	b.seeAt("main .wrong", "Want an address")
	b.fine("audit with a filter that is wrong")
	b.quiet(http.StatusUnprocessableEntity)
	b.do("fill", args{"at": "#f-address", "text": s.accounts[0].Hex()})
	b.press("Show")
	b.reach("address=" + s.accounts[0].Hex())
	b.click("main table.records tbody a")
	b.seeAt("[role=status]", "Proven.")
	b.seeAt("main", "The very line that was hashed")

	proof := b.do("save", args{"at": `a:has-text("Download the proof")`})
	var given struct{ Record, Key string }
	if err := json.Unmarshal([]byte(proof.Text), &given); err != nil || !regexp.MustCompile(`^audit-record-[0-9a-f]{32}\.json$`).MatchString(proof.URL) {
		t.Fatalf("the proof is saved as %q: %v %s", proof.URL, err, proof.Text)
	}
	checkpoint := b.do("save", args{"at": `a:has-text("Download the newest checkpoint")`})
	if !strings.HasSuffix(checkpoint.URL, ".checkpoint") || !strings.Contains(checkpoint.Text, "\n\n— ") {
		t.Errorf("the checkpoint is saved as %q: %s", checkpoint.URL, checkpoint.Text)
	}
	b.visit(home + "/audit")
	key := b.text(logKey)
	if key != given.Key {
		t.Errorf("the page shows the key %s, and the proof has %s", key, given.Key)
	}
	file := filepath.Join(t.TempDir(), "proof.json")
	must(t, os.WriteFile(file, []byte(proof.Text), 0o600))
	b.offline("audit", "prove", "--check", file, "--key", key)
	must(t, os.WriteFile(file, []byte(checkpoint.Text), 0o600))
	b.offline("audit", "verify", "--config", s.daemon.Config(), "--key", key, "--checkpoint", file)
	b.quiet()
}
