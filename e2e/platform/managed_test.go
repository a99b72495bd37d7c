// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The default consortium, environment and membership.
const (
	consortium  = "h0consort0"
	environment = "h0environ0"
	membership  = "h0member00"
	place       = "/consortia/" + consortium + "/environments/" + environment
)

// managed is a daemon with one service that was made by the API.
type managed struct {
	*harness.Daemon
	t    *testing.T
	keys harness.Keys // of the service
	root string       // API key of an admin of the deployment

	node, configuration, service, cred string
	password                           string // of cred
}

// startManaged has the operator grant the default membership a folder of key
// files and the way to a devnet on this machine, and a caller of the API make a
// service of them.
func startManaged(t *testing.T) *managed {
	t.Helper()
	m := &managed{t: t, keys: harness.NewKeys(t, 2)}
	declared := harness.NewKeys(t, 1)
	devnet := harness.StartDevnet(t, binaries(t), 50*time.Millisecond, append(m.keys.Addresses, declared.Addresses...)...)
	o := devnet.Options(declared)
	o.Extra = fmt.Sprintf("egress: {allow: [127.0.0.1/32]}\ngrants: [{membership: %s, keystore: %q}]\n", membership, filepath.Dir(m.keys.Dir))
	m.Daemon = harness.StartDaemon(t, binaries(t), o)
	m.root = m.bootstrap()
	id := func(path, body string, more ...any) string {
		t.Helper()
		a := m.want(201, "POST", place+path, fmt.Sprintf(body, more...))
		return a["_id"].(string)
	}
	m.node = id("/nodes", `{"name":"devnet","chain_id":%d,"urls":{"rpc":%q}}`, o.ChainID, o.NodeURL)
	m.configuration = id("/configurations", `{"name":"keys","type":"cloudhsm","details":{"provider":"keystore","path":"keys","user_secret":"only for tests"}}`)
	m.service = id("/services", `{"name":"pay","service":"cloudhsm","details":{"cloudhsm_id":%q}}`, m.configuration)
	made := m.want(201, "POST", place+"/appcreds", `{"name":"shop"}`)
	m.cred, m.password = made["_id"].(string), made["password"].(string)
	m.started(m.service)
	return m
}

func (m *managed) bootstrap() string {
	m.t.Helper()
	return harness.Manage(m.t, binaries(m.t), m.Daemon).Key
}

// started polls as Kaleido's Terraform provider does.
func (m *managed) started(service string) {
	m.t.Helper()
	var last any
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		a := m.want(200, "GET", place+"/services/"+service, "")
		if last = a["state"]; last == "started" {
			return
		}
	}
	m.t.Fatalf("the service is %v", last)
}

// want sends a request and ends the test unless the answer has the code.
func (m *managed) want(code int, method, path, body string) map[string]any {
	m.t.Helper()
	got, text := m.ask(m.root, method, path, body)
	if got != code {
		m.t.Fatalf("%s %s: %d, want %d: %s", method, path, got, code, text)
	}
	var object map[string]any
	if len(text) > 0 && text[0] == '{' {
		if err := json.Unmarshal(text, &object); err != nil {
			m.t.Fatal(err)
		}
	}
	return object
}

func (m *managed) ask(key, method, path, body string) (int, []byte) {
	m.t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.AdminURL+"/api/v1"+path, from)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return res.StatusCode, text
}

// send has the service's first key send a transaction through the URL that its
// status names, and returns its hash.
func (m *managed) send() string {
	m.t.Helper()
	urls := m.want(200, "GET", place+"/services/"+m.service+"/status", "")["urls"].(map[string]any)
	from := m.keys.Addresses[0].Hex()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":%q,"to":%q,"value":"0x1"}]}`, from, from)
	req, err := http.NewRequestWithContext(m.t.Context(), "POST", urls["http"].(string), strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(m.cred, m.password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Result string
		Error  any
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Result == "" {
		m.t.Fatalf("%d: %v %v", res.StatusCode, err, answer.Error)
	}
	return answer.Result
}
