// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

func TestOneIdIsOneTransactionHoweverOftenItIsAskedFor(t *testing.T) {
	r := newRig(t)
	_, address := r.echo()
	path := "/contracts/" + address + "/set?fly-from=" + r.alice
	var wg sync.WaitGroup
	hashes := make([]string, 8)
	for i := range hashes {
		wg.Go(func() {
			a := r.do("POST", path+"&fly-id=order-1", `{"x":1}`)
			if a.code != 202 || a.str("id") != "order-1" {
				t.Errorf("%d %s", a.code, a.text)
			}
			hashes[i] = a.str("transactionHash")
		})
	}
	wg.Wait()
	reply := r.mined("order-1")
	for _, h := range hashes {
		if h != reply.str("transactionHash") {
			t.Errorf("%s and %s are of one id", h, reply.str("transactionHash"))
		}
	}
	if a := r.do("POST", path, `{"x":1}`, "Idempotency-Key", "order-1"); a.code != 202 || a.str("transactionHash") != hashes[0] {
		t.Errorf("the header means the same: %d %s", a.code, a.text)
	}
	if a := r.do("POST", path+"&fly-id=order-1&fly-sync", `{"x":1}`); a.code != 200 || a.str("transactionHash") != hashes[0] {
		t.Errorf("asked again, and waited: %d %s", a.code, a.text)
	}
	for _, other := range []string{path + "&fly-id=order-1&fly-gas=90000", "/contracts/" + address + "/pay?fly-id=order-1&fly-from=" + r.alice} {
		if a := r.do("POST", other, ""); other != path && strings.Contains(other, "pay") && (a.code != 409 || a.str("error") != contract.ErrIDUsed.Error()) {
			t.Errorf("another request under the id: %d %s", a.code, a.text)
		}
	}
	if a := r.do("POST", path+"&fly-id=order-1", `{"x":2}`); a.code != 409 || a.str("error") != contract.ErrIDUsed.Error() || a.str("code") != codeConflict {
		t.Errorf("another body under the id: %d %s", a.code, a.text)
	}
	// What is refused may be mended, and sent again under its id.
	r.want(400, "POST", path+"&fly-id=order-2", `{"x":-2}`)
	r.want(202, "POST", path+"&fly-id=order-2", `{"x":2}`)
	r.mined("order-2")
	list := r.want(200, "GET", "/replies?limit=2", "")
	if at := strings.Index(list.text, "order-2"); at < 0 || at > strings.Index(list.text, "order-1") || strings.Count(list.text, `"_id"`) != 2 {
		t.Errorf("replies, the newest first: %s", list.text)
	}
	if rest := r.want(200, "GET", "/replies?skip=2", ""); strings.Count(rest.text, `"_id"`) != 1 {
		t.Errorf("behind them is the deployment: %s", rest.text)
	}
	other := r.caller
	other.Principal = auth.Principal{Name: "app:other", Membership: "m1", Environment: "e1"}
	r.caller = other
	r.want(404, "GET", "/replies/order-1", "")
}

func TestWhoMayOnlyLookChangesNothing(t *testing.T) {
	r := newRig(t)
	id, address := r.echo()
	r.caller.MayChange = false
	r.want(200, "GET", "/contracts/"+address+"/num?x=1", "")
	r.want(200, "POST", "/contracts/"+address+"/num", `{"x":1}`)
	r.want(200, "POST", "/contracts/"+address+"/set?fly-call", `{"x":1}`)
	r.want(200, "GET", "/abis/"+id, "")
	r.want(200, "GET", "/contracts", "")
	r.want(200, "GET", "/replies", "")
	for _, c := range [][2]string{
		{"POST", "/contracts/" + address + "/set?fly-from=" + r.alice},
		{"POST", "/abis"},
		{"POST", "/abis/" + id},
		{"DELETE", "/abis/" + id},
		{"POST", "/abis/" + id + "/" + address},
		{"DELETE", "/contracts/" + address},
		{"POST", "/tokens"},
		{"POST", "/abis/" + id + "/Seen/subscribe"},
	} {
		if a := r.do(c[0], c[1], `{"x":"1"}`); a.code != 403 || a.str("code") != codeForbidden {
			t.Errorf("%s %s: %d %s", c[0], c[1], a.code, a.text)
		}
	}
	hook := `{"headers":{"type":"SendTransaction"},"from":"` + r.alice + `","to":"` + address + `","methodName":"set","params":[{"type":"uint256","value":"1"}]}`
	r.want(403, "POST", "/hook", hook)
}

