// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

// The default consortium, environment and membership.
const (
	place      = "/consortia/h0consort0/environments/h0environ0"
	membership = "h0member00"
)

// artifact is Orders.sol as a compiler writes it.
//
//go:embed contract/Orders.json
var artifact []byte

// orders is what is in artifact.
var orders = func() (o struct {
	ABI      json.RawMessage `json:"abi"`
	Bytecode string          `json:"bytecode"`
	Devdoc   json.RawMessage `json:"devdoc"`
	Userdoc  json.RawMessage `json:"userdoc"`
},
) {
	if err := json.Unmarshal(artifact, &o); err != nil {
		panic(err)
	}
	return o
}()

// patience is how long something may take that has to come: much longer than it does
// on a machine with nothing else to do.
const patience = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a daemon with nothing of a tenant in it yet, in front of a chain.
type rig struct {
	*testing.T
	*harness.Manager
	node   *harness.Node
	daemon *harness.Daemon
	client *http.Client
}

// start makes a rig; extra is YAML of the operator's file. Webhooks and nodes may be
// on this machine.
func start(t *testing.T, node *harness.Node, extra string) *rig {
	t.Helper()
	bin := built.Of(t)
	o := node.Options(harness.NewCheapKeys(t, 1))
	o.Extra = "egress: {allow: [127.0.0.1/32]}\n" + extra
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	t.Cleanup(transport.CloseIdleConnections)
	r := &rig{T: t, node: node, client: &http.Client{Transport: transport, Timeout: patience}}
	r.daemon = harness.StartDaemon(t, bin, o)
	r.Manager = harness.Manage(t, bin, r.daemon)
	return r
}

// devnet is a chain with a block every 50 ms.
func devnet(t *testing.T, fund ...common.Address) *harness.Node {
	t.Helper()
	return harness.StartDevnet(t, built.Of(t), 50*time.Millisecond, fund...)
}

// shop is a rig on a devnet with one wallet of key files, and two accounts in it.
func shop(t *testing.T) (*rig, *wallet) {
	t.Helper()
	keys := harness.NewCheapKeys(t, 2)
	return shopOn(t, devnet(t, keys.Addresses...), keys)
}

func shopOn(t *testing.T, node *harness.Node, keys harness.Keys) (*rig, *wallet) {
	t.Helper()
	r := start(t, node, fmt.Sprintf("grants: [{membership: %s, keystore: %q}]\n", membership, filepath.Dir(keys.Dir)))
	return r, r.wallet("pay", keys.Addresses, `{"provider":"keystore","path":"keys","user_secret":"only for tests"}`)
}

// wallet is a service, and an app credential for its gateway.
type wallet struct {
	*rig
	id       string
	accounts []common.Address
	user     string
	password string
	gate     string // URL of the gateway at the RPC listener
	admin    string // the same at the management API
}

