// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const closedRules = `version: hsmsigner-policy-v1\nrules:\n  - name: closed\n    effect: deny\n`

func TestRulesAreSetShownAndTriedByTheAPI(t *testing.T) {
	r := newRig(t)
	n := r.tenant("ours", "", "")
	service := n.at() + "/services/" + n.service
	set := r.want(r.call(n.key, "PUT", service+"/policy", `{"document":"`+closedRules+`","comment":"all of it"}`), 200)
	if set.get("state") != "active" || fmt.Sprint(set.get("version")) != "1" || set.get("author") != "key:"+n.id {
		t.Error(set.text)
	}
	called := r.want(r.call(n.key, "GET", "/apikeys/"+n.id, ""), 200).get("name")
	record := r.want(r.call(n.key, "GET", "/audit/records?event=policy-set", ""), 200)
	if called == nil || set.get("author_name") != called || !strings.Contains(record.text, fmt.Sprintf(`"name":%q`, called)) {
		t.Errorf("%v: %s\n%s", called, set.text, record.text)
	}
	shown := r.want(r.call(n.key, "GET", service+"/policy", ""), 200)
	if shown.get("active", "document_sha256") != set.get("document_sha256") || shown.get("scope") != "service:"+n.service || fmt.Sprint(shown.get("policy_approvals")) != "0" {
		t.Error(shown.text)
	}
	trial := `{"method":"personal_sign","params":["0x00","` + address.Hex() + `"],"principal":"app:` + n.cred + `"`
	if a := r.want(r.call(n.key, "POST", service+"/policy/test", trial+`}`), 200); a.get("effect") != "deny" || a.get("rule") != "service:"+n.service+"/closed" {
		t.Error(a.text)
	}
	if a := r.want(r.call(n.key, "POST", service+"/policy/test", trial+`,"document":{"version":"hsmsigner-policy-v1","rules":[{"name":"open","effect":"allow","actions":["message"]}]}}`), 200); a.get("effect") != "allow" {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "PUT", service+"/policy", `{"document":"","replaces":0}`), 409)
	r.want(r.call(n.key, "PUT", service+"/policy", `{"document":"","replaces":1}`), 200)
	list := r.want(r.call(n.key, "GET", service+"/policy/versions?state=past", ""), 200)
	if list.names("state") != "past" {
		t.Error(list.text)
	}
	if a := r.want(r.call(n.key, "GET", service+"/policy/versions/1", ""), 200); a.get("comment") != "all of it" || !strings.Contains(fmt.Sprint(a.get("document")), "closed") {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "GET", service+"/policy/versions/3", ""), 404)
	r.want(r.call(n.key, "GET", service+"/policy/versions/x", ""), 404)
	r.want(r.call(n.key, "POST", service+"/policy/versions/1/approve", ""), 409)
	r.want(r.call(n.key, "GET", service+"/policy/usage", ""), 200)
	if a := r.want(r.call(n.key, "PUT", service+"/policy", `{"document":"version: hsmsigner-policy-v1\nrules:\n  - nam: x\n"}`), 400); a.get("field") != "document" || !strings.Contains(a.text, "policy:3") {
		t.Error(a.text)
	}
	schema := r.want(r.call(n.key, "GET", "/policy-schema", ""), 200)
	if !json.Valid([]byte(schema.text)) || schema.get("$schema") != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("%.200s", schema.text)
	}
}

func TestAProposedVersionIsAcceptedAndApprovedByTheAPI(t *testing.T) {
	r := newRig(t)
	n := r.tenant("ours", "", "")
	r.want(r.call(r.root, "PATCH", "/consortia/"+n.consortium, `{"policy_approvals":1}`), 200)
	where := "/consortia/" + n.consortium + "/memberships/" + n.membership + "/policy"
	if a := r.want(r.call(n.key, "PUT", where, `{"document":"`+closedRules+`"}`), 202); a.get("state") != "proposed" {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "POST", where+"/versions/1/approve", ""), 403)
	other := r.key(`{"name":"k","grants":[{"role":"admin","consortium_id":"` + n.consortium + `","membership_id":"` + n.membership + `"}]}`)
	if a := r.want(r.call(other, "POST", where+"/versions/1/approve", ""), 200); a.get("state") != "active" {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "PUT", where, `{"document":""}`), 202)
	r.want(r.call(n.key, "POST", where+"/versions/2/reject", ""), 200)
}

func TestFreezeAndReleaseByTheAPI(t *testing.T) {
	r := newRig(t)
	n := r.tenant("ours", "", "")
	grant := func(role string) string {
		return r.key(`{"name":"k","grants":[{"role":"` + role + `","consortium_id":"` + n.consortium + `","membership_id":"` + n.membership + `"}]}`)
	}
	auditor, operator := grant("auditor"), grant("operator")
	service := n.at() + "/services/" + n.service
	for _, path := range []string{service, service + "/accounts/" + address.Hex(), "/consortia/" + n.consortium + "/memberships/" + n.membership} {
		path += "/freeze"
		r.want(r.call(auditor, "PUT", path, `{"reason":"x"}`), 403)
		r.want(r.call(operator, "PUT", path, `{"reason":""}`), 400)
		if a := r.want(r.call(operator, "PUT", path, `{"reason":"under review"}`), 200); a.get("frozen") != true {
			t.Error(a.text)
		}
		if a := r.want(r.call(auditor, "GET", path, ""), 200); a.get("frozen") != true || a.get("known") != true {
			t.Error(a.text)
		}
		if a := r.want(r.call(auditor, "GET", "/freezes", ""), 200); a.names("reason") != "under review" {
			t.Error(a.text)
		}
		r.want(r.call(operator, "DELETE", path, ""), 403)
		if a := r.want(r.call(n.key, "DELETE", path+"?reason=done", ""), 200); a.get("frozen") != false {
			t.Error(a.text)
		}
		r.want(r.call(n.key, "DELETE", path, ""), 409)
	}
	r.want(r.call(n.key, "PUT", "/freeze", `{"reason":"x"}`), 403)
	r.want(r.call(r.root, "PUT", "/freeze", `{"reason":"x"}`), 200)
	if a := r.want(r.call(auditor, "GET", service+"/freeze", ""), 200); a.get("frozen") != true || strings.Contains(a.text, `"by"`) {
		t.Error(a.text)
	}
	r.want(r.call(n.key, "DELETE", service+"/freeze", ""), 409)
	r.want(r.call(r.root, "DELETE", "/freeze", ""), 200)
	r.want(r.call(n.key, "GET", service+"/accounts/0x00/freeze", ""), http.StatusNotFound)
}
