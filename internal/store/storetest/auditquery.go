// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// trail writes n intents, each with an outcome, and n events, and returns the ids
// of all, newest first.
func trail(t *testing.T, db *store.DB, n int) (ids []string, all []store.AuditRecord) {
	t.Helper()
	for i := range n {
		at := time.Now().UTC().Truncate(time.Microsecond)
		intent := audit.Intent{
			ID: store.NewID(), At: at, Principal: fmt.Sprintf("key:%d", i%3), Wallet: fmt.Sprintf("wallet-%d", i%2), Address: common.Address{byte(i % 4)},
			Action: []audit.Action{audit.SendTransaction, audit.SignMessage}[i%2], Subject: fmt.Sprintf("subject-%d", i), Verdict: "allow: default", Detail: `{"to":"0x"}`,
		}
		outcome := audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: at, Digest: common.Hash{byte(i)}, RequestID: "r"}
		event := audit.Event{
			ID: store.NewID(), At: at, Principal: fmt.Sprintf("key:%d", i%3), Kind: []string{"service-create", "sign-in"}[i%2], Consortium: "c", Membership: fmt.Sprintf("m%d", i%2),
			Wallet: fmt.Sprintf("wallet-%d", i%2), Subject: fmt.Sprintf("subject-%d", i), Detail: `{}`,
		}
		write(t, db, func(w *store.Writer) error {
			if err := w.AuditIntent(intent); err != nil {
				return err
			}
			if err := w.AuditOutcome(outcome); err != nil {
				return err
			}
			return w.AuditEvent(event)
		})
		ids = append(ids, intent.ID, outcome.ID, event.ID)
		all = append(all, store.AuditRecord{Intent: &intent}, store.AuditRecord{Intent: &intent, Outcome: &outcome}, store.AuditRecord{Event: &event})
	}
	slices.Reverse(ids)
	slices.Reverse(all)
	return ids, all
}

// pages reads page by page to the end.
func pages(t *testing.T, db *store.DB, f store.AuditFilter) (ids []string) {
	t.Helper()
	for range 10_000 {
		page, next, err := db.AuditRecords(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			ids = append(ids, r.ID())
		}
		if next == "" {
			return ids
		}
		f.Before = next
	}
	t.Fatal("the pages have no end")
	return nil
}

var auditQueryTests = []test{
	{"RecordsComeBackAsTheyWereNewestFirst", func(t *testing.T, db *store.DB) {
		_, want := trail(t, db, 5)
		got, next, err := db.AuditRecords(t.Context(), store.AuditFilter{})
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		wantEqual(t, got, want)
		for _, r := range want {
			one, err := db.AuditRecord(t.Context(), r.ID())
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, one, r)
		}
		_, err = db.AuditRecord(t.Context(), store.NewID())
		wantErr(t, err, store.ErrNotFound)
	}},
	// Whatever the filter, the page's length and how many rows a page looks at: the
	// pages together are what a filter in memory lets through.
	{"PagesLoseAndRepeatNothing", func(t *testing.T, db *store.DB) {
		_, all := trail(t, db, 40)
		dice := rand.New(rand.NewPCG(7, 7))
		for range 60 {
			f := store.AuditFilter{Limit: 1 + dice.IntN(30), Scan: 1 + dice.IntN(50)}
			f.Intents, f.Outcomes, f.Events = dice.IntN(2) == 0, dice.IntN(2) == 0, dice.IntN(2) == 0
			if dice.IntN(3) == 0 {
				f.Principal = "key:1"
			}
			if dice.IntN(3) == 0 {
				f.Wallet = "wallet-1"
			}
			switch dice.IntN(6) {
			case 0:
				f.Action = audit.SignMessage
			case 1:
				f.Event = "sign-in"
			case 2:
				f.Address = common.Address{3}
			case 3:
				f.Subject = "subject-7"
			case 4:
				f.See = func(r store.AuditRecord) bool { return strings.HasSuffix(r.ID(), "0") }
			}
			if dice.IntN(4) == 0 {
				f.From, f.To = atOf(all[len(all)/2]), atOf(all[1])
			}
			var want []string
			for _, r := range all {
				if wanted(f, r) {
					want = append(want, r.ID())
				}
			}
			if got := pages(t, db, f); !slices.Equal(got, want) {
				t.Fatalf("%+v:\ngot  %v\nwant %v", f, got, want)
			}
		}
	}},
	{"OwnersOfWalletsAreWhatEventsSay", func(t *testing.T, db *store.DB) {
		trail(t, db, 3)
		got, err := db.AuditOwners(t.Context(), "service-create", "")
		if err != nil || len(got) != 2 || got[0].Wallet != "wallet-0" || got[0].Membership != "m0" {
			t.Fatalf("%+v %v", got, err)
		}
		if got, err = db.AuditOwners(t.Context(), "service-create", got[0].Event); err != nil || len(got) != 1 {
			t.Fatalf("%+v %v", got, err)
		}
	}},
	{"WitnessesAreRemembered", func(t *testing.T, db *store.DB) {
		none, err := db.AuditWitness(t.Context(), "w")
		wantErr(t, err, nil)
		wantEqual(t, none, store.AuditWitness{Name: "w"})
		for _, size := range []int64{3, 9} {
			a := store.AuditWitness{Name: "w", Size: size, At: time.Now().UTC().Truncate(time.Microsecond), Note: "n", Error: "e"}
			wantErr(t, db.PutAuditWitness(t.Context(), a), nil)
			got, err := db.AuditWitness(t.Context(), "w")
			wantErr(t, err, nil)
			wantEqual(t, got, a)
		}
		all, err := db.AuditWitnesses(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
	}},
}

func atOf(r store.AuditRecord) time.Time {
	switch {
	case r.Outcome != nil:
		return r.Outcome.At
	case r.Event != nil:
		return r.Event.At
	}
	return r.Intent.At
}

// wanted is the filter, written down in another way.
func wanted(f store.AuditFilter, r store.AuditRecord) bool {
	if f.Intents || f.Outcomes || f.Events {
		if !map[audit.Kind]bool{audit.IntentKind: f.Intents, audit.OutcomeKind: f.Outcomes, audit.EventKind: f.Events}[r.Kind()] {
			return false
		}
	}
	var principal, wallet, subject, action, event string
	var address common.Address
	if r.Event != nil {
		principal, wallet, subject, event = r.Event.Principal, r.Event.Wallet, r.Event.Subject, r.Event.Kind
	} else {
		principal, wallet, subject, action, address = r.Intent.Principal, r.Intent.Wallet, r.Intent.Subject, string(r.Intent.Action), r.Intent.Address
	}
	at := atOf(r)
	return (f.Principal == "" || f.Principal == principal) && (f.Wallet == "" || f.Wallet == wallet) && (f.Subject == "" || f.Subject == subject) &&
		(f.Action == "" || string(f.Action) == action) && (f.Event == "" || f.Event == event) && (f.Address == common.Address{} || f.Address == address) &&
		(f.From.IsZero() || !at.Before(f.From)) && (f.To.IsZero() || at.Before(f.To)) && (f.See == nil || f.See(r))
}
