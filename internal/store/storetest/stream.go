// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func newStream() store.Stream {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Stream{
		ID: store.NewID(), Environment: "e1", Membership: "m1", Wallet: "treasury", Name: "all", Settings: `{"type":"webhook"}`,
		Secret: []byte{0, 1, 2}, Principal: "key:u0bbbbbbb1", Created: now, Updated: now,
	}
}

func newSubscription(s store.Stream) store.Subscription {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Subscription{
		ID: store.NewID(), Stream: s.ID, Name: "Changed", Event: `[{"type":"event"}]`, Address: "0x00000000000000000000000000000000000000aa",
		FromBlock: "latest", Checkpoint: `{"block":1}`, Principal: "key:u0bbbbbbb1", Created: now, Updated: now,
	}
}

func insertStream(t *testing.T, db *store.DB, change func(*store.Stream)) store.Stream {
	t.Helper()
	s := newStream()
	if change != nil {
		change(&s)
	}
	write(t, db, func(w *store.Writer) error { return w.InsertStream(s) })
	return s
}

func insertSubscription(t *testing.T, db *store.DB, s store.Stream) store.Subscription {
	t.Helper()
	u := newSubscription(s)
	write(t, db, func(w *store.Writer) error { return w.InsertSubscription(u) })
	return u
}

func readStream(t *testing.T, db *store.DB, id string) store.Stream {
	t.Helper()
	s, err := db.Stream(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readSubscription(t *testing.T, db *store.DB, id string) store.Subscription {
	t.Helper()
	u, err := db.Subscription(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func acquireStream(t *testing.T, db *store.DB, id, owner string, ttl time.Duration) store.Stream {
	t.Helper()
	s, err := db.AcquireStream(t.Context(), id, owner, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var streamTests = []test{
	{"AStreamComesBackAsItWasPut", streamRows},
	{"AChangeWantsWhatWasRead", streamChange},
	{"AStreamGoesWithItsSubscriptions", streamDelete},
	{"ListsAreOfOnePlaceAndPaged", streamLists},
	{"OfManyOneHoldsAStream", streamRace},
	{"ALeaseEndsOrIsLetGo", streamLease},
	{"ACheckpointIsTheHoldersAlone", streamCheckpoint},
	{"ACheckpointOfBeforeAResetIsNotWritten", streamReset},
	{"ASecretIsSealedAnewOnlyAsItWasRead", streamReseal},
}

func streamRows(t *testing.T, db *store.DB) {
	s := insertStream(t, db, nil)
	got := readStream(t, db, s.ID)
	s.Until = got.Until // of nobody
	wantEqual(t, got, s)
	bare := insertStream(t, db, func(s *store.Stream) { s.Secret, s.Suspended = nil, true })
	got = readStream(t, db, bare.ID)
	bare.Until = got.Until
	wantEqual(t, got, bare)
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.InsertStream(s) }), store.ErrExists)

	u := insertSubscription(t, db, s)
	wantEqual(t, readSubscription(t, db, u.ID), u)
	if !readStream(t, db, s.ID).Updated.After(s.Updated) {
		t.Error("a new subscription is no change of its stream")
	}
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.InsertSubscription(u) }), store.ErrExists)
	u.Stream = "nothing"
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.InsertSubscription(u) }), store.ErrNotFound)
	write(t, db, func(w *store.Writer) error {
		streams, err := w.CountStreams("e1", "m1")
		none, err2 := w.CountStreams("e1", "m2")
		subs, err3 := w.CountSubscriptions(s.ID)
		wantEqual(t, []any{streams, none, subs, err, err2, err3}, []any{int64(2), int64(0), int64(1), nil, nil, nil})
		return nil
	})
}

func streamChange(t *testing.T, db *store.DB) {
	s := insertStream(t, db, nil)
	was := s.Updated
	s.Name, s.Settings, s.Secret, s.Suspended, s.Updated = "other", `{}`, nil, true, was.Add(time.Second)
	write(t, db, func(w *store.Writer) error { return w.UpdateStream(s, was) })
	got := readStream(t, db, s.ID)
	s.Until = got.Until
	wantEqual(t, got, s)
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.UpdateStream(s, was) }), store.ErrRevision)
}

