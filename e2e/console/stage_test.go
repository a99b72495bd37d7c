// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// rules let payments pass, and ask people for large ones.
const rules = `version: hsmsigner-policy-v1
rules:
  - {name: payments, effect: allow, actions: [transaction], value: {max: 2 ether}}
  - {name: large-payments, effect: ask, actions: [transaction], value: {min: 2 ether}, approval: {needed: 2, roles: [admin]}}
  - {name: contracts, effect: allow, actions: [document, message]}
limits:
  - {name: daily, asset: native, per: account, max: 50 ether, window: 24h}
`

// stage is a deployment in which something of everything has happened.
type stage struct {
	*rig
	vault      *vaultfake.Server
	accounts   []common.Address
	ids        map[string]string // what stands for {…} in paths
	user, pass string
	url        string // of the wallet
}

// set makes a stage; behind stands behind the names of what is in it, and keys of
// what the backend calls its keys.
func set(t *testing.T, behind, keys string) *stage {
	t.Helper()
	s := &stage{vault: vaultfake.New(4), ids: map[string]string{}}
	t.Cleanup(s.vault.Close)
	s.vault.SetIntercept(s.called("treasury-" + keys))
	for _, a := range s.vault.Addresses() {
		s.accounts = append(s.accounts, common.HexToAddress(a))
	}
	s.rig = start(t, "", s.accounts...)
	s.ids["node"] = s.make("/nodes", `{"name":%q,"chain_id":%d,"urls":{"rpc":%q}}`, "mainnet"+behind, s.node.ChainID, s.node.URL)
	s.ids["configuration"] = s.make("/configurations", `{"name":%q,"type":"cloudhsm","details":{"provider":"hashicorp","target_address":%q,"user_secret":%q}}`,
		"treasury-vault"+behind, s.vault.URL(), vaultfake.Token)
	s.ids["wallet"] = s.make("/services", `{"name":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, "treasury"+behind, s.ids["configuration"], s.ids["node"])
	made := s.Want(http.StatusCreated, "POST", place+"/appcreds", fmt.Sprintf(`{"name":%q}`, "shop-backend"+behind))
	s.user, s.pass = made["username"].(string), made["password"].(string)
	s.ids["credential"] = made["_id"].(string)
	s.started(s.ids["wallet"])
	s.url = s.Want(http.StatusOK, "GET", s.service("/status"), "")["urls"].(map[string]any)["http"].(string)
	return s
}

// called has the backend list its keys by a name with numbers.
func (s *stage) called(name string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/hsmsigner/addresses" {
			return false
		}
		if r.URL.Query().Get("after") != "" {
			vaultfake.Refuse(w, http.StatusNotFound)
			return true
		}
		all, info := s.vault.Addresses(), map[string]any{}
		for i, a := range all {
			public := hexutil.Encode(crypto.FromECDSAPub(&s.vault.Key(a).PublicKey))
			info[a] = map[string]any{"address": a, "name": fmt.Sprint(name, i+1), "enabled": true, "public_key": public}
		}
		s.vault.Answer(w, map[string]any{"keys": all, "key_info": info})
		return true
	}
}

// service is a path of the wallet in the API.
func (s *stage) service(path string) string { return place + "/services/" + s.ids["wallet"] + path }

func (s *stage) pay(from common.Address, wei string) (string, error) {
	s.Helper()
	return s.payTo(from, harness.Fresh(), wei)
}

func (s *stage) payTo(from, to common.Address, wei string) (string, error) {
	s.Helper()
	return s.call(s.url, s.user, s.pass, "eth_sendTransaction", map[string]any{"from": from, "to": to, "value": wei, "gas": "0x5208"})
}

// act has something of everything happen; behind stands behind names, why behind
// reasons, and free behind what may have any characters.
func (s *stage) act(behind, why, free string) {
	s.Helper()
	s.trade(behind, free)
	for i := range 12 {
		hash, err := s.pay(s.accounts[i%3], halfEther)
		must(s.T, err)
		s.ids["tx"] = hash
	}
	s.Want(http.StatusOK, "PATCH", s.service("/accounts/"+s.accounts[0].Hex()), fmt.Sprintf(`{"label":%q}`, "Hot wallet"+behind))
	s.apiKey("nightly-report"+behind, `{"role":"auditor"}`)
	s.Want(http.StatusCreated, "POST", "/consortia/h0consort0/memberships", fmt.Sprintf(`{"org_name":%q}`, "subsidiary"+behind))
	s.Want(http.StatusOK, "PUT", s.service("/policy"), fmt.Sprintf(`{"document":%q,"comment":%q}`, rules, "No more than is needed"+why))
	s.decided("Nobody has ordered this" + why)
	s.asked(s.accounts[0])
	s.Want(http.StatusOK, "PUT", s.service("/accounts/"+s.accounts[3].Hex()+"/freeze"), fmt.Sprintf(`{"reason":%q}`, "Key ceremony on Monday"+why))
	s.Want(http.StatusCreated, "POST", s.service("/signatures"),
		fmt.Sprintf(`{"sha256":%q,"size":1024,"name":%q,"media_type":"application/pdf","account":%q}`, strings.Repeat("ab", 32), "contract"+free+".pdf", s.accounts[0].Hex()))
	s.eventually("mined", func() bool { return s.node.Nonce(s, s.accounts[2]) == 4 })
}

// decided has a payment asked for and rejected.
func (s *stage) decided(comment string) {
	s.Helper()
	s.asked(s.accounts[1])
	_, list := s.Ask(http.MethodGet, s.service("/approvals"), "")
	var all []struct{ ID string }
	if err := json.Unmarshal(list, &all); err != nil || len(all) != 1 {
		s.Fatalf("requests that wait: %s", list)
	}
	s.Want(http.StatusOK, http.MethodPost, s.service("/approvals/"+all[0].ID+"/reject"), fmt.Sprintf(`{"comment":%q}`, comment))
}
