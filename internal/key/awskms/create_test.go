// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func TestImportedKeySignsForItsAddress(t *testing.T) {
	s := startFake(t, awskmsfake.Config{Secrets: known()})
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "signer/"
	b := open(t, config)
	private, err := gethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	address := gethcrypto.PubkeyToAddress(private.PublicKey)
	made, err := b.Import(t.Context(), "signer/imported", gethcrypto.FromECDSA(private), map[string]string{"from": "paper"})
	if err != nil {
		t.Fatal(err)
	}
	if made.Address != address || made.Protection != key.HSM || made.Name != "signer/imported" {
		t.Errorf("got %+v", made)
	}
	sig, err := b.SignDigest(t.Context(), made.Ref, [32]byte{3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(address, [32]byte{3}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
	if k := s.Find(address); k == nil || k.Origin != "EXTERNAL" {
		t.Errorf("got %+v", k)
	}
	if keys, _ := list(t, b); len(keys) != 1 || keys[0].Ref != made.Ref {
		t.Errorf("got %+v", keys)
	}
	if _, err := b.Import(t.Context(), "signer/zero", make([]byte, 32), nil); err == nil || s.Calls("CreateKey") != 1 {
		t.Errorf("got %v after %d keys", err, s.Calls("CreateKey"))
	}
}

func TestImportOfAnotherKeyIsNoticed(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	private, err := gethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := gethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	spki := secp.PublicKey(gethcrypto.FromECDSAPub(&other.PublicKey)[1:]).SPKI()
	s.Alter(func(operation string, answer map[string]any) {
		if operation == "GetPublicKey" {
			answer["PublicKey"] = spki
		}
	})
	_, err = open(t, fakeConfig(s)).Import(t.Context(), "a", gethcrypto.FromECDSA(private), nil)
	if !errors.Is(err, key.ErrBadResponse) || s.Calls("CreateAlias") != 0 {
		t.Errorf("got %v after %d aliases", err, s.Calls("CreateAlias"))
	}
}

// A key that exists and that nobody knows of costs money and trust.
func TestHalfMadeKeyIsNamed(t *testing.T) {
	for _, test := range []struct {
		operation string
		imported  bool
	}{{"CreateAlias", false}, {"GetPublicKey", false}, {"GetParametersForImport", true}, {"ImportKeyMaterial", true}, {"CreateAlias", true}} {
		s := startFake(t, awskmsfake.Config{})
		b := open(t, fakeConfig(s))
		s.Fail(awskmsfake.Fault{Operation: test.operation, Code: "AccessDeniedException"})
		var made key.Key
		var err error
		if test.imported {
			made, err = b.Import(t.Context(), "half", append(make([]byte, 31), 7), nil)
		} else {
			made, err = b.Create(t.Context(), "half", nil)
		}
		var call *key.CallError
		if !errors.As(err, &call) || !errors.Is(err, key.ErrDenied) || made.Ref != "" ||
			!strings.HasPrefix(string(call.Ref), "arn:aws:kms:") || !strings.Contains(call.Why, "kms:"+test.operation) || !strings.Contains(call.Why, string(call.Ref)) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}

func TestNamesThatWouldNotBeFoundAreRefusedBeforeThereIsAKey(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKey("signer/taken", nil)
	for _, test := range []struct {
		discovery awskms.Discovery
		name      string
		tags      map[string]string
	}{
		{awskms.Discovery{}, "a b", nil},
		{awskms.Discovery{}, "aws/mine", nil},
		{awskms.Discovery{}, "signer/taken", nil},
		{awskms.Discovery{AliasPrefix: "signer/"}, "other/x", nil},
		{awskms.Discovery{AliasPrefix: "signer/"}, "", nil},
		{awskms.Discovery{TagKey: "use", TagValue: "signer"}, "x", map[string]string{"use": "else"}},
		{awskms.Discovery{}, "x", map[string]string{"aws:x": "y"}},
	} {
		config := fakeConfig(s)
		config.Discovery = test.discovery
		if made, err := open(t, config).Create(t.Context(), test.name, test.tags); err == nil {
			t.Errorf("%+v: made %+v", test, made)
		}
	}
	if n := s.Calls("CreateKey"); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestCreatedKeyHasTheTagOfTheDiscovery(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	config := fakeConfig(s)
	config.Discovery = awskms.Discovery{TagKey: "use", TagValue: "signer"}
	b := open(t, config)
	made, err := b.Create(t.Context(), "one", map[string]string{"team": "ops"})
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := list(t, b)
	if len(keys) != 1 || keys[0].Ref != made.Ref || keys[0].Name != "one" || keys[0].Tags["use"] != "signer" || keys[0].Tags["team"] != "ops" {
		t.Errorf("got %+v", keys)
	}
}

// The answer to CreateAlias is lost, and the alias is there.
func TestLostAnswerToCreateAliasIsNoFailure(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	b := open(t, fakeConfig(s))
	lost := false
	s.Alter(func(operation string, _ map[string]any) {
		if operation == "CreateAlias" && !lost {
			lost = true
			panic(http.ErrAbortHandler) // done, and the connection is cut
		}
	})
	made, err := b.Create(t.Context(), "one", nil)
	if err != nil || made.Name != "one" {
		t.Errorf("got %+v, %v", made, err)
	}
	if n := s.Calls("CreateAlias"); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
