// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestOpenedWalletSignsAndSends(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 2, 0)
	r.serve(r.spec("s1", "a"))
	hash, err := r.send("s1", v.address(0), 1)
	r.must(err)
	r.waitFor("it is mined", func() bool { return r.chain.Nonce(v.address(0)) == 1 })
	if mined := r.chain.Mined(v.address(0)); mined[0].Hash() != hash {
		t.Errorf("%s was mined, want %s", mined[0].Hash(), hash)
	}
	w := r.fleet.Wallet("s1")
	if _, err := w.SignMessage(t.Context(), caller, v.address(1), []byte("hello")); err != nil {
		t.Error(err)
	}
	if s, _ := w.Status(); s.Accounts != 2 || s.Usable != 2 || !s.Listed || !s.Verified || !s.Backend.OK || !s.Node.OK {
		t.Errorf("status %+v", s)
	}
	balance, err := r.fleet.Balance(t.Context(), "s1", v.address(1))
	if err != nil || balance.Cmp(r.chain.Balance(v.address(1))) != 0 {
		t.Errorf("balance %v, %v", balance, err)
	}
	if nonce, err := r.fleet.Nonce(t.Context(), "s1", v.address(0)); err != nil || nonce != 1 {
		t.Errorf("nonce %d, %v", nonce, err)
	}
	if r.fleet.Wallet("s2") != nil {
		t.Error("a wallet that nobody opened is there")
	}
	if _, err := r.fleet.Accounts(t.Context(), "s2"); !errors.Is(err, fleet.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestWalletIsFoundByItsNameAndItsID(t *testing.T) {
	r := newRig(t)
	r.vault("a", 1, 0)
	declared := r.spec("treasury", "a")
	declared.ID, declared.Membership, declared.Backend, declared.Node = "h0a1234567", "h0member00", fleet.Version{}, fleet.Version{}
	r.serve(declared)
	if w := r.fleet.Wallet("h0a1234567"); w == nil || w != r.fleet.Wallet("treasury") || w.Name() != "treasury" {
		t.Error("it is not found by both")
	}
	for _, clash := range []fleet.Spec{r.spec("h0a1234567", "a"), func() fleet.Spec {
		s := r.spec("other", "a")
		s.ID = "treasury"
		return s
	}()} {
		if err := r.fleet.Open(t.Context(), clash); err == nil {
			t.Errorf("%s took a name that is another's", clash.Wallet.Name)
		}
	}
}

func TestWalletsOfOneConfigurationShareBackendListingAndNode(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 5, 0)
	var specs []fleet.Spec
	for i := range 50 {
		specs = append(specs, r.spec(fmt.Sprintf("s%02d", i), "a"))
	}
	r.serve(specs...)
	if v.opened.Load() != 1 || v.listed.Load() != 1 {
		t.Errorf("the backend was opened %d times and listed %d times", v.opened.Load(), v.listed.Load())
	}
	if n := r.chain.Calls("eth_chainId"); n > 5 {
		t.Errorf("the node was asked %d times for its chain", n)
	}
	if _, err := r.fleet.Refresh(t.Context(), "s07"); err != nil {
		t.Fatal(err)
	}
	if n := v.listed.Load(); n != 2 {
		t.Errorf("%d listings after a refresh", n)
	}
	for i := range 49 {
		r.must(r.fleet.Close(t.Context(), fmt.Sprintf("s%02d", i)))
	}
	if v.open.Load() != 1 {
		t.Error("the backend is closed, and one wallet is left")
	}
	if _, err := r.send("s49", v.address(0), 1); err != nil {
		t.Error(err)
	}
	r.must(r.fleet.Close(t.Context(), "s49"))
	if v.open.Load() != 0 {
		t.Error("the backend is open, and no wallet is left")
	}
	if err := r.fleet.Close(t.Context(), "s49"); !errors.Is(err, fleet.ErrNotRunning) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestMembershipsShareNothing(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	other := r.spec("s2", "a")
	other.Membership = "m2"
	r.serve(r.spec("s1", "a"), other)
	if v.opened.Load() != 2 {
		t.Errorf("opened %d times", v.opened.Load())
	}
	moved := r.spec("s1", "a")
	moved.Membership = "m2"
	if err := r.fleet.Open(t.Context(), moved); err == nil {
		t.Error("a wallet went over to another membership")
	}
}

func TestAccountsThatDidNotChangeAreNotStoredAgain(t *testing.T) {
	r := newRig(t)
	r.vault("a", 3, 0)
	r.serve(r.spec("s1", "a"), r.spec("s2", "a"))
	seen := func() (at time.Time) {
		rows, err := r.db.Accounts(t.Context(), "s1")
		r.must(err)
		if len(rows) != 3 {
			t.Fatalf("%d accounts are stored", len(rows))
		}
		return rows[0].Seen
	}
	var first time.Time
	r.waitFor("they are stored", func() bool {
		rows, err := r.db.Accounts(t.Context(), "s1")
		return err == nil && len(rows) == 3
	})
	first = seen()
	for range 3 {
		_, err := r.fleet.Refresh(t.Context(), "s1")
		r.must(err)
	}
	if !seen().Equal(first) {
		t.Error("they were stored again")
	}
	if accounts, _ := r.fleet.Accounts(t.Context(), "s1"); !accounts[0].Seen.After(first) {
		t.Error("that they were found again is not known")
	}
	r.stop()
	r.start()
	r.serve(r.spec("s1", "a"))
	if !seen().Equal(first) {
		t.Error("they were stored again after a restart")
	}
}

func TestMistakeInASpecLeavesWhatRan(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	good := r.spec("s1", "a")
	r.serve(good)
	bad := with(good, 1)
	bad.Wallet.Details.Azure.Credential.Secret = good.Wallet.Details.Azure.CACert // none
	bad.Wallet.Details.Azure.TargetAddress = "nowhere"
	if err := r.fleet.Open(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "no vault nowhere") {
		t.Errorf("got %v", err)
	}
	bad = good
	bad.Wallet.Node.URL, bad.Node.Version = bad.Wallet.Node.WSURL, "1"
	if err := r.fleet.Open(t.Context(), bad); err == nil {
		t.Error("a node without an address was taken")
	}
	if _, err := r.send("s1", v.address(0), 1); err != nil {
		t.Error(err)
	}
	if err := r.fleet.Open(t.Context(), func() fleet.Spec { s := r.spec("s9", "nowhere"); return s }()); err == nil {
		t.Error("a new one was taken")
	}
	if r.fleet.Wallet("s9") != nil || len(r.fleet.Wallets()) != 1 {
		t.Error("what could not be opened is there")
	}
}

func TestKeyIsMadeByTheAdminAndFound(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	spec := r.spec("s1", "a")
	r.serve(spec)
	if _, err := r.fleet.Create(t.Context(), caller, "s1", "new", nil); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("made without an admin credential: %v", err)
	}
	a := *spec.Wallet.Details.Azure
	a.Admin = &a.Credential
	spec.Wallet.Details.Azure = &a
	spec.Backend.Version = "1"
	r.serve(spec)
	made, err := r.fleet.Create(t.Context(), caller, "s1", "new", nil)
	r.must(err)
	if !r.fleet.Wallet("s1").Has(made.Address) {
		t.Error("the new key is not found")
	}
	if _, err := r.fleet.Import(t.Context(), caller, "s1", "new", make([]byte, 32), nil); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("imported where that cannot be: %v", err)
	}
	r.waitFor("the admin's backend is closed", func() bool { return v.open.Load() == 1 })
}
