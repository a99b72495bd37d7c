// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// What is asked of the doors when a rule denies everything. Paths are as in the
// tables of the program's source; those with nothing sign nothing.

// gatewayPosts are the routes of the gateway by which something may be sent.
func (w *wallet) gatewayPosts(abi, at string) map[string][]wanted {
	from := "?fly-from=" + w.from(0)
	mark := map[string]any{"mark": 1}
	token := map[string]any{"type": "erc20", "name": "Gold", "symbol": "G", "mintable": true, "supply": "5"}
	send := map[string]any{
		"headers": map[string]any{"type": "SendTransaction"}, "from": w.from(0), "to": at,
		"methodName": "tick", "params": []any{map[string]any{"type": "uint256", "value": "1"}},
	}
	deploy := map[string]any{
		"headers": map[string]any{"type": "DeployContract"}, "from": w.from(0), "params": []any{"Next"},
		"abi": orders.ABI, "compiled": base64.StdEncoding.EncodeToString(common.FromHex(orders.Bytecode)),
	}
	all := map[string][]wanted{
		"/": {{"/", send}, {"/", deploy}}, "/hook": {{"/hook", send}, {"/hook", deploy}}, "/fasthook": {{"/fasthook", send}, {"/fasthook", deploy}},
		"/abis/{abi}":                             {{"/abis/" + abi + from, map[string]any{"name": "Next"}}},
		"/abis/{abi}/{address}/{method}":          {{"/abis/" + abi + "/" + at + "/tick" + from, mark}, {"/abis/" + abi + "/" + at + "/tick" + from + "&fly-sync", mark}},
		"/contracts/{contract}/{method}":          {{"/contracts/shop/tick" + from, mark}, {"/contracts/" + at + "/tick" + from + "&fly-id=mine", mark}},
		"/tokens":                                 {{"/tokens" + from, token}},
		"/tokens/{token}/{operation}":             {{"/tokens/coin/mint" + from, map[string]any{"to": w.from(1), "amount": "1"}}, {"/tokens/coin/transfer" + from, map[string]any{"to": w.from(1), "amount": "1"}}},
		"/abis":                                   nil,
		"/abis/{abi}/{address}":                   nil,
		"/abis/{abi}/{event}/subscribe":           nil, // or a method of that name, which goes the way of the others
		"/abis/{abi}/{address}/{event}/subscribe": nil, "/contracts/{contract}/{event}/subscribe": nil,
	}
	// Other words for the same.
	for path, requests := range maps.Clone(all) {
		for _, as := range [][2]string{{"/contracts/", "/instances/"}, {"/contracts/", "/i/"}, {"/abis/", "/gateways/"}, {"/abis/", "/g/"}} {
			rest, is := strings.CutPrefix(path, as[0])
			if !is || requests == nil {
				continue
			}
			for _, r := range requests {
				all[as[1]+rest] = append(all[as[1]+rest], wanted{as[1] + strings.TrimPrefix(r.path, as[0]), r.body})
			}
		}
	}
	return all
}

// wanted is one request.
type wanted struct {
	path string
	body any
}

// apiOperations are the operations of the management API that change anything.
func (w *wallet) apiOperations() map[string][]wanted {
	service := place + "/services/" + w.id
	account := service + "/accounts/" + w.accounts[0].Hex()
	all := map[string][]wanted{
		"signMessage":         {{account + "/sign-message", `{"message":"hello"}`}, {account + "/sign-message", `{"message":"0x00","encoding":"hex"}`}},
		"sendTestTransaction": {{account + "/test-transaction", `{}`}, {account + "/test-transaction", fmt.Sprintf(`{"to":%q,"value":"1","idempotency_key":"mine"}`, somewhere)}},
		"signDocument":        {{service + "/signatures", fmt.Sprintf(`{"account":%q,"sha256":"%064x","size":3}`, w.accounts[0].Hex(), 7)}},
	}
	for _, name := range strings.Fields(`createConsortium updateConsortium deleteConsortium createMembership updateMembership deleteMembership
		createEnvironment updateEnvironment deleteEnvironment createNode updateNode deleteNode createConfiguration updateConfiguration
		deleteConfiguration createService updateService deleteService createAppCred updateAppCred deleteAppCred createAPIKey updateAPIKey
		deleteAPIKey resetService resetNode regenerateAppCred createAccount refreshAccounts importAccount labelAccount verifyDocument`) {
		all[name] = nil
	}
	return all
}

