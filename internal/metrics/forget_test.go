// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// names are the series that a scrape shows of a wallet.
func names(t *testing.T, r *Registry, wallet string) (list []string) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "wallet" && l.GetValue() == wallet {
					list = append(list, f.GetName())
				}
			}
		}
	}
	return list
}

func TestForgottenWalletLeavesNothingAndMakesRoom(t *testing.T) {
	r := New(Build{})
	show := func(wallet string) {
		r.Request(wallet, "eth_sendTransaction", "http", 0, time.Second)
		r.Signature(wallet, "ok", time.Second)
		r.BackendCall(wallet, "ok", time.Second)
		r.BackendUp(wallet, true)
		r.Accounts(wallet, 1, 0)
		r.ObserveStage(wallet, "sign", time.Second)
		r.Event(wallet, "accepted")
		r.NodeHead(wallet, 7)
		r.NodeError(wallet)
		r.SetSender(wallet, "s", txmgr.SenderGauges{})
		r.WatchBackend(wallet, func() (s keywallet.Status) { return s })
		r.WatchNode(wallet, func() (s node.Stats) { return s })
		r.WatchEndpoints(wallet, func() []node.EndpointStatus { return []node.EndpointStatus{{Name: "n"}} })
	}
	show("a")
	show("b")
	before := names(t, r, "b")
	if len(before) < 30 {
		t.Fatalf("only %d series are shown: %s", len(before), strings.Join(before, " "))
	}
	r.Forget("a")
	if left := names(t, r, "a"); len(left) > 0 {
		t.Errorf("of a is left: %s", strings.Join(left, " "))
	}
	if after := names(t, r, "b"); len(after) != len(before) {
		t.Errorf("of b %d series are left of %d", len(after), len(before))
	}
	for i := range 2 * maxWallets { // came and went
		wallet := fmt.Sprint("w", i)
		r.BackendUp(wallet, true)
		r.Forget(wallet)
	}
	r.BackendUp("new", true)
	if len(names(t, r, "new")) != 1 {
		t.Error("there is no room for a new wallet")
	}
}
