// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/ethereum/go-ethereum/crypto"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func TestCreatedKeyIsWaitedForAndSigns(t *testing.T) {
	s := start(t, gcpkmsfake.Options{Polls: 3})
	b := open(t, s)
	k, err := b.Create(t.Context(), "payroll", map[string]string{"team": "treasury"})
	if err != nil {
		t.Fatal(err)
	}
	if k.Name != "payroll/1" || k.Protection != key.HSM || k.State != key.Enabled || k.Tags["team"] != "treasury" {
		t.Errorf("%+v", k)
	}
	sig := mustSign(t, b, string(k.Ref))
	if _, err := secp.Finish(k.Address, [32]byte{1, 2, 3}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
	_, err = b.Create(t.Context(), "payroll", nil)
	if !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "one of that name already") {
		t.Errorf("the same name again: %v", err)
	}
}

func TestKeyThatIsNeverReadyIsWaitedForNoLongerThanAllowed(t *testing.T) {
	s := start(t, gcpkmsfake.Options{Polls: 1 << 30})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := open(t, s).Create(ctx, "a", nil); err == nil || ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestNamesAndLabelsAreCheckedBeforeAnybodyIsAsked(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	b := open(t, s)
	private := bytes.Repeat([]byte{0x42}, 32)
	for _, name := range []string{"", "a/b", "a.b", "ä", strings.Repeat("x", 64), "a\n"} {
		// As a CallError, whose reason is told to whoever has typed the name.
		var call *key.CallError
		if _, err := b.Create(t.Context(), name, nil); !errors.As(err, &call) || call.Kind != key.ErrDenied || !strings.Contains(call.Why, "want 1 to 63") {
			t.Errorf("created %q: %v", name, err)
		}
		if _, err := b.Import(t.Context(), name, private, nil); !errors.As(err, &call) || !strings.Contains(call.Why, "want 1 to 63") {
			t.Errorf("imported %q: %v", name, err)
		}
	}
	for _, tags := range []map[string]string{{"Team": "a"}, {"": "a"}, {"1": "a"}, {"team": "A"}, {"team": strings.Repeat("a", 64)}} {
		if _, err := b.Create(t.Context(), "a", tags); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "a label is of") {
			t.Errorf("%v: %v", tags, err)
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 32), bytes.Repeat([]byte{0xff}, 32), make([]byte, 31)} {
		if _, err := b.Import(t.Context(), "a", bad, nil); err == nil {
			t.Errorf("imported %x", bad)
		}
	}
	if s.Connections() != 0 {
		t.Error("Cloud KMS was asked")
	}
}

func TestImportedKeySigns(t *testing.T) {
	s := start(t, gcpkmsfake.Options{Polls: 2})
	b := open(t, s)
	private := bytes.Repeat([]byte{0x42}, 32)
	parsed, err := crypto.ToECDSA(private)
	if err != nil {
		t.Fatal(err)
	}
	var wire []byte
	s.Fault("ImportCryptoKeyVersion", func(int) *gcpkmsfake.Fault {
		return &gcpkmsfake.Fault{Answer: func(request, _ proto.Message) {
			wire = request.(*kmspb.ImportCryptoKeyVersionRequest).GetWrappedKey()
		}}
	})
	k, err := b.Import(t.Context(), "old-hot-wallet", private, map[string]string{"team": "treasury"})
	if err != nil {
		t.Fatal(err)
	}
	if k.Address != crypto.PubkeyToAddress(parsed.PublicKey) || k.Name != "old-hot-wallet/1" || k.Protection != key.HSM {
		t.Errorf("%+v", k)
	}
	if len(wire) == 0 || bytes.Contains(wire, private[:8]) {
		t.Errorf("the key crossed the wire as %x", wire)
	}
	sig := mustSign(t, b, string(k.Ref))
	if _, err := secp.Finish(k.Address, [32]byte{1, 2, 3}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
	if _, err := b.Import(t.Context(), "old-hot-wallet", private, nil); !errors.Is(err, key.ErrDenied) {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := b.Import(t.Context(), "second", bytes.Repeat([]byte{0x43}, 32), nil); err != nil {
		t.Error(err)
	}
	if n := s.Calls("CreateImportJob"); n != 1 {
		t.Errorf("%d import jobs on one day", n)
	}
}

func TestInterruptedImportCanBeRepeated(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	b := open(t, s)
	private := bytes.Repeat([]byte{0x42}, 32)
	s.Fault("ImportCryptoKeyVersion", func(call int) *gcpkmsfake.Fault {
		if call > 1 {
			return nil
		}
		return &gcpkmsfake.Fault{Err: gcpkmsfake.Error(codes.Unavailable, "")}
	})
	if _, err := b.Import(t.Context(), "a", private, nil); !errors.Is(err, key.ErrUnavailable) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := b.Import(t.Context(), "a", private, nil); err != nil {
		t.Error(err)
	}
	s.Add(gcpkmsfake.Key{ID: "ordinary"})
	if _, err := b.Import(t.Context(), "ordinary", private, nil); !errors.Is(err, key.ErrDenied) {
		t.Errorf("into a key that was not made for it: %v", err)
	}
}

func TestImportOfAnotherKeyIsNoticed(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	b := open(t, s)
	s.Fault("GetPublicKey", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Answer: gcpkmsfake.WrongKey} })
	if _, err := b.Import(t.Context(), "a", bytes.Repeat([]byte{0x42}, 32), nil); !errors.Is(err, key.ErrBadResponse) {
		t.Errorf("got %v", err)
	}
}

func TestSwitchingOffAndOn(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	if err := b.SetEnabled(t.Context(), key.Ref(ref), false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("signing while off: %v", err)
	}
	if err := b.SetEnabled(t.Context(), key.Ref(ref), true); err != nil {
		t.Fatal(err)
	}
	mustSign(t, b, ref)
	s.Deny("cloudkms.cryptoKeyVersions.update", true)
	if err := b.SetEnabled(t.Context(), key.Ref(ref), false); !errors.Is(err, key.ErrDenied) {
		t.Errorf("without the right: %v", err)
	}
}

func TestDeletingSaysUntilWhenItCanBeUndone(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	list(t, b)
	when, err := b.Delete(t.Context(), key.Ref(ref))
	if left := time.Until(when); err != nil || left < 29*24*time.Hour || left > 31*24*time.Hour {
		t.Fatalf("%s, %v", when, err)
	}
	keys, _ := list(t, b)
	if len(keys) != 1 || !strings.Contains(keys[0].Reason, "will be destroyed at "+when.UTC().Format("2006-01-02")) {
		t.Errorf("%+v", keys)
	}
	if _, err := b.Delete(t.Context(), key.Ref(ref)); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("a second time: %v", err)
	}
	if err := b.SetEnabled(t.Context(), key.Ref(ref), true); !errors.Is(err, key.ErrDisabled) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("enabling it: %v", err)
	}
}
