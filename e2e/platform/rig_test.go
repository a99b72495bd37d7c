// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// patience is how long something may take that has to come: much longer than it does
// on a machine with nothing else to do.
const patience = 2 * time.Minute

const local = "egress: {allow: [127.0.0.1/32]}\n"

// startBare starts a daemon with the management API in front of a node, and
// nothing in it yet.
func startBare(t *testing.T, node *harness.Node, extra string) *managed {
	t.Helper()
	o := node.Options(harness.NewCheapKeys(t, 1))
	o.Extra = extra
	m := &managed{t: t}
	m.Daemon = harness.StartDaemon(t, binaries(t), o)
	m.root = m.bootstrap()
	return m
}

func startVault(t *testing.T, keys int) *vaultfake.Server {
	t.Helper()
	v := vaultfake.New(keys)
	t.Cleanup(v.Close)
	return v
}

func accounts(v *vaultfake.Server) (all []common.Address) {
	for _, a := range v.Addresses() {
		all = append(all, common.HexToAddress(a))
	}
	return all
}

// make creates a resource and returns its id.
func (m *managed) make(collection, body string, more ...any) string {
	m.t.Helper()
	id, ok := m.want(201, "POST", collection, fmt.Sprintf(body, more...))["_id"].(string)
	if !ok {
		m.t.Fatalf("POST %s: no id", collection)
	}
	return id
}

// apiKey makes an API key with one grant, as JSON.
func (m *managed) apiKey(grant string) (key string) {
	m.t.Helper()
	return m.want(201, "POST", "/apikeys", fmt.Sprintf(`{"name":"test","grants":[%s]}`, grant))["key"].(string)
}

// tenant is what a membership has in one environment.
type tenant struct {
	membership, environment string // ids
	place                   string // path of the environment
	vault                   *vaultfake.Server
	account                 common.Address // the first of the vault

	node, configuration, service string
	cred, password               string
}

// settle makes all of it, with what the membership's vault holds, and waits until
// it is started.
func (m *managed) settle(node *harness.Node, membership, environment string, v *vaultfake.Server) *tenant {
	m.t.Helper()
	n := m.serveFor(node, membership, environment, `{"provider":"hashicorp","target_address":%q,"user_secret":%q}`, v.URL(), vaultfake.Token)
	n.vault, n.account = v, accounts(v)[0]
	return n
}

// serve makes a service of the default membership, with the details of a
// configuration.
func (m *managed) serve(node *harness.Node, details string, more ...any) *tenant {
	m.t.Helper()
	return m.serveFor(node, membership, environment, details, more...)
}

func (m *managed) serveFor(node *harness.Node, membership, environment, details string, more ...any) *tenant {
	m.t.Helper()
	n := &tenant{membership: membership, environment: environment, place: "/consortia/" + consortium + "/environments/" + environment}
	n.node = m.make(n.place+"/nodes", `{"name":"node","membership_id":%q,"chain_id":%d,"urls":{"rpc":%q}}`, membership, node.ChainID, node.URL)
	n.configuration = m.make(n.place+"/configurations", `{"name":"vault","membership_id":%q,"type":"cloudhsm","details":%s}`, membership, fmt.Sprintf(details, more...))
	n.service = m.make(n.place+"/services", `{"name":"pay","membership_id":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, membership, n.configuration, n.node)
	made := m.want(201, "POST", n.place+"/appcreds", fmt.Sprintf(`{"name":"shop","membership_id":%q}`, membership))
	n.cred, n.password = made["_id"].(string), made["password"].(string)
	m.reaches(n.place+"/services/"+n.service, "started")
	return n
}

// reaches waits until a resource has a state, and returns it.
func (m *managed) reaches(path, state string) map[string]any {
	m.t.Helper()
	var last map[string]any
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = m.want(200, "GET", path, ""); last["state"] == state {
			return last
		}
	}
	m.t.Fatalf("%s is %v and not %s: %v", path, last["state"], state, last["state_reason"])
	return nil
}

func transfer(from common.Address) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":%q,"to":%q,"value":"0x1"}]}`, from.Hex(), harness.Fresh().Hex())
}

// door sends a body to a service's path of the RPC door by a credential, and
// returns the whole answer but for its date.
func (m *managed) door(service, name, password, body string) (code int, answer string) {
	m.t.Helper()
	return m.exchange("POST", service, name, password, body, http.Header{"Content-Type": {"application/json"}})
}

// upgrade asks for a WebSocket at a service's path, without taking it.
func (m *managed) upgrade(service, name, password string) (code int, answer string) {
	m.t.Helper()
	return m.exchange("GET", service, name, password, "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	})
}

func (m *managed) exchange(method, service, name, password, body string, header http.Header) (code int, answer string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.URL+"/"+service, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header = header
	if name != "" {
		req.SetBasicAuth(name, password)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	var text []byte
	if res.StatusCode != http.StatusSwitchingProtocols {
		if text, err = io.ReadAll(res.Body); err != nil {
			m.t.Fatal(err)
		}
	}
	res.Header.Del("Date")
	return res.StatusCode, fmt.Sprint(res.StatusCode, res.Header, string(text))
}

// socket opens a WebSocket to a service.
func (m *managed) socket(service, name, password string) *websocket.Conn {
	m.t.Helper()
	header := http.Header{}
	req := http.Request{Header: header}
	req.SetBasicAuth(name, password)
	conn, _, err := websocket.Dial(m.t.Context(), m.WSURL+"/"+service, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return conn
}

// said reads messages until one has a text in it.
func said(t *testing.T, conn *websocket.Conn, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("no message with %s: %v", text, err)
		}
		if strings.Contains(string(message), text) {
			return string(message)
		}
	}
}

func tell(t *testing.T, conn *websocket.Conn, message string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: not %s", within, what)
		}
	}
}

// listAs reads a list of the API by a key.
func (m *managed) listAs(key, path string) (all []map[string]any) {
	m.t.Helper()
	code, text := m.ask(key, "GET", path, "")
	if err := json.Unmarshal(text, &all); code != 200 || err != nil {
		m.t.Fatalf("%s: %d %s", path, code, text)
	}
	return all
}

// listed is what our engine says of a key.
func listed(v *vaultfake.Server, address string) map[string]any {
	return map[string]any{
		"address": address, "name": "key", "enabled": true,
		"public_key": hexutil.Encode(crypto.FromECDSAPub(&v.Key(address).PublicKey)),
	}
}

// halt has anvil make no block until it is told to.
func halt(t *testing.T, anvil *harness.Node) {
	t.Helper()
	for method, arg := range map[string]any{"evm_setAutomine": false, "evm_setIntervalMining": 0} {
		if err := anvil.RPC.CallContext(t.Context(), nil, method, arg); err != nil {
			t.Fatal(err)
		}
	}
}

// mine has anvil make blocks.
func mine(t *testing.T, anvil *harness.Node, blocks int) {
	t.Helper()
	if err := anvil.RPC.CallContext(t.Context(), nil, "anvil_mine", hexutil.Uint64(blocks)); err != nil {
		t.Fatal(err)
	}
}
