// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/webhook"
)

var _ txmgr.Hooks = (*webhook.Hooks)(nil)

func aTx(state store.TxState) store.Tx {
	return store.Tx{
		ID: "t1", Wallet: "treasury", Sender: "1337-0a0b0c0d-blue-0x00000000000000000000000000000000000000aa", Kind: store.UserTx, State: state,
	}
}

// decoded is a body as a receiver sees it.
func decoded(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func newHooks(t *testing.T, cfg webhook.Config) *webhook.Hooks {
	t.Helper()
	h, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEachStateIsOneTypeOfEvent(t *testing.T) {
	h := newHooks(t, webhook.Config{Hooks: []webhook.Hook{{Wallet: "treasury", Name: "all", URL: "https://a.example"}}})
	for state, want := range map[store.TxState]string{
		store.Offered: "accepted", store.Queued: "accepted", store.Held: "accepted", store.Assigned: "accepted",
		store.Signed: "sent", store.Sent: "sent", store.Mined: "mined", store.Superseded: "", store.Confirmed: "confirmed",
		store.Replaced: "replaced", store.Displaced: "displaced", store.Failed: "failed",
	} {
		rows := h.Events(aTx(state), nil)
		if want == "" {
			if len(rows) != 0 {
				t.Errorf("%s: got %d events", state, len(rows))
			}
			continue
		}
		if len(rows) != 1 || decoded(t, rows[0].Body)["type"] != want {
			t.Errorf("%s: got %+v, want %s", state, rows, want)
		}
	}
}

func TestBodySaysWhatIsKnown(t *testing.T) {
	h := newHooks(t, webhook.Config{Hooks: []webhook.Hook{{Wallet: "treasury", Name: "all", URL: "https://a.example"}}})
	nonce := uint64(7)
	tx := aTx(store.Mined)
	tx.Nonce, tx.Hash, tx.Block, tx.BlockHash, tx.Succeeded, tx.IdempotencyKey = &nonce, common.Hash{1}, 99, common.Hash{2}, true, "order-4711"
	row := h.Events(tx, []common.Hash{{3}, {1}})[0]
	if row.Hook != "treasury/all" || row.Wallet != "treasury" || row.Tx != "t1" || row.Created.IsZero() {
		t.Fatalf("got %+v", row)
	}
	got := decoded(t, row.Body)
	if got["id"] != row.ID || got["wallet"] != "treasury" || got["created"] != row.Created.Format("2006-01-02T15:04:05.999999Z") {
		t.Fatalf("got %v", got)
	}
	want := map[string]any{
		"id": "t1", "chain_id": 1337.0, "from": "0x00000000000000000000000000000000000000AA", "nonce": 7.0, "state": "mined",
		"hash": common.Hash{1}.Hex(), "hashes": []any{common.Hash{3}.Hex(), common.Hash{1}.Hex()},
		"block": map[string]any{"number": 99.0, "hash": common.Hash{2}.Hex()}, "succeeded": true, "idempotency_key": "order-4711",
	}
	if !reflect.DeepEqual(got["transaction"], want) {
		t.Fatalf("got  %v\nwant %v", got["transaction"], want)
	}

	bare := decoded(t, h.Events(aTx(store.Queued), nil)[0].Body)["transaction"]
	want = map[string]any{"id": "t1", "chain_id": 1337.0, "from": want["from"], "state": "queued", "hashes": []any{}}
	if !reflect.DeepEqual(bare, want) {
		t.Fatalf("got  %v\nwant %v", bare, want)
	}
}

// The error is worded as the caller was told it.
func TestFailedCarriesTheCallersError(t *testing.T) {
	h := newHooks(t, webhook.Config{Hooks: []webhook.Hook{{Wallet: "treasury", Name: "all", URL: "https://a.example"}}})
	for _, err := range []error{
		&txmgr.RefusedError{Code: -32003, Msg: "nonce 7 is taken"},
		&txmgr.RevertError{Reason: "no funds", Data: []byte{1}},
		&txmgr.RevertError{},
		&txmgr.BackendError{Kind: "timeout"},
	} {
		tx := aTx(store.Failed)
		tx.Error = txmgr.EncodeFailure(err)
		got := decoded(t, h.Events(tx, nil)[0].Body)["transaction"].(map[string]any)["error"].(map[string]any)
		if got["message"] != err.Error() || got["code"] == 0.0 {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	tx := aTx(store.Failed)
	tx.Error = "plain"
	if got := string(h.Events(tx, nil)[0].Body); !strings.Contains(got, `{"code":-32000,"message":"plain"}`) {
		t.Errorf("got %s", got)
	}
}

func TestOnlyThoseWhoWantItHearOfIt(t *testing.T) {
	h := newHooks(t, webhook.Config{Hooks: []webhook.Hook{
		{Wallet: "treasury", Name: "ends", URL: "https://a.example", Events: []string{"confirmed", "failed"}},
		{Wallet: "treasury", Name: "all", URL: "https://b.example"},
		{Wallet: "petty-cash", Name: "all", URL: "https://c.example"},
	}})
	names := func(tx store.Tx) (all []string) {
		for _, e := range h.Events(tx, nil) {
			all = append(all, e.Hook)
		}
		return all
	}
	if got := names(aTx(store.Mined)); !slices.Equal(got, []string{"treasury/all"}) {
		t.Errorf("got %v", got)
	}
	if got := names(aTx(store.Failed)); !slices.Equal(got, []string{"treasury/ends", "treasury/all"}) {
		t.Errorf("got %v", got)
	}
	other, fill := aTx(store.Mined), aTx(store.Mined)
	other.Wallet, fill.Kind = "no-hooks", store.FillTx
	if got := append(names(other), names(fill)...); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { h.Events(other, nil) }); n != 0 {
		t.Errorf("a wallet without hooks costs %v allocations", n)
	}
}

func TestMistakenHooksAreRefused(t *testing.T) {
	for name, hooks := range map[string][]webhook.Hook{
		"no host":   {{Wallet: "w", Name: "a", URL: "https:///k3y"}},
		"scheme":    {{Wallet: "w", Name: "a", URL: "ftp://a.example/k3y"}},
		"no URL":    {{Wallet: "w", Name: "a", URL: "%zz/k3y"}},
		"two names": {{Wallet: "w", Name: "a", URL: "https://a.example"}, {Wallet: "w", Name: "a", URL: "https://b.example"}},
	} {
		_, err := webhook.New(webhook.Config{Hooks: hooks})
		if err == nil || !strings.Contains(err.Error(), "w/a") || strings.Contains(err.Error(), "k3y") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
