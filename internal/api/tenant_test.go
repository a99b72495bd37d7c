// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// tenant is a membership with one of everything.
type tenant struct {
	key                                                                         string // of an admin of the membership
	consortium, membership, environment, node, configuration, service, cred, id string // id: of the key
}

// at is the path of the tenant's environment.
func (n tenant) at() string { return "/consortia/" + n.consortium + "/environments/" + n.environment }

// tenant makes a membership, and what belongs to it, in an environment.
func (r *rig) tenant(name, consortium, environment string) tenant {
	r.t.Helper()
	n := tenant{consortium: consortium, environment: environment}
	made := func(path, body string, more ...any) seen {
		r.t.Helper()
		return r.want(r.call(r.root, "POST", path, fmt.Sprintf(body, more...)), 201)
	}
	if consortium == "" {
		n.consortium = made("/consortia", `{"name":"%s"}`, name).id()
	}
	if environment == "" {
		n.environment = made("/consortia/"+n.consortium+"/environments", `{"name":"%s"}`, name).id()
	}
	n.membership = made("/consortia/"+n.consortium+"/memberships", `{"org_name":"%s"}`, name).id()
	n.node = made(n.at()+"/nodes", `{"name":"%s","membership_id":"%s","chain_id":1337,"urls":{"rpc":"https://node.example.org:8545/key-canary"}}`, name, n.membership).id()
	n.configuration = made(n.at()+"/configurations", `{"name":"%s","membership_id":"%s","type":"cloudhsm","details":%s}`, name, n.membership, azureDetails).id()
	n.service = made(n.at()+"/services", `{"name":"%s","membership_id":"%s","service":"cloudhsm","details":{"cloudhsm_id":"%s"}}`, name, n.membership, n.configuration).id()
	n.cred = made(n.at()+"/appcreds", `{"name":"%s","membership_id":"%s"}`, name, n.membership).id()
	k := made("/apikeys", `{"name":"%s","grants":[{"role":"admin","consortium_id":"%s","membership_id":"%s"}]}`, name, n.consortium, n.membership)
	n.id, n.key = k.id(), k.get("key").(string)
	r.started(n)
	return n
}

const azureDetails = `{"provider":"azure","user_id":"11111111-2222-3333-4444-555555555555","user_secret":"canary-secret","tenant_id":"11111111-2222-3333-4444-555555555555","vault_name":"name-of-vault","subscription_id":"11111111-2222-3333-4444-555555555555","x_of_their_own":{"a":1}}`

