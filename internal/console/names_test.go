// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// A name is given once in a membership, to each kind of what people choose by it.
func TestNameThatIsTakenIsRefusedBesideItsField(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	node := url.Values{"membership_id": {platform.DefaultMembership}, "chain_id": {"1"}, "urls.rpc": {"https://node.example.org"}}
	configuration := url.Values{
		"membership_id": {platform.DefaultMembership}, "provider": {"aws_kms"},
		"details.target_region": {"eu-central-1"}, "details.user_id": {"AKIAIOSFODNN7EXAMPLE"}, "details.user_secret": {"hunter2"},
	}
	wallet := url.Values{
		"membership_id": {platform.DefaultMembership}, "details.cloudhsm_id": {r.idFor("/configurations/")}, "details.node_id": {r.idFor("/nodes/")},
	}
	for _, c := range []struct {
		to   string
		form url.Values
		name string
		what string
	}{
		{"/nodes/new", node, "node-of-ours", "another node here has this name"},
		{"/configurations/new", configuration, "vault-of-ours", "another configuration here has this name"},
		{"/wallets/new", wallet, "wallet-of-ours", "another wallet here has this name"},
	} {
		c.form.Set("name", c.name)
		a := b.send(home(c.to), c.form)
		if a.code != http.StatusUnprocessableEntity || !strings.Contains(strings.ToLower(a.text), c.what) || !strings.Contains(a.text, `value="`+c.name+`"`) {
			t.Errorf("%s: %d %s", c.to, a.code, a.text)
		}
		if c.form.Set("name", "second"); b.send(home(c.to), c.form).code != http.StatusSeeOther {
			t.Errorf("%s: another name is refused as well", c.to)
		}
		at := home(strings.TrimSuffix(c.to, "new") + r.idFor(c.to)) // the second
		if strings.HasPrefix(c.to, "/wallets") {
			at += "/settings"
		}
		c.form.Del("details.user_secret")
		if c.form.Set("name", c.name); b.send(at, c.form).code != http.StatusUnprocessableEntity {
			t.Errorf("%s: it gets the name of the first when it is renamed", c.to)
		}
		if c.form.Set("name", "second"); b.send(at, c.form).code != http.StatusSeeOther {
			t.Errorf("%s: it cannot be saved under the name that it has", c.to)
		}
	}
}

func TestTextsOfTheAPIBecomeSentences(t *testing.T) {
	for in, want := range map[string]string{"": "", "it is away": "It is away.", "Done.": "Done.", "is it in order?": "Is it in order?", "über 3": "Über 3.", "3 of 4": "3 of 4."} {
		if got := sentence(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
