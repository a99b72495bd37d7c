// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"testing"
	"time"
)

func TestContractIsUploadedDeployedCalledAndSentTo(t *testing.T) {
	r := newRig(t)
	up := r.want(200, "POST", "/abis", `{"abi":`+echoABI+`,"bytecode":"`+code()+`","name":"Echo","description":"d"}`)
	id := up.str("id")
	if up.str("path") != base+"/abis/"+id || up.get("deployable") != true || up.str("name") != "Echo" || up.str("openapi") != base+"/abis/"+id+"?openapi" {
		t.Errorf("uploaded: %s", up.text)
	}
	made := r.want(202, "POST", "/abis/"+id+"?kld-register=echo&KLD-From="+r.alice+"&x=1", "")
	if made.get("sent") != true || made.str("reply") != base+"/replies/"+made.str("id") || made.header.Get("Location") != made.str("reply") {
		t.Errorf("deployed: %s", made.text)
	}
	reply := r.mined(made.str("id"))
	address := reply.str("contractAddress")
	if reply.str("headers", "type") != "TransactionSuccess" || reply.str("registerAs") != "echo" || reply.str("headers", "requestABIId") != id || reply.str("status") != "1" {
		t.Errorf("reply: %s", reply.text)
	}
	for range 5000 { // the row follows the receipt
		if r.do("GET", "/contracts/echo", "").str("address") == address {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, path := range []string{"/contracts/" + address, "/contracts/echo", "/i/echo", "/instances/echo", "/contracts/" + strings.ToUpper(address[2:])} {
		if a := r.want(200, "GET", path, ""); a.str("address") != address || a.str("registeredAs") != "echo" {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	for _, c := range []struct{ path, body, want string }{
		{"/contracts/echo/num?x=7", "", `{"output":"7"}`},
		{"/abis/" + id + "/" + address + "/num?x=7", "", `{"output":"7"}`},
		{"/g/" + id + "/" + address + "/num?x=0x7", "", `{"output":"7"}`},
		{"/contracts/echo/subscribe?x=7", "", `{"output":"7"}`},
		{"/abis/" + id + "/" + address + "/subscribe?x=7", "", `{"output":"7"}`},
		{"/contracts/echo/list?l=1&l=2", "", `{"l":["1","2"]}`},
		{"/contracts/echo/list?l=%5B1,2%5D", "", `{"l":["1","2"]}`},
		{"/contracts/echo/many(address,uint256)?a=" + r.alice + "&n=1", "", `{"a":"` + r.alice + `","n":"1"}`},
		{"/contracts/echo/many?a=" + r.alice + "&n=1", "", `{"a":"` + r.alice + `","n":"1"}`},
		{"/contracts/echo/num", `{"x":7}`, `{"output":"7"}`},
		{"/contracts/echo/num", `[7]`, `{"output":"7"}`},
		{"/contracts/echo/num?fly-blocknumber=pending&fly-from=" + r.bob, `[7]`, `{"output":"7"}`},
		{"/contracts/echo/set?fly-call", `[7]`, `{}`},
		{"/contracts/echo/deep", `{"t":{"who":"` + r.bob + `","items":[{"amount":"1","note":"ä"},[2,""]]}}`, `{"t":{"who":"` + r.bob + `","items":[{"amount":"1","note":"ä"},{"amount":"2","note":""}]}}`},
	} {
		method := "GET"
		if c.body != "" {
			method = "POST"
		}
		if a := r.want(200, method, c.path, c.body); a.text != c.want {
			t.Errorf("%s %s: %s, want %s", c.path, c.body, a.text, c.want)
		}
	}
	yaml := "t:\n  who: " + r.bob + "\n  items:\n  - {amount: 5, note: yes}\n"
	if a := r.want(200, "POST", "/contracts/echo/deep", yaml, "Content-Type", "application/x-yaml"); a.text != `{"t":{"who":"`+r.bob+`","items":[{"amount":"5","note":"yes"}]}}` {
		t.Errorf("YAML: %s", a.text)
	}
	sync := r.want(200, "POST", "/contracts/echo/set?fly-sync=true", `{"x":"9"}`, "X-Firefly-From", r.alice)
	if sync.str("status") != "1" || sync.str("to") != address || sync.str("from") != r.alice || sync.str("method") != "set(uint256)" || sync.str("transactionHash") == "" {
		t.Errorf("sync: %s", sync.text)
	}
	paid := r.want(200, "POST", "/contracts/echo/pay?fly-sync&fly-ethvalue=5", "", "x-kaleido-from", r.alice[2:])
	if paid.str("value") != "5" {
		t.Errorf("paid: %s", paid.text)
	}
	told := r.want(200, "GET", "/contracts/echo/set?fly-transaction="+sync.str("transactionHash"), "")
	if !strings.Contains(told.text, `"x":"9"`) {
		t.Errorf("input of a transaction: %s", told.text)
	}
}

// mined waits for a reply to be no longer pending.
func (r *rig) mined(id string) seen {
	r.t.Helper()
	for range 12_000 {
		a := r.want(200, "GET", "/replies/"+id, "")
		if a.get("pending") == nil {
			return a
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.t.Fatal("not mined in time")
	return seen{}
}
