// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// Which tenants there are is a deployment's secret: what is another's looks like
// what is not there, at both doors.
func TestWhatIsAnothersIsNotThere(t *testing.T) {
	va, vb := startVault(t, 1), startVault(t, 1)
	node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, append(accounts(va), accounts(vb)...)...)
	m := startBare(t, node, local)
	of := "/consortia/" + consortium
	a, b := m.make(of+"/memberships", `{"org_name":"A"}`), m.make(of+"/memberships", `{"org_name":"B"}`)
	stage := m.make(of+"/environments", `{"name":"stage"}`)
	tenants := map[string]*tenant{
		"A":          m.settle(node, a, environment, va),
		"A in stage": m.settle(node, a, stage, va),
		"B":          m.settle(node, b, environment, vb),
	}

	m.apartAtTheDoor(tenants)
	m.apartInManagement(tenants)
}

const missing = "u0missing0" // the id of nothing

func (m *managed) apartAtTheDoor(tenants map[string]*tenant) {
	m.t.Helper()
	t := m.t
	request := `{"jsonrpc":"2.0","id":1,"method":"eth_accounts","params":[]}`
	for name, who := range tenants {
		others := []string{"e2e"} // the operator's own
		for _, other := range tenants {
			others = append(others, other.service)
		}
		for _, body := range []string{request, "[" + request + "," + request + "]", transfer(who.account), "{", "[]", ""} {
			code, want := m.door(missing, who.cred, who.password, body)
			if code != http.StatusNotFound {
				t.Fatalf("%s at what is missing: %s", name, want)
			}
			for _, service := range others {
				switch _, got := m.door(service, who.cred, who.password, body); {
				case service == who.service && got == want:
					t.Errorf("%s at its own service: %s", name, got)
				case service != who.service && got != want:
					t.Errorf("%s at another's service, %q: %s, not %s", name, body, got, want)
				}
			}
		}
		_, want := m.upgrade(missing, who.cred, who.password)
		for _, service := range others {
			code, got := m.upgrade(service, who.cred, who.password)
			if service == who.service && code != http.StatusSwitchingProtocols || service != who.service && got != want {
				t.Errorf("%s, upgrade at %s: %s, not %s", name, service, got, want)
			}
		}
		_, want = m.door(missing, "", "", request)
		if code, got := m.door(who.service, "", "", request); code != http.StatusUnauthorized || got != want {
			t.Errorf("nobody at %s: %s, not %s", name, got, want)
		}
	}
}

// apartInManagement uses a key that is good for one membership.
func (m *managed) apartInManagement(tenants map[string]*tenant) {
	m.t.Helper()
	t, theirs, a, b := m.t, tenants["B"], tenants["A"].membership, tenants["B"].membership
	mine := m.apiKey(fmt.Sprintf(`{"role":"admin","consortium_id":%q,"membership_id":%q}`, consortium, a))
	hash := m.sent(theirs)
	for _, x := range []struct{ method, path, body string }{
		{"GET", "/services/%s", ""},
		{"PATCH", "/services/%s", `{"name":"mine"}`},
		{"DELETE", "/services/%s", ""},
		{"GET", "/services/%s/status", ""},
		{"PUT", "/services/%s/reset", "{}"},
		{"GET", "/services/%s/accounts", ""},
		{"PUT", "/services/%s/accounts/refresh", ""},
		{"GET", "/services/%s/transactions", ""},
		{"GET", "/services/%s/transactions/" + hash, ""},
		{"POST", "/services/%s/transactions/" + hash + "/cancel", ""},
	} {
		at := func(id string) string {
			code, text := m.ask(mine, x.method, theirs.place+fmt.Sprintf(x.path, id), x.body)
			return fmt.Sprint(code, string(text))
		}
		if got, want := at(theirs.service), at(missing); got != want || !strings.HasPrefix(got, "404") {
			t.Errorf("%s %s: %s, not %s", x.method, x.path, got, want)
		}
	}
	// Nor can it be used for what is made.
	blank := strings.NewReplacer(theirs.configuration, missing, theirs.node, missing, b, missing, tenants["A in stage"].configuration, missing)
	service := theirs.place + "/services"
	for what, body := range map[string]string{
		"another's configuration": fmt.Sprintf(`{"name":"x","service":"cloudhsm","membership_id":%q,"details":{"cloudhsm_id":%q}}`, a, theirs.configuration),
		"another's node":          fmt.Sprintf(`{"name":"x","service":"cloudhsm","membership_id":%q,"details":{"cloudhsm_id":%q,"node_id":%q}}`, a, tenants["A"].configuration, theirs.node),
		"another's membership":    fmt.Sprintf(`{"name":"x","service":"cloudhsm","membership_id":%q,"details":{"cloudhsm_id":%q}}`, b, theirs.configuration),
		"another environment's":   fmt.Sprintf(`{"name":"x","service":"cloudhsm","membership_id":%q,"details":{"cloudhsm_id":%q}}`, a, tenants["A in stage"].configuration),
	} {
		code, got := m.ask(mine, "POST", service, body)
		_, want := m.ask(mine, "POST", service, blank.Replace(body))
		if code != 400 || blank.Replace(string(got)) != string(want) {
			t.Errorf("%s: %d %s, not %s", what, code, got, want)
		}
	}
	for what, grants := range map[string]string{"of another": fmt.Sprintf(`{"role":"auditor","consortium_id":%q,"membership_id":%q}`, consortium, b), "of all": `{"role":"auditor"}`} {
		if code, got := m.ask(mine, "POST", "/apikeys", `{"name":"x","grants":[`+grants+`]}`); code != 400 && code != 403 {
			t.Errorf("a key %s: %d %s", what, code, got)
		}
	}
	if all := m.listAs(mine, theirs.place+"/services"); len(all) != 1 || all[0]["_id"] != tenants["A"].service {
		t.Errorf("A sees %v", all)
	}
}

