// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The default consortium, environment and membership.
const (
	place      = "/consortia/h0consort0/environments/h0environ0"
	membership = "h0member00"
	home       = "/console/in/h0consort0/h0environ0"
)

// patience is how long something may take that has to come: much longer than it does
// on a machine with nothing else to do.
const patience = 2 * time.Minute

func must(t *testing.T, err error) {
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
}

// start makes a rig; extra is YAML of the operator's file, which may begin with
// more of egress.
func start(t *testing.T, extra string, fund ...common.Address) *rig {
	t.Helper()
	bin, declared := built.Of(t), harness.NewCheapKeys(t, 1)
	r := &rig{T: t, node: harness.StartDevnet(t, bin, 100*time.Millisecond, append(fund, declared.Addresses...)...)}
	o := r.node.Options(declared)
	o.Extra = "egress:\n  allow: [127.0.0.1/32]\n" + extra
	r.daemon = harness.StartDaemon(t, bin, o)
	r.Manager = harness.Manage(t, bin, r.daemon)
	return r
}

// open is a tab at the sign-in page.
func (r *rig) open(more args) *tab {
	r.Helper()
	b := open(r.T, r.daemon.AdminURL, more)
	b.visit("/")
	return b
}

// signIn is a tab of somebody with an API key.
func (r *rig) signIn(key string, more args) *tab {
	r.Helper()
	b := r.open(more)
	b.fill(map[string]string{"key": key})
	b.press("Sign in")
	b.see("Overview")
	return b
}

// make creates a resource of the environment by the API and returns its id.
func (r *rig) make(collection, body string, more ...any) string {
	r.Helper()
	id, ok := r.Want(http.StatusCreated, "POST", place+collection, fmt.Sprintf(body, more...))["_id"].(string)
	if !ok {
		r.Fatalf("POST %s: no id", collection)
	}
	return id
}

// apiKey makes an API key and returns it with its id.
func (r *rig) apiKey(name, grant string) (key, id string) {
	r.Helper()
	made := r.Want(http.StatusCreated, "POST", "/apikeys", fmt.Sprintf(`{"name":%q,"grants":[%s]}`, name, grant))
	return made["key"].(string), made["_id"].(string)
}

// started waits until a service is.
func (r *rig) started(service string) {
	r.Helper()
	r.eventually("started", func() bool {
		return r.Want(http.StatusOK, "GET", place+"/services/"+service, "")["state"] == "started"
	})
}

func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("after %s: not %s", patience, what)
		}
	}
}

// call sends JSON-RPC to a URL of a service, as a program does that has nothing but
// what the console has shown.
func (r *rig) call(url, user, password, method string, params ...any) (string, error) {
	r.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(r.Context(), "POST", url, strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(user, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("HTTP %d: %w", res.StatusCode, err)
	}
	if answer.Error != nil {
		return "", fmt.Errorf("%s", answer.Error.Message)
	}
	return strings.Trim(string(answer.Result), `"`), nil
}
