// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

func TestTransactionsAreFoundByNonceKeyHashAndID(t *testing.T) {
	r := newRig(t)
	r.fill()
	service := serviceID(r)
	mine, gateway, number, foreign := r.sent(service, "order-7", 41), r.sent(service, store.GatewayKey+"reply-1", 42), r.sent(service, "41", 43), r.sent("another", "order-9", 41)
	must(t, r.db.Write(t.Context(), func(w *store.Writer) error {
		return w.PutAccounts(service, []store.Account{{Wallet: service, Address: account}})
	}))
	b := r.signedIn(r.root)
	list := home("/wallets/" + service + "/transactions")
	for search, want := range map[string][]string{
		"order-7": {mine}, "reply-1": {gateway}, store.GatewayKey + "reply-1": {gateway}, "42": {gateway}, "41": {mine, number},
		"order-9": nil, "order": nil, "<b>": nil, foreign: nil,
	} {
		a := b.get(list + "?search=" + url.QueryEscape(search))
		if a.code != http.StatusOK {
			t.Errorf("search for %q: %d", search, a.code)
		}
		for _, id := range []string{mine, gateway, number, foreign} {
			shown := strings.Contains(a.text, "/transactions/"+id)
			if wanted := slices.Contains(want, id); shown != wanted {
				t.Errorf("search for %q: %s is shown %v, want %v", search, id, shown, wanted)
			}
		}
		if want == nil && !strings.Contains(a.text, "No transaction of this wallet has that hash, id, nonce or idempotency key.") {
			t.Errorf("search for %q does not say that there is nothing", search)
		}
	}
	if a := b.get(list + "?search=41&from=" + account.Hex()); !strings.Contains(a.text, "/transactions/"+mine) {
		t.Error("nothing is found by nonce and address")
	}
	if a := b.get(list + "?search=41&state=failed"); strings.Contains(a.text, "/transactions/"+mine) {
		t.Error("the search passes the other filters over")
	}
	if a := b.get(list + "?search=" + mine); a.code != http.StatusSeeOther || !strings.HasSuffix(a.header.Get("Location"), mine) {
		t.Errorf("search for an id: %d to %s", a.code, a.header.Get("Location"))
	}
}

// sent stores a transaction of the account, in a wallet.
func (r *rig) sent(wallet, key string, nonce uint64) string {
	r.Helper()
	payload, err := tx.EncodeUnsigned(types.NewTx(&types.DynamicFeeTx{Nonce: nonce, Gas: 21000, To: &account}))
	must(r, err)
	sender := store.Sender{ID: "1337-00000000-" + strings.ToLower(account.Hex()), ChainID: 1337, Genesis: common.Hash{1}, Address: account}
	id := store.NewID()
	row := store.Tx{
		ID: id, Wallet: wallet, Credential: "app:somebody", IdempotencyKey: key, Intent: store.NewID(), Sender: sender.ID,
		Nonce: &nonce, Kind: store.UserTx, Payload: payload, State: store.Sent,
	}
	if wallet == "another" {
		row.State = store.Superseded // another live row has that nonce
	}
	must(r, r.db.Write(r.Context(), func(w *store.Writer) error {
		if err := w.PutSender(sender); err != nil {
			return err
		}
		return w.InsertTx(row)
	}))
	return id
}

// Pages ask for their live parts themselves, and only while somebody looks at them:
// once an answer is written, nothing of the console runs on.
func TestLiveUpdatesCostNothingWhenNobodyLooks(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	service := serviceID(r)
	for _, path := range []string{"/overview", "/wallets/" + service, "/wallets/" + service + "/transactions", "/wallets/" + service + "/accounts"} {
		for _, headers := range [][]string{nil, {"X-Fragment", "1"}} {
			if a := b.get(home(path), headers...); a.code != http.StatusOK {
				t.Fatalf("GET %s: %d", path, a.code)
			}
		}
	}
	var running string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if running = atWork(); running == "" {
			return
		}
	}
	t.Errorf("after the last answer this goes on:\n%s", running)
}

// atWork is the stack of a goroutine of the console, other than of its tests.
func atWork() string {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(stack, "/internal/console.(*Console)") || strings.Contains(stack, "/internal/console.(*visit)") {
			return stack
		}
	}
	return ""
}
