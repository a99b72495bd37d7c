// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/hsmsigner/hsmsigner/internal/freeport"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func mustSign(t testing.TB, b *gcpkms.Backend, ref string) key.Signature {
	t.Helper()
	sig, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestOneSignatureIsOneCallOnOneConnection(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, address := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	for range 50 {
		sig := mustSign(t, b, ref)
		if _, err := secp.Finish(address, [32]byte{1, 2, 3}, sig.R, sig.S); err != nil {
			t.Fatal(err)
		}
		if !s.SawReason(sig.RequestID) {
			t.Fatalf("the service was not told of request %q", sig.RequestID)
		}
	}
	if n, c := s.Calls("AsymmetricSign"), s.Connections(); n != 50 || c != 1 || s.Calls("GetPublicKey") != 0 {
		t.Errorf("%d calls, %d public keys, %d connections for 50 signatures", n, s.Calls("GetPublicKey"), c)
	}
}

// Google asks for a limited number of tries more where something was damaged,
// and for none where the answer is about another key.
func TestAnswersAreNotBelieved(t *testing.T) {
	always := func(answer func(_, _ proto.Message)) func(int) *gcpkmsfake.Fault {
		return func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Answer: answer} }
	}
	for name, c := range map[string]struct {
		answer func(_, _ proto.Message)
		want   string
		calls  int
	}{
		"corrupt checksum":     {gcpkmsfake.CorruptCRC, "does not match its CRC32C", 3},
		"corrupt signature":    {gcpkmsfake.CorruptData, "does not match its CRC32C", 3},
		"no checksum":          {gcpkmsfake.NoCRC, "does not match its CRC32C", 3},
		"digest not verified":  {gcpkmsfake.Unverified, "did not check the digest's CRC32C", 3},
		"another name":         {gcpkmsfake.WrongName, "another key version", 1},
		"DER and a byte":       {gcpkmsfake.TrailingBytes, "not a signature", 1},
		"nothing":              {gcpkmsfake.Signature(nil), "not a signature", 1},
		"r is zero":            {gcpkmsfake.Signature(gcpkmsfake.DER(new(big.Int), big.NewInt(1))), "not a signature", 1},
		"s is negative":        {gcpkmsfake.Signature(gcpkmsfake.DER(big.NewInt(1), big.NewInt(-1))), "not a signature", 1},
		"r of 33 bytes":        {gcpkmsfake.Signature(gcpkmsfake.DER(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))), "not a signature", 1},
		"raw and not DER":      {gcpkmsfake.Signature(make([]byte, 64)), "not a signature", 1},
		"r padded beyond need": {gcpkmsfake.Signature([]byte{0x30, 7, 2, 2, 0, 1, 2, 1, 1}), "not a signature", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, gcpkmsfake.Options{})
			ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
			b := open(t, s)
			s.Fault("AsymmetricSign", always(c.answer))
			sig, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
			if !errors.Is(err, key.ErrBadResponse) || key.Transient(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if sig.R != [32]byte{} || sig.S != [32]byte{} {
				t.Error("a signature came with the error")
			}
			if n := s.Calls("AsymmetricSign"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
		})
	}
}

func TestDamageThatPassesCostsNoSignature(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, address := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	s.Fault("AsymmetricSign", func(call int) *gcpkmsfake.Fault {
		if call > 2 {
			return nil
		}
		return &gcpkmsfake.Fault{Answer: gcpkmsfake.CorruptData}
	})
	sig := mustSign(t, b, ref)
	if _, err := secp.Finish(address, [32]byte{1, 2, 3}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
}

func TestUnusualButSoundSignaturesAreTaken(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, address := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Answer: gcpkmsfake.HighS} })
	sig := mustSign(t, b, ref)
	if _, err := secp.Finish(address, [32]byte{1, 2, 3}, sig.R, sig.S); err != nil || sig.S[0] < 0x7f {
		t.Errorf("high s: %v, s %x", err, sig.S)
	}
	s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault {
		return &gcpkmsfake.Fault{Answer: gcpkmsfake.Signature(gcpkmsfake.DER(big.NewInt(7), big.NewInt(0x80)))}
	})
	if sig := mustSign(t, b, ref); sig.R != [32]byte{31: 7} || sig.S != [32]byte{31: 0x80} {
		t.Errorf("short r and s came as %x %x", sig.R, sig.S)
	}
	s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Answer: gcpkmsfake.WrongKey} })
	sig = mustSign(t, b, ref) // package wallet sees that it is another's
	if _, err := secp.Finish(address, [32]byte{1, 2, 3}, sig.R, sig.S); !errors.Is(err, secp.ErrWrongKey) {
		t.Errorf("the wrong key's signature: %v", err)
	}
}

