// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// What comes by the gateway is judged as everything else: a rule denies, a rule asks
// people, a freeze holds, and the audit log has it all.
func TestRulesPeopleAndFreezesHoldAtTheGateway(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	address := w.deploy("shop")
	service := place + "/services/" + w.id
	rules := fmt.Sprintf(`version: hsmsigner-policy-v1
rules:
  - {name: ticks, effect: allow, actions: [transaction], to: [%q], methods: [tick(uint256)]}
  - {name: orders, effect: ask, actions: [transaction], to: [%q], methods: ['place((address,(string,uint256,uint8)[],bytes32))'], approval: {needed: 1, roles: [admin]}}
`, address.Hex(), address.Hex())
	r.Want(http.StatusOK, "PUT", service+"/policy", fmt.Sprintf(`{"document":%q}`, rules))
	r.eventually(patience, "the rule holds", func() bool {
		a := w.ask("POST", "/contracts/shop/note(string)?fly-sync&fly-from="+w.from(0), map[string]any{"text": "x"})
		return a.code == http.StatusForbidden && a.say("code") == "denied"
	})
	w.tick("allowed", 1)

	// People are asked, and what they approve is sent once, under the caller's id.
	path := "/contracts/shop/place?fly-id=large&fly-from=" + w.from(0)
	asked := w.want(http.StatusForbidden, "POST", path, order(w.from(1)))
	w.expect(asked, "approval_needed", "code")
	id := asked.say("approval", "id")
	w.expect(w.want(http.StatusForbidden, "POST", path, order(w.from(1))), id, "approval", "id")
	r.Want(http.StatusOK, "POST", service+"/approvals/"+id+"/approve", "")
	var sent answer
	r.eventually(patience, "what was approved is sent", func() bool {
		sent = w.ask("POST", path, order(w.from(1)))
		return sent.code == http.StatusAccepted
	})
	end := w.settled(sent.say("id"))
	w.expect(end, "TransactionSuccess", "headers", "type")
	w.expect(end, "Placed", "events", 0, "name")
	w.settled("allowed-0")
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/placed", nil), "2", "output")

	// Without an id of the caller's it is one request too, however often he asks.
	path = "/contracts/shop/place?fly-from=" + w.from(0)
	asked = w.want(http.StatusForbidden, "POST", path, order(w.from(1)))
	id, reply := asked.say("approval", "id"), asked.say("reply")
	for range 3 {
		again := w.want(http.StatusForbidden, "POST", path, order(w.from(1)))
		w.expect(again, id, "approval", "id")
		w.expect(again, reply, "reply")
	}
	r.Want(http.StatusOK, "POST", service+"/approvals/"+id+"/approve", "")
	r.eventually(patience, "what was approved is sent", func() bool {
		sent = w.ask("POST", path, order(w.from(1)))
		return sent.code == http.StatusAccepted
	})
	w.expect(sent, reply, "id")
	w.settled(reply)
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/placed", nil), "3", "output")

	r.Want(http.StatusOK, "PUT", service+"/accounts/"+w.accounts[1].Hex()+"/freeze", `{"reason":"lost laptop"}`)
	r.eventually(patience, "the freeze holds", func() bool {
		a := w.ask("POST", "/contracts/shop/tick?fly-from="+w.from(1), map[string]any{"mark": 1})
		return a.code == http.StatusConflict && a.say("code") == "frozen"
	})
	if got := r.node.Nonce(t, w.accounts[1]); got != 0 {
		t.Errorf("a frozen account has sent %d transactions", got)
	}
}

