// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

const newHeads = `{"jsonrpc":"2.0","id":"heads","method":"eth_subscribe","params":["newHeads"]}`

// signatures is how many a vault was asked for.
func signatures(v *vaultfake.Server) int {
	return v.Calls("POST hsmsigner/sign/*") + v.Calls("PUT hsmsigner/sign/*")
}

// revocable is a daemon with a service whose vault takes its time to sign, and an
// account that has proven itself.
func revocable(t *testing.T) (*managed, *harness.Node, *tenant) {
	t.Helper()
	v := startVault(t, 1)
	node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(v)...)
	m := startBare(t, node, local)
	n := m.settle(node, membership, environment, v)
	if code, answer := m.door(n.service, n.cred, n.password, transfer(n.account)); code != 200 {
		t.Fatal(answer)
	}
	harness.WaitNonce(t, node, n.account, 1, patience)
	return m, node, n
}

// busy opens a WebSocket with a live subscription and has a transaction of it be
// at the vault.
func (m *managed) busy(n *tenant, password string) *websocket.Conn {
	m.t.Helper()
	conn := m.socket(n.service, n.cred, password)
	tell(m.t, conn, newHeads)
	said(m.t, conn, "eth_subscription")
	n.vault.SetDelay(1500 * time.Millisecond)
	before := signatures(n.vault)
	tell(m.t, conn, transfer(n.account))
	eventually(m.t, patience, "asked for a signature", func() bool { return signatures(n.vault) > before })
	return conn
}

// soon is within what the end of a credential ends its sockets. The promise is five
// seconds, of a machine that has time for it.
const soon = 30 * time.Second

// closed waits until the server has closed a socket, and says how long it took.
func closed(t *testing.T, conn *websocket.Conn, since time.Time) time.Duration {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), since.Add(soon))
	defer cancel()
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			if code := websocket.CloseStatus(err); code != websocket.StatusPolicyViolation {
				t.Errorf("closed with %d: %v", code, err)
			}
			return time.Since(since)
		}
	}
}

// security.md no. 37, and what becomes of the transaction that was on its way.
func TestRevokedCredentialLosesItsSocketAndNotItsTransactions(t *testing.T) {
	m, node, n := revocable(t)
	cred := n.place + "/appcreds/" + n.cred

	// Another password: the old one ends, the new one begins.
	conn := m.busy(n, n.password)
	began := time.Now()
	fresh := m.want(200, "POST", cred+"/regenerate", "")["password"].(string)
	if code, answer := m.door(n.service, n.cred, n.password, transfer(n.account)); code != 401 {
		t.Errorf("the old password: %s", answer)
	}
	if code, answer := m.upgrade(n.service, n.cred, n.password); code != 401 {
		t.Errorf("the old password, upgrade: %s", answer)
	}
	t.Logf("regenerated: closed after %s", closed(t, conn, began))
	harness.WaitNonce(t, node, n.account, 2, patience)

	// No credential any more.
	n.vault.SetDelay(0)
	conn = m.busy(n, fresh)
	idle := m.socket(n.service, n.cred, fresh)
	began = time.Now()
	m.want(204, "DELETE", cred, "")
	if code, answer := m.door(n.service, n.cred, fresh, transfer(n.account)); code != 401 {
		t.Errorf("the deleted credential: %s", answer)
	}
	for name, c := range map[string]*websocket.Conn{"busy": conn, "idle": idle} {
		t.Logf("deleted: the %s socket was closed after %s", name, closed(t, c, began))
	}
	harness.WaitNonce(t, node, n.account, 3, patience)
	for _, x := range m.list(n.place + "/services/" + n.service + "/transactions") {
		if x["credential"] != "app:"+n.cred {
			t.Errorf("transaction of %v", x["credential"])
		}
	}
}

func TestDeletedAPIKeyOpensNothingAtOnce(t *testing.T) {
	v := startVault(t, 1)
	m := startBare(t, harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(v)...), local)
	key := m.apiKey(`{"role":"admin"}`)
	if code, text := m.ask(key, "GET", place+"/services", ""); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	m.want(204, "DELETE", "/apikeys/"+key[:10], "")
	for _, x := range [][2]string{{"GET", "/whoami"}, {"GET", place + "/services"}, {"POST", place + "/appcreds"}, {"DELETE", "/apikeys/" + m.root[:10]}} {
		if code, text := m.ask(key, x[0], x[1], ""); code != 401 {
			t.Errorf("%s %s: %d %s", x[0], x[1], code, text)
		}
	}
	m.want(200, "GET", "/whoami", "") // the other one goes on
}
