// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var policyTests = []test{
	{"the newest version comes first and one alone counts", policyVersions},
	{"a version is there once", policyOnce},
	{"of many who retire a version one succeeds", policyRace},
	{"each change is counted", policyCount},
	{"no two rows have the same bytes", policyBytes},
}

func policyRow(version int64, state store.PolicyState) store.Policy {
	return store.Policy{
		Scope: "service:u0aaaaaaa1", Version: version, State: state, Document: "version: 1", Author: "key:u0bbbbbbb1",
		Approver: "person:x", Comment: "why", Created: time.UnixMicro(1_700_000_000_000_001).UTC(), Decided: time.UnixMicro(1_700_000_000_000_002).UTC(),
		MAC: []byte{1, 2, 3},
	}
}

func put(t *testing.T, db *store.DB, rows ...store.Policy) {
	t.Helper()
	for _, r := range rows {
		if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertPolicy(r) }); err != nil {
			t.Fatal(err)
		}
	}
}

func policyVersions(t *testing.T, db *store.DB) {
	past, active, proposed := policyRow(1, store.PolicyPast), policyRow(2, store.PolicyActive), policyRow(3, store.PolicyProposed)
	proposed.Decided = time.Time{}
	put(t, db, past, active, proposed)
	other := policyRow(1, store.PolicyActive)
	other.Scope = "deployment"
	put(t, db, other)
	all, err := db.Policies(t.Context(), active.Scope)
	if want := []store.Policy{proposed, active, past}; err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("%+v, %v", all, err)
	}
	counting, err := db.ActivePolicies(t.Context())
	if want := []store.Policy{other, active}; err != nil || !reflect.DeepEqual(counting, want) {
		t.Errorf("%+v, %v", counting, err)
	}
}

func policyOnce(t *testing.T, db *store.DB) {
	r := policyRow(1, store.PolicyActive)
	put(t, db, r)
	r.Document = "another"
	err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertPolicy(r) })
	if !errors.Is(err, store.ErrExists) {
		t.Errorf("want ErrExists, not %v", err)
	}
	if all, _ := db.Policies(t.Context(), r.Scope); len(all) != 1 || all[0].Document != "version: 1" {
		t.Errorf("%+v", all)
	}
}

func policyRace(t *testing.T, db *store.DB) {
	put(t, db, policyRow(1, store.PolicyActive))
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Write(t.Context(), func(w *store.Writer) error {
				return w.DecidePolicy(policyRow(1, store.PolicyPast), store.PolicyActive)
			})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrRevision):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d succeeded", won)
	}
}

func policyCount(t *testing.T, db *store.DB) {
	count := func() int64 {
		all, err := db.Changes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[store.ChangePolicy]
	}
	if n := count(); n != 0 {
		t.Errorf("before any change: %d", n)
	}
	put(t, db, policyRow(1, store.PolicyActive), policyRow(2, store.PolicyProposed))
	if n := count(); n != 2 {
		t.Errorf("after two: %d", n)
	}
	if err := db.Write(t.Context(), func(w *store.Writer) error {
		return w.DecidePolicy(policyRow(2, store.PolicyRejected), store.PolicyProposed)
	}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 3 {
		t.Errorf("after three: %d", n)
	}
}

func policyBytes(t *testing.T, _ *store.DB) {
	base := policyRow(1, store.PolicyActive)
	for name, change := range map[string]func(*store.Policy){
		"scope":    func(p *store.Policy) { p.Scope = "service:u0aaaaaaa2" },
		"version":  func(p *store.Policy) { p.Version = 2 },
		"state":    func(p *store.Policy) { p.State = store.PolicyPast },
		"document": func(p *store.Policy) { p.Document += " " },
		"author":   func(p *store.Policy) { p.Author, p.Approver = p.Author+"p", "erson:x" },
		"approver": func(p *store.Policy) { p.Approver = "" },
		"comment":  func(p *store.Policy) { p.Comment = "" },
		"created":  func(p *store.Policy) { p.Created = p.Created.Add(time.Microsecond) },
		"decided":  func(p *store.Policy) { p.Decided = time.Time{} },
		"shift":    func(p *store.Policy) { p.Approver, p.Comment = p.Approver+p.Comment[:1], p.Comment[1:] },
	} {
		other := base
		change(&other)
		if bytes.Equal(base.Bytes(), other.Bytes()) {
			t.Errorf("another %s gives the same bytes", name)
		}
	}
	other := base
	other.MAC = nil
	if !bytes.Equal(base.Bytes(), other.Bytes()) {
		t.Error("the mac is in what it is made over")
	}
}