// A wrong request is refused with what is wrong, and the chain does not hear of it.
func TestBadRequestsAreRefusedAtTheDoor(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	w.deploy("shop")
	abi := w.want(http.StatusOK, "GET", "/abis", nil).say(0, "id")
	from := "fly-from=" + w.from(0)
	mark := map[string]any{"mark": 1}
	for _, c := range []struct {
		name, method, path string
		body               any
		code               int
		says               string
	}{
		{"no account", "POST", "/contracts/shop/tick", mark, 400, "fly-from"},
		{"an account of nobody", "POST", "/contracts/shop/tick?fly-from=" + common.Address{1}.Hex(), mark, 404, "unknown account"},
		{"half an account", "POST", "/contracts/shop/tick?fly-from=0x12", mark, 400, "40 hex digits"},
		{"two accounts", "POST", "/contracts/shop/tick?" + from + "&kld-from=" + w.from(1), mark, 400, "kld-from"},
		{"a misspelt parameter", "POST", "/contracts/shop/tick?" + from + "&fly-synk", mark, 400, "fly-synk"},
		{"a private transaction", "POST", "/contracts/shop/tick?" + from + "&fly-privatefor=x", mark, 400, "private"},
		{"ether for what takes none", "POST", "/contracts/shop/tick?" + from + "&fly-ethvalue=1", mark, 400, "ether"},
		{"fees of both kinds", "POST", "/contracts/shop/tick?" + from + "&fly-gasprice=1&fly-maxfeepergas=1", mark, 400, ""},
		{"no argument", "POST", "/contracts/shop/tick?" + from, map[string]any{}, 400, "mark"},
		{"another argument", "POST", "/contracts/shop/tick?" + from, map[string]any{"mark": 1, "more": 2}, 400, "more"},
		{"too large", "POST", "/contracts/shop/tick?" + from, map[string]any{"mark": "0x1" + strings.Repeat("0", 64)}, 400, "mark"},
		{"negative", "POST", "/contracts/shop/tick?" + from, map[string]any{"mark": -1}, 400, "mark"},
		{"a fraction", "POST", "/contracts/shop/tick?" + from, map[string]any{"mark": 1.5}, 400, "mark"},
		{"an exponent", "POST", "/contracts/shop/tick?" + from, `{"mark":1e3}`, 400, "mark"},
		{"no number", "POST", "/contracts/shop/tick?" + from, map[string]any{"mark": true}, 400, "mark"},
		{"twice", "POST", "/contracts/shop/tick?" + from, `{"mark":1,"mark":2}`, 400, "mark"},
		{"no JSON", "POST", "/contracts/shop/tick?" + from, `{"mark":`, 400, "body"},
		{"a list", "POST", "/contracts/shop/tick?" + from, `[1,2]`, 400, ""},
		{"deep in a tuple", "POST", "/contracts/shop/place?" + from, `{"order":{"buyer":"` + w.from(1) + `","mark":"0x00","items":[]}}`, 400, "order.mark"},
		{"deep in a list", "POST", "/contracts/shop/place?" + from, strings.Replace(text(order(w.from(1))), `"5"`, `256`, 1), 400, "order.items[1].count"},
		{"a member too few", "POST", "/contracts/shop/place?" + from, `{"order":{"buyer":"` + w.from(1) + `","items":[]}}`, 400, "mark"},
		{"which of two methods", "POST", "/contracts/shop/note?" + from, map[string]any{"nothing": 1}, 400, "note(string)"},
		{"no such overload", "POST", "/contracts/shop/note(bool)?" + from, map[string]any{}, 404, "note"},
		{"no such method", "POST", "/contracts/shop/tock?" + from, mark, 404, "tock"},
		{"no such contract", "POST", "/contracts/tomorrow/tick?" + from, mark, 404, "tomorrow"},
		{"a transaction by GET", "GET", "/contracts/shop/tick?mark=1&" + from + "&fly-sync=maybe", nil, 400, "fly-sync"},
		{"another verb", "PUT", "/contracts/shop/tick?" + from, mark, 405, ""},
		{"no such path", "GET", "/contract", nil, 404, ""},
		{"a path out of here", "GET", "/contracts/..%2f..%2fadmin", nil, 404, ""},
		{"an id of a megabyte", "POST", "/contracts/shop/tick?" + from + "&fly-id=" + strings.Repeat("x", 4000), mark, 400, "id"},
		{"no such reply", "GET", "/replies/nothing", nil, 404, "nothing"},
		{"no such block", "GET", "/contracts/shop/label?fly-blocknumber=first", nil, 400, "fly-blocknumber"},
		{"a name that is taken", "POST", "/abis/" + abi + "?" + from + "&fly-register=shop", map[string]any{"name": "x"}, 409, "shop"},
		{"a hostile name", "POST", "/abis/" + abi + "?" + from + "&fly-register=" + url.QueryEscape("a/../b\n<script>"), map[string]any{"name": "x"}, 400, ""},
		{"a name like an address", "POST", "/abis/" + abi + "?" + from + "&fly-register=" + w.from(1), map[string]any{"name": "x"}, 400, ""},
		{"deployed without its argument", "POST", "/abis/" + abi + "?" + from, map[string]any{}, 400, "name"},
		{"registered where no code is", "POST", "/abis/" + abi + "/" + w.from(1), nil, 400, "no contract"},
		{"deleted while it is used", "DELETE", "/abis/" + abi, nil, 409, ""},
		{"no interface", "POST", "/abis", `{"abi":[{"type":"function","name":"f","inputs":[{"name":"a","type":"uint7"}]}]}`, 400, "uint7"},
		{"a hostile interface", "POST", "/abis", `{"abi":[{"type":"function","name":"f\"><script>","inputs":[],"outputs":[]}]}`, 400, "name"},
		{"an interface of nothing", "POST", "/abis", `{}`, 400, "abi"},
		{"too large an upload", "POST", "/abis", `{"abi":[` + strings.Repeat(" ", 9<<20) + `]}`, 413, "large"},
		{"too large a body", "POST", "/contracts/shop/tick?" + from, `{"mark":"` + strings.Repeat("1", 2<<20) + `"}`, 413, "large"},
		{"a webhook within", "POST", "/eventstreams", `{"name":"x","type":"webhook","webhook":{"url":"http://169.254.169.254/latest"}}`, 400, "webhook.url"},
		{"a stream of nothing", "POST", "/contracts/shop/Placed/subscribe", `{"stream":"nothing","name":"x"}`, 404, "nothing"},
		{"no such event", "POST", "/contracts/shop/Gone/subscribe", `{"stream":"nothing","name":"x"}`, 404, "Gone"},
		{"a token of no kind", "POST", "/tokens?" + from, `{"type":"erc1155","name":"x","symbol":"X"}`, 400, "type"},
		{"a cap below the supply", "POST", "/tokens?" + from, `{"type":"erc20","name":"x","symbol":"X","supply":"10","cap":"9","mintable":true}`, 400, "cap"},
	} {
		a := w.ask(c.method, c.path, c.body)
		said, _ := a.at("error").(string)
		if a.code != c.code || said == "" || !strings.Contains(said, c.says) || len(said) > 4096 {
			t.Errorf("%s: %d %s, want %d and a word on %q", c.name, a.code, a.text, c.code, c.says)
		}
		t.Logf("%s: %d %s", c.name, a.code, said)
	}
	r.eventually(patience, "nothing was sent", func() bool { return r.node.Nonce(t, w.accounts[0]) == 1 })
	stranger := *w
	stranger.password += "x"
	if a := stranger.ask("GET", "/contracts", nil); a.code != http.StatusUnauthorized || a.at("error") == nil {
		t.Errorf("a wrong password: %d %s", a.code, a.text)
	}
}