// consoleForms are the forms of the console that change anything.
func (w *wallet) consoleForms(abi, at string) map[string][]wanted {
	account := "/wallets/" + w.id + "/accounts/" + w.accounts[0].Hex()
	from := w.accounts[0].Hex()
	return map[string][]wanted{
		"/wallets/{id}/accounts/{address}/sign-message":     {{account + "/sign-message", url.Values{"message": {"hello"}}}},
		"/wallets/{id}/accounts/{address}/test-transaction": {{account + "/test-transaction", url.Values{"value": {"0.1"}}}},
		"/contracts/{id}/interfaces/{abi}/deploy":           {{"/contracts/" + w.id + "/interfaces/" + abi + "/deploy", url.Values{"from": {from}, "arg.0": {"Next"}}}},
		"/contracts/{id}/at/{contract}/send":                {{"/contracts/" + w.id + "/at/shop/send", url.Values{"from": {from}, "method": {"tick(uint256)"}, "arg.0": {"1"}}}},
		"/tokens/{id}/new":                                  {{"/tokens/" + w.id + "/new", url.Values{"from": {from}, "type": {"erc20"}, "name": {"Gold"}, "symbol": {"G"}, "supply": {"5"}}}},
		"/tokens/{id}/at/{contract}/{operation}":            {{"/tokens/" + w.id + "/at/coin/mint", url.Values{"signer": {from}, "to": {w.accounts[1].Hex()}, "amount": {"1"}}}},
	}
}

// controls are the operations of the API by which people control what is signed, and
// those on transactions that were judged when they were accepted: a cancellation asks
// for no payment, and the fee of a speed-up is judged by package wallet's tests. signs
// are names under which nothing may hide there.
var (
	controls = regexp.MustCompile(`(Policy|Freeze|freeze|release|approve|reject|^cancelTransaction$|^speedUpTransaction$|^test(New)?Configuration$)`)
	signs    = regexp.MustCompile(`(?i)(sign|send|submit|deploy([^m]|$)|transfer|mint)`)
)

// quiet are the forms of the console that have nothing signed, by how their paths
// begin or end.
var quiet = regexp.MustCompile(`^/(configurations|nodes|memberships|credentials|keys|streams|approvals|freeze|policy)\b|` +
	`^/wallets/(new|\{id\}/(reset|settings|delete|accounts/(refresh|new|import)|accounts/\{address\}|connect|policy(/[a-z]+)?))$|` +
	`^/wallets/\{id\}/transactions/\{tx\}/(cancel|speed-up)$|^/contracts/\{id\}/(upload|interfaces/\{abi\}/(register|delete)|at/\{contract\}/forget)$`)

// inSource finds what an expression captures in files of the program's source.
func inSource(t *testing.T, expression string, pattern ...string) (all []string) {
	t.Helper()
	root, err := harness.Root()
	must(t, err)
	files, err := filepath.Glob(filepath.Join(append([]string{root, "internal"}, pattern...)...))
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		must(t, err)
		for _, found := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
			all = append(all, found[1])
		}
	}
	return all
}

// A rule denies everything: whatever door is used, the gateway's at both listeners,
// the management API or the console's forms, the answer names the rule, no backend is
// asked, and nothing reaches the chain. The tables of the doors are read from the
// source and the API's description, so that one which is added is not left out here.
func TestEveryOtherDoorIsJudged(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	at := strings.ToLower(w.deploy("shop").Hex())
	w.mint("coin", map[string]any{"type": "erc20", "name": "Coin", "symbol": "C", "mintable": true, "supply": "5"})
	abi := w.upload()
	const rule = "nothing-leaves"
	r.Want(http.StatusOK, "PUT", place+"/services/"+w.id+"/policy", `{"document":"version: hsmsigner-policy-v1\nrules: [{name: nothing-leaves, effect: deny}]\n"}`)
	r.eventually(patience, "the rule holds", func() bool {
		code, _ := r.Ask("POST", place+"/services/"+w.id+"/accounts/"+w.accounts[0].Hex()+"/sign-message", `{"message":"x"}`)
		return code == http.StatusForbidden
	})
	outcomes, nonce := w.records("outcome"), r.node.Nonce(t, w.accounts[0])
	intents := w.records("intent")
	judged := 0

	known := w.gatewayPosts(abi, at)
	table := inSource(t, `method: http\.MethodPost, path: "([^"]+)"`, "gateway", "*.go")
	if len(table) < 12 {
		t.Fatalf("the gateway's table has %d routes: where is it?", len(table))
	}
	for _, path := range table {
		if _, is := known[path]; !is && !strings.HasPrefix(path, "/eventstreams") && !strings.HasPrefix(path, "/subscriptions") {
			t.Errorf("the gateway has a route %s: say here how it sends, or that it never does", path)
		}
	}
	for path, requests := range known {
		for _, one := range requests {
			for entrance, base := range map[string]string{"rpc": w.gate, "api": w.admin} {
				prove := w.basic
				if entrance == "api" {
					prove = w.bearer
				}
				if entrance == "api" && one.path == "/" {
					continue // where the API describes the gateway, nothing is sent
				}
				judged++
				a, err := w.exchange(base, prove, "POST", one.path, one.body)
				if must(t, err); a.code != http.StatusForbidden || a.say("code") != "denied" || !strings.Contains(a.text, rule) {
					t.Errorf("%s at the %s listener, %s: %d %s", path, entrance, one.path, a.code, a.text)
				}
			}
		}
	}

	operations := w.apiOperations()
	for _, name := range changing(t, r) {
		_, is := operations[name]
		if !is && (!controls.MatchString(name) || signs.MatchString(name)) {
			t.Errorf("the API has an operation %s: say here how it has something signed, or that it never does", name)
		}
		for _, one := range operations[name] {
			judged++
			if code, text := r.Ask("POST", one.path, one.body.(string)); code != http.StatusForbidden || !strings.Contains(string(text), rule) {
				t.Errorf("%s: %d %s", name, code, text)
			}
		}
	}

	forms := w.consoleForms(abi, at)
	posts := append(inSource(t, `add\(post, "([^"]+)"`, "console", "*.go"), inSource(t, `\b(?:post|send)\("(/[^"]+)"`, "console", "*.go")...)
	if len(posts) < 40 {
		t.Fatalf("the console's table has %d forms: where is it?", len(posts))
	}
	for _, path := range posts {
		if forms[path] == nil && !quiet.MatchString(path) {
			t.Errorf("the console has a form %s: say here how it has something signed, or that it never does", path)
		}
	}
	c := w.console()
	for path, requests := range forms {
		if !slices.Contains(posts, path) {
			t.Errorf("the console has no form %s any more", path)
		}
		for _, one := range requests {
			judged++
			if text := c.send(one.path, one.body.(url.Values)); !strings.Contains(text, rule) {
				t.Errorf("the console's form %s does not name the rule:\n%.4000s", path, text)
			}
		}
	}

	if now := w.records("outcome"); now != outcomes {
		t.Errorf("backends were asked %d times", now-outcomes)
	}
	if now := w.records("intent"); now-intents != judged {
		t.Errorf("%d refusals are on record, of %d", now-intents, judged)
	}
	if now := r.node.Nonce(t, w.accounts[0]); now != nonce {
		t.Errorf("%d transactions were sent", now-nonce)
	}
	t.Logf("%d requests", judged)
}

