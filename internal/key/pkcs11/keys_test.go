// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	raw "github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func byName(keys []key.Key) map[string]key.Key {
	m := map[string]key.Key{}
	for _, k := range keys {
		m[k.Name] = k
	}
	return m
}

func problemOf(problems []key.Problem, name string) string {
	i := slices.IndexFunc(problems, func(p key.Problem) bool { return p.Name == name })
	if i < 0 {
		return ""
	}
	return problems[i].Reason
}

func TestKeysOfOtherProgramsAreReadAsTheyAre(t *testing.T) {
	token := newToken(t)
	var k [14]*ecdsa.PrivateKey
	for i := range k {
		k[i] = newKey(t)
	}
	inside(t, token, func(o objects) {
		o.private(k[0], "\x01", "by id") // and another label on the public object
		o.public(k[0], "\x01", "other label")
		o.private(k[1], "\x02", "by label") // and no CKA_ID on the public object
		o.public(k[1], "", "by label")
		o.private(k[2], "", "no id at all")
		o.public(k[2], "", "no id at all")
		o.private(k[3], "\x03", "alone")
		o.private(k[4], "\x04", "twin a") // two keys under one CKA_ID: the labels tell
		o.public(k[4], "\x04", "twin a")
		o.private(k[5], "\x04", "twin b")
		o.public(k[5], "\x04", "twin b")
		o.private(k[6], "\x05", "torn a") // two private keys, one public: whose?
		o.private(k[7], "\x05", "torn b")
		o.public(k[6], "\x05", "torn")
		o.private(k[12], "\x0b", "half a") // two private keys, and the public key of one
		o.private(k[13], "\x0b", "half b")
		o.public(k[12], "\x0b", "half a")
		o.private(k[8], "\x06", "may not sign", attr(raw.CKA_SIGN, false))
		o.public(k[8], "\x06", "may not sign")
		o.private(k[9], "\x07", "first") // one key twice
		o.public(k[9], "\x07", "first")
		o.private(k[9], "\x08", "second")
		o.public(k[9], "\x08", "second")
		o.private(k[10], "\x09", "bad point")
		o.publicPoint(append([]byte{4, 65, 4}, make([]byte, 64)...), "\x09", "bad point")
		o.private(k[11], "\x0a", "bell\a and tab\t")
		o.public(k[11], "\x0a", "bell")
		o.pair(raw.CKM_EC_KEY_PAIR_GEN, "of another curve", []*raw.Attribute{attr(raw.CKA_EC_PARAMS, p256)}, []*raw.Attribute{attr(raw.CKA_SIGN, true)})
		o.pair(raw.CKM_RSA_PKCS_KEY_PAIR_GEN, "RSA", []*raw.Attribute{attr(raw.CKA_MODULUS_BITS, 2048), attr(raw.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})}, nil)
	})
	b := open(t, configOf(token))
	keys, problems := list(t, b)
	got := byName(keys)
	for name, k := range map[string]*ecdsa.PrivateKey{
		"by id": k[0], "by label": k[1], "no id at all": k[2], "twin a": k[4], "twin b": k[5], "first": k[9], "half a": k[12], "bell\ufffd and tab\ufffd": k[11],
	} {
		if got[name].Address != crypto.PubkeyToAddress(k.PublicKey) || got[name].State != key.Enabled {
			t.Errorf("%q is listed as %+v", name, got[name])
			continue
		}
		mustSign(t, b, got[name])
		if _, err := b.PublicKey(t.Context(), got[name].Ref); err != nil {
			t.Errorf("public key of %q: %v", name, err)
		}
	}
	off := got["may not sign"]
	if off.State != key.Disabled || !strings.Contains(off.Reason, "CKA_SIGN") {
		t.Errorf("a key that may not sign is listed as %+v", off)
	}
	if _, err := b.SignDigest(t.Context(), off.Ref, [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("sign with a key that may not: %v", err)
	}
	for name, want := range map[string]string{
		"alone": "no public key object", "torn a": "CKA_ID", "torn b": "CKA_ID", "half b": "CKA_ID", "second": "second time", "bad point": "secp256k1",
	} {
		if why := problemOf(problems, name); !strings.Contains(why, want) {
			t.Errorf("problem of %q: %q, want something about %q", name, why, want)
		}
	}
	if len(keys) != 9 || len(problems) != 6 {
		t.Errorf("%d keys and %d problems: %v %v", len(keys), len(problems), keys, problems)
	}
}