// When the node is away, or the receiver of a webhook, nobody is told where it is.
func TestErrorsDoNotTellWhereThingsAre(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	w.deploy("shop")
	h := receive(r)
	h.refuse = func() bool { return true }
	stream := w.stream(h)
	w.subscribe(stream)
	w.tick("untold", 1)
	var troubled answer
	r.eventually(patience, "the stream says what is wrong", func() bool {
		troubled = w.want(http.StatusOK, "GET", "/eventstreams/"+stream, nil)
		return strings.Contains(troubled.text, "503")
	})
	if strings.Contains(troubled.text, "only for tests") {
		t.Errorf("a stream shows the values of its headers: %s", troubled.text)
	}
	w.settled("untold-0")
	r.node.Kill9()
	at, err := url.Parse(r.node.URL)
	must(t, err)
	_, port, err := net.SplitHostPort(at.Host)
	must(t, err)
	for _, a := range []answer{
		w.ask("GET", "/contracts/shop/label", nil),
		w.ask("POST", "/contracts/shop/tick?fly-from="+w.from(0), map[string]any{"mark": 1}),
		w.ask("POST", "/abis/"+w.upload()+"/"+somewhere, nil),
	} {
		if a.code != http.StatusBadGateway || a.say("code") != "node_unavailable" {
			t.Errorf("the node is away: %d %s", a.code, a.text)
		}
		if strings.Contains(a.text, port) || strings.Contains(a.text, "127.0.0.1") {
			t.Errorf("an error tells where the node is: %s", a.text)
		}
	}
	// What is known without the node is told all the same.
	w.want(http.StatusOK, "GET", "/contracts/shop", nil)
	w.want(http.StatusOK, "GET", "/replies", nil)
}

const somewhere = "0x00000000000000000000000000000000000000bb"

// A deployment that people are asked about is one deployment, under its name.
func TestDeploymentThatPeopleApproveHasItsName(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	service := place + "/services/" + w.id
	const rules = `version: hsmsigner-policy-v1
rules:
  - {name: new-contracts, effect: ask, actions: [transaction, create-contract], approval: {needed: 1, roles: [admin]}}
`
	r.Want(http.StatusOK, "PUT", service+"/policy", fmt.Sprintf(`{"document":%q}`, rules))
	path := fmt.Sprintf("/abis/%s?fly-id=shop-1&fly-register=shop&fly-sync&fly-from=%s", w.upload(), w.from(0))
	body := map[string]any{"name": "Corner shop"}
	var asked answer
	r.eventually(patience, "people are asked", func() bool {
		asked = w.ask("POST", path, body)
		return asked.say("code") == "approval_needed"
	})
	r.Want(http.StatusOK, "POST", service+"/approvals/"+asked.say("approval", "id")+"/approve", "")
	var made answer
	r.eventually(patience, "what was approved is deployed", func() bool {
		made = w.ask("POST", path, body)
		return made.code == http.StatusOK
	})
	shown := w.want(http.StatusOK, "GET", "/contracts/shop", nil)
	w.expect(shown, made.say("contractAddress"), "address")
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/label", nil), "Corner shop", "output")
	if got := r.node.Nonce(t, w.accounts[0]); got != 1 {
		t.Errorf("%d transactions, want 1", got)
	}
}