// sent has the tenant's service send a transaction, and returns its hash.
func (m *managed) sent(n *tenant) string {
	m.t.Helper()
	code, answer := m.door(n.service, n.cred, n.password, transfer(n.account))
	_, hash, found := strings.Cut(answer, `"result":"`)
	if code != 200 || !found {
		m.t.Fatal(answer)
	}
	return hash[:66]
}

// listing makes a vault list the keys of another, as if it had them.
func listing(v, other *vaultfake.Server, sign func(w http.ResponseWriter)) {
	v.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch path, foreign := strings.TrimPrefix(r.URL.Path, "/v1/hsmsigner/"), other.Addresses()[0]; path {
		case "addresses":
			info, keys := map[string]any{}, []string{}
			for _, from := range []*vaultfake.Server{v, other} {
				for _, address := range from.Addresses() {
					keys = append(keys, address)
					info[address] = listed(from, address)
				}
			}
			v.Answer(w, map[string]any{"keys": keys, "key_info": info})
		case "addresses/" + foreign:
			v.Answer(w, listed(other, foreign))
		case "sign/" + foreign:
			sign(w)
		default:
			return false
		}
		return true
	})
}

// TXMGR no. 23.
func TestAddressThatAVaultOnlyListsIsNotItsToSendFrom(t *testing.T) {
	for name, signed := range map[string]bool{"without a signature": false, "with another key's signature": true} {
		t.Run(name, func(t *testing.T) {
			va, vb := startVault(t, 1), startVault(t, 1)
			listing(vb, va, func(w http.ResponseWriter) {
				if !signed {
					vaultfake.Refuse(w, http.StatusNotFound, "there is no key of that address")
					return
				}
				vb.Answer(w, map[string]any{"address": va.Addresses()[0], "signature": "0x" + strings.Repeat("11", 64) + "00"})
			})
			victim := accounts(va)[0]
			node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, append(accounts(va), accounts(vb)...)...)
			m := startBare(t, node, local)
			of := "/consortia/" + consortium
			a := m.settle(node, m.make(of+"/memberships", `{"org_name":"A"}`), environment, va)
			b := m.settle(node, m.make(of+"/memberships", `{"org_name":"B"}`), environment, vb)
			b.account = accounts(vb)[0]

			attempts := func() {
				t.Helper()
				for range 2 {
					if _, answer := m.door(b.service, b.cred, b.password, transfer(victim)); !strings.Contains(answer, `"error"`) {
						t.Errorf("B from A's address: %s", answer)
					}
				}
			}
			attempts() // before A has used it
			if n := node.Nonce(t, victim); n != 0 {
				t.Errorf("%d transactions of A's address are mined", n)
			}
			for range 3 {
				m.sent(a)
			}
			attempts()
			for range 3 {
				m.sent(a)
				m.sent(b)
			}
			harness.WaitNonce(t, node, victim, 6, patience)
			harness.WaitNonce(t, node, b.account, 3, patience)
			time.Sleep(300 * time.Millisecond) // three more blocks
			history, err := harness.ReadHistory(t.Context(), node, 0)
			if err != nil {
				t.Fatal(err)
			}
			for sender, want := range map[common.Address]int{victim: 6, b.account: 3} {
				if err := history.CheckSequence(sender, 0); err != nil || history.Count(sender) != want {
					t.Errorf("%d transactions of %s, want %d: %v", history.Count(sender), sender, want, err)
				}
			}
			for _, x := range m.list(b.place + "/services/" + b.service + "/transactions") {
				if x["from"] == victim.Hex() && x["state"] != "failed" {
					t.Errorf("B has a transaction of A's address: %v", x)
				}
			}
		})
	}
}

