// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	rules "github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// rulesOf are rules whose comment and names are of use to the tests.
func rulesOf(note string) string {
	return fmt.Sprintf("version: hsmsigner-policy-v1\nrules:\n  - name: pay\n    note: %q\n    effect: allow\n    actions: [transaction]\n    value: {max: 2 ether}\nlimits:\n  - {name: daily, asset: native, per: account, max: 10 ether, window: 24h}\n", note)
}

// control makes one of everything that the pages of control show: rules of a
// wallet and one more version, a request that waits, one that is decided, a frozen
// account, a record of each kind.
func (r *rig) control(behind string) {
	r.Helper()
	ctx, who, id := r.Context(), auth.Operating(), serviceID(r)
	at := platform.Path{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment, ID: id}
	for _, note := range []string{"first", "second" + behind} {
		_, err := r.platform.SetPolicy(ctx, who, platform.Services, at, platform.NewPolicy{Document: rulesOf(note), Comment: note})
		must(r, err)
	}
	decided := r.asks(1)
	_, err := r.platform.RejectRequest(ctx, auth.Access{Principal: auth.Principal{Name: "key:other"}, Grants: who.Grants}, at, decided, platform.NewVote{Comment: "no" + behind})
	must(r, err)
	r.waiting = r.asks(2_500_000_000_000_000_000)
	_, err = r.platform.Freeze(ctx, who, platform.FreezeTarget{Kind: platform.Services, At: at, Account: &account}, "leaked"+behind)
	must(r, err)
	i := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: "key:x" + behind, Wallet: id, Address: account, Action: audit.SendTransaction,
		Subject: "tx" + behind, Verdict: "allow: default", Detail: `{"to":"0x00"}`,
	}
	o := audit.Outcome{ID: store.NewID(), Intent: i.ID, At: time.Now(), Digest: common.Hash{1}, Hash: common.Hash{2}}
	must(r, r.db.WriteIntent(ctx, i))
	must(r, r.db.WriteOutcome(ctx, o))
	must(r, r.book.Await(ctx, i.ID, o.ID))
	r.recorded = i.ID
}

