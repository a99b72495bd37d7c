// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The path that the gateway is for, by HTTP alone: an interface is uploaded, a
// contract deployed, called, sent to, and its events arrive.
func TestWholePathOnDevnet(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	wholePath(r, w)
}

func TestWholePathOnAnvil(t *testing.T) {
	t.Parallel()
	keys := harness.NewCheapKeys(t, 2)
	r, w := shopOn(t, harness.StartAnvil(t, 0, keys.Addresses...), keys)
	wholePath(r, w)
}

func wholePath(r *rig, w *wallet) {
	r.Helper()
	hook := receive(r)
	stream := w.stream(hook)
	abi := w.upload()
	list := w.want(http.StatusOK, "GET", "/abis", nil)
	if len(list.list) != 1 || list.at(0, "id") != abi || list.at(0, "deployable") != true {
		r.Errorf("interfaces: %s", list.text)
	}
	w.expect(w.want(http.StatusOK, "GET", "/abis/"+abi, nil), abi, "id")

	deployed := w.want(http.StatusOK, "POST", fmt.Sprintf("/abis/%s?kld-from=%s&kld-sync=true&kld-register=shop", abi, w.from(0)),
		map[string]any{"name": "Corner shop"})
	w.expect(deployed, "TransactionSuccess", "headers", "type")
	w.expect(deployed, "1", "status")
	w.expect(deployed, w.from(0), "from")
	address := common.HexToAddress(deployed.say("contractAddress"))
	code, err := r.node.Eth.CodeAt(r.Context(), address, nil)
	if must(r.T, err); len(code) == 0 {
		r.Fatalf("no code at %s", address)
	}
	subscription := w.ask("POST", "/contracts/shop/Placed/subscribe", map[string]any{"stream": stream, "name": "placed", "fromBlock": "0"})
	if subscription.code/100 != 2 {
		r.Fatalf("subscribe: %d %s", subscription.code, subscription.text)
	}

	w.reads(address)
	w.sends(address)
	w.refuses()
	w.knowsAgain()

	// Two orders were placed, and one note made, which is not subscribed to.
	events := hook.events(2)
	for i, e := range events {
		for member, want := range map[string]string{
			"address": strings.ToLower(address.Hex()), "subId": subscription.say("id"), "signature": "Placed(uint256,address,uint256)",
		} {
			if got := fmt.Sprint(e[member]); !strings.EqualFold(got, want) {
				r.Errorf("event %d: %s is %s, want %s: %v", i, member, got, want, e)
			}
		}
		data, _ := e["data"].(map[string]any)
		if data["number"] != fmt.Sprint(i+1) || data["buyer"] != w.from(1) || data["total"] != "47" {
			r.Errorf("event %d: %v", i, data)
		}
		r.inChain(e)
	}
	time.Sleep(300 * time.Millisecond)
	if got := hook.events(2); len(got) != 2 {
		r.Errorf("%d events, want 2: %v", len(got), got)
	}
	history, err := harness.ReadHistory(r.Context(), r.node, 0)
	must(r.T, err)
	must(r.T, history.CheckSequence(w.accounts[0], 0))
	if got := history.Count(w.accounts[0]); got != 5 {
		r.Errorf("%d transactions are in the chain, want 5", got)
	}
}

// inChain demands that an event stands in the chain where it says.
func (r *rig) inChain(e map[string]any) {
	r.Helper()
	receipt, err := r.node.Eth.TransactionReceipt(r.Context(), common.HexToHash(fmt.Sprint(e["transactionHash"])))
	must(r.T, err)
	for _, l := range receipt.Logs {
		if fmt.Sprint(l.Index) == fmt.Sprint(e["logIndex"]) {
			if fmt.Sprint(e["blockNumber"]) != fmt.Sprint(l.BlockNumber) || fmt.Sprint(e["blockHash"]) != l.BlockHash.Hex() {
				r.Errorf("block %d %s, and the event says %v", l.BlockNumber, l.BlockHash, e)
			}
			return
		}
	}
	r.Errorf("the chain has no such event: %v", e)
}

// order is what is placed: 2 of one thing and 5 of another, for 47.
func order(buyer string) map[string]any {
	return map[string]any{"order": map[string]any{
		"buyer": buyer, "mark": "0x" + strings.Repeat("ab", 32),
		"items": []any{
			map[string]any{"name": "tea, 茶", "price": "0x10", "count": 2},
			map[string]any{"name": "", "price": 3, "count": "5"},
		},
	}}
}

