// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// signature is what a token makes: two numbers of 32 bytes.
type signature struct{ R, S [32]byte }

// checkEvery is how often a handle in use is checked.
const checkEvery = 100 * time.Millisecond

// sign signs a digest with CKM_ECDSA, which does not hash it. A handle that was
// found wrongly, or has come to mean another key, makes signatures of a stranger;
// it is to be forgotten and found again. So a signature is checked against the
// public key before it is given if it is the first by its handle, and if the
// digest was signed before: a daemon that finds a signature to be wrong asks for
// it once more. It checks each before it uses it. To check all of them here too
// would take the processor from those that follow, so it is done with one in a
// while, for callers that do not ask again.
//
// later is that check, for when the signature has been given; nil: none.
func (t *token) sign(deadline time.Time, id []byte, point secp.PublicKey, digest [32]byte) (sig signature, later func(), err error) {
	for again := true; ; again = false {
		var due bool
		err := t.run(deadline, func(s pkcs11.SessionHandle) (err error) {
			sig, due, err = t.signOnce(s, id, point, digest)
			return err
		})
		if again && errors.Is(err, errOtherKey) {
			continue // the handle is forgotten: find it again, once
		}
		if err == nil && due {
			later = func() { t.verify(id, point, digest, sig) }
		}
		return sig, later, err
	}
}

var errOtherKey = &wire.Failure{Kind: wire.BadResponse, Why: "sign: the token's signature is not by this key"}

// signOnce reports as well whether the signature is due for a check.
func (t *token) signOnce(s pkcs11.SessionHandle, id []byte, point secp.PublicKey, digest [32]byte) (sig signature, due bool, err error) {
	h, err := t.find(s, id, point)
	if err != nil {
		return signature{}, false, err
	}
	err = t.module.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, h)
	var raw []byte
	if err == nil {
		raw, err = t.module.Sign(s, digest[:])
	}
	if err != nil {
		t.handles.forget(id, point)
		return signature{}, false, err
	}
	if sig.R, sig.S, err = split(raw); err != nil {
		return signature{}, false, &wire.Failure{Kind: wire.BadResponse, Why: "sign: " + err.Error()}
	}
	proven, due := t.handles.proven(id, point, h)
	if proven && !t.given.has(digest) {
		t.given.add(digest)
		return sig, due, nil
	}
	if !t.verify(id, point, digest, sig) {
		return signature{}, false, errOtherKey
	}
	t.handles.prove(id, point, h)
	return sig, false, nil
}

// verify reports whether the signature is by the key. If it is not, the handle
// is forgotten: the next request finds it again.
func (t *token) verify(id []byte, point secp.PublicKey, digest [32]byte, sig signature) bool {
	if _, err := secp.Finish(point.Address(), digest, sig.R, sig.S); err != nil {
		t.handles.forget(id, point)
		return false
	}
	return true
}

// split reads r‖s: two halves of equal length, which may be shorter than the
// group order (PKCS#11 v2.40 §2.3.1).
func split(raw []byte) (r, s [32]byte, err error) {
	n := len(raw) / 2
	if len(raw) == 0 || len(raw) > 64 || len(raw)%2 != 0 {
		return r, s, fmt.Errorf("a signature of %d bytes, want r‖s in at most 64", len(raw))
	}
	copy(r[32-n:], raw[:n])
	copy(s[32-n:], raw[n:])
	return r, s, nil
}

// locate finds a key without using it.
func (t *token) locate(deadline time.Time, id []byte, point secp.PublicKey) error {
	return t.run(deadline, func(s pkcs11.SessionHandle) error {
		_, err := t.lookUp(s, id, point)
		return err
	})
}

// check asks whether a signature would be made now.
func (t *token) check(deadline time.Time) error {
	return t.run(deadline, func(s pkcs11.SessionHandle) error {
		if err := t.stillLoggedIn(s); err != nil {
			return err
		}
		info, err := t.module.GetSlotInfo(t.slot)
		if err != nil {
			return err
		}
		if info.Flags&pkcs11.CKF_TOKEN_PRESENT == 0 {
			return pkcs11.Error(pkcs11.CKR_TOKEN_NOT_PRESENT)
		}
		return t.touch(s)
	})
}

// touch makes a call that reaches the device, as C_GetSessionInfo often does not.
func (t *token) touch(s pkcs11.SessionHandle) error {
	_, err := t.module.GenerateRandom(s, 1)
	if is(err, pkcs11.CKR_RANDOM_NO_RNG) || is(err, pkcs11.CKR_FUNCTION_NOT_SUPPORTED) {
		_, err = t.module.GetSessionInfo(s)
	}
	return err
}

// keep uses each idle session once, so that no firewall and no HSM forgets its
// connection. A session that died is given up; the first error is returned.
func (t *token) keep() error {
	t.life.RLock()
	defer t.life.RUnlock()
	var first error
	for range t.pool.size {
		select {
		case s := <-t.pool.idle:
			err := t.touch(s)
			t.pool.give(s, curable(err) == nothing)
			if first == nil {
				first = err
			}
		default:
			return first
		}
	}
	return first
}