func TestHookDoesWhatItsBodySays(t *testing.T) {
	r := newRig(t)
	compiled, err := hex.DecodeString(code()[2:])
	r.must(err)
	body := fmt.Sprintf(`{"headers":{"type":"DeployContract","id":"d1"},"from":%q,"abi":%s,"compiled":%q,"params":["1"],"registerAs":"hooked"}`,
		r.alice, echoABI, base64.StdEncoding.EncodeToString(compiled))
	made := r.want(200, "POST", "/fasthook?fly-sync", body)
	address := made.str("contractAddress")
	query := `{"headers":{"type":"Query"},"to":"` + address + `","method":{"type":"function","name":"num","inputs":[{"name":"x","type":"uint8"}],"outputs":[{"name":"","type":"uint8"}],"stateMutability":"view"},"params":[{"type":"uint8","value":9}]}`
	if a := r.want(200, "POST", "/", query); a.text != `{"output":"9"}` {
		t.Errorf("query: %s", a.text)
	}
	send := `{"headers":{"type":"SendTransaction","id":"s1"},"from":"` + r.alice + `","to":"` + address + `","gas":90000,"methodName":"set","params":[{"type":"uint256","value":"1"}]}`
	if a := r.want(202, "POST", "/hook", send); a.str("id") != "s1" {
		t.Errorf("send: %s", a.text)
	}
	if a := r.mined("s1"); a.str("to") != address {
		t.Errorf("reply: %s", a.text)
	}
}

