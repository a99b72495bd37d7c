// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestKeyBeginsASessionThatEndsWithIt(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{Secure: true, Rules: "0123abcd"})
	grant := auth.Grant{Consortium: "h0conso001", Role: auth.Operates}
	key := p.key("h0key00001", grant)
	d.Changed()

	for _, wrong := range []string{"", "h0key00001", key + "x", "h0key00009" + key[10:], key[:11]} {
		w := httptest.NewRecorder()
		if err := d.SignInWithKey(w, request("192.0.2.1:5"), wrong); !errors.Is(err, auth.ErrCredentials) || len(w.Result().Cookies()) != 0 {
			t.Errorf("%q: %v, cookies %v", wrong, err, w.Result().Cookies())
		}
	}
	w := httptest.NewRecorder()
	if err := d.SignInWithKey(w, request("192.0.2.1:5"), key); err != nil {
		t.Fatal(err)
	}
	cookie := w.Result().Cookies()[0]
	who, err := d.Manager(with("GET", cookie))
	if err != nil || who.Principal.Name != "key:h0key00001" || len(who.Grants) != 1 || who.Grants[0] != grant {
		t.Errorf("%+v, %v", who, err)
	}
	s, err := d.Session(with("GET", cookie))
	if err != nil || s.Access.Principal != who.Principal || len(s.Person.Grants) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := d.Manager(with("POST", cookie)); !errors.Is(err, auth.ErrCSRF) {
		t.Errorf("without the token: %v", err)
	}
	if _, err := d.Manager(with("POST", cookie, auth.CSRFHeader, s.CSRF)); err != nil {
		t.Errorf("with the token: %v", err)
	}

	p.remove("h0key00001")
	d.Changed()
	if _, err := d.Manager(with("GET", cookie)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("after its key was deleted: %v", err)
	}
	if _, err := d.Session(with("GET", cookie)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("after its key was deleted: %v", err)
	}
}

// TestPersonCalledLikeAKeyIsNoKey: the identity provider chooses subjects.
func TestPersonCalledLikeAKeyIsNoKey(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{Secure: true})
	p.key("h0key00001", auth.Grant{Role: auth.Admin})
	d.Changed()
	cookie := signIn(t, d, auth.Person{Subject: "h0key00001", Name: "h0key00001"})
	who, err := d.Manager(with("GET", cookie))
	if err != nil || who.Principal.Name != "person:h0key00001" || len(who.Grants) != 0 {
		t.Errorf("%+v, %v", who, err)
	}
}