// wallet makes a node, a configuration with the details, a service and a credential.
func (r *rig) wallet(name string, accounts []common.Address, details string) *wallet {
	r.Helper()
	made := func(path, body string, more ...any) map[string]any {
		return r.Want(http.StatusCreated, "POST", place+path, fmt.Sprintf(body, more...))
	}
	node := made("/nodes", `{"name":%q,"chain_id":%d,"urls":{"rpc":%q}}`, name, r.node.ChainID, r.node.URL)
	configuration := made("/configurations", `{"name":%q,"type":"cloudhsm","details":%s}`, name, details)
	service := made("/services", `{"name":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, name, configuration["_id"], node["_id"])
	cred := made("/appcreds", `{"name":%q}`, name)
	w := &wallet{rig: r, id: service["_id"].(string), accounts: accounts, user: cred["username"].(string), password: cred["password"].(string)}
	var last map[string]any
	r.eventually(patience, "the wallet is started", func() bool {
		last = r.Want(http.StatusOK, "GET", place+"/services/"+w.id, "")
		return last["state"] == "started"
	})
	r.eventually(patience, "its accounts are found", func() bool {
		code, list := r.Ask("GET", place+"/services/"+w.id+"/accounts", "")
		return code == http.StatusOK && strings.Count(string(list), `"address"`) >= len(accounts)
	})
	urls := r.Want(http.StatusOK, "GET", place+"/services/"+w.id+"/status", "")["urls"].(map[string]any)
	w.gate, _ = urls["rest"].(string)
	if w.gate = strings.TrimSuffix(w.gate, "/"); w.gate == "" {
		r.Fatalf("the status names no URL of the gateway: %v", urls)
	}
	w.admin = r.URL + place + "/services/" + w.id + "/gateway"
	return w
}

func (r *rig) eventually(within time.Duration, what string, holds func() bool) {
	r.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("after %s: not: %s", within, what)
		}
	}
}

// answer is what came of a request.
type answer struct {
	code   int
	header http.Header
	text   string
	object map[string]any // if it is one
	list   []any          // if it is one
}

// at follows members and indices: at("headers", "type"). nil if there is none such.
func (a answer) at(path ...any) (v any) {
	v = a.object
	if a.list != nil {
		v = a.list
	}
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

func (a answer) say(path ...any) string { return fmt.Sprint(a.at(path...)) }

// try sends a request to the gateway by the wallet's credential. The body is JSON of
// what is given; nil sends none.
func (w *wallet) try(method, path string, body any, header ...string) (answer, error) {
	return w.exchange(w.gate, w.basic, method, path, body, header...)
}

func (w *wallet) basic(req *http.Request) { req.SetBasicAuth(w.user, w.password) }

func (w *wallet) bearer(req *http.Request) { req.Header.Set("Authorization", "Bearer "+w.Key) }

func (r *rig) exchange(base string, prove func(*http.Request), method, path string, body any, header ...string) (answer, error) {
	var from io.Reader
	media := "application/json"
	switch body := body.(type) {
	case nil:
		media = ""
	case string: // as it is
		from = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		from = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, base+path, from)
	if err != nil {
		return answer{}, err
	}
	prove(req)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{code: res.StatusCode, header: res.Header, text: string(text)}
	_ = json.Unmarshal(text, &a.object)
	_ = json.Unmarshal(text, &a.list)
	return a, nil
}

// ask is try, and ends the test unless there is an answer.
func (w *wallet) ask(method, path string, body any, header ...string) answer {
	w.Helper()
	a, err := w.try(method, path, body, header...)
	must(w.T, err)
	return a
}

// want is ask, and ends the test unless the answer has the code.
func (w *wallet) want(code int, method, path string, body any, header ...string) answer {
	w.Helper()
	a := w.ask(method, path, body, header...)
	if a.code != code {
		w.Fatalf("%s %s: %d, want %d: %s", method, path, a.code, code, a.text)
	}
	return a
}

// asAdmin is want at the management API, by an API key.
func (w *wallet) asAdmin(code int, method, path string, body any) answer {
	w.Helper()
	a, err := w.exchange(w.admin, w.bearer, method, path, body)
	must(w.T, err)
	if a.code != code {
		w.Fatalf("as admin: %s %s: %d, want %d: %s", method, path, a.code, code, a.text)
	}
	return a
}

// expect reports a value of an answer that is another one.
func (w *wallet) expect(a answer, want string, path ...any) {
	w.Helper()
	if got := a.say(path...); got != want {
		w.Errorf("%v is %s, want %s: %s", path, got, want, a.text)
	}
}

// upload keeps the interface of Orders and returns its id.
func (w *wallet) upload() string {
	w.Helper()
	a := w.ask("POST", "/abis", string(artifact))
	id, ok := a.at("id").(string)
	if a.code/100 != 2 || !ok {
		w.Fatalf("upload: %d %s", a.code, a.text)
	}
	return id
}

// deploy deploys Orders under a name, waits until it is in the chain, and returns its
// address.
func (w *wallet) deploy(name string) common.Address {
	w.Helper()
	path := fmt.Sprintf("/abis/%s?kld-from=%s&kld-sync&kld-register=%s", w.upload(), w.from(0), name)
	a := w.want(http.StatusOK, "POST", path, map[string]any{"name": "Corner shop"})
	address, ok := a.at("contractAddress").(string)
	if !ok || !common.IsHexAddress(address) {
		w.Fatalf("deployed without an address: %s", a.text)
	}
	return common.HexToAddress(address)
}

// from is an account as it is written in parameters.
func (w *wallet) from(i int) string { return strings.ToLower(w.accounts[i].Hex()) }

// settled waits until a reply says how the transaction has ended.
func (w *wallet) settled(id string) answer {
	w.Helper()
	var a answer
	w.eventually(patience, "the reply "+id+" is there", func() bool {
		a = w.ask("GET", "/replies/"+id, nil)
		return a.code == http.StatusOK && strings.HasPrefix(a.say("headers", "type"), "Transaction") && a.at("pending") != true
	})
	return a
}

// text is JSON of something that has it.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