func TestRolesAreHeldTo(t *testing.T) {
	v := startVault(t, 1)
	node := harness.StartAnvil(t, 0, accounts(v)...)
	m := startBare(t, node, local)
	n := m.settle(node, membership, environment, v)
	halt(t, node)
	hash := m.sent(n)
	service := n.place + "/services/" + n.service
	key := map[string]string{}
	for _, role := range []string{"auditor", "operator", "admin"} {
		key[role] = m.apiKey(fmt.Sprintf(`{"role":%q,"consortium_id":%q,"membership_id":%q}`, role, consortium, membership))
	}
	for _, x := range []struct {
		role         string
		want         int
		method, path string
		body         string
	}{
		{"auditor", 200, "GET", service, ""},
		{"auditor", 200, "GET", service + "/status", ""},
		{"auditor", 200, "GET", service + "/accounts", ""},
		{"auditor", 200, "GET", service + "/transactions/" + hash, ""},
		{"auditor", 403, "PUT", service + "/accounts/refresh", ""},
		{"auditor", 403, "PATCH", service + "/accounts/" + n.account.Hex(), `{"label":"x"}`},
		{"auditor", 403, "POST", service + "/transactions/" + hash + "/speed-up", ""},
		{"auditor", 403, "POST", service + "/transactions/" + hash + "/cancel", ""},
		{"auditor", 403, "PUT", service + "/reset", "{}"},
		{"auditor", 403, "PATCH", service, `{"name":"x"}`},
		{"auditor", 403, "DELETE", service, ""},
		{"auditor", 403, "POST", n.place + "/appcreds", `{"name":"x"}`},
		{"auditor", 403, "POST", n.place + "/appcreds/" + n.cred + "/regenerate", ""},
		{"auditor", 403, "POST", "/apikeys", fmt.Sprintf(`{"name":"x","grants":[{"role":"auditor","consortium_id":%q,"membership_id":%q}]}`, consortium, membership)},
		{"operator", 200, "PUT", service + "/accounts/refresh", ""},
		{"operator", 200, "PATCH", service + "/accounts/" + n.account.Hex(), `{"label":"x"}`},
		{"operator", 200, "POST", service + "/transactions/" + hash + "/cancel", ""},
		{"operator", 200, "PUT", service + "/reset", "{}"},
		{"operator", 403, "PATCH", service, `{"name":"x"}`},
		{"operator", 403, "DELETE", service, ""},
		{"operator", 403, "PATCH", n.place + "/configurations/" + n.configuration, `{"details":{"user_secret":"x"}}`},
		{"operator", 403, "POST", service + "/accounts", `{"name":"x"}`},
		{"operator", 403, "POST", n.place + "/appcreds", `{"name":"x"}`},
		{"operator", 403, "DELETE", n.place + "/appcreds/" + n.cred, ""},
		{"admin", 200, "PATCH", service, `{"name":"x"}`},
		{"admin", 403, "POST", "/consortia", `{"name":"x"}`},
		{"admin", 403, "POST", "/consortia/" + consortium + "/memberships", `{"org_name":"x"}`},
		{"admin", 403, "POST", "/consortia/" + consortium + "/environments", `{"name":"x"}`},
	} {
		if code, text := m.ask(key[x.role], x.method, x.path, x.body); code != x.want {
			t.Errorf("%s: %s %s: %d, want %d: %s", x.role, x.method, x.path, code, x.want, text)
		}
	}
}

// The bytes of a transaction that waits in the public pool are everybody's; who
// hands them in does not get its sender with them, nor can a chain of his own
// say what became of it.
func TestBytesOfAnothersTransactionDoNotGiveItAway(t *testing.T) {
	va, vb := startVault(t, 1), startVault(t, 1)
	listing(vb, va, func(w http.ResponseWriter) {
		vaultfake.Refuse(w, http.StatusNotFound, "there is no key of that address")
	})
	victim := accounts(va)[0]
	node, forged := harness.StartAnvil(t, 0, victim), harness.StartAnvil(t, 0, victim)
	m := startBare(t, node, local)
	of := "/consortia/" + consortium
	a := m.settle(node, m.make(of+"/memberships", `{"org_name":"A"}`), environment, va)
	b := m.settle(forged, m.make(of+"/memberships", `{"org_name":"B"}`), environment, vb)
	halt(t, node)
	hash := m.sent(a)
	var raw string
	if err := node.RPC.CallContext(t.Context(), &raw, "eth_getRawTransactionByHash", hash); err != nil || raw == "" {
		t.Fatal(raw, err)
	}
	one := a.place + "/services/" + a.service + "/transactions/" + hash
	m.reaches(one, "sent")
	_, answer := m.door(b.service, b.cred, b.password, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":[%q]}`, raw))
	t.Logf("B hands it in: %s", answer)
	_ = forged.RPC.CallContext(t.Context(), nil, "eth_sendRawTransaction", raw) // as he would himself
	mine(t, forged, 30)
	time.Sleep(2 * time.Second)
	if got := m.want(200, "GET", one, ""); got["state"] != "sent" || got["wallet"] != a.service {
		t.Errorf("A's transaction became %v of %v", got["state"], got["wallet"])
	}
	mine(t, node, 1)
	harness.WaitNonce(t, node, victim, 1, patience)
	m.sent(a)
	eventually(t, patience, "mined, the next one", func() bool {
		mine(t, node, 1)
		return node.Nonce(t, victim) == 2
	})
	mine(t, node, 30)
	m.reaches(one, "confirmed")
}
