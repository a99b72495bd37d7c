// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// What wei of these amounts is in JSON-RPC.
const (
	halfEther = "0x6f05b59d3b20000"
	tenEther  = "0x8ac7230489e80000"
)

// asked has a program ask for a payment that people decide on.
func (s *stage) asked(from common.Address) (to common.Address) {
	s.Helper()
	s.eventually("asked", func() bool { // rules that were just written count within a second
		to = harness.Fresh()
		_, err := s.payTo(from, to, tenEther)
		return err != nil && strings.Contains(err.Error(), "approval")
	})
	return to
}

// balance is what an address has on the chain, in wei as JSON-RPC writes it.
func (s *stage) balance(of common.Address) (wei string) {
	s.Helper()
	must(s.T, s.node.RPC.CallContext(s.Context(), &wei, "eth_getBalance", of, "latest"))
	return wei
}

// has waits until an address has so much wei.
func (s *stage) has(to common.Address, wei string) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s has %s wei", to, wei), func() bool { return s.balance(to) == wei })
}

// hasNothing demands that nothing was sent to an address.
func (s *stage) hasNothing(to common.Address, when string) {
	s.Helper()
	if got := s.balance(to); got != "0x0" {
		s.Errorf("%s, %s was sent %s wei", when, to, got)
	}
}

// Two people decide on what a program asks for: what both approve is sent, what one
// rejects never is, and nobody decides on what he has asked for himself.
func TestPeopleVoteOnWhatAProgramAsksFor(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	s.Want(http.StatusOK, "PUT", s.service("/policy"), fmt.Sprintf(`{"document":%q}`, rules))
	anna, _ := s.apiKey("anna", `{"role":"admin"}`)
	bert, _ := s.apiKey("bert", `{"role":"admin"}`)
	a, b := s.signIn(anna, nil), s.signIn(bert, nil)

	a.visit(home + "/approvals")
	a.see("Nothing waits")
	to := s.asked(s.accounts[0])
	a.see("1 request waits") // without anybody doing anything
	a.click(`main a:has-text("Review and vote")`)
	for _, text := range []string{"shop-backend", "send a transaction", "10 ETH", to.Hex()[:6], "0 of 2", "Nobody yet"} {
		a.seeAt("main", text)
	}
	a.fine("approval to vote on")
	request := fmt.Sprint(a.run("location.pathname"))
	a.fill(map[string]string{"comment": "Invoice 4711"})
	a.press("Approve")
	a.see("You have voted")
	a.seeAt("main", "1 of 2")
	s.hasNothing(to, "with one of two votes")

	b.visit(request)
	b.seeAt("main", "Invoice 4711")
	b.press("Approve")
	b.seeAt("main", "2 of 2") // approved, or used already
	s.has(to, tenEther)
	a.visit(home + "/approvals")
	a.seeAt("main table", "anna, bert")
	a.visit(home + "/wallets/" + s.ids["wallet"] + "/transactions")
	a.seeAt("main table", "10 ETH")

	t.Log("one rejection ends a request")
	to = s.asked(s.accounts[1])
	b.visit(home + "/approvals")
	b.click(`main a:has-text("Review and vote")`)
	b.fill(map[string]string{"comment": "Nobody has ordered this"})
	b.press("Reject")
	b.seeAt("h1", "rejected")
	a.visit(fmt.Sprint(b.run("location.pathname")))
	a.seeAt("main", "Nobody has ordered this")
	if a.do("count", args{"at": `main button:has-text("Approve"):visible`}).Value != 0.0 {
		t.Error("what is rejected can still be approved")
	}
	s.hasNothing(to, "after a rejection")

	t.Log("what somebody asks for in the console is for others to decide")
	a.visit(home + "/wallets/" + s.ids["wallet"] + "/accounts/" + s.accounts[2].Hex())
	a.fill(map[string]string{"to": harness.Fresh().Hex(), "value": "3"})
	a.press("Send it")
	a.see("A rule wants people asked first")
	a.quiet(http.StatusUnprocessableEntity, http.StatusForbidden, http.StatusConflict)
	a.visit(home + "/approvals")
	a.click(`main a:has-text("Look at it")`)
	a.see("You asked for this yourself, so others decide")
	if a.do("count", args{"at": `main button:text-is("Approve"):visible`}).Value != 0.0 {
		t.Error("somebody may approve what he has asked for")
	}
	a.quiet()
	b.quiet()
}

