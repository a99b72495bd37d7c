// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"testing"
)

// badRequest is a request that is refused. In path and want, ID is the interface's id, ADDR
// the contract's address, FROM an account of the wallet.
type badRequest struct {
	method, path, body string
	head               []string
	code               int
	want               string // the member error
}

func badRequests() []badRequest {
	const post, get = "POST", "GET"
	set := "/contracts/ADDR/set?fly-from=FROM"
	return []badRequest{
		{post, "/contracts/ADDR/set", `{"x":1}`, nil, 400, `fly-from: is missing: want the account that signs, 0x and 40 hex digits, as fly-from or kld-from in the query, or in the header X-Firefly-From`},
		{post, "/contracts/ADDR/set?fly-from=0x0000000000000000000000000000000000000001", `{"x":1}`, nil, 404, `unknown account 0x0000000000000000000000000000000000000001`},
		{post, "/contracts/ADDR/set?fly-from=alice", `{"x":1}`, nil, 400, `fly-from: want an address, 0x and 40 hex digits, got "alice"`},
		{post, "/contracts/ADDR/set?fly-from=", `{"x":1}`, nil, 400, `fly-from: want an address, 0x and 40 hex digits, got ""`},
		{post, "/contracts/ADDR/set?fly-from=FROM&kld-from=0x0000000000000000000000000000000000000001", `{"x":1}`, nil, 400, `fly-from: is not the same as kld-from: want one of them`},
		{post, "/contracts/ADDR/set?fly-from=FROM&fly-from=FROM", `{"x":1}`, nil, 400, `fly-from: is given 2 times`},
		{post, set + "&fly-ethvalue=1.5", `{"x":1}`, nil, 400, `fly-ethvalue: want a whole number of wei, in decimal or as 0x and hex digits, got "1.5"`},
		{post, set + "&fly-ethvalue=-1", `{"x":1}`, nil, 400, `fly-ethvalue: want a whole number of wei, in decimal or as 0x and hex digits, got "-1"`},
		{post, set + "&fly-ethvalue=1", `{"x":1}`, nil, 400, `fly-ethvalue: the method set(uint256) takes no ether`},
		{post, set + "&fly-gas=lots", `{"x":1}`, nil, 400, `fly-gas: want an amount of gas, in decimal or as 0x and hex digits, got "lots"`},
		{post, set + "&fly-gasprice=0x", `{"x":1}`, nil, 400, `fly-gasprice: want a whole number of wei per gas, in decimal or as 0x and hex digits, got "0x"`},
		{post, set + "&fly-maxfeepergas=1&fly-maxpriorityfeepergas=2", `{"x":1}`, nil, 400, `fly-maxpriorityfeepergas: 2 is above the whole fee, 1 (wei per gas)`},
		{post, set + "&fly-gasprice=1&fly-maxfeepergas=2", `{"x":1}`, nil, 400, `fly-gasprice: goes with no other fee: want this, or the fees of EIP-1559`},
		{post, set + "&fly-nonce=99999999999999999999", `{"x":1}`, nil, 400, `fly-nonce: want a nonce, in decimal or as 0x and hex digits, got "99999999999999999999"`},
		{post, set + "&fly-sync=perhaps", `{"x":1}`, nil, 400, `fly-sync: want true or false, or nothing, which is true, got "perhaps"`},
		{post, set + "&fly-acktype=none", `{"x":1}`, nil, 400, `fly-acktype: want receipt, the only kind there is`},
		{post, set + "&fly-blocknumber=latest", `{"x":1}`, nil, 400, `fly-blocknumber: means nothing for a transaction`},
		{post, set + "&fly-register=x", `{"x":1}`, nil, 400, `fly-register: means nothing here`},
		{post, set + "&fly-ethvlaue=1", `{"x":1}`, nil, 400, `"fly-ethvlaue": there is no such parameter: want one of fly-from, fly-ethvalue, fly-gas, fly-gasprice, fly-maxfeepergas, fly-maxpriorityfeepergas, fly-nonce, fly-sync, fly-call, fly-blocknumber, fly-register, fly-id, fly-acktype, fly-noack, fly-transaction`},
		{post, set + "&kld-privatefrom=abc", `{"x":1}`, nil, 400, `"kld-privatefrom": private transactions are not supported`},
		{post, set + "&fly-id=a/b", `{"x":1}`, nil, 400, `id: want 1 to 128 letters, digits and -._~:, got "a/b"`},
		{post, set + "&fly-id=", `{"x":1}`, nil, 400, `fly-id: is empty: want an id for the request`},
		{post, set + "&fly-id=a", `{"x":1}`, []string{"Idempotency-Key", "b"}, 400, `fly-id: is not the same as Idempotency-Key: want one of them`},
		{post, set, `{"x":1}`, []string{"X-Firefly-Gsa", "1"}, 400, `"X-Firefly-Gsa": there is no such parameter: want one of x-firefly-from, x-firefly-ethvalue, x-firefly-gas, x-firefly-gasprice, x-firefly-maxfeepergas, x-firefly-maxpriorityfeepergas, x-firefly-nonce, x-firefly-sync, x-firefly-call, x-firefly-blocknumber, x-firefly-register, x-firefly-id, x-firefly-acktype, x-firefly-noack, x-firefly-transaction`},
		{post, set, `{"x":-1}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got -1, which is out of range`},
		{post, set, `{"x":1.5}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got 1.5, which has an exponent or a fraction`},
		{post, set, `{"x":1e3}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got 1e3, which has an exponent or a fraction`},
		{post, set, `{"x":"115792089237316195423570985008687907853269984665640564039457584007913129639936"}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got the string "1157920892373161954235709850086879078532699846656405640394575840…", which is out of range`},
		{post, set, `{"x":true}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got true`},
		{post, set, `{}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got nothing`},
		{post, set, `{"x":1,"y":2}`, nil, 400, `y: there is no such argument; want 1 argument (x uint256)`},
		{post, set, `[1,2]`, nil, 400, `arguments: want 1 argument (x uint256), got 2`},
		{post, set, `"1"`, nil, 400, `arguments: want an object of them by name, or an array of them in order, got the string "1"`},
		{post, set, `{"x":1,"x":2}`, nil, 400, `the body is not valid JSON: duplicate member "x" at byte 10`},
		{post, set, `{"x":1`, nil, 400, `the body is not valid JSON: expected , or } in object at byte 6`},
		{post, set + "&x=1", `{"x":1}`, nil, 400, `"x": is given in the query and in the body: want one of them`},
		{post, set, `x=1`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, `want the header Content-Type: application/json, or application/x-yaml, got "application/x-www-form-urlencoded"`},
		{post, set, `{"x":1}`, []string{"Content-Encoding", "gzip"}, 415, `Content-Encoding "gzip" is not accepted: send the body as it is`},
		{post, set, `x: &a 1`, []string{"Content-Type", "application/x-yaml"}, 400, `the body, line 1: anchors and aliases are not read: write the value where it belongs`},
		{post, set, "x: 1\nx: 2", []string{"Content-Type", "application/x-yaml"}, 400, `the body, line 2: the name "x" is there twice`},
		{post, set, `{"x":"` + strings.Repeat("1", 5<<10) + `"}`, nil, 413, `the body is too large: want at most 4096 bytes`},
		{get, "/contracts/ADDR/num?x=256", "", nil, 400, `x: want an integer of type uint8, as a number or a decimal or 0x-string, got the string "256", which is out of range`},
		{get, "/contracts/ADDR/num?x=one", "", nil, 400, `x: want an integer of type uint8, as a number or a decimal or 0x-string, got the string "one", which is no integer`},
		{get, "/contracts/ADDR/num", "", nil, 400, `x: want an integer of type uint8, as a number or a decimal or 0x-string, got nothing`},
		{get, "/contracts/ADDR/num?x=1&fly-blocknumber=now", "", nil, 400, `fly-blocknumber: want the number of a block, latest, earliest, pending, safe or finalized, got "now"`},
		{get, "/contracts/ADDR/num?x=1&fly-blocknumber=99999999", "", nil, 400, `the node refuses it: header not found`},
		{get, "/contracts/ADDR/num?x=1&fly-id=a", "", nil, 400, `fly-id: means nothing here`},
		{get, "/contracts/ADDR/num?x=%zz", "", nil, 400, `the query cannot be read: %, ; and other signs must be escaped`},
		{get, "/contracts/ADDR/nothing", "", nil, 404, `the contract has no method called nothing`},
		{get, "/contracts/ADDR/num(uint256)?x=1", "", nil, 404, `the contract has no method num(uint256), but num(uint8)`},
		{get, "/contracts/ADDR/many?a=0x12", "", nil, 400, `the contract has 3 methods called many: give the full signature, one of many(address), many(address,uint256), many(bytes20)`},
		{get, "/contracts/ADDR/many?a=FROM", "", nil, 400, `the contract has 3 methods called many: give the full signature, one of many(address), many(address,uint256), many(bytes20)`},
		{get, "/contracts/ADDR/%3Cscript%3E", "", nil, 404, `the contract has no method called <script>`},
		{get, "/contracts/ADDR/a%00b", "", nil, 404, `there is nothing at this path`},
		{get, "/contracts/ADDR/%E2%80%AE", "", nil, 404, `there is nothing at this path`},
		{get, "/contracts/ADDR/..%2Fnum", "", nil, 404, `there is nothing at this path`},
		{post, "/contracts/ADDR/deep", `{"t":{"who":"0x1","items":[]}}`, nil, 400, `t.who: want an address, 0x and 40 hexadecimal digits, got the string "0x1", which has an odd number of digits`},
		{post, "/contracts/ADDR/deep", `{"t":{"who":"FROM","items":[{"amount":"1","note":"n"},{"amount":"x","note":"n"}]}}`, nil, 400, `t.items[1].amount: want an integer of type uint256, as a number or a decimal or 0x-string, got the string "x", which is no integer`},
		{get, "/contracts/ADDR/list?l=1;2", "", nil, 400, `the query cannot be read: %, ; and other signs must be escaped`},
		{get, "/contracts/ADDR/list?l=%5B1", "", nil, 400, `l: want an array of uint256, got a string that is not valid JSON: expected , or ] in array at byte 2`},
		{get, "/contracts/nobody/num?x=1", "", nil, 404, `there is no contract "nobody" here`},
		{get, "/contracts/0x0000000000000000000000000000000000000001/num?x=1", "", nil, 404, `there is no contract "0x0000000000000000000000000000000000000001" here`},
		{get, "/abis/nothing", "", nil, 404, `there is no abi "nothing" here`},
		{get, "/abis/ID/0x1234/num?x=1", "", nil, 400, `"0x1234": want the address of a contract, 0x and 40 hex digits`},
		{get, "/abis?limit=1000", "", nil, 400, `limit: want a number from 0 to 200, got "1000"`},
		{get, "/abis?color=blue", "", nil, 400, `"color": means nothing here: want one of limit, after`},
		{get, "/contracts?type=erc1155", "", nil, 400, `type: want one of contract, erc20, erc721, got "erc1155"`},
		{get, "/contracts/ADDR?openapi&ui", "", nil, 400, `openapi, ui and abi: want one of them`},
		{get, "/contracts/ADDR?ui", "", nil, 400, `ui: is served by the management API only, where people sign in: see urls.webui of the service`},
		{get, "/contracts/ADDR?openapi=maybe", "", nil, 400, `openapi: want true or false, or nothing, which is true, got "maybe"`},
		{get, "/nothing", "", nil, 404, `there is nothing at this path`},
		{"PUT", "/contracts/ADDR/set", "", nil, 405, `this path takes GET, HEAD, POST`},
		{post, "/abis", `pragma solidity ^0.8.0; contract A {}`, nil, 400, `artifact: source code is not compiled here: compile it (solc --combined-json abi,bin,devdoc,userdoc; npx hardhat compile; forge build) and upload the artifact`},
		{post, "/abis", `{"abi":[{"type":"function","name":"a b","inputs":[]}]}`, nil, 400, `abi[0].name: "a b" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{post, "/abis", `{"abi":[{"type":"function","name":"f","inputs":[{"name":"x","type":"uint7"}]}]}`, nil, 400, `abi[0].inputs[0].type: uint7 is not a type of the ABI`},
		{post, "/abis", `{"bytecode":"0x00"}`, nil, 400, `abi: want the array of the contract's interface, got nothing`},
		{post, "/abis", `{"abi":[],"x":"` + strings.Repeat("1", 65<<10) + `"}`, nil, 413, `the body is too large: want at most 65536 bytes`},
		{post, "/abis", `abi`, []string{"Content-Type", "text/plain"}, 415, `want the header Content-Type: application/json, or multipart/form-data, got "text/plain"`},
		{post, "/abis/ID?fly-from=FROM", `{}`, nil, 400, `x: want an integer of type uint256, as a number or a decimal or 0x-string, got nothing`},
		{post, "/abis/ID?fly-from=FROM&fly-register=../x", `{"x":1}`, nil, 400, `name: want 1 to 64 letters, digits, dots, dashes and underscores, the first of them a letter or digit; got "../x"`},
		{post, "/abis/ID/0x0000000000000000000000000000000000000002?fly-register=a", "", nil, 400, `address: there is no contract at 0x0000000000000000000000000000000000000002 on chain 1337`},
		{"DELETE", "/abis/ID", "", nil, 409, `the interface is used by contracts: forget those first`},
		{get, "/replies/nothing", "", nil, 404, `there is no reply "nothing" here`},
		{get, "/replies?since=yesterday", "", nil, 400, `since: want a time like 2026-01-31T12:00:00Z, or milliseconds since 1970, got "yesterday"`},
		{get, "/replies?skip=5000", "", nil, 400, `skip: want a number from 0 to 1000, got "5000"`},
		{post, "/hook", "", nil, 400, `want an object as the body: there is none`},
		{post, "/hook", `{"headers":{"type":"Send"}}`, nil, 400, `headers.type: want SendTransaction, DeployContract or Query`},
		{post, "/hook", `{"headers":{"type":"SendTransaction"},"from":"FROM","to":"ADDR","solidity":"contract A {}"}`, nil, 400, `solidity: nothing is compiled here: compile it, with Hardhat, Foundry or solc, and send abi and compiled`},
		{post, "/hook", `{"headers":{"type":"SendTransaction"},"from":"FROM","to":"ADDR","methodName":"set","params":[1]}`, nil, 400, `params[0]: want an object with type and value, like {"type": "uint256", "value": "1"}`},
		{post, "/hook", `{"headers":{"type":"SendTransaction"},"from":"FROM","to":"ADDR","privateFor":["x"]}`, nil, 400, `"privateFor": private transactions are not supported`},
		{post, "/tokens?fly-from=FROM", `{"type":"erc1155"}`, nil, 400, `type: want erc20 or erc721`},
		{post, "/tokens", `{"type":"erc20","name":"T","symbol":"T","supply":"1"}`, nil, 400, `fly-from: is missing: want the account that signs, 0x and 40 hex digits, as fly-from or kld-from in the query, or in the header X-Firefly-From`},
		{post, "/tokens?fly-from=FROM", `{"type":"erc20","name":"T","symbol":"T","supply":"1","decimals":400}`, nil, 400, `decimals: want a whole number from 0 to 36`},
		{get, "/tokens/ADDR/balance?account=FROM", "", nil, 404, `there is no token "ADDR" here`},
	}
}

func TestBadInputIsRefusedInExactWords(t *testing.T) {
	r := newRig(t, setup{change: func(c *Config) { c.Body, c.Upload = 4<<10, 64<<10 }})
	id, address := r.echo()
	names := strings.NewReplacer("ID", id, "ADDR", address, "FROM", r.alice)
	for _, c := range badRequests() {
		a := r.do(c.method, names.Replace(c.path), names.Replace(c.body), c.head...)
		if want := names.Replace(c.want); a.code != c.code || a.str("error") != want || a.str("code") == "" {
			t.Errorf("%s %s %.80s: %d %s\nwant %d %s", c.method, c.path, c.body, a.code, a.text, c.code, want)
		}
	}
	if list := r.want(200, "GET", "/replies?limit=200", ""); strings.Count(list.text, `"_id"`) != 1 {
		t.Errorf("what is refused leaves no reply: %s", list.text)
	}
}
