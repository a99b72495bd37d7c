// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"bytes"
	"crypto/rand"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// idSize is the length of the random CKA_ID of a new key, in bytes.
const idSize = 16

// writing does something in a read-write session, once: what may have made an
// object is not done again.
func (t *token) writing(deadline time.Time, do func(pkcs11.SessionHandle) error) error {
	return t.runIn(writeSession, deadline, func(s pkcs11.SessionHandle) error {
		if err := do(s); err != nil {
			return failure("write to the token", err)
		}
		return nil
	})
}

func newID() []byte {
	id := make([]byte, idSize)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return id
}

// publicTemplate and privateTemplate say what our keys are: they stay, they can
// sign (and be verified) and nothing else, and the private one never leaves.
// CloudHSM takes only private objects, and refuses attributes that it does not
// know; everything else defaults to false there (user guide, "Supported key
// attributes").
func (t *token) publicTemplate(id []byte, label string) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PUBLIC_KEY)),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)),
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curveNames[0]),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, t.settings.CloudHSM),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	}
}

func (t *token) privateTemplate(id []byte, label string) []*pkcs11.Attribute {
	a := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PRIVATE_KEY)),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	}
	if !t.settings.CloudHSM {
		a = append(a,
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
			pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
			pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN_RECOVER, false))
	}
	return a
}

// create makes a key pair in the token.
func (t *token) create(deadline time.Time, label string) (wire.Entry, error) {
	e := wire.Entry{ID: newID(), Label: clean(label)}
	err := t.writing(deadline, func(s pkcs11.SessionHandle) error {
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}
		public, private, err := t.module.GenerateKeyPair(s, mechanism, t.publicTemplate(e.ID, label), t.privateTemplate(e.ID, label))
		if err != nil {
			return err
		}
		e.Point, err = t.prove(s, public, private, nil)
		if err != nil {
			return t.undo(s, err, public, private)
		}
		return nil
	})
	return e, err
}

// prove checks what a new key became: hidden, staying, of our curve, able to
// sign for its public key. A want of nil takes the token's word for the point.
func (t *token) prove(s pkcs11.SessionHandle, public, private pkcs11.ObjectHandle, want *secp.PublicKey) (secp.PublicKey, error) {
	bad := func(why string) (secp.PublicKey, error) {
		return secp.PublicKey{}, &wire.Failure{Kind: wire.BadResponse, Why: "the token made a key that is not what was asked for, and it was deleted again: " + why}
	}
	v, err := t.attributes(s, private, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_TOKEN)
	if err != nil {
		return secp.PublicKey{}, err
	}
	if bytes.Equal(v[0], []byte{0}) || !bytes.Equal(v[1], []byte{0}) || bytes.Equal(v[2], []byte{0}) {
		return bad("it could be exported, or would not stay")
	}
	var point secp.PublicKey
	if want != nil {
		point = *want
	} else {
		v, err := t.attributes(s, public, pkcs11.CKA_EC_POINT)
		if err != nil {
			return point, err
		}
		if point, err = secp.ParsePoint(v[0]); err != nil {
			return bad(err.Error())
		}
	}
	fits, err := t.signsFor(s, private, point)
	if err == nil && !fits {
		return bad("its signature does not fit its public key")
	}
	return point, err
}

// signsFor reports whether a private key object signs for a public key.
func (t *token) signsFor(s pkcs11.SessionHandle, private pkcs11.ObjectHandle, point secp.PublicKey) (bool, error) {
	digest := [32]byte(newDigest())
	if err := t.module.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, private); err != nil {
		return false, err
	}
	raw, err := t.module.Sign(s, digest[:])
	if err != nil {
		return false, err
	}
	r, sv, err := split(raw)
	if err == nil {
		_, err = secp.Finish(point.Address(), digest, r, sv)
	}
	return err == nil, nil
}

func newDigest() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// undo deletes objects after a failure, which it returns.
func (t *token) undo(s pkcs11.SessionHandle, err error, objects ...pkcs11.ObjectHandle) error {
	f := *failure("check the new key", err)
	for _, o := range objects {
		if o == 0 {
			continue
		}
		if t.module.DestroyObject(s, o) != nil {
			f.Why += "; an object of it is left in the token"
		}
	}
	return &f
}

// remove deletes a private key and the public objects that are its own. Which
// public key belongs to a private one is said by CKA_ID and label, and those may
// be wrong: a key that signs for another address than the one to be deleted is
// left alone. One that may not sign cannot be asked.
func (t *token) remove(deadline time.Time, id []byte, point secp.PublicKey) error {
	return t.writing(deadline, func(s pkcs11.SessionHandle) error {
		o, err := t.lookUp(s, id, point)
		if err != nil {
			return err
		}
		if o.disabled == "" {
			fits, err := t.signsFor(s, pkcs11.ObjectHandle(o.handle), point)
			if err != nil {
				return err
			}
			if !fits {
				return &wire.Failure{Kind: wire.BadResponse, Why: "delete the key: nothing was deleted: the private key object with this CKA_ID signs for another address; correct the CKA_IDs in the token first"}
			}
		}
		t.handles.forget(id, point)
		if err := t.module.DestroyObject(s, pkcs11.ObjectHandle(o.handle)); err != nil {
			return err
		}
		// What is left is only a public key: nothing can be signed any more.
		found, err := t.search(s, keysOf(pkcs11.CKO_PUBLIC_KEY, pkcs11.NewAttribute(pkcs11.CKA_ID, id)))
		if err != nil || len(id) == 0 {
			return err
		}
		for _, o := range found {
			v, err := t.attributes(s, o, pkcs11.CKA_ID, pkcs11.CKA_EC_POINT)
			if err != nil {
				return err
			}
			if p, err := secp.ParsePoint(v[1]); err == nil && p == point && bytes.Equal(v[0], id) {
				if err := t.module.DestroyObject(s, o); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
