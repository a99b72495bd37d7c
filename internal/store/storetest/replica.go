// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func replicas(t *testing.T, db *store.DB, within time.Duration) []store.Replica {
	t.Helper()
	all, err := db.Replicas(t.Context(), within)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func versions(t *testing.T, db *store.DB) map[string]int64 {
	t.Helper()
	all, err := db.SnapshotVersions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var replicaTests = []test{
	{"TheAliveAreThoseThatWereSeen", func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		a := store.Replica{Owner: "a", URL: "http://10.0.0.1:8547", Token: "t", Version: "1.0", Settings: "f", Started: now.Add(-time.Hour)}
		b := store.Replica{Owner: "b", Started: now}
		wantErr(t, db.PutReplica(t.Context(), b), nil)
		wantErr(t, db.PutReplica(t.Context(), a), nil)
		got := replicas(t, db, time.Minute)
		if len(got) != 2 || time.Since(got[0].Seen).Abs() > 10*time.Second || got[1].Owner != "b" {
			t.Fatalf("got %+v", got)
		}
		a.Seen = got[0].Seen
		wantEqual(t, got[0], a)

		time.Sleep(150 * time.Millisecond)
		a.Settings = "g"
		wantErr(t, db.PutReplica(t.Context(), a), nil)
		got = replicas(t, db, 100*time.Millisecond)
		if len(got) != 1 || got[0].Settings != "g" || !got[0].Seen.After(a.Seen) {
			t.Fatalf("got %+v", got)
		}
		wantErr(t, db.RemoveReplica(t.Context(), "a"), nil)
		wantErr(t, db.RemoveReplica(t.Context(), "a"), nil)
		if got = replicas(t, db, time.Hour); len(got) != 1 || got[0].Owner != "b" {
			t.Fatalf("got %+v", got)
		}
	}},
	{"VersionRisesWhenAccountsChange", func(t *testing.T, db *store.DB) {
		step := 0
		put := func(want int64, accounts ...store.Account) {
			t.Helper()
			step++
			wantErr(t, db.SaveAccounts(t.Context(), "treasury", accounts), nil)
			if got := versions(t, db)["treasury"]; got != want {
				t.Fatalf("step %d: version %d, want %d", step, got, want)
			}
		}
		if got := versions(t, db); len(got) != 0 {
			t.Fatalf("got %v", got)
		}
		a, b := anAccount(1), anAccount(2)
		put(1, a, b)
		put(1, b, a)
		later := time.Now().UTC().Add(time.Minute).Truncate(time.Microsecond)
		a.Seen, b.Seen = later, later
		put(1, a, b)
		stored, err := db.Accounts(t.Context(), "treasury")
		if err != nil || !stored[0].Seen.Equal(later) || !stored[1].Seen.Equal(later) {
			t.Fatalf("got %+v, %v", stored, err)
		}
		a.Seen = later.Add(time.Second)
		put(1, a, b)
		a.Reason = "another"
		put(2, a, b)
		a.Tags = map[string]string{"a": "other"}
		b.Tags = nil
		put(3, a, b)
		put(4, a)
		b.Seen = time.Time{}
		put(4, a) // b is missing already
		if stored, err = db.Accounts(t.Context(), "treasury"); err != nil || stored[1].State != store.Missing || !stored[1].Seen.Equal(later) {
			t.Fatalf("got %+v, %v", stored, err)
		}
		b.Seen = later
		put(5, a, b)
		put(6)
		wantErr(t, db.SaveAccounts(t.Context(), "petty cash", []store.Account{a}), nil)
		wantEqual(t, versions(t, db), map[string]int64{"treasury": 6, "petty cash": 1})
	}},
}
