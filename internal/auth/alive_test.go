// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestStandingIsThatOfNow(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{Rules: "one"})
	const consortium, membership = "h0conso001", "h0memb0001"
	here := auth.Grant{Consortium: consortium, Membership: membership, Role: auth.Admin}
	p.app("h0app00001")
	p.key("h0key00001", here)
	p.key("h0key00002", auth.Grant{Consortium: consortium, Membership: "h0memb0009", Role: auth.Admin})
	p.key("h0key00003", auth.Grant{Consortium: consortium, Membership: membership, Role: auth.Operates})
	d.Changed()
	app, _ := d.Password("h0app00001", "wrong")
	key := auth.Principal{Name: "key:h0key00001"}
	moved := app
	moved.Membership = "h0memb0009"
	want := func(who auth.Principal, want auth.Standing) {
		t.Helper()
		got, err := d.Standing(t.Context(), who, auth.Admin, consortium, membership)
		if err != nil || got != want {
			t.Errorf("%+v: %v, %v; want %v", who, got, err, want)
		}
	}
	for _, who := range []auth.Principal{app, key, auth.Anonymous, auth.Operator} {
		want(who, auth.Stands)
	}
	for _, who := range []auth.Principal{moved, {Name: "app:h0app00009"}, {Name: "cert:shop"}, {Name: "key:h0key00002"}, {Name: "key:h0key00003"}} {
		want(who, auth.Gone)
	}
	p.remove("h0key00001")
	d.Changed()
	want(key, auth.Gone)

	// Of people as long as they are signed in, and no longer.
	person := auth.Principal{Name: "person:ada"}
	want(person, auth.Absent)
	lesser := signIn(t, d, ada())
	want(person, auth.Gone)
	admin := ada()
	admin.Grants = []auth.Grant{here}
	cookie := signIn(t, d, admin)
	want(person, auth.Stands)
	want(auth.Principal{Name: "person:eve"}, auth.Absent)
	session, err := d.Session(with("POST", cookie))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SignOut(httptest.NewRecorder(), with("POST", cookie, auth.CSRFHeader, session.CSRF)); err != nil {
		t.Fatal(err)
	}
	want(person, auth.Gone)
	if session, err = d.Session(with("POST", lesser)); err != nil {
		t.Fatal(err)
	}
	if err := d.SignOut(httptest.NewRecorder(), with("POST", lesser, auth.CSRFHeader, session.CSRF)); err != nil {
		t.Fatal(err)
	}
	want(person, auth.Absent)

	// Sessions that were begun under other rules, or changed in the database, are none.
	signIn(t, d, admin)
	want(person, auth.Stands)
	d = p.directory(auth.DirectoryConfig{Rules: "two"})
	want(person, auth.Absent)
	signIn(t, d, ada())
	want(person, auth.Gone)
	rows(t, p.dir, `UPDATE sign_in SET grants = replace(grants, '"role":"operator"', '"role":"admin"') WHERE grants LIKE '%operator%'`)
	want(person, auth.Absent)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := d.Standing(ctx, person, auth.Admin, consortium, membership); err == nil || got == auth.Stands {
		t.Errorf("without the store: %v, %v", got, err)
	}
}
