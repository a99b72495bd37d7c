// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func aResource(id string, uses ...string) store.Resource {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Resource{
		ID: id, Kind: "service", Consortium: "c1", Environment: "e1", Membership: "m1", Name: "n", State: "provisioning",
		Reason: "new", Revision: 1, Created: now, Updated: now, Uses: uses, Data: []byte(`{"a":"ü"}`), Sealed: []byte{0, 1}, Verifier: nil,
	}
}

func resourceVersion(t *testing.T, db *store.DB) int64 {
	t.Helper()
	version, err := db.ResourceVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func insertResource(t *testing.T, db *store.DB, r store.Resource) error {
	t.Helper()
	return db.Write(t.Context(), func(w *store.Writer) error { return w.InsertResource(r) })
}

func wantResource(t *testing.T, db *store.DB, want store.Resource) {
	t.Helper()
	got, err := db.Resource(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, want)
}

var resourceTests = []test{
	{"WhatIsPutComesBackAndCountsAsAChange", func(t *testing.T, db *store.DB) {
		conf, svc := aResource("conf"), aResource("svc", "conf")
		conf.Kind, conf.Membership, conf.Sealed, conf.Verifier = "configuration", "m2", nil, []byte{9}
		wantErr(t, insertResource(t, db, conf), nil)
		wantErr(t, insertResource(t, db, svc), nil)
		wantEqual(t, resourceVersion(t, db), int64(2))
		wantResource(t, db, conf)
		wantResource(t, db, svc)
		wantErr(t, insertResource(t, db, svc), store.ErrExists)
		wantErr(t, insertResource(t, db, aResource("other", "nothing")), store.ErrNotFound)
		wantEqual(t, resourceVersion(t, db), int64(2))
		if _, err := db.Resource(t.Context(), "nothing"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
		for _, c := range []struct {
			filter store.ResourceFilter
			want   []store.Resource
		}{
			{store.ResourceFilter{}, []store.Resource{conf, svc}},
			{store.ResourceFilter{Kind: "service", Consortium: "c1", Environment: "e1"}, []store.Resource{svc}},
			{store.ResourceFilter{Membership: "m2"}, []store.Resource{conf}},
			{store.ResourceFilter{Consortium: "c2"}, nil},
		} {
			got, err := db.Resources(t.Context(), c.filter)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, got, c.want)
		}
	}},
	{"OnlyTheRevisionThatWasReadIsChanged", func(t *testing.T, db *store.DB) {
		wantErr(t, insertResource(t, db, aResource("conf")), nil)
		svc := aResource("svc", "conf")
		wantErr(t, insertResource(t, db, svc), nil)
		update := func(r store.Resource) error {
			return db.Write(t.Context(), func(w *store.Writer) error { return w.UpdateResource(r) })
		}
		svc.State, svc.Reason, svc.Uses, svc.Data, svc.Sealed = "started", "", nil, []byte(`{}`), nil
		wantErr(t, update(svc), nil)
		wantErr(t, update(svc), store.ErrRevision)
		svc.Revision = 2
		wantResource(t, db, svc)
		svc.Uses = []string{"nothing"}
		wantErr(t, update(svc), store.ErrNotFound)
		svc.ID = "nothing"
		wantErr(t, update(svc), store.ErrNotFound)
		wantEqual(t, resourceVersion(t, db), int64(3))
	}},
	{"WhatIsInUseIsNotDeleted", func(t *testing.T, db *store.DB) {
		remove := func(id string) error {
			return db.Write(t.Context(), func(w *store.Writer) error { return w.DeleteResource(id) })
		}
		wantErr(t, insertResource(t, db, aResource("conf")), nil)
		wantErr(t, insertResource(t, db, aResource("svc2", "conf")), nil)
		wantErr(t, insertResource(t, db, aResource("svc1", "conf")), nil)
		var inUse *store.InUseError
		if err := remove("conf"); !errors.As(err, &inUse) {
			t.Fatalf("got %v", err)
		}
		wantEqual(t, *inUse, store.InUseError{ID: "conf", By: []string{"svc1", "svc2"}})
		wantErr(t, remove("svc1"), nil)
		wantErr(t, remove("svc2"), nil)
		wantErr(t, remove("conf"), nil)
		wantErr(t, remove("conf"), store.ErrNotFound)
	}},
	{"ADeletionAndANewUseDoNotPassEachOther", func(t *testing.T, db *store.DB) {
		for range 20 {
			wantErr(t, insertResource(t, db, aResource("conf")), nil)
			var used, removed error
			var both sync.WaitGroup
			both.Go(func() { used = insertResource(t, db, aResource("svc", "conf")) })
			both.Go(func() {
				removed = db.Write(t.Context(), func(w *store.Writer) error { return w.DeleteResource("conf") })
			})
			both.Wait()
			if (used == nil) == (removed == nil) {
				t.Fatalf("use: %v, deletion: %v", used, removed)
			}
			wantErr(t, db.Write(t.Context(), func(w *store.Writer) error {
				if used != nil {
					return nil
				}
				if err := w.DeleteResource("svc"); err != nil {
					return err
				}
				return w.DeleteResource("conf")
			}), nil)
		}
	}},
}

var signInTests = []test{
	{"ASessionLastsUntilItExpiresOrEnds", func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		s := store.SignIn{Hash: []byte{1}, Subject: "sub", Name: "Ada", Grants: []byte(`[]`), Created: now, Expires: now.Add(time.Hour)}
		old := store.SignIn{Hash: []byte{2}, Subject: "sub", Name: "Ada", Grants: []byte(`[]`), Created: now, Expires: now.Add(-time.Second)}
		wantErr(t, db.PutSignIn(t.Context(), old), nil)
		wantErr(t, db.PutSignIn(t.Context(), s), nil)
		got, err := db.SignIn(t.Context(), s.Hash)
		wantErr(t, err, nil)
		wantEqual(t, got, s)
		_, err = db.SignIn(t.Context(), old.Hash)
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, db.EndSignIn(t.Context(), s.Hash), nil)
		wantErr(t, db.EndSignIn(t.Context(), s.Hash), nil)
		_, err = db.SignIn(t.Context(), s.Hash)
		wantErr(t, err, store.ErrNotFound)
	}},
	{"TheFirstKeyThatIsStoredStays", func(t *testing.T, db *store.DB) {
		_, err := db.SealedKey(t.Context(), "k", nil)
		wantErr(t, err, store.ErrNotFound)
		for _, fresh := range [][]byte{{1}, {2}, nil} {
			got, err := db.SealedKey(t.Context(), "k", fresh)
			wantErr(t, err, nil)
			wantEqual(t, got, []byte{1})
		}
		wantErr(t, db.ReplaceSealedKey(t.Context(), "k", []byte{1}, []byte{3}), nil)
		wantErr(t, db.ReplaceSealedKey(t.Context(), "k", []byte{1}, []byte{4}), store.ErrRevision)
		got, err := db.SealedKey(t.Context(), "k", nil)
		wantErr(t, err, nil)
		wantEqual(t, got, []byte{3})
		names, err := db.SealedKeys(t.Context())
		wantErr(t, err, nil)
		wantEqual(t, names, []string{"k"})
	}},
	{"ALabelOutlivesARefresh", func(t *testing.T, db *store.DB) {
		a := anAccount(1)
		put := func() {
			write(t, db, func(w *store.Writer) error { return w.PutAccounts("treasury", []store.Account{a}) })
		}
		put()
		wantErr(t, db.SetLabel(t.Context(), "treasury", a.Address, "one"), nil)
		wantErr(t, db.SetLabel(t.Context(), "treasury", a.Address, "ops"), nil)
		a.Name = "other"
		put()
		labels, err := db.Labels(t.Context(), "treasury")
		wantErr(t, err, nil)
		wantEqual(t, labels, map[common.Address]string{a.Address: "ops"})
		wantErr(t, db.SetLabel(t.Context(), "treasury", a.Address, ""), nil)
		labels, err = db.Labels(t.Context(), "treasury")
		wantErr(t, err, nil)
		wantEqual(t, labels, map[common.Address]string{})
	}},
}
