// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var aSender = store.Sender{
	ID: sender, ChainID: 1337, Genesis: common.HexToHash("0x0a0b0c0d"), Instance: "blue", Address: common.HexToAddress("0xaa"),
	Membership: "m1", Proven: true, Parked: "look into it", ConfirmedNumber: 12, ConfirmedHash: common.HexToHash("0x0c"),
}

var senderTests = []test{
	{"EveryFieldComesBack", func(t *testing.T, db *store.DB) {
		bare := store.Sender{ID: "0"}
		write(t, db, func(w *store.Writer) error { return w.PutSender(aSender) })
		write(t, db, func(w *store.Writer) error { return w.PutSender(bare) })
		got, err := db.Sender(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, aSender)
		all, err := db.Senders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, all, []store.Sender{bare, aSender})
		_, err = db.Sender(t.Context(), "nothing")
		wantErr(t, err, store.ErrNotFound)
	}},
	{"StaysAsItIsWhenPutAgain", func(t *testing.T, db *store.DB) {
		write(t, db, func(w *store.Writer) error { return w.PutSender(aSender) })
		again := aSender
		again.Proven, again.Parked = false, ""
		write(t, db, func(w *store.Writer) error { return w.PutSender(again) })
		got, err := db.Sender(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, aSender)
	}},
	// TXMGR.md no. 23.
	{"IsRefusedToAnotherMembership", func(t *testing.T, db *store.DB) {
		write(t, db, func(w *store.Writer) error { return w.PutSender(aSender) })
		foreign := aSender
		foreign.Membership = "m2"
		err := db.Write(t.Context(), func(w *store.Writer) error { return w.PutSender(foreign) })
		wantErr(t, err, store.ErrForeignSender)
		if strings.Contains(err.Error(), aSender.Membership) {
			t.Fatalf("the error names the other membership: %v", err)
		}
	}},
	{"UpdateChangesOnlyWhatItNames", func(t *testing.T, db *store.DB) {
		write(t, db, func(w *store.Writer) error { return w.PutSender(aSender) })
		want := aSender
		for _, step := range []struct {
			update store.SenderUpdate
			change func(s *store.Sender)
		}{
			{store.SenderUpdate{}, func(*store.Sender) {}},
			{store.SenderUpdate{Parked: ptr("")}, func(s *store.Sender) { s.Parked = "" }},
			{store.SenderUpdate{Proven: ptr(false)}, func(s *store.Sender) { s.Proven = false }},
			{store.SenderUpdate{ConfirmedNumber: ptr(uint64(13)), ConfirmedHash: &common.Hash{}}, func(s *store.Sender) {
				s.ConfirmedNumber, s.ConfirmedHash = 13, common.Hash{}
			}},
		} {
			write(t, db, func(w *store.Writer) error { return w.UpdateSender(sender, step.update) })
			step.change(&want)
			got, err := db.Sender(t.Context(), sender)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, got, want)
		}
		err := db.Write(t.Context(), func(w *store.Writer) error {
			return w.UpdateSender("nothing", store.SenderUpdate{Proven: ptr(true)})
		})
		wantErr(t, err, store.ErrNotFound)
	}},
}
