// SPDX-License-Identifier: Apache-2.0

package seal_test

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

func TestReplicasOnPostgreSQLShareTheKeysAndRotate(t *testing.T) {
	server, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	address, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replica := func() *store.DB {
		t.Helper()
		db, err := store.OpenDB(t.Context(), store.Config{URL: address})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	path := keyFile(t, 1)
	first, second := replica(), replica()
	one := open(t, seal.Config{Store: first, Sources: []seal.Source{seal.File(path)}})
	two := open(t, seal.Config{Store: second, Sources: []seal.Source{seal.File(path)}})
	fill(t, first, one, 5)
	r := read(t, second, "u0r0000003")
	wantPlain(t, two, seal.OfResource(r), r.Sealed, secretOf(3))

	if _, err := seal.AddKey(path); err != nil {
		t.Fatal(err)
	}
	done, err := one.Reseal(t.Context(), first)
	if err != nil || done.Values != 5 {
		t.Fatalf("%+v, %v", done, err)
	}
	wantPlain(t, two, seal.OfResource(r), r.Sealed, secretOf(3)) // still in its memory as it was
	r = read(t, second, r.ID)
	wantPlain(t, two, seal.OfResource(r), r.Sealed, secretOf(3))
	if err := second.ResealResource(t.Context(), r.ID, []byte("was"), []byte("is")); err == nil {
		t.Error("a row that is not what was read was written")
	}
}