func TestPointInOtherForms(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	k := newKey(t)
	inside(t, token, func(o objects) { o.private(k, "\x01", "alone") })
	point := hex.EncodeToString(crypto.FromECDSAPub(&k.PublicKey))
	for name, order := range map[string]string{
		"on the private object, raw": "C_GetAttributeValue point " + point, "on the private object, in an octet string": "C_GetAttributeValue point 0441" + point,
	} {
		s.tell(t, order)
		b := open(t, s.config(token))
		keys, problems := list(t, b)
		if len(keys) != 1 || keys[0].Address != crypto.PubkeyToAddress(k.PublicKey) || len(problems) != 0 {
			t.Errorf("%s: %v, %v", name, keys, problems)
			continue
		}
		mustSign(t, b, keys[0])
	}
	inside(t, token, func(o objects) { o.public(k, "\x01", "alone") })
	s.tell(t, "C_GetAttributeValue raw")
	b := open(t, s.config(token))
	if keys, _ := list(t, b); len(keys) != 1 || keys[0].Address != crypto.PubkeyToAddress(k.PublicKey) {
		t.Errorf("raw on the public object: %v", keys)
	}
	create(t, b, "made while points are raw")
}

// A CKA_ID that another key took over names the other key: the reference to the
// old one is not found, and nothing is signed.
func TestReusedIDIsNotFound(t *testing.T) {
	token := newToken(t)
	b := open(t, configOf(token))
	old := create(t, b, "old")
	mustSign(t, b, old) // its handle is known
	id, _, _ := strings.Cut(string(old.Ref), ".")
	rawID, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, configOf(token)).Delete(t.Context(), old.Ref); err != nil {
		t.Fatal(err)
	}
	k := newKey(t)
	inside(t, token, func(o objects) {
		o.private(k, string(rawID), "new")
		o.public(k, string(rawID), "new")
	})
	if err := sign(t.Context(), b, old, 1); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("sign with the old reference: %v", err)
	}
	if _, err := b.PublicKey(t.Context(), old.Ref); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("public key of the old reference: %v", err)
	}
	keys, _ := list(t, b)
	if len(keys) != 1 || keys[0].Address != crypto.PubkeyToAddress(k.PublicKey) {
		t.Errorf("listed %v", keys)
	}
	mustSign(t, b, keys[0])
}

// Two pairs whose public objects were given each other's CKA_ID: neither address
// may be taken at the token's word, least of all to delete what it leads to.
func TestKeyOfAnotherAddressIsNotDeleted(t *testing.T) {
	token := newToken(t)
	one, two := newKey(t), newKey(t)
	inside(t, token, func(o objects) {
		o.private(one, "1", "one")
		o.private(two, "2", "two")
		o.public(one, "2", "one")
		o.public(two, "1", "two")
	})
	b := open(t, configOf(token))
	keys, _ := list(t, b)
	if len(keys) != 2 {
		t.Fatalf("listed %v", keys)
	}
	for _, k := range keys {
		if _, err := b.Delete(t.Context(), k.Ref); !errors.Is(err, key.ErrBadResponse) || !strings.Contains(err.Error(), "nothing was deleted") {
			t.Errorf("delete %s: %v", k.Ref, err)
		}
	}
	if after, _ := list(t, b); len(after) != 2 {
		t.Errorf("%d keys are left", len(after))
	}
}

func TestDisabledKeyCanBeDeleted(t *testing.T) {
	token := newToken(t)
	off := newKey(t)
	inside(t, token, func(o objects) {
		o.private(off, "off", "off", attr(raw.CKA_SIGN, false))
		o.public(off, "off", "off")
	})
	b := open(t, configOf(token))
	keys, _ := list(t, b)
	if len(keys) != 1 || keys[0].State != key.Disabled {
		t.Fatalf("listed %v", keys)
	}
	if _, err := b.Delete(t.Context(), keys[0].Ref); err != nil {
		t.Fatal(err)
	}
	if after, _ := list(t, b); len(after) != 0 {
		t.Errorf("left: %v", after)
	}
}