func streamDelete(t *testing.T, db *store.DB) {
	s, kept := insertStream(t, db, nil), insertStream(t, db, nil)
	u, other := insertSubscription(t, db, s), insertSubscription(t, db, kept)
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.DeleteSubscription(s.ID, other.ID, time.Now()) }), store.ErrNotFound)
	write(t, db, func(w *store.Writer) error { return w.DeleteStream(s.ID) })
	_, err := db.Stream(t.Context(), s.ID)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.Subscription(t.Context(), u.ID)
	wantErr(t, err, store.ErrNotFound)
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.DeleteStream(s.ID) }), store.ErrNotFound)
	readSubscription(t, db, other.ID)
	write(t, db, func(w *store.Writer) error { return w.DeleteSubscription(kept.ID, other.ID, time.Now()) })
	_, err = db.Subscription(t.Context(), other.ID)
	wantErr(t, err, store.ErrNotFound)
}

func streamLists(t *testing.T, db *store.DB) {
	first, second := insertStream(t, db, nil), insertStream(t, db, nil)
	elsewhere := []store.Stream{
		insertStream(t, db, func(s *store.Stream) { s.Environment = "" }),
		insertStream(t, db, func(s *store.Stream) { s.Membership = "m2" }),
		insertStream(t, db, func(s *store.Stream) { s.Wallet = "petty-cash" }),
	}
	u := insertSubscription(t, db, first)
	v := insertSubscription(t, db, second)
	insertSubscription(t, db, elsewhere[0])
	here := store.StreamFilter{Wallet: "treasury", Environment: "e1", Membership: "m1"}
	list := func(f store.StreamFilter) (ids []string) {
		all, err := db.Streams(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			ids = append(ids, s.ID)
		}
		return ids
	}
	subs := func(f store.StreamFilter) (ids []string) {
		all, err := db.Subscriptions(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			ids = append(ids, u.ID)
		}
		return ids
	}
	wantEqual(t, list(here), []string{first.ID, second.ID})
	wantEqual(t, len(list(store.StreamFilter{})), 5)
	wantEqual(t, list(store.StreamFilter{Wallet: "treasury", Membership: "m1"}), []string{elsewhere[0].ID})
	wantEqual(t, subs(here), []string{u.ID, v.ID})
	page := here
	page.Limit = 1
	wantEqual(t, list(page), []string{first.ID})
	page.After = first.ID
	wantEqual(t, list(page), []string{second.ID})
	page.After = u.ID
	wantEqual(t, subs(page), []string{v.ID})
	here.Stream = first.ID
	wantEqual(t, subs(here), []string{u.ID})
	here.Membership = "m2"
	wantEqual(t, subs(here), []string(nil))
}

func streamRace(t *testing.T, db *store.DB) {
	s := insertStream(t, db, nil)
	won := race(t, func(int) (bool, error) {
		_, err := db.AcquireStream(t.Context(), s.ID, store.NewID(), time.Minute)
		if err != nil {
			wantErr(t, err, store.ErrLeaseHeld)
		}
		return err == nil, nil
	})
	if got := readStream(t, db, s.ID); won != 1 || got.Epoch != 1 || got.Holder == "" {
		t.Errorf("%d hold it: %+v", won, got)
	}
}