// What is frozen sends nothing: an account, then the whole wallet. What was accepted
// before is held, and goes on at the release.
func TestFreezeHoldsUntilItIsReleased(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	b := s.signIn(s.Key, nil)
	wallet := home + "/wallets/" + s.ids["wallet"]

	t.Log("an account, while the key backend has a transaction of it")
	_, err := s.pay(s.accounts[0], halfEther)
	must(t, err)
	s.eventually("mined", func() bool { return s.node.Nonce(s, s.accounts[0]) == 1 })
	b.click(`nav.side a:has-text("Freeze")`)
	b.see("Nothing is frozen")
	b.fill(map[string]string{"address": s.accounts[0].Hex()})
	b.do("fill", args{"at": "#z-reason-account", "text": "Key ceremony on Monday"})
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	s.vault.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/sign/") {
			select {
			case asked <- struct{}{}:
			default:
			}
			<-goOn
		}
		return false
	})
	held, accepted := harness.Fresh(), make(chan error, 1)
	go func() { _, err := s.payTo(s.accounts[0], held, halfEther); accepted <- err }()
	<-asked
	s.vault.SetIntercept(nil)
	b.press("Freeze the account")
	s.eventually("frozen", func() bool { // the daemon waits for a signature for ten seconds only
		return s.Want(http.StatusOK, "GET", s.service("/accounts/"+s.accounts[0].Hex()+"/freeze"), "")["frozen"] == true
	})
	release() // its signature comes, and is not used
	b.seeAt(".stopped", "Key ceremony on Monday")
	b.fine("freeze of an account")
	b.visit(wallet + "/accounts/" + s.accounts[0].Hex())
	b.seeAt(".banner", "This account is frozen. Nothing of it is signed or sent; what was accepted is held. Key ceremony on Monday.")
	b.visit(wallet)
	if shown := b.text("main"); strings.Contains(shown, "frozen") {
		t.Errorf("beside a frozen account, the wallet is shown as frozen: %s", shown)
	}
	if _, err := s.pay(s.accounts[0], halfEther); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("of a frozen account: %v", err)
	}
	other := harness.Fresh()
	_, err = s.payTo(s.accounts[1], other, halfEther)
	must(t, err)
	s.has(other, halfEther)
	s.hasNothing(held, "by a frozen account")
	b.visit(wallet + "/transactions")
	b.seeAt(fmt.Sprintf("main table tr:has(code[title=%q])", held.Hex()), "signed")

	t.Log("its release")
	b.visit(home + "/freeze")
	b.click("summary:has-text('Release')")
	b.fine("release of an account")
	b.press("Yes, release it")
	b.see("Nothing is frozen")
	s.has(held, halfEther)
	if err := <-accepted; err != nil {
		t.Logf("its caller was told: %v", err)
	}
	b.visit(wallet + "/accounts/" + s.accounts[0].Hex())
	if shown := b.text("main"); strings.Contains(shown, "frozen") {
		t.Errorf("the account is still shown as frozen: %s", shown)
	}

	t.Log("the wallet")
	b.visit(home + "/freeze")
	b.do("choose", args{"at": "#z-wallet", "text": "treasury"})
	b.do("fill", args{"at": "#z-reason-wallet", "text": "Drill"})
	b.press("Freeze the wallet")
	b.seeAt(".stopped", "Drill")
	for _, page := range []string{"", "/accounts", "/transactions", "/policy", "/connect", "/settings", "/accounts/" + s.accounts[1].Hex()} {
		b.visit(wallet + page)
		b.seeAt(".banner", "This wallet is frozen")
	}
	for _, from := range s.accounts[:2] {
		if _, err := s.pay(from, halfEther); err == nil || !strings.Contains(err.Error(), "frozen") {
			t.Errorf("of a frozen wallet: %v", err)
		}
	}
	b.fill(map[string]string{"value": "0"})
	b.press("Send it")
	b.reach("/test-transaction") // the page before says so in its banner too
	b.see("frozen")
	b.visit(home + "/freeze")
	b.click("summary:has-text('Release')")
	b.press("Yes, release it")
	b.see("Nothing is frozen")
	_, err = s.pay(s.accounts[1], halfEther)
	must(t, err)

	t.Log("everything")
	b.do("fill", args{"at": "#z-reason-everything", "text": "Fire"})
	b.press("Freeze everything")
	for _, page := range []string{"/overview", "/nodes", "/audit"} {
		b.visit(home + page)
		b.seeAt(".banner", "Everything is frozen. No wallet signs or sends anything. Fire.")
	}
	b.fine("everything is frozen")
	b.visit(home + "/freeze")
	b.click("summary:has-text('Release')")
	b.press("Yes, release it")
	b.see("Nothing is frozen")
	b.quiet(http.StatusUnprocessableEntity, http.StatusForbidden, http.StatusServiceUnavailable)
}
