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