func streamLease(t *testing.T, db *store.DB) {
	ctx := t.Context()
	s := insertStream(t, db, nil)
	mine := acquireStream(t, db, s.ID, "a", 200*time.Millisecond)
	if mine.Epoch != 1 || mine.Holder != "a" || mine.Settings != s.Settings {
		t.Fatalf("got %+v", mine)
	}
	_, err := db.AcquireStream(ctx, s.ID, "b", time.Minute)
	wantErr(t, err, store.ErrLeaseHeld)
	held, err := db.RenewStreams(ctx, "a", 300*time.Millisecond)
	wantErr(t, err, nil)
	wantEqual(t, held, map[string]int64{s.ID: 1})
	time.Sleep(400 * time.Millisecond)
	held, err = db.RenewStreams(ctx, "a", time.Minute)
	wantErr(t, err, nil)
	wantEqual(t, held, map[string]int64{})
	wantEqual(t, acquireStream(t, db, s.ID, "b", time.Minute).Epoch, int64(2))
	wantErr(t, db.ReleaseStream(ctx, s.ID, "a", 1), nil) // no longer a's: nothing happens
	wantErr(t, db.ReleaseStream(ctx, s.ID, "b", 1), nil)
	wantEqual(t, readStream(t, db, s.ID).Holder, "b")
	wantErr(t, db.SetStreamTrouble(ctx, s.ID, "a", 1, "x"), nil)
	wantErr(t, db.SetStreamTrouble(ctx, s.ID, "b", 2, "y"), nil)
	wantEqual(t, readStream(t, db, s.ID).Trouble, "y")
	wantErr(t, db.ReleaseStream(ctx, s.ID, "b", 2), nil)
	wantEqual(t, acquireStream(t, db, s.ID, "c", time.Minute).Epoch, int64(3))
	wantEqual(t, acquireStream(t, db, s.ID, "c", time.Minute).Epoch, int64(4)) // asked anew

	asleep := insertStream(t, db, func(s *store.Stream) { s.Suspended = true })
	_, err = db.AcquireStream(ctx, asleep.ID, "a", time.Minute)
	wantErr(t, err, store.ErrLeaseHeld)
	_, err = db.AcquireStream(ctx, "nothing", "a", time.Minute)
	wantErr(t, err, store.ErrLeaseHeld)
}

func streamCheckpoint(t *testing.T, db *store.DB) {
	ctx := t.Context()
	s := insertStream(t, db, nil)
	u, foreign := insertSubscription(t, db, s), insertSubscription(t, db, insertStream(t, db, nil))
	acquireStream(t, db, s.ID, "a", time.Minute)
	save := func(owner string, epoch int64, text string) error {
		return db.SaveCheckpoints(ctx, s.ID, owner, epoch, []store.SubscriptionCheckpoint{
			{ID: u.ID, Updated: u.Updated, Checkpoint: text}, {ID: foreign.ID, Updated: foreign.Updated, Checkpoint: text}, {ID: "nothing", Updated: u.Updated},
		})
	}
	changed := readStream(t, db, s.ID).Updated
	wantErr(t, save("a", 1, "one"), nil)
	got := readSubscription(t, db, u.ID)
	if got.Checkpoint != "one" || !got.Updated.Equal(u.Updated) || !readStream(t, db, s.ID).Updated.Equal(changed) {
		t.Errorf("got %+v", got)
	}
	wantEqual(t, readSubscription(t, db, foreign.ID).Checkpoint, foreign.Checkpoint)
	wantErr(t, save("b", 1, "two"), store.ErrLeaseLost)
	wantErr(t, save("a", 2, "two"), store.ErrLeaseLost)
	acquireStream(t, db, s.ID, "a", time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	wantErr(t, save("a", 2, "two"), store.ErrLeaseLost)
	wantEqual(t, readSubscription(t, db, u.ID).Checkpoint, "one")
}

func streamReset(t *testing.T, db *store.DB) {
	s := insertStream(t, db, nil)
	u := insertSubscription(t, db, s)
	acquireStream(t, db, s.ID, "a", time.Minute)
	changed := readStream(t, db, s.ID).Updated
	was := u.Updated
	u.FromBlock, u.Checkpoint, u.Updated = "7", `{"block":7}`, was.Add(time.Second)
	write(t, db, func(w *store.Writer) error { return w.ResetSubscription(u, was) })
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.ResetSubscription(u, was) }), store.ErrRevision)
	if !readStream(t, db, s.ID).Updated.After(changed) {
		t.Error("a reset is no change of the stream")
	}
	wantErr(t, db.SaveCheckpoints(t.Context(), s.ID, "a", 1, []store.SubscriptionCheckpoint{{ID: u.ID, Updated: was, Checkpoint: "old"}}), nil)
	wantEqual(t, readSubscription(t, db, u.ID), u)
	u.Stream = "nothing"
	wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.ResetSubscription(u, u.Updated) }), store.ErrNotFound)
}

func streamReseal(t *testing.T, db *store.DB) {
	ctx := t.Context()
	s := insertStream(t, db, nil)
	wantErr(t, db.ResealStream(ctx, s.ID, s.Secret, []byte{9}), nil)
	wantErr(t, db.ResealStream(ctx, s.ID, s.Secret, []byte{8}), store.ErrRevision)
	got := readStream(t, db, s.ID)
	s.Secret, s.Until = []byte{9}, got.Until
	wantEqual(t, got, s)
}