// reads calls constant methods in each way.
func (w *wallet) reads(address common.Address) {
	w.Helper()
	for _, at := range []string{"shop", address.Hex(), strings.ToLower(address.Hex()[2:])} {
		w.expect(w.want(http.StatusOK, "GET", "/contracts/"+at+"/label", nil), "Corner shop", "output")
	}
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/owner", nil), w.from(0), "output")
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/share?sum=0x2a&among=5", nil), "8", "output")
	w.expect(w.want(http.StatusOK, "POST", "/contracts/shop/share", map[string]any{"sum": "42", "among": 5}), "8", "output")
	w.expect(w.want(http.StatusOK, "POST", "/contracts/shop/share?among=6", "sum: 42\n", "Content-Type", "application/x-yaml"), "7", "output")
	w.expect(w.asAdmin(http.StatusOK, "GET", "/contracts/shop/label", nil), "Corner shop", "output")
	// What would come of a transaction, without one.
	w.expect(w.want(http.StatusOK, "POST", "/contracts/shop/place?fly-call&fly-from="+w.from(0), order(w.from(1))), "1", "number")
	shown := w.want(http.StatusOK, "GET", "/contracts/shop", nil)
	w.expect(shown, strings.ToLower(address.Hex()), "address")
	if all := w.want(http.StatusOK, "GET", "/contracts", nil); len(all.list) != 1 {
		w.Errorf("contracts: %s", all.text)
	}
}

// sends makes four transactions.
func (w *wallet) sends(address common.Address) {
	w.Helper()
	placed := w.want(http.StatusOK, "POST", "/contracts/shop/place?fly-sync&fly-ethvalue=7", order(w.from(1)), "X-Firefly-From", w.accounts[0].Hex())
	w.expect(placed, "TransactionSuccess", "headers", "type")
	w.expect(placed, "1", "nonce")
	w.expect(placed, strings.ToLower(address.Hex()), "to")
	w.expect(placed, "1", "events", 0, "data", "number")
	w.expect(placed, "47", "events", 0, "data", "total")
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/paid", nil), "7", "output")

	// Without sync there is an id, by which the end is told.
	sent := w.want(http.StatusAccepted, "POST", "/contracts/shop/place?kld-maxfeepergas=100000000000&kld-maxpriorityfeepergas=1000000000", order(w.from(1)), "X-Kaleido-From", w.from(0))
	w.expect(sent, "true", "sent")
	end := w.settled(sent.say("id"))
	w.expect(end, "TransactionSuccess", "headers", "type")
	w.expect(end, sent.say("id"), "headers", "requestId")
	w.expect(end, "2", "events", 0, "data", "number")
	known, err := w.node.Eth.TransactionReceipt(w.Context(), common.HexToHash(end.say("transactionHash")))
	must(w.T, err)
	w.expect(end, fmt.Sprint(known.GasUsed), "gasUsed")
	w.expect(end, known.BlockNumber.String(), "blockNumber")

	read := w.want(http.StatusOK, "GET", "/contracts/shop/orderOf?number=2", nil)
	w.expect(read, "true", "known")
	w.expect(read, "tea, 茶", "order", "items", 0, "name")
	w.expect(read, "16", "order", "items", 0, "price")
	w.expect(read, w.from(1), "order", "buyer")

	// An overloaded method by its whole signature, through the management API too.
	done := w.asAdmin(http.StatusOK, "POST", "/contracts/shop/note(string)?fly-sync&fly-from="+w.from(0), map[string]any{"text": "Corner shop, now with milk"})
	w.expect(done, "TransactionSuccess", "headers", "type")
	w.expect(w.want(http.StatusOK, "GET", "/contracts/shop/label", nil), "Corner shop, now with milk", "output")
}