// started polls as Kaleido's Terraform provider does: anything but 200 is fatal
// to it.
func (r *rig) started(n tenant) {
	r.t.Helper()
	for range 500 {
		a := r.want(r.call(r.root, "GET", n.at()+"/services/"+n.service, ""), 200)
		if a.get("state") == platform.Started {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatal("the service does not start")
}

// ids are what the parameters of paths stand for.
func (n tenant) ids() map[string]string {
	return map[string]string{
		"consortium_id": n.consortium, "membership_id": n.membership, "environment_id": n.environment, "node_id": n.node,
		"configuration_id": n.configuration, "service_id": n.service, "appcred_id": n.cred, "apikey_id": n.id,
		"address": address.Hex(), "version": "1", "transaction_id": strings.Repeat("0", 32), "record_id": strings.Repeat("0", 32), "approval_id": strings.Repeat("0", 32),
	}
}

// fill puts ids into a path of the table.
func fill(path string, ids map[string]string) string {
	for _, name := range parametersOf(path) {
		path = strings.Replace(path, "{"+name+"}", ids[name], 1)
	}
	return path
}

// bodyOf is a body that the route takes, from the tenant's own ids.
func (n tenant) bodyOf(rt *route) string {
	switch rt.name {
	case "createNode":
		return `{"name":"n","membership_id":"` + n.membership + `","chain_id":1,"urls":{"rpc":"https://node.example.org"}}`
	case "createConfiguration", "testNewConfiguration":
		return `{"name":"n","membership_id":"` + n.membership + `","type":"cloudhsm","details":` + azureDetails + `}`
	case "createService":
		return `{"name":"n","membership_id":"` + n.membership + `","service":"cloudhsm","details":{"cloudhsm_id":"` + n.configuration + `"}}`
	case "createAppCred":
		return `{"membership_id":"` + n.membership + `"}`
	case "createAPIKey":
		return `{"name":"n","grants":[{"role":"auditor","consortium_id":"` + n.consortium + `","membership_id":"` + n.membership + `"}]}`
	case "createMembership", "updateMembership":
		return `{"org_name":"n"}`
	case "importAccount":
		return `{"name":"n","wrapped_key":"AAAA"}`
	case "labelAccount":
		return `{"label":"n"}`
	case "setConsortiumPolicy", "setMembershipPolicy", "setServicePolicy", "setAppCredPolicy":
		return `{"document":"version: hsmsigner-policy-v1\nrules:\n  - name: x\n    effect: deny\n"}`
	case "testPolicy":
		return `{"method":"eth_sign","params":["` + address.Hex() + `","0x00"]}`
	case "freezeMembership", "freezeService", "freezeAccount":
		return `{"reason":"n"}`
	case "signDocument":
		return `{"account":"` + address.Hex() + `","sha256":"` + strings.Repeat("1", 64) + `","size":1}`
	case "signMessage":
		return `{"message":"n"}`
	case "verifyDocument":
		return `{"bundle":{}}`
	}
	if rt.body == nil {
		return ""
	}
	if rt.optional {
		return "{}"
	}
	return `{"name":"n"}`
}

// Every route with another tenant's ids, in an environment of both and in one of
// the other's: the answer is that about ids of nothing, byte for byte.
func TestWhatIsAnothersIsAnsweredAsIfItDidNotExist(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	theirs := map[string]tenant{
		"beside us": r.tenant("beside", ours.consortium, ours.environment),
		"elsewhere": r.tenant("elsewhere", "", ""),
	}
	tried := 0
	for where, other := range theirs {
		for _, rt := range routes() {
			names := parametersOf(rt.path)
			if len(names) == 0 || names[0] == "version" || rt.kind == platform.Environments && where == "beside us" || rt.kind == platform.Consortia && where == "beside us" {
				continue // ours too
			}
			if strings.HasSuffix(rt.path, "/{consortium_id}/memberships") && where == "beside us" || (collectionOf(rt.path) || rt.name == "testNewConfiguration") && where == "beside us" {
				continue // of a place that is ours too: see the next tests
			}
			ids := other.ids()
			missing := map[string]string{}
			for name, id := range ids {
				missing[name] = id
			}
			missing[resourceOf(names)] = someID
			body := ours.bodyOf(&rt)
			// Nothing differs but the id, and so must nothing else.
			theirAnswer := r.call(ours.key, rt.method, fill(rt.path, ids), body)
			noAnswer := r.call(ours.key, rt.method, fill(rt.path, missing), body)
			if theirAnswer.code != http.StatusNotFound || theirAnswer.text != noAnswer.text || noAnswer.code != http.StatusNotFound || fmt.Sprint(headers(theirAnswer)) != fmt.Sprint(headers(noAnswer)) {
				t.Errorf("%s, %s %s: %d %s, of nothing: %d %s", where, rt.method, rt.path, theirAnswer.code, theirAnswer.text, noAnswer.code, noAnswer.text)
			}
			// Their resource by a path that is all ours is not there either.
			if where == "elsewhere" && len(names) > 1 {
				mixed := ours.ids()
				mixed[resourceOf(names)] = other.ids()[resourceOf(names)]
				if a := r.call(ours.key, rt.method, fill(rt.path, mixed), body); a.code != http.StatusNotFound || a.text != noAnswer.text {
					t.Errorf("%s by our path, %s %s: %d %s", where, rt.method, rt.path, a.code, a.text)
				}
			}
			tried++
		}
	}
	if tried < 80 {
		t.Errorf("only %d routes were tried", tried)
	}
	for _, other := range theirs {
		r.started(other) // and nothing of theirs was touched
		r.want(r.call(other.key, "GET", other.at()+"/appcreds/"+other.cred, ""), 200)
		r.want(r.call(other.key, "GET", "/apikeys/"+other.id, ""), 200)
	}
}

// headers are those that say something about the answer.
func headers(a seen) http.Header {
	h := a.header.Clone()
	h.Del("Date")
	return h
}

// resourceOf is the parameter that names the resource, not what is in it.
func resourceOf(names []string) string {
	last := names[len(names)-1]
	if last == "address" || last == "version" || last == "transaction_id" {
		return names[len(names)-2]
	}
	return last
}

// collectionOf reports whether a path in an environment names no resource in it.
func collectionOf(path string) bool {
	return strings.Count(path, "{") == 2 && strings.HasPrefix(path, inEnvironment+"/") && !strings.Contains(strings.TrimPrefix(path, inEnvironment+"/"), "/")
}

func TestListsInASharedPlaceShowOnlyOnesOwn(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	other := r.tenant("beside", ours.consortium, ours.environment)
	elsewhere := r.tenant("elsewhere", "", "")
	for path, want := range map[string]string{
		"/consortia": ours.consortium,
		"/consortia/" + ours.consortium + "/memberships":   ours.membership,
		"/consortia/" + ours.consortium + "/environments":  ours.environment,
		ours.at() + "/nodes":                               ours.node,
		ours.at() + "/configurations":                      ours.configuration,
		ours.at() + "/services":                            ours.service,
		ours.at() + "/appcreds":                            ours.cred,
		"/apikeys":                                         ours.id,
		ours.at() + "/services?_id=" + other.service:       "",
		"/apikeys?_id[]=" + other.id + "&_id[]=" + ours.id: ours.id,
	} {
		if a := r.want(r.call(ours.key, "GET", path, ""), 200); a.names("_id") != want {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	_ = elsewhere
}

var anID = regexp.MustCompile(`[0-9a-z]{10}`)

// Ids in bodies tell as little as ids in paths: what is said about another
// tenant's is what is said about none, but for the id itself.
func TestIDsInBodiesTellNothingAboutOthers(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	for where, other := range map[string]tenant{"beside": r.tenant("beside", ours.consortium, ours.environment), "elsewhere": r.tenant("elsewhere", "", "")} {
		for _, c := range []struct{ method, path, body, id, field string }{
			{"POST", ours.at() + "/nodes", `{"name":"n","membership_id":"%s","chain_id":1,"urls":{"rpc":"https://node.example.org"}}`, other.membership, "membership_id"},
			{"POST", ours.at() + "/configurations", `{"name":"n","membership_id":"%s","type":"cloudhsm","details":` + azureDetails + `}`, other.membership, "membership_id"},
			{"POST", ours.at() + "/services", `{"name":"n","membership_id":"%s","service":"cloudhsm","details":{"cloudhsm_id":"` + ours.configuration + `"}}`, other.membership, "membership_id"},
			{"POST", ours.at() + "/appcreds", `{"membership_id":"%s"}`, other.membership, "membership_id"},
			{"POST", ours.at() + "/services", `{"name":"n","membership_id":"` + ours.membership + `","service":"cloudhsm","details":{"cloudhsm_id":"%s"}}`, other.configuration, "details.cloudhsm_id"},
			{"POST", ours.at() + "/services", `{"name":"n","membership_id":"` + ours.membership + `","service":"cloudhsm","details":{"cloudhsm_id":"` + ours.configuration + `","node_id":"%s"}}`, other.node, "details.node_id"},
			{"PATCH", ours.at() + "/services/" + ours.service, `{"details":{"cloudhsm_id":"%s"}}`, other.configuration, "details.cloudhsm_id"},
			{"PATCH", ours.at() + "/services/" + ours.service, `{"details":{"node_id":"%s"}}`, other.node, "details.node_id"},
			{"POST", "/apikeys", `{"name":"n","grants":[{"role":"auditor","consortium_id":"` + ours.consortium + `","membership_id":"%s"}]}`, other.membership, "grants[0].membership_id"},
			{"POST", "/apikeys", `{"name":"n","grants":[{"role":"auditor","consortium_id":"` + other.consortium + `","membership_id":"%s"}]}`, other.membership, ""},
		} {
			if strings.Contains(c.body, `"consortium_id":"`+ours.consortium) && where == "beside" && c.field == "" {
				continue
			}
			a := r.call(ours.key, c.method, c.path, fmt.Sprintf(c.body, c.id))
			b := r.call(ours.key, c.method, c.path, fmt.Sprintf(c.body, someID))
			got, _ := a.get("field").(string)
			same := anID.ReplaceAllString(a.text, "ID") == anID.ReplaceAllString(b.text, "ID")
			if a.code != 400 || a.code != b.code || !same || c.field != "" && got != c.field {
				t.Errorf("%s, %s %s: %d %s, of nothing: %d %s", where, c.method, c.path, a.code, a.text, b.code, b.text)
			}
		}
	}
}

// A role says no with 403 only where the caller may know of the thing.
func TestRolesAreRefusedOnlyWhereTheResourceIsTheCallers(t *testing.T) {
	r := newRig(t)
	n := r.tenant("ours", "", "")
	grant := func(role string) string {
		return r.key(`{"name":"k","grants":[{"role":"` + role + `","consortium_id":"` + n.consortium + `","membership_id":"` + n.membership + `"}]}`)
	}
	auditor, operator := grant("auditor"), grant("operator")
	service := n.at() + "/services/" + n.service
	for _, c := range []struct {
		method, path, body string
		auditor, operator  int
	}{
		{"GET", service, "", 200, 200},
		{"GET", service + "/status", "", 200, 200},
		{"GET", service + "/accounts", "", 200, 200},
		{"GET", service + "/transactions", "", 200, 200},
		{"PUT", service + "/reset", "{}", 403, 200},
		{"PUT", service + "/accounts/refresh", "", 403, 200},
		{"PATCH", service + "/accounts/" + address.Hex(), `{"label":"x"}`, 403, 200},
		{"PATCH", service, `{"name":"x"}`, 403, 403},
		{"DELETE", service, "", 403, 403},
		{"POST", service + "/accounts", `{"name":"x"}`, 403, 403},
		{"POST", n.at() + "/appcreds", `{"membership_id":"` + n.membership + `"}`, 403, 403},
		{"POST", n.at() + "/appcreds/" + n.cred + "/regenerate", "", 403, 403},
		{"PATCH", "/consortia/" + n.consortium, `{"name":"x"}`, 403, 403},
		{"POST", "/consortia", `{"name":"x"}`, 403, 403},
		{"POST", "/apikeys", `{"name":"x","grants":[{"role":"admin"}]}`, 403, 403},
	} {
		for token, want := range map[string]int{auditor: c.auditor, operator: c.operator} {
			if a := r.call(token, c.method, c.path, c.body); a.code != want {
				t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.code, want, a.text)
			}
		}
	}
}
