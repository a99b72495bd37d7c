// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func putEvents(t *testing.T, db *store.DB, events ...store.Event) {
	t.Helper()
	write(t, db, func(w *store.Writer) error {
		for _, e := range events {
			if err := w.PutEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func newEvent(hook string, due time.Time) store.Event {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Event{ID: store.NewID(), Hook: hook, Wallet: "treasury", Tx: store.NewID(), Body: []byte(`{"a":1}`), Created: now, Due: due}
}

func dueEvents(t *testing.T, db *store.DB, limit int, hooks ...string) []store.Event {
	t.Helper()
	due, err := db.DueEvents(t.Context(), hooks, time.Now(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return due
}

func eventIDs(events []store.Event) []string {
	all := make([]string, len(events))
	for i, e := range events {
		all[i] = e.ID
	}
	return all
}

func wantCounts(t *testing.T, db *store.DB, want map[string]int) {
	t.Helper()
	got, err := db.EventCounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, want)
}

var eventTests = []test{
	{"DueAreThoseThatWaitedLongest", func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		second, first, later, other := newEvent("a", now), newEvent("a", now.Add(-time.Second)), newEvent("a", now.Add(time.Hour)), newEvent("b", now)
		atOnce := newEvent("a", time.Time{})
		atOnce.Created = now.Add(-time.Minute)
		putEvents(t, db, second, first, later, other, atOnce)
		atOnce.Due = atOnce.Created
		wantEqual(t, dueEvents(t, db, 9, "a"), []store.Event{atOnce, first, second})
		wantEqual(t, dueEvents(t, db, 2, "b", "a", "nobody"), []store.Event{other, atOnce, first})
		wantEqual(t, dueEvents(t, db, 9), []store.Event(nil))
		wantCounts(t, db, map[string]int{"a": 4, "b": 1})
	}},
	{"FailedWaitsAndDeliveredIsGone", func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		failing, good := newEvent("a", now), newEvent("a", now)
		putEvents(t, db, failing, good)
		wantErr(t, db.EventFailed(t.Context(), failing.ID, "status 500", now.Add(time.Hour)), nil)
		wantEqual(t, eventIDs(dueEvents(t, db, 9, "a")), []string{good.ID})
		wantErr(t, db.EventFailed(t.Context(), failing.ID, "status 503", now), nil)
		got := dueEvents(t, db, 9, "a")
		i := slices.IndexFunc(got, func(e store.Event) bool { return e.ID == failing.ID })
		if i < 0 || got[i].Tries != 2 || got[i].Error != "status 503" {
			t.Fatalf("got %+v", got)
		}
		wantErr(t, db.EventsDelivered(t.Context(), []string{good.ID, failing.ID, "nothing"}), nil)
		wantErr(t, db.EventsDelivered(t.Context(), nil), nil)
		wantCounts(t, db, map[string]int{})
		wantErr(t, db.EventFailed(t.Context(), good.ID, "", now), store.ErrNotFound)
	}},
	{"OldEventsAreDropped", func(t *testing.T, db *store.DB) {
		now := time.Now()
		var events []store.Event
		for i := range 250 {
			e := newEvent([]string{"a", "b"}[i%2], now)
			e.Created = now.Add(-time.Hour)
			events = append(events, e)
		}
		fresh := newEvent("a", now)
		putEvents(t, db, append(events, fresh)...)
		if n, err := db.DropEvents(t.Context(), now.Add(-time.Minute)); err != nil || n != 250 {
			t.Fatalf("dropped %d, %v", n, err)
		}
		wantEqual(t, eventIDs(dueEvents(t, db, 999, "a", "b")), []string{fresh.ID})
	}},
	{"AnEventGoesWithItsTransaction", func(t *testing.T, db *store.DB) {
		err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := w.PutEvent(newEvent("a", time.Time{})); err != nil {
				return err
			}
			return errWanted
		})
		wantErr(t, err, errWanted)
		wantCounts(t, db, map[string]int{})
	}},
}
