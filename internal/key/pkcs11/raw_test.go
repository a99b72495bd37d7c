// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"crypto/ecdsa"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// Objects as other programs put them into a token, made here in the test's own
// process.
type objects struct {
	t       *testing.T
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
}

var (
	secp256k1 = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}
	p256      = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
)

// inside does something in the token as its user.
func inside(t *testing.T, token *softhsm.Token, do func(o objects)) {
	t.Helper()
	t.Setenv("SOFTHSM2_CONF", token.Env()[0][len("SOFTHSM2_CONF="):])
	m := pkcs11.New(token.Module)
	if m == nil {
		t.Fatal("SoftHSM cannot be loaded")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Initialize())
	defer m.Destroy()
	defer func() { _ = m.Finalize() }()
	slots, err := m.GetSlotList(true)
	must(err)
	s, err := m.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(err)
	must(m.Login(s, pkcs11.CKU_USER, token.PIN))
	do(objects{t, m, s})
}

func (o objects) put(a ...*pkcs11.Attribute) {
	o.t.Helper()
	if _, err := o.module.CreateObject(o.session, append(a, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true))); err != nil {
		o.t.Fatal(err)
	}
}

func attr(typ uint, v any) *pkcs11.Attribute { return pkcs11.NewAttribute(typ, v) }

func (o objects) private(k *ecdsa.PrivateKey, id, label string, more ...*pkcs11.Attribute) {
	o.t.Helper()
	o.put(append([]*pkcs11.Attribute{
		attr(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PRIVATE_KEY)), attr(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)), attr(pkcs11.CKA_EC_PARAMS, secp256k1),
		attr(pkcs11.CKA_VALUE, crypto.FromECDSA(k)), attr(pkcs11.CKA_ID, id), attr(pkcs11.CKA_LABEL, label),
		attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false), attr(pkcs11.CKA_PRIVATE, true),
	}, more...)...)
}

func (o objects) public(k *ecdsa.PrivateKey, id, label string) {
	o.t.Helper()
	o.publicPoint(append([]byte{4, 65}, crypto.FromECDSAPub(&k.PublicKey)...), id, label)
}

func (o objects) publicPoint(point []byte, id, label string) {
	o.t.Helper()
	o.put(attr(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PUBLIC_KEY)), attr(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)), attr(pkcs11.CKA_EC_PARAMS, secp256k1),
		attr(pkcs11.CKA_EC_POINT, point), attr(pkcs11.CKA_ID, id), attr(pkcs11.CKA_LABEL, label))
}

// pair makes a pair of another kind in the token itself.
func (o objects) pair(mechanism uint, label string, public, private []*pkcs11.Attribute) {
	o.t.Helper()
	common := []*pkcs11.Attribute{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_ID, label)}
	if _, _, err := o.module.GenerateKeyPair(o.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)},
		append(public, common...), append(append(private, common...), attr(pkcs11.CKA_PRIVATE, true))); err != nil {
		o.t.Fatal(err)
	}
}

// read gives attributes of the one private key with a label.
func (o objects) read(label string, types ...uint) [][]byte {
	o.t.Helper()
	if err := o.module.FindObjectsInit(o.session, []*pkcs11.Attribute{attr(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PRIVATE_KEY)), attr(pkcs11.CKA_LABEL, label)}); err != nil {
		o.t.Fatal(err)
	}
	found, _, err := o.module.FindObjects(o.session, 2)
	if err != nil || len(found) != 1 {
		o.t.Fatalf("%d objects, %v", len(found), err)
	}
	if err := o.module.FindObjectsFinal(o.session); err != nil {
		o.t.Fatal(err)
	}
	template := make([]*pkcs11.Attribute, len(types))
	for i := range types {
		template[i] = attr(types[i], nil)
	}
	values, err := o.module.GetAttributeValue(o.session, found[0], template)
	if err != nil {
		o.t.Fatal(err)
	}
	out := make([][]byte, len(types))
	for i := range values {
		out[i] = values[i].Value
	}
	return out
}

// changePIN has the security officer set another user PIN.
func changePIN(t *testing.T, token *softhsm.Token, pin string) error {
	t.Helper()
	t.Setenv("SOFTHSM2_CONF", token.Env()[0][len("SOFTHSM2_CONF="):])
	m := pkcs11.New(token.Module)
	if err := m.Initialize(); err != nil {
		return err
	}
	defer m.Destroy()
	defer func() { _ = m.Finalize() }()
	slots, err := m.GetSlotList(true)
	if err != nil {
		return err
	}
	s, err := m.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	if err := m.Login(s, pkcs11.CKU_SO, token.SOPIN); err != nil {
		return err
	}
	return m.InitPIN(s, pin)
}
