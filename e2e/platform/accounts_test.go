// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// list reads a list of the API.
func (m *managed) list(path string) (all []map[string]any) {
	m.t.Helper()
	code, text := m.ask(m.root, "GET", path, "")
	if err := json.Unmarshal(text, &all); code != 200 || err != nil {
		m.t.Fatalf("%s: %d %s", path, code, text)
	}
	return all
}

// What somebody does with a service after making it, against the daemon, a chain
// and a keystore.
func TestAccountsAndTransactionsOfAServiceAreManagedByTheAPI(t *testing.T) {
	m := startManaged(t)
	service := place + "/services/" + m.service
	before := m.list(service + "/accounts?balance&nonce&sort=address")
	if len(before) != len(m.keys.Addresses) || len(before[0]["balance"].(string)) < 18 || before[0]["nonce"] == nil {
		t.Fatalf("accounts: %v", before)
	}
	made := m.want(201, "POST", service+"/accounts", `{"name":"third","label":"till 3"}`)
	if made["label"] != "till 3" || made["state"] != "enabled" || !strings.HasPrefix(made["address"].(string), "0x") {
		t.Errorf("made: %v", made)
	}
	if after := m.list(service + "/accounts?label=till%203"); len(after) != 1 || after[0]["address"] != made["address"] {
		t.Errorf("not in the list: %v", after)
	}
	if report := m.want(200, "PUT", service+"/accounts/refresh", ""); report["found"] != 3.0 {
		t.Errorf("refresh: %v", report)
	}

	hash := m.send()
	one := service + "/transactions/" + hash
	if shown := m.want(200, "GET", one, ""); shown["hash"] != hash || shown["credential"] != "app:"+m.cred || shown["wallet"] != m.service || shown["attempts"] == nil {
		t.Errorf("transaction: %v", shown)
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if all := m.list(service + "/transactions?state=confirmed&from=" + m.keys.Addresses[0].Hex()); len(all) == 1 && all[0]["hash"] == hash {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not confirmed: %v", m.want(200, "GET", one, ""))
		}
	}
	for _, act := range []string{"cancel", "speed-up"} {
		if refused := m.want(409, "POST", one+"/"+act, ""); refused["error"] != "conflict" {
			t.Errorf("%s: %v", act, refused)
		}
	}
	m.want(404, "GET", service+"/transactions/"+"0x"+strings.Repeat("0", 64), "")

	m.want(200, "PUT", service+"/reset", "{}")
	m.started(m.service)
	m.want(409, "DELETE", place+"/configurations/"+m.configuration, "")
	if code, text := m.ask(m.root, "DELETE", service, ""); code != 204 && code != 202 { // 202: it goes in a moment
		t.Fatalf("%d %s", code, text)
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if code, text := m.ask(m.root, "GET", service, ""); code == 404 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the service does not go: %d %s", code, text)
		}
	}
	m.want(204, "DELETE", place+"/configurations/"+m.configuration, "")
	m.want(204, "DELETE", place+"/nodes/"+m.node, "")
	m.want(204, "DELETE", place+"/appcreds/"+m.cred, "")
	if declared := m.list(place + "/services"); len(declared) != 1 || fmt.Sprint(declared[0]["read_only"]) != "true" {
		t.Errorf("the wallet of the config file: %v", declared)
	}
}
