// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var listTests = []test{
	// Every combination of filters, against the same done in Go.
	{"FiltersAndPages", func(t *testing.T, db *store.DB) {
		address := map[string]common.Address{"a": common.HexToAddress("0xaa"), "a2": common.HexToAddress("0xaa"), "b": common.HexToAddress("0xbb")}
		var all []store.Tx
		states := []store.TxState{store.Confirmed, store.Failed, store.Sent, store.Queued, store.Replaced}
		write(t, db, func(w *store.Writer) error {
			for _, id := range []string{"a", "a2", "b"} {
				if err := w.PutSender(store.Sender{ID: id, Address: address[id]}); err != nil {
					return err
				}
			}
			for i := range 90 {
				tx := newTx()
				tx.Sender, tx.Wallet, tx.State = []string{"a", "b", "a2"}[i%3], []string{"treasury", "petty cash"}[i/3%2], states[i/6%5]
				all = append(all, tx)
				if err := w.InsertTx(tx); err != nil {
					return err
				}
			}
			return nil
		})
		slices.Reverse(all)

		var filters []store.TxFilter
		for _, wallet := range []string{"", "treasury", "nobody's"} {
			for _, who := range []store.TxFilter{{}, {Sender: "a"}, {Sender: "none"}, {Address: address["a"]}, {Address: address["b"], Sender: "b"}, {Address: address["b"], Sender: "a"}, {Address: common.HexToAddress("0xcc")}} {
				for _, in := range [][]store.TxState{nil, {store.Failed}, {store.Confirmed}, {store.Sent}, {store.Sent, store.Queued}, {store.Failed, store.Replaced, store.Queued}, {store.Confirmed, store.Failed}, {store.Mined}} {
					for _, before := range []string{"", all[40].ID} {
						for _, limit := range []int{0, 3} {
							filters = append(filters, store.TxFilter{Wallet: wallet, Sender: who.Sender, Address: who.Address, States: in, Before: before, Limit: limit})
						}
					}
				}
			}
		}
		for _, f := range filters {
			limit := f.Limit
			if limit == 0 {
				limit = 50
			}
			var want []string
			for _, tx := range all {
				if len(want) < limit && (f.Wallet == "" || f.Wallet == tx.Wallet) && (f.Sender == "" || f.Sender == tx.Sender) &&
					(f.Address == common.Address{} || f.Address == address[tx.Sender]) && (f.Before == "" || tx.ID < f.Before) &&
					(f.States == nil || slices.Contains(f.States, tx.State)) {
					want = append(want, tx.ID)
				}
			}
			got, err := db.List(t.Context(), f)
			if err != nil {
				t.Fatalf("%+v: %v", f, err)
			}
			if !slices.Equal(ids(got), want) {
				t.Fatalf("%+v:\ngot  %v\nwant %v", f, ids(got), want)
			}
		}
	}},
	{"SearchFindsWhatIsAskedFor", func(t *testing.T, db *store.DB) {
		a, b := common.HexToAddress("0xaa"), common.HexToAddress("0xbb")
		mine, won, lost, other, fill := newTx(), newTx(), newTx(), newTx(), newTx()
		mine.Sender, mine.IdempotencyKey = "a", "order-7"
		won.Sender, won.IdempotencyKey, won.Credential = "a", store.GatewayKey+"order-7", "app:other"
		lost.Sender, lost.IdempotencyKey = "a", "order-8"
		other.Sender, other.IdempotencyKey, other.Wallet = "b", "order-7", "petty cash"
		fill.Sender, fill.IdempotencyKey = "b", ""
		mine, won, lost = withNonce(mine, store.Sent, 7), withNonce(won, store.Confirmed, 8), withNonce(lost, store.Replaced, 8)
		other, fill = withNonce(other, store.Mined, 7), withNonce(fill, store.Confirmed, 8)
		waits := newTx()
		waits.Sender = "a"
		write(t, db, func(w *store.Writer) error {
			for id, address := range map[string]common.Address{"a": a, "b": b} {
				if err := w.PutSender(store.Sender{ID: id, Address: address}); err != nil {
					return err
				}
			}
			return nil
		})
		write(t, db, func(w *store.Writer) error {
			one, two := anAccount(0xaa), anAccount(0xbb)
			if err := w.PutAccounts("treasury", []store.Account{one, two}); err != nil {
				return err
			}
			two.Wallet = "petty cash"
			return w.PutAccounts("petty cash", []store.Account{two})
		})
		insert(t, db, mine, won, lost, other, fill, waits)
		first, second := common.HexToHash("0x01"), common.HexToHash("0x02")
		write(t, db, func(w *store.Writer) error {
			for hash, of := range map[common.Hash]store.Tx{first: mine, second: other} {
				err := w.InsertAttempt(store.Attempt{ID: store.NewID(), Tx: of.ID, Sender: of.Sender, Nonce: *of.Nonce, Kind: store.FirstAttempt, Hash: hash})
				if err != nil {
					return err
				}
			}
			return nil
		})
		treasury := store.TxFilter{Wallet: "treasury"}
		for name, c := range map[string]struct {
			ask  func(f *store.TxFilter)
			want []store.Tx
		}{
			"id":                         {func(f *store.TxFilter) { f.ID = mine.ID }, []store.Tx{mine}},
			"id of another wallet":       {func(f *store.TxFilter) { f.ID = other.ID }, nil},
			"hash":                       {func(f *store.TxFilter) { f.Hash = first }, []store.Tx{mine}},
			"hash of another wallet":     {func(f *store.TxFilter) { f.Hash = second }, nil},
			"key, whoever gave it":       {func(f *store.TxFilter) { f.Key = "order-7" }, []store.Tx{won, mine}},
			"key of the gateway's":       {func(f *store.TxFilter) { f.Key = store.GatewayKey + "order-7" }, []store.Tx{won}},
			"key and state":              {func(f *store.TxFilter) { f.Key, f.States = "order-7", []store.TxState{store.Sent} }, []store.Tx{mine}},
			"key and before":             {func(f *store.TxFilter) { f.Key, f.Before = "order-7", won.ID }, []store.Tx{mine}},
			"key and nonce":              {func(f *store.TxFilter) { f.Key, f.Nonce = "order-7", ptr(uint64(8)) }, []store.Tx{won}},
			"key in all wallets":         {func(f *store.TxFilter) { f.Key, f.Wallet = "order-7", "" }, []store.Tx{other, won, mine}},
			"key that nobody gave":       {func(f *store.TxFilter) { f.Key = "order-" }, nil},
			"nonce":                      {func(f *store.TxFilter) { f.Nonce = ptr(uint64(7)) }, []store.Tx{mine}},
			"nonce that two have had":    {func(f *store.TxFilter) { f.Nonce = ptr(uint64(8)) }, []store.Tx{fill, lost, won}},
			"nonce and limit":            {func(f *store.TxFilter) { f.Nonce, f.Limit = ptr(uint64(8)), 2 }, []store.Tx{fill, lost}},
			"nonce and before":           {func(f *store.TxFilter) { f.Nonce, f.Before = ptr(uint64(8)), fill.ID }, []store.Tx{lost, won}},
			"nonce and state":            {func(f *store.TxFilter) { f.Nonce, f.States = ptr(uint64(8)), []store.TxState{store.Replaced} }, []store.Tx{lost}},
			"nonce of an address":        {func(f *store.TxFilter) { f.Nonce, f.Address = ptr(uint64(8)), a }, []store.Tx{lost, won}},
			"nonce of no address":        {func(f *store.TxFilter) { f.Nonce, f.Address = ptr(uint64(8)), common.HexToAddress("0xcc") }, nil},
			"nonce in all wallets":       {func(f *store.TxFilter) { f.Nonce, f.Wallet = ptr(uint64(7)), "" }, []store.Tx{other, mine}},
			"nonce that nobody can have": {func(f *store.TxFilter) { f.Nonce = ptr(uint64(1 << 63)) }, nil},
			"hash and nonce that differ": {func(f *store.TxFilter) { f.Hash, f.Nonce = first, ptr(uint64(8)) }, nil},
		} {
			f := treasury
			c.ask(&f)
			got, err := db.List(t.Context(), f)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !slices.Equal(ids(got), ids(c.want)) {
				t.Errorf("%s: got %v, want %v", name, ids(got), ids(c.want))
			}
		}
	}},
	{"ManySendersAreCutIntoPages", func(t *testing.T, db *store.DB) {
		write(t, db, func(w *store.Writer) error {
			for i := range 20 {
				tx := newTx()
				tx.Sender = fmt.Sprintf("s%02d", i)
				if err := w.InsertTx(tx); err != nil {
					return err
				}
			}
			return nil
		})
		var got []string
		for before := ""; ; {
			page, err := db.List(t.Context(), store.TxFilter{States: []store.TxState{store.Queued}, Before: before, Limit: 6})
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, ids(page)...)
			before = page[len(page)-1].ID
		}
		all, err := db.List(t.Context(), store.TxFilter{})
		if err != nil || len(got) != 20 || !slices.Equal(got, ids(all)) {
			t.Fatalf("got %v (%v)", got, err)
		}
	}},
}