func TestSignatureIsNotTrusted(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	for order, want := range map[string]error{
		"C_Sign flip": key.ErrBadResponse, "C_Sign zero": key.ErrBadResponse, "C_Sign cut 1": key.ErrBadResponse, "C_Sign cut 2": key.ErrBadResponse,
		"C_Sign cut 64": key.ErrBadResponse,
		"C_Sign rv 68":  key.ErrDisabled, "C_SignInit rv 70": key.ErrDenied, "C_Sign rv 21": key.ErrBadResponse, "C_SignInit rv 80000123": key.ErrUnavailable,
		"C_SignInit rv 101": key.ErrUnavailable, "C_SignInit rv 5": key.ErrUnavailable,
	} {
		s.tell(t, order)
		sig, err := b.SignDigest(t.Context(), k.Ref, [32]byte{1})
		// The process that met the error of the last order may end only now.
		for range 20 {
			if errors.Is(err, want) || !errors.Is(err, key.ErrUnavailable) {
				break
			}
			time.Sleep(100 * time.Millisecond)
			sig, err = b.SignDigest(t.Context(), k.Ref, [32]byte{1})
		}
		if !errors.Is(err, want) || sig != (key.Signature{}) {
			t.Errorf("%s: %v, want %v", order, err, want)
		}
		s.tell(t)
		eventuallyHealthy(t, b)
	}
}

// As from a handle that has come to mean another key. The first signature by a
// handle is checked before it is given, of the others one in a while when it has been.
func TestHandleThatGaveAWrongSignatureIsFoundAgain(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	s.tell(t, "C_Sign once-flip")
	mustSign(t, b, k)
	before := s.calls(t, "C_FindObjectsInit")
	s.tell(t, "C_Sign flip", "C_FindObjectsInit once-slow 0") // wrong until it is found again
	deadline := time.Now().Add(2 * time.Minute)
	for n := uint64(1); s.calls(t, "C_FindObjectsInit") == before; n++ {
		if time.Now().After(deadline) {
			t.Fatal("the handle was not found again")
		}
		var digest [32]byte // nobody asks twice
		binary.BigEndian.PutUint64(digest[:], n)
		if _, err := b.SignDigest(t.Context(), k.Ref, digest); err != nil {
			t.Fatal(err)
		}
	}
	mustSign(t, b, k)
}

func TestModuleThatPrintsDoesNotGarbleReplies(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	s.tell(t, "C_SignInit print")
	b := open(t, s.config(token))
	k := create(t, b, "a")
	pid := b.Process()
	for range 10 {
		mustSign(t, b, k)
	}
	if b.Process() != pid {
		t.Error("the child did not survive")
	}
}

func TestOneSignatureIsOneCall(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	mustSign(t, b, k)
	before := map[string]int{}
	functions := []string{"C_SignInit", "C_Sign", "C_OpenSession", "C_Login", "C_FindObjectsInit", "C_GetAttributeValue", "C_GetSessionInfo", "C_Initialize"}
	for _, f := range functions {
		before[f] = s.calls(t, f)
	}
	for range 50 {
		mustSign(t, b, k)
	}
	for _, f := range functions {
		want := 0
		if f == "C_SignInit" || f == "C_Sign" {
			want = 50
		}
		if got := s.calls(t, f) - before[f]; got != want {
			t.Errorf("%d calls of %s for 50 signatures, want %d", got, f, want)
		}
	}
}

func TestCreatedKeyStaysHidden(t *testing.T) {
	token := newToken(t)
	b := open(t, configOf(token))
	create(t, b, "made")
	inside(t, token, func(o objects) {
		v := o.read("made", raw.CKA_TOKEN, raw.CKA_PRIVATE, raw.CKA_SENSITIVE, raw.CKA_SIGN, raw.CKA_ALWAYS_SENSITIVE, raw.CKA_NEVER_EXTRACTABLE,
			raw.CKA_EXTRACTABLE, raw.CKA_DECRYPT, raw.CKA_UNWRAP, raw.CKA_DERIVE, raw.CKA_SIGN_RECOVER)
		for i, value := range v {
			if want := []byte{1}; i >= 6 && bytes.Equal(value, want) || i < 6 && !bytes.Equal(value, want) {
				t.Errorf("attribute %d is %v", i, value)
			}
		}
	})
	for name, tags := range map[string]map[string]string{"": nil, "a\nb": nil, " x": nil, "tagged": {"a": "b"}, strings.Repeat("x", 129): nil} {
		if _, err := b.Create(t.Context(), name, tags); err == nil {
			t.Errorf("name %q with tags %v was taken", name, tags)
		}
	}
}