func TestHangEndsWithTheCallersDeadline(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	other, _ := s.Add(gcpkmsfake.Key{ID: "b"})
	b := open(t, s)
	mustSign(t, b, other) // with that it is connected
	var hang atomic.Bool
	hang.Store(true)
	s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault {
		if !hang.Swap(false) {
			return nil
		}
		return &gcpkmsfake.Fault{Hang: true}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	begun := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := b.SignDigest(ctx, key.Ref(ref), [32]byte{1})
		done <- err
	}()
	for hang.Load() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if hang.Swap(false) {
		t.Error("the call did not come in time")
	}
	mustSign(t, b, other) // on the same connection, meanwhile
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 30*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

func TestServerThatComesBackIsFoundSoon(t *testing.T) {
	addr, err := freeport.Address(t.Context()) // lest somebody's outgoing connection has it meanwhile
	if err != nil {
		t.Fatal(err)
	}
	s := startAt(t, addr)
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	mustSign(t, b, ref)
	s.Close()
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if _, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1}); !errors.Is(err, key.ErrUnavailable) {
			t.Fatalf("while it is away: %v", err)
		}
	}
	again := startAt(t, addr)
	again.Add(gcpkmsfake.Key{ID: "a"})
	begun := time.Now()
	for {
		_, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
		if err == nil {
			break
		}
		if time.Since(begun) > 20*time.Second { // gRPC by itself would wait for two minutes
			t.Fatalf("still %v after %s", err, time.Since(begun))
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("found again after %s", time.Since(begun))
}

func TestPublicKeysAreNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(_, _ proto.Message)
		want   string
	}{
		"corrupt checksum": {gcpkmsfake.CorruptCRC, "does not match its CRC32C"},
		"corrupt key":      {gcpkmsfake.CorruptData, "does not match its CRC32C"},
		"no checksum":      {gcpkmsfake.NoCRC, "does not match its CRC32C"},
		"another name":     {gcpkmsfake.WrongName, "another key version"},
		"another curve":    {gcpkmsfake.WrongCurve, "not a secp256k1 public key"},
		"bytes behind it":  {gcpkmsfake.TrailingBytes, "not one PEM block"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, gcpkmsfake.Options{})
			bad, _ := s.Add(gcpkmsfake.Key{ID: "bad"})
			_, good := s.Add(gcpkmsfake.Key{ID: "good"})
			b := open(t, s)
			s.Fault("GetPublicKey", func(int) *gcpkmsfake.Fault {
				return &gcpkmsfake.Fault{Answer: func(request, reply proto.Message) {
					if strings.Contains(request.(interface{ GetName() string }).GetName(), "/bad/") {
						c.answer(request, reply)
					}
				}}
			})
			if _, err := b.PublicKey(t.Context(), key.Ref(bad)); !errors.Is(err, key.ErrBadResponse) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			keys, problems := list(t, b)
			if len(keys) != 1 || keys[0].Address != good {
				t.Errorf("keys %v", keys)
			}
			if len(problems) != 1 || problems[0].Name != "bad/1" || !strings.Contains(problems[0].Reason, c.want) {
				t.Errorf("problems %v", problems)
			}
		})
	}
}

func TestReferencesOfOtherRingsAreNotAsked(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	for _, r := range []string{
		"", "x", "a/cryptoKeyVersions/1", ref + "/", ref + "\n", ref + "0x", strings.Replace(ref, "/signer/", "/other/", 1),
		strings.Replace(ref, "/1", "/latest", 1), strings.Replace(ref, "/1", "/01", 1),
	} {
		if _, err := b.SignDigest(t.Context(), key.Ref(r), [32]byte{1}); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("sign with %q: %v", r, err)
		}
		if err := b.SetEnabled(t.Context(), key.Ref(r), false); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("disable %q: %v", r, err)
		}
		if _, err := b.Delete(t.Context(), key.Ref(r)); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("delete %q: %v", r, err)
		}
	}
	if s.Connections() != 0 {
		t.Error("Cloud KMS was asked")
	}
}
