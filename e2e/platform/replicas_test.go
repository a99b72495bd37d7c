// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

// elsewhere waits until a change is in effect at another daemon. That takes two
// seconds at most on a machine that has time for it.
func elsewhere(t *testing.T, what string, holds func() bool) {
	t.Helper()
	began := time.Now()
	eventually(t, patience, what, holds)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("only after %s: %s", took, what)
	}
}

// Two daemons on one PostgreSQL are one deployment: what one is told holds at the
// other.
func TestWhatOneReplicaIsToldHoldsAtTheOther(t *testing.T) {
	server, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	database, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := startVault(t, 2)
	node := harness.StartDevnet(t, binaries(t), 100*time.Millisecond, accounts(v)...)
	key := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(key, []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := node.Options(harness.NewCheapKeys(t, 1))
	o.Extra = local + fmt.Sprintf("database: %q\nseal: {keys: [{file: %q}]}\n", database, key)
	one, two := &managed{t: t}, &managed{t: t}
	one.Daemon = harness.StartDaemon(t, binaries(t), o)
	two.Daemon = harness.StartDaemon(t, binaries(t), o)
	one.root = one.bootstrap()
	two.root = one.root
	elsewhere(t, "known at the other: the first key", func() bool {
		code, _ := two.ask(two.root, "GET", "/whoami", "")
		return code == 200
	})

	// A service and a credential of one are good at the other.
	n := one.settle(node, membership, environment, v)
	began := time.Now()
	ask := `{"jsonrpc":"2.0","id":1,"method":"eth_accounts","params":[]}`
	elsewhere(t, "served by the other", func() bool {
		code, _ := two.door(n.service, n.cred, n.password, ask)
		return code == 200
	})
	t.Logf("served by the other %s after it was started", time.Since(began).Round(time.Millisecond))
	for i := range 10 { // the same sender at both
		[]*managed{one, two}[i%2].sent(n)
	}
	harness.WaitNonce(t, node, n.account, 10, patience)
	for _, m := range []*managed{one, two} {
		eventually(t, patience, "ready", func() bool {
			got := m.want(200, "GET", n.place+"/services/"+n.service+"/status", "")
			return got["state"] == "started" && got["ready"] == true
		})
		if all := m.list(n.place + "/services/" + n.service + "/transactions?limit=100"); len(all) != 10 {
			t.Errorf("%d transactions are shown", len(all))
		}
	}

	// A revoked credential is good nowhere, and its sockets end.
	conn := two.socket(n.service, n.cred, n.password)
	tell(t, conn, newHeads)
	said(t, conn, "eth_subscription")
	began = time.Now()
	fresh := one.want(200, "POST", n.place+"/appcreds/"+n.cred+"/regenerate", "")["password"].(string)
	elsewhere(t, "refused by the other: the old password", func() bool {
		code, _ := two.door(n.service, n.cred, n.password, ask)
		return code == 401
	})
	t.Logf("refused by the other after %s", time.Since(began).Round(time.Millisecond))
	t.Logf("its socket at the other was closed after %s", closed(t, conn, began).Round(time.Millisecond))
	if code, answer := two.door(n.service, n.cred, fresh, ask); code != 200 {
		t.Errorf("the new password: %s", answer)
	}
	api := one.apiKey(`{"role":"auditor"}`)
	for _, want := range []int{200, 401} {
		elsewhere(t, fmt.Sprint("answered by ", want, ": the API key"), func() bool {
			code, _ := two.ask(api, "GET", "/whoami", "")
			return code == want
		})
		if want == 200 {
			one.want(204, "DELETE", "/apikeys/"+api[:10], "")
		}
	}

	// A rotated secret is used by both, and what is deleted is gone from both.
	n.password = fresh
	sent, old := 10, new(atomic.Bool)
	v.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Vault-Token") != "hvs.next" {
			old.Store(true)
		}
		return false
	})
	v.Accept("hvs.next")
	one.want(200, "PATCH", n.place+"/configurations/"+n.configuration, `{"details":{"user_secret":"hvs.next"}}`)
	eventually(t, patience, "used by both: the new secret", func() bool {
		old.Store(false)
		two.sent(n)
		one.sent(n)
		sent += 2
		return !old.Load()
	})
	v.Revoke()
	v.Accept("hvs.next")
	two.sent(n)
	one.sent(n)
	harness.WaitNonce(t, node, n.account, uint64(sent+2), patience)
	if code, text := one.ask(one.root, "DELETE", n.place+"/services/"+n.service, ""); code != 204 && code != 202 {
		t.Errorf("DELETE: %d %s", code, text)
	}
	elsewhere(t, "gone from the other", func() bool {
		code, _ := two.door(n.service, n.cred, fresh, ask)
		return code == 404
	})
	eventually(t, patience, "gone", func() bool {
		code, _ := two.ask(two.root, "GET", n.place+"/services/"+n.service, "")
		return code == 404
	})
	one.want(204, "DELETE", n.place+"/configurations/"+n.configuration, "")
}
