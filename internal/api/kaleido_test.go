// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// These tests say what a client that was made for Kaleido's management API
// relies on: kaleido-sdk-go, and the Terraform provider that uses it.

var wellFormedID = regexp.MustCompile(`^[0-9a-z]{2}[a-z][0-9a-z]{7}$`)

// Each kind of resource, with the bodies that the SDK writes, which have fields
// that mean nothing here.
func TestEveryResourceIsMadeReadListedChangedAndDeleted(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	c := "/consortia/" + n.consortium
	for _, k := range []struct {
		path, body, patch string
		fields            []string
	}{
		{"/consortia", `{"name":"a","description":"b","mode":"single-org"}`, `{"name":"z"}`, []string{"name", "description", "state"}},
		{c + "/memberships", `{"org_name":"a","verification_proof":""}`, `{"org_name":"z"}`, []string{"org_name"}},
		{c + "/environments", `{"name":"a","description":"b","provider":"quorum","consensus_type":"raft","release_id":"","test_features":null,"block_period":0,"prefunded_accounts":null}`, `{"name":"z"}`, []string{"name", "description", "provider", "consensus_type", "state"}},
		{n.at() + "/nodes", `{"name":"a","membership_id":"` + n.membership + `","zone_id":"","chain_id":1337,"urls":{"rpc":"https://node.example.org:8545/v3/key","wss":"wss://node.example.org:8546"}}`, `{"name":"z"}`, []string{"name", "membership_id", "state", "urls"}},
		{n.at() + "/configurations", `{"name":"a","membership_id":"` + n.membership + `","type":"cloudhsm","details":` + azureDetails + `}`, `{"name":"z"}`, []string{"name", "membership_id", "type", "details"}},
		{n.at() + "/services", `{"name":"a","service":"cloudhsm","zone_id":"","membership_id":"` + n.membership + `","details":{"cloudhsm_id":"` + n.configuration + `","node_id":"` + n.node + `"}}`, `{"name":"z"}`, []string{"name", "service", "service_type", "membership_id", "state", "urls", "details"}},
		{n.at() + "/appcreds", `{"membership_id":"` + n.membership + `"}`, `{"name":"z"}`, []string{"membership_id", "name", "auth_type", "username"}},
		{"/apikeys", `{"name":"a","org_id":"u0vjobhsvw","grants":[{"role":"auditor"}]}`, `{"name":"z"}`, []string{"name"}},
	} {
		t.Run(k.path[strings.LastIndexByte(k.path, '/')+1:], func(t *testing.T) {
			r.t = t
			made := r.want(r.call(r.root, "POST", k.path, k.body), 201)
			one := k.path + "/" + made.id()
			if !wellFormedID.MatchString(made.id()) {
				t.Errorf("_id: %s", made.id())
			}
			for _, field := range append(k.fields, "_revision", "created_at", "updated_at") {
				if made.get(field) == nil {
					t.Errorf("%s is missing: %s", field, made.text)
				}
			}
			got := r.want(r.call(r.root, "GET", one, ""), 200)
			if got.id() != made.id() || got.get("created_at") != made.get("created_at") {
				t.Errorf("GET: %s, POST: %s", got.text, made.text)
			}
			if all := r.want(r.call(r.root, "GET", k.path, ""), 200); !strings.Contains(all.names("_id"), made.id()) {
				t.Errorf("not in the list: %s", all.text)
			}
			changed := r.want(r.call(r.root, "PATCH", one, k.patch), 200)
			if !strings.Contains(changed.text, `"z"`) || changed.get("_revision") == got.get("_revision") {
				t.Errorf("PATCH: %s", changed.text)
			}
			r.want(r.call(r.root, "DELETE", one, ""), 204)
			r.want(r.call(r.root, "GET", one, ""), 404)
			r.want(r.call(r.root, "DELETE", one, ""), 404)
			r.want(r.call(r.root, "PATCH", one, k.patch), 404)
		})
	}
	r.t = t
}

func TestAServiceGoesFromProvisioningToStartedWithFlatURLs(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	made := r.want(r.call(n.key, "POST", n.at()+"/services", `{"name":"a","membership_id":"`+n.membership+`","service":"cloudhsm","details":{"cloudhsm_id":"`+n.configuration+`"}}`), 201)
	if made.get("state") != platform.Provisioning {
		t.Errorf("state: %v", made.get("state"))
	}
	n.service = made.id()
	r.started(n)
	service := r.want(r.call(n.key, "GET", n.at()+"/services/"+n.service, ""), 200)
	status := r.want(r.call(n.key, "GET", "/c/"+n.consortium+"/e/"+n.environment+"/s/"+n.service+"/status", ""), 200)
	for _, a := range []seen{service, status} {
		urls, _ := a.get("urls").(map[string]any)
		for _, name := range []string{"http", "ws", "rpc", "wss", "rest", "webui"} {
			if text, ok := urls[name].(string); !ok || text == "" {
				t.Errorf("urls.%s: %v", name, urls[name])
			}
		}
	}
	if status.get("status") != platform.Started || status.get("state") != platform.Started || status.get("release") != "test" {
		t.Error(status.text)
	}
	node := r.want(r.call(n.key, "GET", n.at()+"/n/"+n.node, ""), 200)
	if node.get("urls", "rpc") != "https://node.example.org:8545" {
		t.Errorf("the URL of a node is shown with what may be a key, or not at all: %s", node.text)
	}
}

