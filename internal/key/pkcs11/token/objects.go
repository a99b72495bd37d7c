// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"bytes"
	"sync"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// maxObjects bounds a search: a module that never ends one is broken.
const maxObjects = 200_000

// handles remembers the handles of private keys. They hold for every session of
// the process (PKCS#11 v2.40 §2.6.1), but not beyond a login.
type handles struct {
	sync.Mutex
	known map[string]knownHandle
}

type knownHandle struct {
	handle  pkcs11.ObjectHandle
	checked time.Time // when a signature by it was checked last; zero: never
}

func (h *handles) forgetAll() {
	h.Lock()
	defer h.Unlock()
	h.known = make(map[string]knownHandle)
}

func (h *handles) get(id []byte, point secp.PublicKey) (pkcs11.ObjectHandle, bool) {
	h.Lock()
	defer h.Unlock()
	o, ok := h.known[keyOf(id, point)]
	return o.handle, ok
}

func (h *handles) put(id []byte, point secp.PublicKey, o pkcs11.ObjectHandle) {
	h.Lock()
	defer h.Unlock()
	h.known[keyOf(id, point)] = knownHandle{handle: o}
}

// proven reports whether this very handle has made a signature by the key, and
// whether the one that it makes now is due for a check. The caller sees to that.
func (h *handles) proven(id []byte, point secp.PublicKey, o pkcs11.ObjectHandle) (yes, due bool) {
	h.Lock()
	defer h.Unlock()
	k, now := h.known[keyOf(id, point)], time.Now()
	if k.handle != o || k.checked.IsZero() {
		return false, true
	}
	if due = now.Sub(k.checked) >= checkEvery; due {
		h.known[keyOf(id, point)] = knownHandle{o, now}
	}
	return true, due
}

// prove notes that it has, unless it was forgotten meanwhile.
func (h *handles) prove(id []byte, point secp.PublicKey, o pkcs11.ObjectHandle) {
	h.Lock()
	defer h.Unlock()
	if k, ok := h.known[keyOf(id, point)]; ok && k.handle == o {
		h.known[keyOf(id, point)] = knownHandle{o, time.Now()}
	}
}

func (h *handles) forget(id []byte, point secp.PublicKey) {
	h.Lock()
	defer h.Unlock()
	delete(h.known, keyOf(id, point))
}

// keyOf is what handles are known by.
func keyOf(id []byte, point secp.PublicKey) string { return string(point[:]) + string(id) }

// search gives the handles of all objects that fit.
func (t *token) search(s pkcs11.SessionHandle, template []*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	if err := t.module.FindObjectsInit(s, template); err != nil {
		return nil, err
	}
	defer func() {
		if ended := t.module.FindObjectsFinal(s); err == nil {
			err = ended // the session would refuse the next search
		}
	}()
	for {
		some, _, err := t.module.FindObjects(s, 256)
		if err != nil || len(some) == 0 {
			return found, err
		}
		if found = append(found, some...); len(found) > maxObjects {
			return nil, &wire.Failure{Kind: wire.BadResponse, Why: "the token lists more than 200000 objects"}
		}
	}
}

// keysOf is a template for the elliptic-curve keys of a class. The curve is not
// part of it: not every module gives the parameters of a private key.
func keysOf(class uint, more ...*pkcs11.Attribute) []*pkcs11.Attribute {
	return append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)),
	}, more...)
}

// attributes reads attributes of an object: at once, or each for itself where
// the token does not know them all. An attribute that it does not give is nil.
func (t *token) attributes(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, types ...uint) ([][]byte, error) {
	ask := func(types ...uint) ([][]byte, error) {
		template := make([]*pkcs11.Attribute, len(types))
		for i, typ := range types {
			template[i] = pkcs11.NewAttribute(typ, nil)
		}
		var got []*pkcs11.Attribute
		err := t.patiently(func() (err error) {
			got, err = t.module.GetAttributeValue(s, o, template)
			return err
		})
		values := make([][]byte, len(types))
		for i := range got {
			values[i] = got[i].Value
		}
		return values, err
	}
	values, err := ask(types...)
	if !absent(err) {
		return values, err
	}
	for i, typ := range types {
		one, err := ask(typ)
		if err != nil && !absent(err) {
			return nil, err
		}
		values[i] = one[0]
		if err != nil {
			values[i] = nil
		}
	}
	return values, nil
}

func absent(err error) bool {
	return is(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) || is(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE)
}

// patiently repeats what CloudHSM's library answers with CKR_DEVICE_ERROR when
// the HSM throttles C_GetAttributeValue ("Known issues for the PKCS #11 library").
func (t *token) patiently(do func() error) error {
	err := do()
	for wait := 50 * time.Millisecond; t.settings.CloudHSM && is(err, pkcs11.CKR_DEVICE_ERROR) && wait < time.Second; wait *= 2 {
		time.Sleep(wait)
		err = do()
	}
	return err
}

// read reads what pairing needs of an object.
func (t *token) read(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, class uint) (object, error) {
	types := []uint{pkcs11.CKA_ID, pkcs11.CKA_LABEL, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT}
	if class == pkcs11.CKO_PRIVATE_KEY {
		types[3] = pkcs11.CKA_SIGN
	}
	v, err := t.attributes(s, o, types...)
	if err != nil {
		return object{}, err
	}
	obj := object{handle: uint(o), id: v[0], label: string(v[1]), params: v[2]}
	if class == pkcs11.CKO_PUBLIC_KEY {
		obj.point = v[3]
		return obj, nil
	}
	if len(v[3]) == 1 && v[3][0] == 0 {
		obj.disabled = "CKA_SIGN is false on the private key object: the token does not let it sign"
	}
	return obj, nil
}

