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

// sign signs a digest with CKM_ECDSA, which does not hash it. The signature is
// checked against the public key: a handle that has come to mean another key
// would otherwise make a signature of a stranger.
func (t *token) sign(deadline time.Time, id []byte, point secp.PublicKey, digest [32]byte) (secp.Signature, error) {
	for again := true; ; again = false {
		var sig secp.Signature
		err := t.run(deadline, func(s pkcs11.SessionHandle) (err error) {
			sig, err = t.signOnce(s, id, point, digest)
			return err
		})
		if again && errors.Is(err, errOtherKey) {
			continue // the handle is forgotten: find it again, once
		}
		return sig, err
	}
}

var errOtherKey = &wire.Failure{Kind: wire.BadResponse, Why: "sign: the token's signature is not by this key"}

func (t *token) signOnce(s pkcs11.SessionHandle, id []byte, point secp.PublicKey, digest [32]byte) (secp.Signature, error) {
	h, err := t.find(s, id, point)
	if err != nil {
		return secp.Signature{}, err
	}
	err = t.module.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, h)
	var raw []byte
	if err == nil {
		raw, err = t.module.Sign(s, digest[:])
	}
	if err != nil {
		t.handles.forget(id, point)
		return secp.Signature{}, err
	}
	r, sv, err := split(raw)
	if err != nil {
		return secp.Signature{}, &wire.Failure{Kind: wire.BadResponse, Why: "sign: " + err.Error()}
	}
	sig, err := secp.Finish(point.Address(), digest, r, sv)
	if err != nil {
		t.handles.forget(id, point)
		return secp.Signature{}, errOtherKey
	}
	return sig, nil
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