// changing are the names of the operations of the API that change anything.
func changing(t *testing.T, r *rig) (names []string) {
	t.Helper()
	document := r.Want(http.StatusOK, "GET", "/openapi.json", "")
	paths, _ := document["paths"].(map[string]any)
	for _, item := range paths {
		for verb, operation := range item.(map[string]any) {
			if o, is := operation.(map[string]any); is && slices.Contains([]string{"post", "put", "patch", "delete"}, verb) {
				names = append(names, fmt.Sprint(o["operationId"]))
			}
		}
	}
	if len(names) < 40 {
		t.Fatalf("the API has %d operations that change anything: where are they?", len(names))
	}
	return names
}

// records counts the audit records of the wallet of one kind.
func (w *wallet) records(kind string) (n int) {
	w.Helper()
	for before := ""; ; {
		code, text := w.Ask("GET", "/audit/records?limit=1000&kind="+kind+"&wallet="+w.id+before, "")
		var page struct {
			Records []json.RawMessage
			Next    string
		}
		if must(w.T, json.Unmarshal(text, &page)); code != http.StatusOK {
			w.Fatalf("%d %s", code, text)
		}
		n += len(page.Records)
		if page.Next == "" {
			return n
		}
		before = "&before=" + page.Next
	}
}

// console is a browser that is signed in by an API key.
type browser struct {
	w      *wallet
	client *http.Client
	base   string
	token  string
}

func (w *wallet) console() *browser {
	w.Helper()
	jar, err := cookiejar.New(nil)
	must(w.T, err)
	b := &browser{w: w, client: &http.Client{Jar: jar, Timeout: patience, Transport: w.client.Transport}, base: strings.TrimSuffix(w.URL, "/api/v1")}
	res, err := b.client.PostForm(b.base+"/console/sign-in", url.Values{"key": {w.Key}})
	must(w.T, err)
	_ = res.Body.Close()
	res, err = b.client.Get(b.base + "/auth/session")
	must(w.T, err)
	defer res.Body.Close()
	var session struct {
		Token string `json:"csrf_token"`
	}
	must(w.T, json.NewDecoder(res.Body).Decode(&session))
	b.token = session.Token
	return b
}

// send sends a form of the wallet's environment, and returns the page that it leads to.
func (b *browser) send(path string, form url.Values) string {
	b.w.Helper()
	form.Set("csrf_token", b.token)
	in := strings.NewReplacer("/consortia/", "/console/in/", "/environments/", "/").Replace(place)
	prove := func(req *http.Request) {
		for _, c := range b.client.Jar.Cookies(req.URL) {
			req.AddCookie(c)
		}
	}
	a, err := b.w.exchange(b.base+in, prove, "POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	must(b.w.T, err)
	return a.text
}