// complete reads of a private key what only some tokens give.
func (t *token) complete(s pkcs11.SessionHandle, o *object) error {
	v, err := t.attributes(s, pkcs11.ObjectHandle(o.handle), pkcs11.CKA_EC_POINT)
	if err != nil {
		return err
	}
	if len(v[0]) > 0 {
		o.point = v[0]
	}
	return nil
}

// askEachTime notes keys that want the PIN for each signature.
func (t *token) askEachTime(s pkcs11.SessionHandle, o *object) error {
	v, err := t.attributes(s, pkcs11.ObjectHandle(o.handle), pkcs11.CKA_ALWAYS_AUTHENTICATE)
	if err != nil {
		return err
	}
	if len(v[0]) == 1 && v[0][0] != 0 && o.disabled == "" {
		o.disabled = "the key wants the PIN again for each signature (CKA_ALWAYS_AUTHENTICATE), which a service cannot give"
	}
	return nil
}

// readAll reads objects one after the other. One that vanished meanwhile is left
// out; alive is called now and then.
func (t *token) readAll(s pkcs11.SessionHandle, found []pkcs11.ObjectHandle, class uint, alive func()) ([]object, error) {
	objects := make([]object, 0, len(found))
	for i, h := range found {
		if i%wire.EntriesPerMessage == 0 {
			alive()
		}
		o, err := t.read(s, h, class)
		if err == nil && class == pkcs11.CKO_PRIVATE_KEY && o.onCurve() {
			err = t.askEachTime(s, &o)
		}
		if is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) {
			continue
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// entries lists the keys of the token.
func (t *token) entries(deadline time.Time, alive func()) (entries []wire.Entry, err error) {
	err = t.run(deadline, func(s pkcs11.SessionHandle) error {
		var sets [2][]object
		for i, class := range []uint{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY} {
			found, err := t.search(s, keysOf(class))
			if err != nil {
				return err
			}
			if sets[i], err = t.readAll(s, found, class, alive); err != nil {
				return err
			}
		}
		if err := t.ownPoints(s, sets[1], sets[0], alive); err != nil {
			return err
		}
		// A token that forgot the login shows no private objects.
		if err := t.stillLoggedIn(s); err != nil {
			return err
		}
		entries = entries[:0]
		for _, p := range pair(sets[1], sets[0]) {
			entries = append(entries, p.entry)
		}
		return nil
	})
	return entries, err
}

// ownPoints asks private keys without a public object of their CKA_ID for the
// point itself, which CloudHSM and some others keep there.
func (t *token) ownPoints(s pkcs11.SessionHandle, private, public []object, alive func()) error {
	byID := group(public, idOf)
	for i := range private {
		p := &private[i]
		if !p.onCurve() || len(p.id) > 0 && len(byID[string(p.id)]) > 0 {
			continue
		}
		if i%wire.EntriesPerMessage == 0 {
			alive()
		}
		if err := t.complete(s, p); err != nil && !is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) {
			return err
		}
	}
	return nil
}

var errNotFound = &wire.Failure{Kind: wire.NotFound, Why: "the token has no such key: no private key object with its CKA_ID belongs to this public key"}

// find gives the handle of a private key that may sign.
func (t *token) find(s pkcs11.SessionHandle, id []byte, point secp.PublicKey) (pkcs11.ObjectHandle, error) {
	if h, ok := t.handles.get(id, point); ok {
		return h, nil
	}
	o, err := t.lookUp(s, id, point)
	if err != nil {
		return 0, err
	}
	if o.disabled != "" {
		return 0, &wire.Failure{Kind: wire.Disabled, Why: o.disabled}
	}
	h := pkcs11.ObjectHandle(o.handle)
	t.handles.put(id, point, h)
	return h, nil
}

// lookUp finds the private key object with this CKA_ID that pairs with this very
// public key: another key under the same CKA_ID is not it.
func (t *token) lookUp(s pkcs11.SessionHandle, id []byte, point secp.PublicKey) (object, error) {
	private, public, err := t.namesakes(s, id)
	if err != nil {
		return object{}, err
	}
	for _, p := range pair(private, public) {
		if !p.entry.Problem && p.entry.Point == point {
			return p.private, nil
		}
	}
	if err := t.stillLoggedIn(s); err != nil {
		return object{}, err
	}
	return object{}, errNotFound
}

// namesakes reads the private keys with a CKA_ID, and the public keys that could
// be theirs.
func (t *token) namesakes(s pkcs11.SessionHandle, id []byte) (private, public []object, err error) {
	read := func(class uint, more ...*pkcs11.Attribute) ([]object, error) {
		found, err := t.search(s, keysOf(class, more...))
		if err != nil {
			return nil, err
		}
		return t.readAll(s, found, class, func() {})
	}
	var same []*pkcs11.Attribute
	if len(id) > 0 { // an empty CKA_ID in a template means different things to different modules
		same = append(same, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	all, err := read(pkcs11.CKO_PRIVATE_KEY, same...)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range all {
		if bytes.Equal(o.id, id) {
			private = append(private, o)
		}
	}
	if len(private) == 0 {
		return nil, nil, nil
	}
	if public, err = read(pkcs11.CKO_PUBLIC_KEY, same...); err != nil {
		return nil, nil, err
	}
	if len(id) > 0 && len(public) == 0 {
		if public, err = read(pkcs11.CKO_PUBLIC_KEY); err != nil {
			return nil, nil, err
		}
	}
	return private, public, t.ownPoints(s, private, public, func() {})
}
