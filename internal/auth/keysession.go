// SPDX-License-Identifier: Apache-2.0

package auth

import "net/http"

// byAKey stands for the rules of a session that an API key began: what it may do
// is what the key may do now, and it ends with the key. It is no text of
// DirectoryConfig.Rules, which are empty or a hash in hex.
const byAKey = "by an API key"

// SignInWithKey begins a session for whoever has an API key, as [Directory.SignIn]
// does for a person: in a browser, which sends no Authorization header by itself.
// The session may do what the key may do, and ends when the key is deleted.
//
// ErrCredentials, ErrUnavailable or a *LimitError.
func (d *Directory) SignInWithKey(w http.ResponseWriter, r *http.Request, key string) error {
	id, secret, ok := splitKey(key)
	if !ok {
		return d.guard.Bad(r, "", false)
	}
	if _, err := d.byKey(r, id, secret); err != nil {
		return err
	}
	return d.begin(w, r, Person{Subject: id, Name: "API key " + id}, byAKey)
}

// accessOf is what a session may do.
func (d *Directory) accessOf(s Session) (Access, error) {
	if s.rules != byAKey {
		return s.Person.access(), nil
	}
	k := d.now.Load().keys[s.Person.Subject]
	if k == nil {
		return Access{}, ErrCredentials
	}
	return k.access, nil
}
