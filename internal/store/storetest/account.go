// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func anAccount(last byte) store.Account {
	return store.Account{
		Wallet: "treasury", Address: common.BytesToAddress([]byte{last}), Ref: "ref", Name: "name", Protection: "hsm", State: "enabled",
		Reason: "because", Tags: map[string]string{"a": "ü\"", "b": ""}, Seen: time.Now().UTC().Truncate(time.Microsecond),
	}
}

var accountTests = []test{
	{"RefreshReplacesAndMarksTheMissing", func(t *testing.T, db *store.DB) {
		first, second, third, other := anAccount(1), anAccount(2), anAccount(3), anAccount(1)
		other.Wallet, other.Tags = "petty cash", nil
		put := func(wallet string, accounts ...store.Account) {
			t.Helper()
			write(t, db, func(w *store.Writer) error { return w.PutAccounts(wallet, accounts) })
		}
		wantAll := func(wallet string, want ...store.Account) {
			t.Helper()
			got, err := db.Accounts(t.Context(), wallet)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, got, want)
		}
		put("treasury", second, first)
		put("petty cash", other)
		wantAll("treasury", first, second)

		second.Ref, second.State, second.Tags = "newer", "disabled", nil
		put("treasury", third, second)
		first.State = store.Missing
		wantAll("treasury", first, second, third)
		wantAll("petty cash", other)

		first.State = "enabled"
		put("treasury", first, second, third)
		wantAll("treasury", first, second, third)
		put("treasury")
		first.State, second.State, third.State = store.Missing, store.Missing, store.Missing
		wantAll("treasury", first, second, third)
		wantAll("nothing")
	}},
}

var auditTests = []test{
	{"IntentAndItsOutcomesComeBack", func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		intent := audit.Intent{
			ID: store.NewID(), At: now, Principal: "app:shop", Wallet: "treasury", Address: common.HexToAddress("0xaa"),
			Action: audit.SendTransaction, Subject: store.NewID(), Verdict: "allow: default",
		}
		bad := audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: now, Error: "throttled"}
		good := audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: now, Digest: common.HexToHash("0x01"), Hash: common.HexToHash("0x02"), RequestID: "r-1"}
		var log audit.Log = db
		for _, err := range []error{log.WriteIntent(t.Context(), intent), log.WriteOutcome(t.Context(), bad), log.WriteOutcome(t.Context(), good)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		gotIntent, gotOutcomes, err := db.AuditOf(t.Context(), intent.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, gotIntent, intent)
		wantEqual(t, gotOutcomes, []audit.Outcome{bad, good})
		_, _, err = db.AuditOf(t.Context(), "nothing")
		wantErr(t, err, store.ErrNotFound)
	}},
	// The log hashes a record as it is written, and later as it is read.
	{"RecordsReadBackAsTheyWereWritten", func(t *testing.T, db *store.DB) {
		now := time.Now()
		intent := audit.Intent{
			ID: store.NewID(), At: now, Principal: "bad \xff\xfe and \x00", Wallet: "é\u2028", Address: common.HexToAddress("0xaa"),
			Action: audit.SignMessage, Subject: "\"\n\\", Verdict: "allow: default", Detail: `{"to":"0x1"}`,
		}
		outcome := audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: now.Add(time.Nanosecond), Digest: common.HexToHash("0x01"), Error: "\x00"}
		event := audit.Event{ID: store.NewID(), At: now, Principal: "p", Kind: "k", Consortium: "c", Environment: "e", Membership: "m", Wallet: "w", Subject: "s", Detail: "{\xff}"}
		write(t, db, func(w *store.Writer) error {
			return errors.Join(w.AuditIntent(intent), w.AuditOutcome(outcome), w.AuditEvent(event))
		})
		for _, r := range []audit.Record{
			{Kind: audit.IntentKind, Intent: &intent},
			{Kind: audit.OutcomeKind, Outcome: &outcome},
			{Kind: audit.EventKind, Event: &event},
		} {
			rows, err := db.AuditStored(t.Context(), r.Kind, []string{r.ID(), "nothing"})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(rows[r.ID()].Line), string(r.AppendLine(nil)); got != want || len(rows) != 1 {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	}},
	{"AppendsOnly", func(t *testing.T, db *store.DB) {
		intent := audit.Intent{ID: store.NewID(), At: time.Now(), Verdict: "allow: default"}
		if err := db.WriteIntent(t.Context(), intent); err != nil {
			t.Fatal(err)
		}
		intent.Verdict = "deny: afterthought"
		if err := db.WriteIntent(t.Context(), intent); err == nil {
			t.Fatal("an intent was overwritten")
		}
	}},
	// DESIGN.md, guarantee 6: the intent is in the commit of the acceptance.
	{"IntentGoesWithItsTransaction", func(t *testing.T, db *store.DB) {
		tx := newTx()
		err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := w.AuditIntent(audit.Intent{ID: tx.Intent, At: time.Now(), Subject: tx.ID}); err != nil {
				return err
			}
			if err := w.InsertTx(tx); err != nil {
				return err
			}
			return errWanted
		})
		wantErr(t, err, errWanted)
		_, _, err = db.AuditOf(t.Context(), tx.Intent)
		wantErr(t, err, store.ErrNotFound)
	}},
}
