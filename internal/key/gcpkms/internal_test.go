// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

// Ten thousand keys (see manyKeys), 20 ms a call, both quotas enforced as documented. The
// clock is the test's, so a quarter of an hour passes at once; the connection
// is in memory, since no clock can be told to wait for a socket.
func TestDiscoveryTakesWhatTheQuotaTakes(t *testing.T) {
	const keys = manyKeys
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 20)
		s, err := gcpkmsfake.Start(gcpkmsfake.Options{
			Listener: l, Latency: 20 * time.Millisecond, ReadsPerSecond: ReadPerSecond, CryptoPerSecond: SignPerSecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range keys {
			s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
		}
		b, err := Open(t.Context(), Config{
			KeyRing: s.Ring(), Endpoint: "127.0.0.1:1", Insecure: true,
			Reads: key.NewQuota(ReadPerSecond), Crypto: key.NewQuota(SignPerSecond),
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()

		begun, found := time.Now(), 0
		for cursor := ""; ; {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // package wallet's for a page
			page, err := b.Keys(ctx, cursor)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if found += len(page.Keys); len(page.Problems) > 0 {
				t.Fatal(page.Problems)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		took := time.Since(begun)
		reads := s.Calls("ListCryptoKeys") + s.Calls("ListCryptoKeyVersions")
		// One list a key cannot be had cheaper, and a page of them costs one more.
		allowed := time.Duration(float64(keys+keys/keysPerPage) / ReadPerSecond * float64(time.Second))
		t.Logf("%d keys in %s; the quota allows it in %s; %d reads, %d public keys", found, took, allowed, reads, s.Calls("GetPublicKey"))
		if found != keys || took > allowed*12/10 || s.Calls("GetPublicKey") != keys {
			t.Errorf("%d keys in %s, want %d in %s at most", found, took, keys, allowed*12/10)
		}
	})
}

// Of any bytes that come back either nothing is made, or exactly the numbers
// that are in them.
func TestRandomSignaturesAreReadOrRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	asked := &kmspb.AsymmetricSignRequest{Name: "n"}
	number := func() *big.Int {
		b := make([]byte, 1+rng.IntN(32)) // short ones too
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return new(big.Int).SetBytes(b)
	}
	n, _ := new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	taken := 0
	for i := range 100_000 {
		r, s := number(), number()
		valid := r.Sign() > 0 && s.Sign() > 0 && r.Cmp(n) < 0 && s.Cmp(n) < 0
		b := gcpkmsfake.DER(r, s)
		sound := bytes.Clone(b)
		switch i % 3 {
		case 1:
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		case 2:
			b = append(b[:rng.IntN(len(b))], byte(rng.Uint32()))
		}
		gotR, gotS, err := signature(asked, &kmspb.AsymmetricSignResponse{
			Name: "n", Signature: b, SignatureCrc32C: wrapperspb.Int64(checksum(b)), VerifiedDigestCrc32C: true,
		})
		if bytes.Equal(b, sound) && (err == nil) != valid {
			t.Fatalf("%x: %v", b, err)
		}
		if err != nil {
			if gotR != [32]byte{} || gotS != [32]byte{} {
				t.Fatalf("%x: numbers came with %v", b, err)
			}
			continue
		}
		taken++
		if !bytes.Equal(gcpkmsfake.DER(new(big.Int).SetBytes(gotR[:]), new(big.Int).SetBytes(gotS[:])), b) {
			t.Fatalf("%x was read as %x %x", b, gotR, gotS)
		}
		// Any bit that flips after the checksum was made is noticed.
		damagedBytes := bytes.Clone(b)
		damagedBytes[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		if _, _, err := signature(asked, &kmspb.AsymmetricSignResponse{
			Name: "n", Signature: damagedBytes, SignatureCrc32C: wrapperspb.Int64(checksum(b)), VerifiedDigestCrc32C: true,
		}); err == nil {
			t.Fatalf("%x was taken with the checksum of %x", damagedBytes, b)
		}
	}
	t.Logf("%d of 100,000 taken", taken)
}

func FuzzPublicKey(f *testing.F) {
	f.Add("-----BEGIN PUBLIC KEY-----\nMFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEeb5mfvncu6xVoGKVzocLBwKb/NstzijZ\nWfKBWxb4F5hIOtp3JqPEZV2k+/wOEQio/Re0SKaFVBmcR9CP+xDUuA==\n-----END PUBLIC KEY-----\n")
	f.Add("-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		public, err := publicKey("n", &kmspb.PublicKey{Name: "n", Pem: text, PemCrc32C: wrapperspb.Int64(checksum([]byte(text))), Algorithm: algorithm})
		if err != nil {
			return
		}
		block, _ := pem.Decode([]byte(text))
		if !bytes.Equal(public.SPKI(), block.Bytes) {
			t.Errorf("%q was read as %x", text, public)
		}
	})
}

func FuzzAccountKey(f *testing.F) {
	f.Add(`{"type":"service_account","token_uri":"https://oauth2.googleapis.com/token"}`)
	f.Add(`{"type":"external_account"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := parseAccountKey(text); err == nil && (k.private == nil || k.email == "" || k.id == "") {
			t.Errorf("%q was taken without a key", text)
		}
	})
}

// The adapter and the bare library take turns on one connection to one server.
func BenchmarkSignBesideTheLibrary(b *testing.B) {
	s, err := gcpkmsfake.Start(gcpkmsfake.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	backend, err := Open(b.Context(), Config{KeyRing: s.Ring(), Endpoint: s.Addr(), Insecure: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = backend.Close() }()
	digest := [32]byte{1}
	request := &kmspb.AsymmetricSignRequest{Name: ref, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}}}
	var adapter, library []time.Duration
	for b.Loop() {
		begun := time.Now()
		if _, err := backend.SignDigest(b.Context(), key.Ref(ref), digest); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if _, err := backend.client.AsymmetricSign(b.Context(), request); err != nil {
			b.Fatal(err)
		}
		adapter, library = append(adapter, between.Sub(begun)), append(library, time.Since(between))
	}
	slices.Sort(adapter)
	slices.Sort(library)
	ours, theirs := adapter[len(adapter)/2], library[len(library)/2]
	b.ReportMetric(float64(ours.Nanoseconds()), "p50-adapter-ns")
	b.ReportMetric(float64(theirs.Nanoseconds()), "p50-library-ns")
	b.ReportMetric(100*(float64(ours)/float64(theirs)-1), "overhead-%")
}