// refuses makes one transaction, which reverts in the chain.
func (w *wallet) refuses() {
	w.Helper()
	refused := w.want(http.StatusBadRequest, "GET", "/contracts/shop/refuse?why=closed+on+Sundays", nil)
	if !strings.Contains(refused.say("error"), "closed on Sundays") {
		w.Errorf("a reason is not told: %s", refused.text)
	}
	panicked := w.want(http.StatusBadRequest, "GET", "/contracts/shop/share?sum=1&among=0", nil)
	if !strings.Contains(panicked.say("error"), "zero") {
		w.Errorf("a panic is not told: %s", panicked.text)
	}
	tooMany := order(w.from(1))
	items := tooMany["order"].(map[string]any)["items"].([]any)
	items[1].(map[string]any)["count"] = 101
	before := w.node.Nonce(w, w.accounts[0])
	estimated := w.want(http.StatusBadRequest, "POST", "/contracts/shop/place?fly-from="+w.from(0), tooMany)
	w.expect(estimated, "TooMany", "revert", "name")
	w.expect(estimated, "101", "revert", "args", "asked")
	w.expect(estimated, "100", "revert", "args", "most")
	if got := w.node.Nonce(w, w.accounts[0]); got != before {
		w.Errorf("what was refused was sent: %d transactions, before %d", got, before)
	}
	// With gas given nobody estimates, and the chain says it.
	reverted := w.ask("POST", "/contracts/shop/place?fly-sync&fly-gas=500000&fly-from="+w.from(0), tooMany)
	if reverted.code != http.StatusInternalServerError {
		w.Errorf("a reverted transaction: %d %s", reverted.code, reverted.text)
	}
	w.expect(reverted, "TransactionFailure", "headers", "type")
	w.expect(reverted, "0", "status")
}

// knowsAgain asks for the same request twice; nothing is sent that was not yet.
func (w *wallet) knowsAgain() {
	w.Helper()
	before := w.node.Nonce(w, w.accounts[0])
	all := w.want(http.StatusOK, "GET", "/replies?limit=10", nil)
	if len(all.list) != 4 {
		w.Fatalf("%d replies, want those of the deployment and of the three transactions by this credential: %s", len(all.list), all.text)
	}
	const path = "/contracts/shop/note(uint256)?fly-from="
	pay := map[string]any{"number": "2"}
	// An id of the caller's, refused before it is accepted, is free again.
	if a := w.ask("POST", path+w.from(0)+"&fly-id=once", map[string]any{"number": "-1"}); a.code != http.StatusBadRequest {
		w.Errorf("%d %s", a.code, a.text)
	}
	w.want(http.StatusNotFound, "GET", "/replies/once", nil)
	first := w.want(http.StatusAccepted, "POST", path+w.from(1)+"&fly-id=once", pay)
	w.expect(first, "once", "id")
	end := w.settled("once")
	again := w.ask("POST", path+w.from(1)+"&fly-id=once", pay)
	if again.code/100 != 2 || again.say("id") != "once" {
		w.Errorf("asked again: %d %s", again.code, again.text)
	}
	same := w.ask("POST", path+w.from(1)+"&fly-id=once&fly-sync", pay)
	w.expect(same, end.say("transactionHash"), "transactionHash")
	w.want(http.StatusConflict, "POST", path+w.from(1)+"&fly-id=once", map[string]any{"number": "3"})
	w.want(http.StatusConflict, "POST", path+w.from(0)+"&fly-id=once", pay)
	time.Sleep(200 * time.Millisecond)
	if got := w.node.Nonce(w, w.accounts[1]); got != 1 {
		w.Errorf("one id made %d transactions", got)
	}
	if got := w.node.Nonce(w, w.accounts[0]); got != before {
		w.Errorf("what was refused was sent")
	}
}

