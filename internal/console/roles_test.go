// SPDX-License-Identifier: Apache-2.0

package console

import (
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// An empty page says to each what to do next, and offers nobody what is refused.
func TestWhoMayMakeNothingIsOfferedNothing(t *testing.T) {
	r := newRig(t)
	reader := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"auditor","consortium_id":"h0consort0","membership_id":"h0member00"}]}`))
	admin := r.signedIn(r.root)
	for _, path := range []string{"/configurations", "/nodes"} {
		link := `href="` + home(path) + `/new"`
		if page := reader.get(home(path)).text; strings.Contains(page, link) || !strings.Contains(page, "Admins of a membership") {
			t.Errorf("%s: an auditor is offered %s, or is not told who makes one", path, link)
		}
		if page := admin.get(home(path)).text; strings.Count(page, link) != 2 {
			t.Errorf("%s: an admin is not offered one", path)
		}
	}
	empty := r.make(platform.Environments, `{"name":"empty"}`).(*platform.Environment).ID
	for _, path := range []string{"/overview", "/documents", "/credentials"} {
		at := placed(platform.DefaultConsortium, empty) + path
		if page := reader.get(at).text; strings.Contains(page, `/new"`) || !strings.Contains(page, "Admins of a membership") {
			t.Errorf("%s: an auditor is offered what is refused, or is not told who makes it", path)
		}
		if page := admin.get(at).text; !strings.Contains(page, `/wallets/new"`) && path != "/credentials" {
			t.Errorf("%s: an admin is not offered a wallet", path)
		}
	}
	for name, b := range map[string]*browser{"auditor": reader, "admin": admin} {
		page := b.get(home("/keys")).text
		if offered := strings.Contains(page, "Yes, delete it"); offered != (name == "admin") {
			t.Errorf("%s: deleting keys is offered: %v", name, offered)
		}
	}
	r.fill()
	at := home("/wallets/" + serviceID(r) + "/connect")
	if page := reader.get(at).text; strings.Contains(page, "Make a credential") || !strings.Contains(page, "Admins of the membership make them") {
		t.Error("an auditor is offered a credential, or is not told who makes one")
	}
}

// What stands over a wallet's overview changes with it: the part that keeps itself
// up to date has the state, and why.
func TestStateOfAWalletIsInThePartThatIsKeptUpToDate(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	part := b.get(home("/wallets/"+serviceID(r)), "X-Fragment", "1").text
	if !strings.Contains(part, "<h1>wallet-of-ours") || strings.Contains(part, "<html") {
		t.Errorf("%s", part)
	}
	if page := b.get(home("/wallets/" + serviceID(r))).text; strings.Count(page, "<h1>") != 1 {
		t.Error("the page has no heading, or more than one")
	}
}

// Who has the admin role in several memberships is told whose node is whose.
func TestNodesOfSeveralMembershipsAreToldApart(t *testing.T) {
	r := newRig(t)
	r.fill()
	other := r.make(platform.Memberships, `{"org_name":"subsidiary"}`).(*platform.Membership)
	r.make(platform.Nodes, `{"name":"node-of-theirs","membership_id":"`+other.ID+`","chain_id":1,"urls":{"rpc":"https://node.example.org/"}}`)
	page := r.signedIn(r.root).get(home("/wallets/new")).text
	for _, want := range []string{"node-of-ours: chain 1, default<", "node-of-theirs: chain 1, subsidiary<"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}