func TestResetTakesAnEmptyObjectAndRegenerateNothing(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	for _, path := range []string{"/services/" + n.service, "/s/" + n.service, "/nodes/" + n.node, "/n/" + n.node} {
		for _, body := range []string{"{}", ""} {
			a := r.want(r.call(n.key, "PUT", n.at()+path+"/reset", body), 200)
			if !strings.Contains(path, a.id()) {
				t.Errorf("%s: %s", path, a.text)
			}
		}
	}
	r.started(n)
	one := n.at() + "/appcreds/" + n.cred
	first := r.want(r.call(n.key, "POST", one+"/regenerate", ""), 200)
	second := r.want(r.call(n.key, "POST", one+"/regenerate", ""), 200)
	before, _ := first.get("password").(string)
	after, _ := second.get("password").(string)
	if len(before) < 43 || before == after || first.get("username") != n.cred || first.get("auth_type") != "basic_auth" {
		t.Errorf("%s, then %s", first.text, second.text)
	}
	if shown := r.want(r.call(n.key, "GET", one, ""), 200); shown.get("password") != nil || strings.Contains(shown.text, after) {
		t.Errorf("shown again: %s", shown.text)
	}
}

func TestSecretsGoInAndNeverComeOutAndUnknownKeysAreKept(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	one := n.at() + "/configurations/" + n.configuration
	r.want(r.call(n.key, "PATCH", one, `{"details":{"user_secret":"canary-rotated"}}`), 200)
	for _, path := range []string{one, n.at() + "/configurations", n.at() + "/configurations?details.user_secret=^canary", n.at() + "/nodes", n.at() + "/services"} {
		a := r.want(r.call(n.key, "GET", path, ""), 200)
		if strings.Contains(a.text, "canary") {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	kept := r.want(r.call(n.key, "GET", one, ""), 200)
	if fmt.Sprint(kept.get("details", "x_of_their_own")) != "map[a:1]" || kept.get("details", "vault_name") != "name-of-vault" || kept.get("details", "provider") != "azure" {
		t.Error(kept.text)
	}
	// A filter on a secret would find it out letter by letter.
	if a := r.want(r.call(n.key, "GET", n.at()+"/configurations?details.user_secret=", ""), 200); a.names("_id") != "" {
		t.Errorf("a filter sees the secret: %s", a.text)
	}
}

func TestWhatIsInUseOrReadOnlyIsNotDeleted(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	for _, path := range []string{
		n.at() + "/configurations/" + n.configuration, n.at() + "/nodes/" + n.node, "/consortia/" + n.consortium,
		"/consortia/" + n.consortium + "/memberships/" + n.membership, n.at(), "/consortia/" + platform.DefaultConsortium,
	} {
		if a := r.call(r.root, "DELETE", path, ""); a.code != 409 || a.get("error") != "conflict" {
			t.Errorf("%s: %d %s", path, a.code, a.text)
		}
	}
	declared := "/consortia/" + platform.DefaultConsortium + "/environments/" + platform.DefaultEnvironment + "/services/" + platform.DeclaredID("treasury")
	a := r.want(r.call(r.root, "GET", declared, ""), 200)
	if a.get("read_only") != true || a.get("name") != "treasury" {
		t.Error(a.text)
	}
	r.want(r.call(r.root, "DELETE", declared, ""), 409)
	r.want(r.call(r.root, "PATCH", declared, `{"name":"x"}`), 409)
}

func TestAServiceWithTransactionsUnderWayIsDeletedWith202AndGoesLater(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	one := n.at() + "/services/" + n.service
	r.run.settle(1)
	a := r.want(r.call(n.key, "DELETE", one, ""), 202)
	if a.get("state") != platform.Deleting || a.id() != n.service {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "GET", one, ""), 200)
	r.run.settle(0)
	for range 500 {
		if r.call(n.key, "GET", one, "").code == 404 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it does not go")
}

func TestAServiceTakesOnlyTheConfigurationAndNodeOfItsOwnMembershipAndEnvironment(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	beside := r.tenant("beside", n.consortium, n.environment)
	other := r.want(r.call(r.root, "POST", "/consortia/"+n.consortium+"/environments", `{"name":"two"}`), 201).id()
	there := "/consortia/" + n.consortium + "/environments/" + other
	for _, c := range []struct{ path, configuration, field string }{
		{n.at(), beside.configuration, "details.cloudhsm_id"},
		{n.at(), someID, "details.cloudhsm_id"},
		{there, n.configuration, "details.cloudhsm_id"},
	} {
		a := r.call(r.root, "POST", c.path+"/services", `{"name":"a","membership_id":"`+n.membership+`","service":"cloudhsm","details":{"cloudhsm_id":"`+c.configuration+`"}}`)
		if a.code != 400 || a.get("field") != c.field {
			t.Errorf("%s: %d %s", c.configuration, a.code, a.text)
		}
	}
	// No node of its own in the environment, though another membership has one.
	r.want(r.call(r.root, "POST", there+"/configurations", `{"name":"a","membership_id":"`+n.membership+`","type":"cloudhsm","details":`+azureDetails+`}`), 201)
	id := r.call(r.root, "GET", there+"/configurations", "").names("_id")
	a := r.call(r.root, "POST", there+"/services", `{"name":"a","membership_id":"`+n.membership+`","service":"cloudhsm","details":{"cloudhsm_id":"`+id+`"}}`)
	if a.code != 400 || a.get("field") != "details.node_id" {
		t.Errorf("%d %s", a.code, a.text)
	}
}

// The operators of lists, over the wire; each of them in all detail in package
// query.
func TestListsTakeFieldsSortLimitSkipAndFilters(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"delta", "Alpha", "charlie", "bravo"} {
		r.want(r.call(r.root, "POST", "/consortia", `{"name":"`+name+`","description":"d"}`), 201)
	}
	for query, want := range map[string]string{
		"sort=name&name=!default":                 "Alpha bravo charlie delta",
		"sort=-name&name=!default":                "delta charlie bravo Alpha",
		"sort=name&limit=2&skip=1&name=!default":  "bravo charlie",
		"name=bravo":                              "bravo",
		"name=^al":                                "Alpha",
		"name=$TA":                                "delta",
		"name=~rav":                               "bravo",
		"name[]=bravo&name[]=delta&sort=name":     "bravo delta",
		"description=!":                           "default",
		"description=&sort=name&limit=1":          "Alpha",
		"name=<B&sort=name":                       "Alpha",
		"created_at=<2020-01-01":                  "",
		"created_at=>2020-01-01&name=delta":       "delta",
		"_revision=<=1&name[]=!default&sort=name": "Alpha bravo charlie delta",
	} {
		if a := r.want(r.call(r.root, "GET", "/consortia?"+query, ""), 200); a.names("name") != want {
			t.Errorf("%s: %s", query, a.names("name"))
		}
	}
	a := r.want(r.call(r.root, "GET", "/c?fields=_id,name&name=delta", ""), 200)
	if !regexp.MustCompile(`^\[\{"_id":"[0-9a-z]{10}","name":"delta"\}\]\s$`).MatchString(a.text) {
		t.Error(a.text)
	}
}

func TestAccountsAreListedLabelledAndAskedAfter(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	all := n.at() + "/services/" + n.service + "/accounts"
	plain := r.want(r.call(n.key, "GET", all, ""), 200)
	if plain.names("address") != address.Hex() || strings.Contains(plain.text, "balance") {
		t.Error(plain.text)
	}
	for _, query := range []string{"?balance&nonce", "?balance=true&nonce=true", "?balance&nonce&fields=balance,nonce"} {
		if a := r.want(r.call(n.key, "GET", all+query, ""), 200); !strings.Contains(a.text, `"balance":"1000000000000000000"`) || !strings.Contains(a.text, `"nonce":7`) {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	lower := all + "/" + strings.ToLower(address.Hex())
	if a := r.want(r.call(n.key, "PATCH", lower, `{"label":"pay roll"}`), 200); a.get("label") != "pay roll" || a.get("address") != address.Hex() {
		t.Error(a.text)
	}
	if a := r.want(r.call(n.key, "GET", all+"?label=^pay&balance=false", ""), 200); a.names("label") != "pay roll" {
		t.Error(a.text)
	}
	if a := r.want(r.call(n.key, "GET", lower+"?nonce", ""), 200); a.get("nonce") == nil {
		t.Error(a.text)
	}
	for _, bad := range []string{"/0x0000000000000000000000000000000000000001", "/0x12", "/nothing", "/" + strings.TrimPrefix(address.Hex(), "0x")} {
		r.want(r.call(n.key, "GET", all+bad, ""), 404)
		r.want(r.call(n.key, "PATCH", all+bad, `{"label":"x"}`), 404)
	}
	if a := r.want(r.call(n.key, "PUT", all+"/refresh", ""), 200); fmt.Sprint(a.get("found")) != "1" {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "POST", all, `{"name":"k"}`), 422)
	r.want(r.call(n.key, "GET", all+"?balance=perhaps", ""), 400)
}

func TestAKeyThatIsDeletedOpensNothingAtOnce(t *testing.T) {
	r := newRig(t)
	made := r.want(r.call(r.root, "POST", "/apikeys", `{"name":"k","grants":[{"role":"auditor"}]}`), 201)
	k, _ := made.get("key").(string)
	who := r.want(r.call(k, "GET", "/whoami", ""), 200)
	if who.get("name") != "key:"+made.id() || !strings.Contains(who.text, `"role":"auditor"`) {
		t.Error(who.text)
	}
	r.want(r.call(r.root, "DELETE", "/apikeys/"+made.id(), ""), 204)
	r.want(r.call(k, "GET", "/whoami", ""), 401)
}