// An interface comes in as a compiler writes it, or as a form.
func TestEveryKindOfUploadIsTheSameInterface(t *testing.T) {
	t.Parallel()
	_, w := shop(t)
	form := "--x\r\nContent-Disposition: form-data; name=\"abi\"\r\n\r\n" + string(orders.ABI) +
		"\r\n--x\r\nContent-Disposition: form-data; name=\"bytecode\"\r\n\r\n" + orders.Bytecode + "\r\n--x--\r\n"
	for name, upload := range map[string][2]string{
		"plain":   {"application/json", fmt.Sprintf(`{"abi":%s,"bytecode":%q}`, orders.ABI, orders.Bytecode)},
		"Hardhat": {"application/json", fmt.Sprintf(`{"_format":"hh-sol-artifact-1","contractName":"Orders","sourceName":"contracts/Orders.sol","abi":%s,"bytecode":%q,"deployedBytecode":"0x","linkReferences":{},"deployedLinkReferences":{}}`, orders.ABI, orders.Bytecode)},
		"Foundry": {"application/json", fmt.Sprintf(`{"abi":%s,"bytecode":{"object":%q,"sourceMap":"","linkReferences":{}},"deployedBytecode":{"object":"0x"},"methodIdentifiers":{},"rawMetadata":"","metadata":{},"id":0}`, orders.ABI, orders.Bytecode)},
		"form":    {"multipart/form-data; boundary=x", form},
	} {
		a := w.ask("POST", "/abis", upload[1], "Content-Type", upload[0])
		if a.code/100 != 2 || a.at("deployable") != true {
			t.Errorf("%s: %d %s", name, a.code, a.text)
			continue
		}
		deployed := w.ask("POST", "/abis/"+a.say("id")+"?fly-sync&fly-from="+w.from(0), map[string]any{"name": name})
		if deployed.code != http.StatusOK {
			t.Errorf("%s: %d %s", name, deployed.code, deployed.text)
			continue
		}
		w.expect(w.want(http.StatusOK, "GET", "/contracts/"+deployed.say("contractAddress")+"/label", nil), name, "output")
	}
	source := w.ask("POST", "/abis", "pragma solidity 0.8.28; contract A {}", "Content-Type", "text/plain")
	if source.code/100 != 4 || source.at("error") == nil {
		t.Errorf("source: %d %s", source.code, source.text)
	}
	// A contract without creation code is there already: it is registered.
	bare := w.ask("POST", "/abis", fmt.Sprintf(`{"abi":%s}`, orders.ABI))
	if bare.code/100 != 2 || bare.at("deployable") != false {
		t.Errorf("interface alone: %d %s", bare.code, bare.text)
	}
	if a := w.ask("POST", "/abis/"+bare.say("id")+"?fly-sync&fly-from="+w.from(0), map[string]any{"name": "x"}); a.code/100 != 4 {
		t.Errorf("deployed without code: %d %s", a.code, a.text)
	}
}

// What one membership keeps is not there for another, and its id is its own.
func TestAnotherMembershipFindsNothing(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	address := w.deploy("shop")
	other := r.Want(http.StatusCreated, "POST", "/consortia/h0consort0/memberships", `{"org_name":"other"}`)["_id"].(string)
	cred := r.Want(http.StatusCreated, "POST", place+"/appcreds", fmt.Sprintf(`{"name":"other","membership_id":%q}`, other))
	stranger := *w
	stranger.user, stranger.password = cred["username"].(string), cred["password"].(string)
	for _, path := range []string{"/abis", "/contracts", "/contracts/shop", "/contracts/" + address.Hex() + "/label", "/replies", "/eventstreams", "/tokens"} {
		if a := stranger.ask("GET", path, nil); a.code != http.StatusNotFound && a.code != http.StatusForbidden && a.code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, a.code, a.text)
		}
	}
	// By its own credential a second program of the membership has the same contracts,
	// and replies of its own.
	second := r.Want(http.StatusCreated, "POST", place+"/appcreds", fmt.Sprintf(`{"name":"second","membership_id":%q}`, membership))
	beside := *w
	beside.user, beside.password = second["username"].(string), second["password"].(string)
	beside.expect(beside.want(http.StatusOK, "GET", "/contracts/shop/label", nil), "Corner shop", "output")
	if all := beside.want(http.StatusOK, "GET", "/replies", nil); len(all.list) != 0 {
		t.Errorf("another credential's replies: %s", all.text)
	}
	for _, key := range []string{"auditor", "admin"} {
		made := r.Want(http.StatusCreated, "POST", "/apikeys", fmt.Sprintf(`{"name":%q,"grants":[{"role":%q}]}`, key, key))["key"].(string)
		prove := func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+made) }
		look, err := r.exchange(w.admin, prove, "GET", "/contracts/shop/label", nil)
		must(t, err)
		act, err := r.exchange(w.admin, prove, "POST", "/contracts/shop/tick?fly-sync&fly-from="+w.from(0), map[string]any{"mark": "1"})
		must(t, err)
		want := map[string]int{"auditor": http.StatusForbidden, "admin": http.StatusOK}[key]
		if look.code != http.StatusOK || act.code != want {
			t.Errorf("%s: may look %d %s, may send %d %s", key, look.code, look.text, act.code, act.text)
		}
	}
}