// asks has an app credential's transaction wait for one admin.
func (r *rig) asks(wei int64) string {
	r.Helper()
	id := serviceID(r)
	to := common.HexToAddress("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
	data := common.FromHex("0xa9059cbb0000000000000000000000005aaeb6053f3e94c9b9a09f33669435e7ef1beaed00000000000000000000000000000000000000000000000000000000000004d2")
	_, pending, err := r.asked.Find(r.Context(), rules.Request{
		Principal: auth.Principal{Name: "app:" + r.idFor("/credentials/"), Membership: platform.DefaultMembership, Environment: platform.DefaultEnvironment},
		Owner:     rules.Owner{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment, Membership: platform.DefaultMembership, Wallet: id, Service: id},
		ChainID:   big.NewInt(1), Account: account, Action: audit.SendTransaction, ID: store.NewID(), Asked: rules.Asked{Hash: common.BigToHash(big.NewInt(wei))},
		Transaction: types.NewTx(&types.DynamicFeeTx{
			ChainID: big.NewInt(1), To: &to, Value: big.NewInt(wei), Gas: 60_000, Data: data, GasFeeCap: big.NewInt(9e9), GasTipCap: big.NewInt(1e9),
		}),
	}, []rules.Ask{{Rule: "service:" + id + "/large", Needed: 1, Approvers: rules.Approvers{Roles: []auth.Role{auth.Admin}, Addresses: []common.Address{to}}}})
	must(r, err)
	return pending.ID
}

func TestRequestIsApprovedByWhoeverTheRuleNames(t *testing.T) {
	r := newRig(t)
	r.fill()
	at := home("/approvals/" + serviceID(r) + "/" + r.waiting)
	reader := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"auditor"}]}`))
	if a := reader.get(at); a.code != http.StatusOK || strings.Contains(a.text, ">Reject</button>") || !strings.Contains(a.text, "The rule does not name you") {
		t.Errorf("an auditor: %d", a.code)
	}
	if a := reader.send(at+"/approve", nil); a.code != http.StatusForbidden {
		t.Errorf("an auditor approves: %d", a.code)
	}
	b := r.signedIn(r.root)
	for _, path := range []string{home("/approvals"), at} {
		a := b.get(path)
		for _, want := range []string{"app-of-ours", "2.5 ETH", "transfer", "1\u202f234", "0 of 1", " left"} {
			if !strings.Contains(a.text, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
	}
	if a := b.send(at+"/approve", url.Values{"signature": {"0x12"}}); a.code == http.StatusSeeOther {
		t.Error("a signature of one byte counts")
	}
	if a := b.send(at+"/approve", url.Values{"signature": {"zz"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "130 hex digits") {
		t.Errorf("no signature: %d", a.code)
	}
	if a := b.send(at+"/approve", url.Values{"comment": {"as agreed"}}); a.code != http.StatusSeeOther {
		t.Fatalf("approve: %d %s", a.code, a.text)
	}
	if a := b.get(at); !strings.Contains(a.text, "approved") || !strings.Contains(a.text, "as agreed") || strings.Contains(a.text, ">Reject</button>") {
		t.Error("the page does not show the vote")
	}
	if a := b.send(at+"/reject", nil); a.code != http.StatusUnprocessableEntity && a.code != http.StatusConflict {
		t.Errorf("reject what is approved: %d", a.code)
	}
}

func TestRulesAreWrittenTestedProposedAndApproved(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	at := home("/wallets/" + serviceID(r) + "/policy")
	a := b.get(at)
	for _, want := range []string{"version 2", "daily", "Nothing has been taken off a limit", "Version 1"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	a = b.send(at, url.Values{"document": {"version: hsmsigner-policy-v1\r\nrules:\r\n  - name: x\r\n    effect: perhaps\r\n"}, "replaces": {"2"}})
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Line 4") || !strings.Contains(a.text, "effect: perhaps") {
		t.Errorf("rules that are wrong: %d", a.code)
	}
	if a = b.send(at, url.Values{"document": {" \r\n"}, "replaces": {"2"}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("no rules: %d", a.code)
	}
	if a = b.send(at, url.Values{"document": {rulesOf("third")}, "replaces": {"1"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "changed meanwhile") || !strings.Contains(a.text, "third") {
		t.Errorf("over somebody else's: %d", a.code)
	}
	for value, want := range map[string]string{"1.5": "Yes, this would pass", "3": "No, this would be refused", "x": "number of ether"} {
		a = b.send(at+"/test", url.Values{"method": {"eth_sendTransaction"}, "from": {account.Hex()}, "to": {account.Hex()}, "value": {value}})
		if a.code != http.StatusOK || !strings.Contains(a.text, want) {
			t.Errorf("%s ether: %d %s", value, a.code, a.text)
		}
	}
	draft := strings.ReplaceAll(rulesOf("draft"), "2 ether", "5 ether")
	a = b.send(at+"/test", url.Values{"method": {"eth_sendTransaction"}, "from": {account.Hex()}, "to": {account.Hex()}, "value": {"3"}, "draft": {"yes"}, "document": {draft}})
	if !strings.Contains(a.text, "Yes, this would pass") || !strings.Contains(a.text, "do not count yet") {
		t.Errorf("a draft: %s", a.text)
	}
	if a = b.send(at+"/test", url.Values{"method": {"personal_sign"}, "from": {account.Hex()}, "data": {"hello"}}); !strings.Contains(a.text, "No, this would be refused") {
		t.Errorf("a message: %s", a.text)
	}
	if a = b.send(at+"/end", nil); a.code != http.StatusSeeOther {
		t.Errorf("end: %d %s", a.code, a.text)
	}
	if a = b.get(at); !strings.Contains(a.text, "No rules of its own") {
		t.Error("the rules count on")
	}

	_, err := r.platform.Update(t.Context(), auth.Operating(), platform.Consortia, platform.Path{ID: platform.DefaultConsortium}, []byte(`{"policy_approvals":1}`))
	must(t, err)
	if a = b.send(at, url.Values{"document": {rulesOf("fourth")}, "replaces": {"3"}}); a.code != http.StatusSeeOther || !strings.HasSuffix(a.header.Get("Location"), "policy-proposed") {
		t.Errorf("propose: %d to %s", a.code, a.header.Get("Location"))
	}
	if a = b.get(at); !strings.Contains(a.text, "waits for another admin") || strings.Contains(a.text, "Approve version 4") {
		t.Error("the author is asked to approve")
	}
	other := r.signedIn(r.key(`{"name":"second","grants":[{"role":"admin"}]}`))
	if a = other.send(at+"/approve", url.Values{"version": {"4"}}); a.code != http.StatusSeeOther && a.code != http.StatusForbidden {
		t.Errorf("approve: %d %s", a.code, a.text)
	}
	if a = b.send(at+"/approve", url.Values{"version": {"4"}}); a.code == http.StatusSeeOther {
		t.Error("the author approves his own")
	}
}

func TestFreezeStopsAndSaysSo(t *testing.T) {
	r := newRig(t)
	r.fill()
	id := serviceID(r)
	b := r.signedIn(r.root)
	wallet, its := home("/wallets/"+id), home("/wallets/"+id+"/accounts/"+account.Hex())
	if a := b.get(its); !strings.Contains(a.text, "This account is frozen") || !strings.Contains(a.text, "Leaked.") {
		t.Error("the account's page does not say that it is frozen")
	}
	if a := b.get(wallet); strings.Contains(a.text, `class="banner"`) {
		t.Error("the wallet's page says that it is frozen")
	}
	if a := b.send(home("/freeze"), url.Values{"what": {"wallet"}, "id": {id}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("without a reason: %d", a.code)
	}
	if a := b.send(home("/freeze"), url.Values{"what": {"wallet"}, "id": {id}, "reason": {"drill"}}); a.code != http.StatusSeeOther {
		t.Errorf("freeze: %d %s", a.code, a.text)
	}
	if a := b.get(wallet); !strings.Contains(a.text, "This wallet is frozen") {
		t.Error("the wallet's page does not say that it is frozen")
	}
	operator := r.signedIn(r.key(`{"name":"night","grants":[{"role":"operator","consortium_id":"h0consort0","membership_id":"h0member00"}]}`))
	if a := operator.send(home("/freeze/release"), url.Values{"what": {"wallet"}, "id": {id}}); a.code != http.StatusForbidden {
		t.Errorf("an operator releases: %d", a.code)
	}
	if a := operator.send(home("/freeze"), url.Values{"what": {"everything"}, "reason": {"x"}}); a.code != http.StatusForbidden {
		t.Errorf("an operator of a membership freezes everything: %d", a.code)
	}
	if a := operator.send(home("/freeze"), url.Values{"what": {"membership"}, "id": {platform.DefaultMembership}, "reason": {"night"}}); a.code != http.StatusSeeOther {
		t.Errorf("an operator freezes his membership: %d %s", a.code, a.text)
	}
	for _, form := range []url.Values{{"what": {"membership"}, "id": {platform.DefaultMembership}}, {"what": {"wallet"}, "id": {id}}, {"what": {"account"}, "id": {id}, "address": {account.Hex()}}} {
		if a := b.send(home("/freeze/release"), form); a.code != http.StatusSeeOther {
			t.Errorf("release %s: %d %s", form, a.code, a.text)
		}
	}
	if a := b.get(home("/freeze")); !strings.Contains(a.text, "Nothing is frozen") {
		t.Error("something is still frozen")
	}
	if a := b.send(home("/freeze"), url.Values{"what": {"everything"}, "reason": {"fire"}}); a.code != http.StatusSeeOther {
		t.Errorf("everything: %d", a.code)
	}
	for _, path := range []string{"/overview", "/audit", "/nodes"} {
		if a := operator.get(home(path)); !strings.Contains(a.text, "Everything is frozen") {
			t.Errorf("%s does not say that everything is frozen", path)
		}
	}
	if a := b.send(home("/freeze"), url.Values{"what": {"account"}, "address": {"0x0000000000000000000000000000000000000001"}, "reason": {"x"}}); a.code != http.StatusUnprocessableEntity && a.code != http.StatusSeeOther {
		t.Errorf("an account that nobody has: %d", a.code)
	}
}

func TestAuditPageFiltersAndProves(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	if a := b.get(home("/audit")); !strings.Contains(a.text, r.recorded) || !strings.Contains(a.text, "Last checkpoint") {
		t.Error("the list lacks the record, or the log's state")
	}
	if a := b.get(home("/audit?kind=event")); strings.Contains(a.text, r.recorded) || !strings.Contains(a.text, "policy set") {
		t.Error("the filter does not count")
	}
	if a := b.get(home("/audit?address=nobody")); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Want an address") {
		t.Errorf("a filter that is wrong: %d", a.code)
	}
	a := b.get(home("/audit/records/" + r.recorded))
	if !strings.Contains(a.text, "Proven.") || !strings.Contains(a.text, "allow: default") {
		t.Error("the record is not shown as proven")
	}
	a = b.get(home("/audit/checkpoint"))
	if !strings.HasPrefix(a.text, "example.org/log\n") || !strings.Contains(a.header.Get("Content-Disposition"), "attachment") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("checkpoint: %v %s", a.header, a.text)
	}
	if a = b.get(home("/audit/records/" + strings.Repeat("0", 32))); a.code != http.StatusNotFound {
		t.Errorf("a record that is not there: %d", a.code)
	}
	proof, err := r.platform.RecordProof(t.Context(), auth.Operating(), r.recorded)
	must(t, err)
	if _, err := checkProof(proof); err != nil {
		t.Error(err)
	}
	proof.Record = strings.Replace(proof.Record, "allow", "deny", 1)
	if _, err := checkProof(proof); err == nil {
		t.Error("an altered record is proven")
	}
}

func TestCallsThatMoveTokensAreRead(t *testing.T) {
	word := func(s string) string { return strings.Repeat("0", 64-len(s)) + s }
	address := strings.ToLower(account.Hex()[2:])
	for data, want := range map[string]string{
		"0x":         "",
		"0x12":       " 1",
		"0x12345678": " 4",
		"0xa9059cbb": " 4", // transfer without arguments
		"0xa9059cbb" + word(address) + word("4d2"):               "transfer to=" + account.Hex() + " amount=1\u202f234",
		"0xa9059cbb" + word("1"+address) + word("4d2"):           " 68", // not an address
		"0xa9059cbb" + word(address) + word("4d2") + "00":        " 69",
		"0x095ea7b3" + word(address) + strings.Repeat("f", 64):   "approve spender=" + account.Hex() + " amount=unlimited",
		"0xa22cb465" + word(address) + word("1"):                 "setApprovalForAll operator=" + account.Hex() + " approved=yes",
		"0xa22cb465" + word(address) + word("2"):                 " 68",
		"0x39509351" + word(address) + word("1"):                 "increaseAllowance spender=" + account.Hex() + " amount=1",
		"0x23b872dd" + word(address) + word(address) + word("1"): "transferFrom from=" + account.Hex() + " to=" + account.Hex() + " amount=1",
	} {
		got := ""
		if c := callOf(data); c != nil {
			got = c.Method
			for _, a := range c.Args {
				if a.Unlimited {
					a.Value = "unlimited"
				}
				got += " " + a.Name + "=" + a.Value
			}
			if c.Method == "" {
				got = fmt.Sprintf(" %d", c.Bytes)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
}

func TestGaugeIsExact(t *testing.T) {
	for in, want := range map[string]string{"0/10": "0 false", "1/1000000": "1 false", "5/10": "50 false", "999999/1000000": "100 false", "10/10": "100 true", "11/10": "100 true", "0/0": "100 true"} {
		used, most, _ := strings.Cut(in, "/")
		if g := gaugeOf("native", used, most); fmt.Sprint(g.Percent, g.Exhausted) != want {
			t.Errorf("%s: %d %v", in, g.Percent, g.Exhausted)
		}
	}
}

func TestWindowIsWrittenWithoutWhatIsZero(t *testing.T) {
	for in, want := range map[string]string{"24h0m0s": "24h", "30m0s": "30m", "1h30m0s": "1h30m", "10s": "10s", "1m30s": "1m30s", "": ""} {
		if got := windowText(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
