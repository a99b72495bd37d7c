// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

const member = `"membership_id":"` + platform.DefaultMembership + `"`

func TestWhatIsWrongInANewResourceIsSaid(t *testing.T) {
	r := newRig(t)
	details := func(d string) string { return `{"type":"cloudhsm","name":"c",` + member + `,"details":` + d + `}` }
	for _, c := range []struct {
		kind platform.Kind
		body string
		want string
	}{
		{platform.Nodes, `{`, "invalid: the body is not valid JSON: expected a member name in quotes at byte 1"},
		{platform.Nodes, `[]`, "invalid: the body is an array: want an object"},
		{platform.Nodes, `{"name":"a","name":"b"}`, `invalid: the body is not valid JSON: duplicate member "name" at byte 18`},
		{platform.Consortia, `{}`, "invalid: name: is missing: want a name"},
		{platform.Consortia, `{"name":7}`, "invalid: name: want text, not a number"},
		{platform.Consortia, `{"name":" a"}`, "invalid: name: is no name: want 1 to 64 letters, digits, spaces and signs but < and >, no space first or last"},
		{platform.Consortia, `{"name":"<script>"}`, "invalid: name: is no name: want 1 to 64 letters, digits, spaces and signs but < and >, no space first or last"},
		{platform.Consortia, "{\"name\":\"a\u202eb\"}", "invalid: name: is no name: want 1 to 64 letters, digits, spaces and signs but < and >, no space first or last"},
		{platform.Consortia, `{"name":"` + strings.Repeat("ä", 65) + `"}`, "invalid: name: is no name: want 1 to 64 letters, digits, spaces and signs but < and >, no space first or last"},
		{platform.Memberships, `{"name":"x"}`, "invalid: org_name: is missing: want a name"},
		{platform.Environments, `{"name":"e","chain_id":-1}`, "invalid: chain_id: want a whole number from 0 to 9223372036854775771"},
		{platform.Environments, `{"name":"e","require_hsm":"yes"}`, "invalid: require_hsm: want true or false, not a string"},

		{platform.Nodes, `{"name":"n","membership_id":"u0nobody00"}`, "invalid: membership_id: there is no membership u0nobody00 in this consortium"},
		{platform.Nodes, `{"name":"n","membership_id":"../x"}`, "invalid: membership_id: there is no membership with that id in this consortium"},
		{platform.Nodes, `{"name":"n",` + member + `}`, "invalid: chain_id: is missing: want the chain that the node serves, like 1337; nothing is signed for another"},
		{platform.Nodes, `{"name":"n",` + member + `,"chain_id":1}`, `invalid: urls: is missing: want the node, like {"rpc": "https://node.example.org:8545"}`},
		{platform.Nodes, `{"name":"n",` + member + `,"chain_id":1,"urls":{}}`, "invalid: urls.rpc: is missing: want an Ethereum node, like https://node.example.org:8545"},
		{platform.Nodes, `{"name":"n",` + member + `,"chain_id":1,"urls":{"rpc":"ftp://host"}}`, "invalid: urls.rpc: has another scheme: want http:// or https://host:port/…"},
		{platform.Nodes, `{"name":"n",` + member + `,"chain_id":1,"urls":{"rpc":"https://h","wss":"https://h"}}`, "invalid: urls.wss: has another scheme: want ws:// or wss://host:port/…"},
		{platform.Nodes, `{"name":"n",` + member + `,"chain_id":1,"urls":{"rpc":"http://169.254.169.254/latest"}}`, "invalid: urls.rpc: leads to a service that gives out the machine's own credentials, which no tenant may reach"},
		{platform.Nodes, `{"name":"n",` + member + `,"environment_id":"u0other000","chain_id":1}`, "invalid: environment_id: cannot be changed"},

		{platform.Configurations, `{"name":"c",` + member + `}`, "invalid: type: is missing: want cloudhsm"},
		{platform.Configurations, `{"type":"opsmetric","name":"c",` + member + `}`, "invalid: type: is not one of ours: want cloudhsm"},
		{platform.Configurations, `{"type":"cloudhsm","name":"c",` + member + `}`, "invalid: details: is missing: want the provider and its credentials"},
		{platform.Configurations, details(`"x"`), "invalid: details: want an object, not a string"},
		{platform.Configurations, details(`{}`), "invalid: details.provider: is missing"},
		{platform.Configurations, details(`{"provider":"azur"}`), `invalid: details.provider: "azur" is not one of keystore, azure, aws_kms, aws_cloudhsm, hashicorp, gcp_kms, pkcs11: did you mean "azure"?`},
		{platform.Configurations, details(`{"provider":"keystore","path":"/etc"}`), "invalid: details.path: is a folder of the machine that the signer runs on, and none is granted to this membership: ask the operator for a grant"},

		{platform.Services, `{"name":"s",` + member + `}`, "invalid: service: is missing: want cloudhsm"},
		{platform.Services, `{"name":"s",` + member + `,"service":"hdwallet"}`, "invalid: service: is not one of ours: want cloudhsm"},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm","service_type":"utility"}`, "invalid: service_type: is not one of ours: want member"},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm"}`, `invalid: details: is missing: want {"cloudhsm_id": "<id of a configuration>"}`},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm","details":{}}`, "invalid: details.cloudhsm_id: is missing: want the id of a configuration of membership h0member00"},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm","details":{"cloudhsm_id":3}}`, "invalid: details.cloudhsm_id: want text: the id of a configuration"},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm","details":{"cloudhsm_id":"u0nothing0"}}`, "invalid: details.cloudhsm_id: there is no configuration u0nothing0 in this environment"},
		{platform.Services, `{"name":"s",` + member + `,"service":"cloudhsm","details":{"cloudhsm_id":"u0nothing0","user_secret":"x"}}`, "invalid: details.user_secret: sounds like a secret, and a service has none: want it in the details of a configuration"},

		{platform.AppCreds, `{"name":"a",` + member + `,"password":"mine"}`, "invalid: password: is chosen by us and shown once: leave it out, or have another one made with regenerate"},
		{platform.AppCreds, `{"name":"a",` + member + `,"username":"me"}`, "invalid: username: is chosen by us: leave it out"},
		{platform.AppCreds, `{"name":"a",` + member + `,"auth_type":"oauth"}`, "invalid: auth_type: is not one of ours: want basic_auth or mtls"},
		{platform.AppCreds, `{"name":"a",` + member + `,"auth_type":"mtls"}`, "invalid: username: is missing: want the identity in the client certificate"},
		{platform.APIKeys, `{"name":"k"}`, `invalid: grants: want a list of 1 to 50 grants, like [{"role": "admin"}]`},
		{platform.APIKeys, `{"name":"k","grants":[{"role":"root"}]}`, "invalid: grants[0].role: is not one of ours: want auditor, operator or admin"},
		{platform.APIKeys, `{"name":"k","grants":[{"role":"admin","membership_id":"h0member00"}]}`, "invalid: grants[0].consortium_id: is missing: want that of the membership"},
		{platform.APIKeys, `{"name":"k","grants":[{"role":"admin","consortium":"h0consort0"}]}`, "invalid: grants[0]: has a member that is none of role, consortium_id and membership_id"},
		{platform.APIKeys, `{"name":"k","grants":[{"role":"admin","consortium_id":"u0nothing0"}]}`, "invalid: grants[0].consortium_id: there is no consortium u0nothing0"},
	} {
		_, err := r.p.Create(t.Context(), root(), c.kind, home(), []byte(c.body))
		if got := refused(t, err); got != c.want {
			t.Errorf("%s %s\n got %s\nwant %s", c.kind, c.body, got, c.want)
		}
	}
}

func TestServiceTakesTheOnlyNodeOfItsMembershipAndNoOther(t *testing.T) {
	r := newRig(t)
	other := must[*platform.Membership](r, platform.Memberships, home(), `{"org_name":"other"}`)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	ask := func(node string) error {
		_, err := r.p.Create(t.Context(), root(), platform.Services, home(), []byte(`{"name":"s",`+member+`,"service":"cloudhsm","details":{"cloudhsm_id":"`+c.ID+`"`+node+`}}`))
		return err
	}
	theirs := must[*platform.Node](r, platform.Nodes, home(), strings.Replace(nodeBody(""), platform.DefaultMembership, other.ID, 1))
	if got := refused(t, ask("")); got != "invalid: details.node_id: is missing, and membership h0member00 has no node in this environment: make one first" {
		t.Error(got)
	}
	if got := refused(t, ask(`,"node_id":"`+theirs.ID+`"`)); got != "invalid: details.node_id: is a node of membership "+other.ID+": want one of membership h0member00, as the service" {
		t.Error(got)
	}
	if got := refused(t, ask(`,"node_id":"`+c.ID+`"`)); got != "invalid: details.node_id: there is no node "+c.ID+" in this environment" {
		t.Error(got)
	}
	first := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	s := r.serviceOf(c.ID)
	if s.Details["node_id"] != first.ID {
		t.Errorf("the service has %v, not the only node", s.Details)
	}
	second := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	want := fmt.Sprintf(`invalid: details.node_id: is missing, and membership h0member00 has several nodes in this environment: want one of %s ("node"), %s ("node")`, first.ID, second.ID)
	if got := refused(t, ask("")); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if err := ask(`,"node_id":"` + second.ID + `"`); err != nil {
		t.Error(err)
	}
}

func TestConfigurationOfAnotherMembershipOrEnvironmentIsRefused(t *testing.T) {
	r := newRig(t)
	other := must[*platform.Membership](r, platform.Memberships, home(), `{"org_name":"other"}`)
	elsewhere := must[*platform.Environment](r, platform.Environments, home(), `{"name":"elsewhere"}`)
	theirs := must[*platform.Configuration](r, platform.Configurations, home(), strings.Replace(vaultBody(""), platform.DefaultMembership, other.ID, 1))
	away := must[*platform.Configuration](r, platform.Configurations, platform.Path{Consortium: home().Consortium, Environment: elsewhere.ID}, vaultBody(""))
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	ask := func(who auth.Access, id string) string {
		_, err := r.p.Create(t.Context(), who, platform.Services, home(), []byte(`{"name":"s",`+member+`,"service":"cloudhsm","details":{"cloudhsm_id":"`+id+`"}}`))
		return refused(t, err)
	}
	if got := ask(root(), theirs.ID); got != "invalid: details.cloudhsm_id: is a configuration of membership "+other.ID+": want one of membership h0member00, as the service" {
		t.Error(got)
	}
	if got := ask(root(), away.ID); got != "invalid: details.cloudhsm_id: there is no configuration "+away.ID+" in this environment" {
		t.Error(got)
	}
	// Who may not know of the other membership does not learn of its configuration.
	mine := auth.Access{Grants: []auth.Grant{{Consortium: platform.DefaultConsortium, Membership: platform.DefaultMembership, Role: auth.Admin}}}
	if got := ask(mine, theirs.ID); got != "invalid: details.cloudhsm_id: there is no configuration "+theirs.ID+" in this environment" {
		t.Error(got)
	}
}

func TestChainOfTheEnvironmentHoldsForItsNodes(t *testing.T) {
	r := newRig(t)
	e := must[*platform.Environment](r, platform.Environments, home(), `{"name":"e","chain_id":1337}`)
	there := platform.Path{Consortium: home().Consortium, Environment: e.ID}
	_, err := r.p.Create(t.Context(), root(), platform.Nodes, there, []byte(strings.Replace(nodeBody(""), "1337", "1", 1)))
	if got := refused(t, err); got != "invalid: chain_id: is 1, and the environment is for chain 1337" {
		t.Error(got)
	}
	n := must[*platform.Node](r, platform.Nodes, there, nodeBody(""))
	_, err = r.p.Update(t.Context(), root(), platform.Environments, at(home(), e.ID), []byte(`{"chain_id":1}`))
	if got := refused(t, err); got != `conflict: chain_id 1 is not that of node "node" (`+n.ID+`), which is 1337` {
		t.Error(got)
	}
	_, err = r.p.Update(t.Context(), root(), platform.Nodes, at(there, n.ID), []byte(`{"chain_id":1}`))
	if got := refused(t, err); got != "invalid: chain_id: cannot be changed, since signatures hold for one chain: make another node" {
		t.Error(got)
	}
}

func TestHardwareIsImposedFromAbove(t *testing.T) {
	for _, from := range []string{"operator", "environment"} {
		r := newRig(t, func(c *platform.Config) { c.RequireHSM = from == "operator" })
		if from == "environment" {
			patched[*platform.Environment](r, platform.Environments, at(home(), platform.DefaultEnvironment), `{"require_hsm":true}`)
		}
		_, err := r.p.Create(t.Context(), root(), platform.Configurations, home(), []byte(vaultBody("")))
		if got := refused(t, err); got != "invalid: details.require_hsm: is imposed by the operator or the environment, and Vault keeps its keys in software" {
			t.Error(got)
		}
	}
}

func TestWhatRunsIsHeldToHardwareThatIsImposedLater(t *testing.T) {
	r := newRig(t)
	s := r.service()
	r.start(r.p)
	until(t, 2e9, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	patched[*platform.Environment](r, platform.Environments, at(home(), platform.DefaultEnvironment), `{"require_hsm":true}`)
	until(t, 2e9, "failed", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Failed })
	if _, reason := r.stateOf(s.ID); !strings.Contains(reason, "Vault keeps its keys in software") {
		t.Error(reason)
	}
}

func TestGrantOfTheOperatorIsForItsMembershipOnly(t *testing.T) {
	r := newRig(t)
	keys := t.TempDir()
	if err := os.Mkdir(keys+"/a", 0o700); err != nil {
		t.Fatal(err)
	}
	other := must[*platform.Membership](r, platform.Memberships, home(), `{"org_name":"other"}`)
	r.operator.Grants = []config.Grant{{Membership: platform.DefaultMembership, Keystore: keys}}
	body := `{"type":"cloudhsm","name":"k",` + member + `,"details":{"provider":"keystore","path":"a","user_secret":"x"}}`
	must[*platform.Configuration](r, platform.Configurations, home(), body)
	_, err := r.p.Create(t.Context(), root(), platform.Configurations, home(), []byte(strings.Replace(body, platform.DefaultMembership, other.ID, 1)))
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: details.path: is a folder of the machine") {
		t.Error(got)
	}
}

func TestResourceThatIsUsedCannotBeDeleted(t *testing.T) {
	r := newRig(t)
	s := r.service()
	for _, c := range []struct {
		kind platform.Kind
		path platform.Path
		want string
	}{
		{platform.Configurations, at(home(), s.Details["cloudhsm_id"].(string)), `conflict: the configuration is used by service "treasury" (` + s.ID + `)`},
		{platform.Nodes, at(home(), s.Details["node_id"].(string)), `conflict: the node is used by service "treasury" (` + s.ID + `)`},
		{platform.Environments, at(home(), platform.DefaultEnvironment), "conflict: the default environment cannot be deleted: the wallets of the config file stand in it"},
		{platform.Memberships, at(home(), platform.DefaultMembership), "conflict: the default membership cannot be deleted: the wallets of the config file stand in it"},
		{platform.Consortia, platform.Path{ID: platform.DefaultConsortium}, "conflict: the default consortium cannot be deleted: the wallets of the config file stand in it"},
	} {
		_, err := r.p.Delete(t.Context(), root(), c.kind, c.path)
		if got := refused(t, err); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.kind, got, c.want)
		}
	}
	c := must[*platform.Consortium](r, platform.Consortia, platform.Path{}, `{"name":"second"}`)
	m := must[*platform.Membership](r, platform.Memberships, platform.Path{Consortium: c.ID}, `{"org_name":"org"}`)
	_, err := r.p.Delete(t.Context(), root(), platform.Consortia, platform.Path{ID: c.ID})
	if got := refused(t, err); got != `conflict: the consortium is used by membership "org" (`+m.ID+`)` {
		t.Error(got)
	}
	for _, d := range []struct {
		kind platform.Kind
		path platform.Path
	}{{platform.Memberships, platform.Path{Consortium: c.ID, ID: m.ID}}, {platform.Consortia, platform.Path{ID: c.ID}}} {
		if gone, err := r.p.Delete(t.Context(), root(), d.kind, d.path); err != nil || !gone {
			t.Error(d.kind, gone, err)
		}
	}
}

func TestLoopbackIsRefusedWhereTheOperatorDoesNotAllowIt(t *testing.T) {
	r := newRig(t)
	body := strings.Replace(nodeBody(""), nodeURL, "http://127.0.0.1:8545", 1)
	must[*platform.Node](r, platform.Nodes, home(), body)
	r.operator.Egress.Allow = []netip.Prefix{}
	_, err := r.p.Create(t.Context(), root(), platform.Nodes, home(), []byte(body))
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: urls.rpc: is an address of the machine that the signer runs on") {
		t.Error(got)
	}
}