func TestFormsAreUploadedWithoutCompiling(t *testing.T) {
	r := newRig(t)
	form := func(fields ...string) (string, string) {
		var b strings.Builder
		w := multipart.NewWriter(&b)
		for i := 0; i < len(fields); i += 2 {
			if name, file := strings.CutPrefix(fields[i], "@"); file {
				part, err := w.CreateFormFile("file", name)
				r.must(err)
				_, _ = part.Write([]byte(fields[i+1]))
				continue
			}
			r.must(w.WriteField(fields[i], fields[i+1]))
		}
		r.must(w.Close())
		return b.String(), w.FormDataContentType()
	}
	for _, c := range []struct {
		fields []string
		code   int
		want   string
	}{
		{[]string{"abi", echoABI, "bytecode", code(), "name", "one"}, 200, ""},
		{[]string{"@A.json", `{"abi":` + echoABI + `,"bytecode":"` + code() + `","contractName":"A"}`}, 200, ""},
		{[]string{"@A.sol", "pragma solidity ^0.8.0; contract A {}"}, 400, "artifact: source code is not compiled here: compile it (solc --combined-json abi,bin,devdoc,userdoc; npx hardhat compile; forge build) and upload the artifact"},
		{[]string{"compiler", "0.8", "abi", echoABI}, 400, "compiler: nothing is compiled here: compile it, with Hardhat, Foundry or solc, and upload what the compiler has written"},
		{[]string{"abi", echoABI, "bytecode", "0x60__$library$__"}, 400, "bytecode: want hex digits, an even number of them, without places of libraries to be linked"},
		{[]string{"name", "n"}, 400, "abi: is missing: want the field abi, with bytecode beside it, or a file that a compiler has written"},
		{[]string{"color", "blue"}, 400, `"color": there is no such field: want abi, bytecode, name, description, or a file`},
		{[]string{"abi", "[]", "abi", "[]"}, 400, "abi: is given twice"},
		{[]string{"@a", "{}", "@b", "{}"}, 400, "there is more than one file: want the one that the compiler has written of the contract"},
	} {
		body, media := form(c.fields...)
		if a := r.do("POST", "/abis", body, "Content-Type", media); a.code != c.code || a.str("error") != c.want {
			t.Errorf("%v: %d %s", c.fields[0], a.code, a.text)
		}
	}
	if a := r.do("POST", "/abis", "--x", "Content-Type", "multipart/form-data; boundary=x"); a.code != 400 || a.str("error") != "the body cannot be read as a form" {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestTokenIsMadeAndUsed(t *testing.T) {
	r := newRig(t)
	made := r.want(200, "POST", "/tokens?fly-sync&fly-register=gold&fly-from="+r.alice,
		`{"type":"erc20","name":"Gold","symbol":"GLD","decimals":2,"supply":"10","mintable":true,"burnable":true,"pausable":true,"cap":"1000"}`)
	address := made.str("contractAddress")
	for range 5000 { // the row follows the receipt
		if r.do("GET", "/tokens/gold", "").str("address") == address {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	info := r.want(200, "GET", "/tokens/gold", "")
	if info.str("type") != "erc20" || info.str("options", "symbol") != "GLD" || !strings.Contains(info.text, `"mint"`) || strings.Contains(info.text, `"ownerof"`) {
		t.Errorf("token: %s", info.text)
	}
	sync := "?fly-sync&fly-from=" + r.alice
	minted := r.want(200, "POST", "/tokens/gold/mint"+sync, `{"to":"`+r.bob+`","amount":"500"}`)
	if events, _ := minted.get("events").([]any); len(events) != 1 || !strings.Contains(minted.text, `"name":"Transfer"`) {
		t.Errorf("events: %s", minted.text)
	}
	r.want(200, "POST", "/tokens/gold/transfer"+sync, `{"to":"`+r.bob+`","amount":300}`)
	r.want(200, "POST", "/tokens/gold/burn"+sync, `{"amount":"100"}`)
	for path, want := range map[string]string{
		"/tokens/gold/balance?account=" + r.bob: "800", "/tokens/gold/balance?account=" + r.alice: "600",
		"/tokens/" + address + "/supply": "1400", "/contracts/gold/symbol": "GLD", "/tokens/gold/decimals": "2",
	} {
		if a := r.want(200, "GET", path, ""); !strings.Contains(a.text, `"`+want+`"`) {
			t.Errorf("%s: %s, want %s", path, a.text, want)
		}
	}
	// More than there may be: the contract's own error, decoded.
	over := r.want(400, "POST", "/tokens/gold/mint"+sync, `{"to":"`+r.bob+`","amount":"100000"}`)
	if over.str("code") != codeReverted || over.str("revert", "name") != "ERC20ExceededCap" || over.str("revert", "args", "cap") != "100000" {
		t.Errorf("revert: %s", over.text)
	}
	r.want(200, "POST", "/tokens/gold/pause"+sync, "")
	paused := r.want(400, "POST", "/tokens/gold/transfer"+sync, `{"to":"`+r.bob+`","amount":1}`)
	if paused.str("revert", "name") != "EnforcedPause" {
		t.Errorf("revert: %s", paused.text)
	}
	// Sent without being estimated, it is mined, and reverts.
	failed := r.do("POST", "/tokens/gold/transfer"+sync+"&fly-gas=100000", `{"to":"`+r.bob+`","amount":1}`)
	if failed.code != http.StatusInternalServerError || failed.str("headers", "type") != replyFailure || failed.str("status") != "0" {
		t.Errorf("a transaction that reverts: %d %s", failed.code, failed.text)
	}
	for _, c := range [][3]string{
		{"/tokens/gold/mint", `{"to":"x","amount":1}`, `to: want an address, 0x and 40 hex digits, got "x"`},
		{"/tokens/gold/mint", `{"to":"` + r.bob + `"}`, "mint of this token wants to, amount"},
		{"/tokens/gold/transfer", `{"to":"0x0000000000000000000000000000000000000000","amount":1}`, "to: want an account, not the zero address"},
	} {
		if a := r.want(400, "POST", c[0]+sync, c[1]); a.str("error") != c[2] {
			t.Errorf("%s %s: %s", c[0], c[1], a.text)
		}
	}
	if a := r.do("GET", "/tokens/gold/mint", ""); a.code != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("%d %s", a.code, a.text)
	}
	if abis := r.want(200, "GET", "/abis", ""); strings.Count(abis.text, `"id"`) != 1 {
		t.Errorf("interfaces: %s", abis.text)
	}
}

func TestFrozenIsAConflict(t *testing.T) {
	r := newRig(t)
	_, address := r.echo()
	r.must(r.freeze.Freeze(t.Context(), freeze.By{Principal: "operator"}, freeze.Scope{Kind: freeze.Everything}, "a test"))
	a := r.do("POST", "/contracts/"+address+"/set?fly-from="+r.alice, `{"x":1}`)
	if a.code != 409 || a.str("code") != codeFrozen {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestStatusOfAReplySaysWhatBecameOfTheTransaction(t *testing.T) {
	r := newRig(t)
	q := &request{Caller: r.caller, h: r.handler}
	for _, c := range []struct {
		state   contract.State
		failure error
		status  int
		kind    string
		message string
	}{
		{contract.StatePending, nil, 202, replyPending, ""},
		{contract.StateSucceeded, nil, 200, replySuccess, ""},
		{contract.StateReverted, nil, 500, replyFailure, "execution reverted"},
		{contract.StateReplaced, nil, 409, replyError, "another transaction was mined in its place"},
		{contract.StateFailed, &txmgr.RefusedError{Code: -32000, Msg: "cancelled"}, 409, replyError, "cancelled"},
		{contract.StateFailed, &txmgr.BackendError{Kind: "throttled"}, 502, replyError, "key backend failed: throttled"},
		{contract.StateFailed, errors.New("a secret"), 409, replyError, "it failed within the signer: its log says why"},
	} {
		a := q.finished(contract.Reply{ID: "a", State: c.state, Failure: c.failure})
		body, _ := a.body.(Reply)
		if a.status != c.status || body.Headers.Type != c.kind || body.ErrorMessage != c.message || body.Pending != (a.status == 202) {
			t.Errorf("%s: %d %+v", c.state, a.status, body)
		}
	}
}
