// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// trade makes one of everything that the gateway's pages show: a contract and its
// interface, tokens, event streams of both kinds with a subscription, and a
// transaction that the contract refuses. free stands behind what may have any
// characters, and name behind what people call things.
func (s *stage) trade(name, free string) {
	s.Helper()
	at := s.service("/gateway")
	send := func(path string, body any) map[string]any {
		s.Helper()
		text, err := json.Marshal(body)
		must(s.T, err)
		code, answer := s.Ask(http.MethodPost, at+path, string(text))
		var object map[string]any
		if code/100 != 2 || json.Unmarshal(answer, &object) != nil {
			s.Fatalf("POST %s: %d %s", path, code, answer)
		}
		return object
	}
	signer := strings.ToLower(s.accounts[1].Hex())
	sync := "fly-sync&fly-from=" + signer

	text, err := os.ReadFile("../gateway/contract/Orders.json")
	must(s.T, err)
	var artifact map[string]any
	must(s.T, json.Unmarshal(text, &artifact))
	artifact["name"], artifact["description"] = "Orders"+name, "Takes orders"+name
	artifact["devdoc"].(map[string]any)["title"] = "Orders of a shop" + free
	for _, notice := range artifact["userdoc"].(map[string]any)["methods"].(map[string]any) {
		notice.(map[string]any)["notice"] = "Does something" + free
	}
	interfaceID := send("/abis", artifact)["id"].(string)
	send("/abis/"+interfaceID+"?fly-register=shop&"+sync, map[string]any{"name": "Corner shop" + free})
	for kind, options := range map[string]map[string]any{
		"coin": {"type": "erc20", "decimals": 2, "supply": "1000", "mintable": true}, "deeds": {"type": "erc721", "supply": "2", "mintable": true},
	} {
		options["name"], options["symbol"] = kind+cut(free, 40), cut(free+"COIN", 11)
		send("/tokens?fly-register="+kind+"&"+sync, options)
	}
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone"+free, http.StatusBadGateway) }))
	s.Cleanup(away.Close)
	hook := send("/eventstreams", map[string]any{
		"name": "to the shop" + free, "type": "webhook", "batchSize": 10, "batchTimeoutMS": 50, "blockedRetryDelaySec": 1,
		"webhook": map[string]any{"url": away.URL + "/events?" + url.QueryEscape(free), "headers": map[string]any{"X-Shop": "only for tests"}},
	})["id"].(string)
	send("/eventstreams", map[string]any{"name": "to sockets" + free, "type": "websocket", "websocket": map[string]any{"topic": "orders" + free}})
	send("/contracts/shop/Placed/subscribe", map[string]any{"stream": hook, "name": "placed" + free, "fromBlock": "0"})
	send("/contracts/shop/tick?"+sync, map[string]any{"mark": "7"})
	s.ids["contract"], s.ids["token"], s.ids["stream"] = "shop", "coin", hook
	s.ids["refused"] = s.refused("Not today" + free)
}

// refused sends a transaction that the contract shop refuses on the chain, with a
// reason, and gives its hash.
func (s *stage) refused(why string) string {
	s.Helper()
	at := s.Want(http.StatusOK, http.MethodGet, s.service("/gateway/contracts/shop"), "")["address"].(string)
	data := crypto.Keccak256([]byte("refuse(string)"))[:4]
	data = append(data, common.LeftPadBytes([]byte{32}, 32)...)
	data = append(data, common.LeftPadBytes([]byte{byte(len(why))}, 32)...)
	data = append(data, common.RightPadBytes([]byte(why), (len(why)+31)/32*32)...)
	hash, err := s.call(s.url, s.user, s.pass, "eth_sendTransaction", map[string]any{"from": s.accounts[1], "to": at, "data": hexutil.Bytes(data), "gas": "0x30d40"})
	must(s.T, err)
	return hash
}

// cut is the beginning of a text, so that it is short enough for a name.
func cut(text string, most int) string { return strings.TrimSpace(text[:min(len(text), most)]) }

// lying makes a wallet whose node answers everything with an error of its own words.
func (s *stage) lying(name, free string) {
	s.Helper()
	answer, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "error": map[string]any{"code": -32000, "message": free}})
	must(s.T, err)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	s.Cleanup(node.Close)
	id := s.make("/nodes", `{"name":%q,"chain_id":1,"urls":{"rpc":%q}}`, "liar"+name, node.URL)
	other := vaultfake.New(1)
	s.Cleanup(other.Close)
	configuration := s.make("/configurations", `{"name":%q,"type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,"user_secret":%q}}`, "other"+name, other.URL(), vaultfake.Token)
	s.ids["liar"] = s.make("/services", `{"name":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, "misled"+name, configuration, id)
	s.eventually("misled", func() bool {
		_, shown := s.Ask(http.MethodGet, place+"/services/"+s.ids["liar"]+"/status", "")
		return strings.Contains(string(shown), fmt.Sprintf("%q", free)[1:9]) || strings.Contains(string(shown), "node")
	})
}
