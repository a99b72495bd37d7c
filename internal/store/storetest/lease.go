// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var leaseTests = []test{
	{"EveryGrantHasAHigherEpoch", func(t *testing.T, db *store.DB) {
		first := acquire(t, db, "a", time.Hour)
		second := acquire(t, db, "a", time.Hour) // the same owner asks anew
		wantErr(t, db.ReleaseLease(t.Context(), fence(second)), nil)
		third := acquire(t, db, "b", time.Hour)
		if first.Epoch != 1 || second.Epoch != 2 || third.Epoch != 3 {
			t.Fatalf("epochs %d, %d, %d", first.Epoch, second.Epoch, third.Epoch)
		}
		if left := time.Until(third.Expires); left < 50*time.Minute || left > 70*time.Minute {
			t.Fatalf("expires in %v", left)
		}
	}},
	{"AnothersLeaseIsHeldUntilItExpires", func(t *testing.T, db *store.DB) {
		acquire(t, db, "a", 150*time.Millisecond)
		_, err := db.AcquireLease(t.Context(), sender, "b", time.Hour)
		wantErr(t, err, store.ErrLeaseHeld)
		var held *store.LeaseHeldError
		if !errors.As(err, &held) || held.Owner != "a" || held.Expires.IsZero() {
			t.Fatalf("got %v", err)
		}
		time.Sleep(200 * time.Millisecond)
		if l := acquire(t, db, "b", time.Hour); l.Epoch != 2 {
			t.Fatalf("epoch %d", l.Epoch)
		}
	}},
	{"OfManyOneGetsIt", func(t *testing.T, db *store.DB) {
		n := race(t, func(int) (bool, error) {
			_, err := db.AcquireLease(t.Context(), sender, store.NewID(), time.Hour)
			if errors.Is(err, store.ErrLeaseHeld) {
				return false, nil
			}
			return true, err
		})
		if n != 1 {
			t.Fatalf("%d got it", n)
		}
	}},
	{"GrantSurvivesAFailureBesideIt", func(t *testing.T, db *store.DB) {
		granted := make([]store.Lease, racers)
		hold(t, db, func() {
			race(t, func(i int) (ok bool, err error) {
				if i%2 == 0 {
					granted[i], err = db.AcquireLease(t.Context(), store.NewID(), "a", time.Hour)
					return true, err
				}
				err = db.Write(t.Context(), func(w *store.Writer) error {
					return errors.Join(w.InsertTx(newTx()), errWanted)
				})
				if errors.Is(err, errWanted) {
					err = nil
				}
				return false, err
			})
		})
		for i := 0; i < racers; i += 2 {
			if _, err := db.RenewLease(t.Context(), fence(granted[i]), time.Hour); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
	}},
	{"RenewExtendsOnlyOnesOwn", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Minute)
		renewed, err := db.RenewLease(t.Context(), fence(l), time.Hour)
		if err != nil || renewed.Epoch != l.Epoch || !renewed.Expires.After(l.Expires) {
			t.Fatalf("got %+v, %v", renewed, err)
		}
		for _, f := range strangers(l) {
			_, err := db.RenewLease(t.Context(), f, time.Hour)
			wantErr(t, err, store.ErrLeaseLost)
		}
	}},
	{"ExpiredIsNotRenewed", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		_, err := db.RenewLease(t.Context(), fence(l), time.Hour)
		wantErr(t, err, store.ErrLeaseLost)
	}},
	{"FencedWriteOfTheHolderIsDone", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Hour)
		tx := newTx()
		err := db.WriteFenced(t.Context(), fence(l), func(w *store.Writer) error { return w.InsertTx(tx) })
		if err != nil {
			t.Fatal(err)
		}
		get(t, db, tx.ID)
	}},
	{"FencedWriteOfAnotherIsNot", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Hour)
		for _, f := range strangers(l) {
			wantFencedOff(t, db, f)
		}
		acquire(t, db, "a", time.Hour) // the holder restarts: its old epoch is over
		wantFencedOff(t, db, fence(l))
	}},
	{"FencedWriteAfterExpiryIsNot", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		wantFencedOff(t, db, fence(l))
	}},
	{"ReleaseOfAnothersLeaseDoesNothing", func(t *testing.T, db *store.DB) {
		l := acquire(t, db, "a", time.Hour)
		for _, f := range strangers(l) {
			wantErr(t, db.ReleaseLease(t.Context(), f), nil)
		}
		_, err := db.AcquireLease(t.Context(), sender, "b", time.Hour)
		wantErr(t, err, store.ErrLeaseHeld)
	}},
	// A hand-over in the midst of fenced writes: none of the old epoch is
	// stored after the new one was granted.
	{"NoFencedWriteOutlivesAHandover", func(t *testing.T, db *store.DB) {
		old := acquire(t, db, "a", time.Hour)
		var granted store.Lease
		race(t, func(i int) (bool, error) {
			if i == racers/2 {
				var err error
				granted, err = db.AcquireLease(t.Context(), sender, "a", time.Hour)
				return false, err
			}
			err := db.WriteFenced(t.Context(), fence(old), func(w *store.Writer) error { return w.InsertTx(newTx()) })
			if errors.Is(err, store.ErrLeaseLost) {
				err = nil
			}
			return false, err
		})
		before, err := db.List(t.Context(), store.TxFilter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		wantFencedOff(t, db, fence(old))
		after, err := db.List(t.Context(), store.TxFilter{Limit: 1000})
		if err != nil || len(after) != len(before) || granted.Epoch != old.Epoch+1 {
			t.Fatalf("%d rows, then %d, epoch %d, %v", len(before), len(after), granted.Epoch, err)
		}
	}},
}

func acquire(t *testing.T, db *store.DB, owner string, ttl time.Duration) store.Lease {
	t.Helper()
	l, err := db.AcquireLease(t.Context(), sender, owner, ttl)
	if err != nil {
		t.Fatal(err)
	}
	if l.Sender != sender || l.Owner != owner {
		t.Fatalf("got %+v", l)
	}
	return l
}

func fence(l store.Lease) store.Fence {
	return store.Fence{Sender: l.Sender, Owner: l.Owner, Epoch: l.Epoch}
}

// strangers are fences that do not hold the lease.
func strangers(l store.Lease) []store.Fence {
	owner, older, newer, other := fence(l), fence(l), fence(l), fence(l)
	owner.Owner = "stranger"
	older.Epoch--
	newer.Epoch++
	other.Sender = "another sender"
	return []store.Fence{owner, older, newer, other}
}

func wantFencedOff(t *testing.T, db *store.DB, f store.Fence) {
	t.Helper()
	tx := newTx()
	err := db.WriteFenced(t.Context(), f, func(w *store.Writer) error { return w.InsertTx(tx) })
	wantErr(t, err, store.ErrLeaseLost)
	_, err = db.Tx(t.Context(), tx.ID)
	wantErr(t, err, store.ErrNotFound)
}
