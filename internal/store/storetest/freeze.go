// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var freezeTests = []test{
	{"nobody below changes a freeze", freezeAuthority},
}

func freezeAuthority(t *testing.T, db *store.DB) {
	const scope, tenant, above = "wallet:u0aaaaaaa1", "membership:m", "consortium:c"
	freeze := func(authority string, over ...string) error {
		return db.Write(t.Context(), func(w *store.Writer) error {
			return w.PutFrozen(store.Frozen{Scope: scope, Reason: "by " + authority, Principal: "key:1", Authority: authority, At: time.Now()}, append([]string{authority}, over...))
		})
	}
	release := func(over ...string) error {
		return db.Write(t.Context(), func(w *store.Writer) error { return w.RemoveFrozen(scope, over) })
	}
	is := func(want string) {
		t.Helper()
		all, err := db.Frozen(t.Context())
		if err != nil || (want == "") != (len(all) == 0) || want != "" && all[0].Reason != want {
			t.Errorf("want %q, not %+v, %v", want, all, err)
		}
	}
	if err := release(tenant); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what is not frozen: %v", err)
	}
	for _, step := range []struct {
		do   func() error
		want error
		is   string
	}{
		{func() error { return freeze(tenant) }, nil, "by " + tenant},
		{func() error { return freeze(above, tenant) }, nil, "by " + above},
		{func() error { return freeze(tenant) }, store.ErrAbove, "by " + above},
		{func() error { return release(tenant) }, store.ErrAbove, "by " + above},
		{func() error { return freeze("", above, tenant) }, nil, "by "},
		{func() error { return release(above, tenant) }, store.ErrAbove, "by "},
		{func() error { return release("", above, tenant) }, nil, ""},
	} {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("want %v, not %v", step.want, err)
		}
		is(step.is)
	}
	if n, err := db.Changes(t.Context()); err != nil || n[store.ChangeFreeze] != 4 {
		t.Errorf("%v, %v", n, err)
	}
}