func TestImport(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	inside(t, token, func(o objects) {
		o.pair(raw.CKM_RSA_PKCS_KEY_PAIR_GEN, "wrapper", []*raw.Attribute{attr(raw.CKA_MODULUS_BITS, 2048), attr(raw.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(raw.CKA_WRAP, true)},
			[]*raw.Attribute{attr(raw.CKA_UNWRAP, true), attr(raw.CKA_SENSITIVE, true), attr(raw.CKA_EXTRACTABLE, false)})
	})
	c := s.config(token)
	plain := open(t, c)
	c.WrappingKey = "wrapper"
	wrapped := open(t, c)
	c.WrappingKey = "none such"
	none := open(t, c)
	for name, b := range map[string]*pkcs11.Backend{"in clear": plain, "wrapped": wrapped} {
		k := newKey(t)
		// The C_CreateObject of a private key is what the wrapped way must not use.
		if name == "wrapped" {
			s.tell(t, "C_CreateObject noprivate")
		}
		got, err := b.Import(t.Context(), name, crypto.FromECDSA(k), nil)
		s.tell(t)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Address != crypto.PubkeyToAddress(k.PublicKey) || got.Name != name || got.State != key.Enabled {
			t.Errorf("%s: %+v", name, got)
		}
		mustSign(t, b, got)
		inside(t, token, func(o objects) {
			v := o.read(name, raw.CKA_SENSITIVE, raw.CKA_EXTRACTABLE)
			if !bytes.Equal(v[0], []byte{1}) || bytes.Equal(v[1], []byte{1}) {
				t.Errorf("%s: sensitive %v, extractable %v", name, v[0], v[1])
			}
		})
		keys, problems := list(t, plain)
		if i := slices.IndexFunc(keys, func(k key.Key) bool { return k.Ref == got.Ref }); i < 0 || len(problems) != 0 {
			t.Errorf("%s: not listed, or problems %v", name, problems)
		}
		if _, err := b.Delete(t.Context(), got.Ref); err != nil {
			t.Errorf("%s: delete: %v", name, err)
		}
		if err := sign(t.Context(), b, got, 2); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("%s: sign after delete: %v", name, err)
		}
	}
	for what, c := range map[string]struct {
		b     *pkcs11.Backend
		order string
		key   []byte
		want  string
	}{
		"no such wrapping key":     {none, "", crypto.FromECDSA(newKey(t)), "none such"},
		"zero":                     {plain, "", make([]byte, 32), "from 1 to n-1"},
		"short":                    {plain, "", make([]byte, 31), "from 1 to n-1"},
		"a token that takes none":  {plain, "C_CreateObject noprivate", crypto.FromECDSA(newKey(t)), "RSA key that may unwrap"},
		"a key that does not sign": {plain, "C_Sign flip", crypto.FromECDSA(newKey(t)), "does not fit"},
	} {
		s.tell(t)
		if c.order != "" {
			s.tell(t, c.order)
		}
		if _, err := c.b.Import(t.Context(), what, c.key, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.tell(t)
	if keys, problems := list(t, plain); len(keys) != 0 || len(problems) != 0 {
		t.Errorf("left behind: %v, %v", keys, problems)
	}
}

func TestManyKeysInPages(t *testing.T) {
	token := newToken(t)
	c := configOf(token)
	c.PageSize = 30
	const n = 130 // more than one message of the child holds
	inside(t, token, func(o objects) {
		for i := range n {
			k := newKey(t)
			o.private(k, fmt.Sprintf("id %d", i), fmt.Sprintf("key %d", i))
			o.public(k, fmt.Sprintf("id %d", i), fmt.Sprintf("key %d", i))
		}
	})
	b := open(t, c)
	keys, problems := list(t, b)
	if len(keys) != n || len(problems) != 0 || len(byName(keys)) != n {
		t.Errorf("%d keys, %d problems", len(keys), len(problems))
	}
}
