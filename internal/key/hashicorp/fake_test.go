// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func newFake(t *testing.T, keys int) *vaultfake.Server {
	t.Helper()
	f := vaultfake.New(keys)
	t.Cleanup(f.Close)
	return f
}

func fakeConfig(f *vaultfake.Server) hashicorp.Config {
	return hashicorp.Config{Address: f.URL(), Token: func() (string, error) { return vaultfake.Token, nil }}
}

func fakeRef(f *vaultfake.Server, i int) key.Ref { return key.Ref("hsmsigner/" + f.Addresses()[i]) }

func TestContractOnFake(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		f := newFake(t, 3)
		return keytest.Fixture{Backend: must(t, fakeConfig(f)), MinKeys: 3, Unknown: "hsmsigner/0x00000000000000000000000000000000000000ff"}
	})
}

func TestOneSignatureIsOneCallOnAWarmConnection(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	ref := fakeRef(f, 0)
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	calls, connections := f.Total(), f.Connections()
	const n = 100
	for i := range n {
		sig, err := b.SignDigest(t.Context(), ref, [32]byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(sig.RequestID, "request-") {
			t.Fatalf("request id %q", sig.RequestID)
		}
	}
	if got := f.Total() - calls; got != n {
		t.Errorf("%d calls for %d signatures", got, n)
	}
	if got := f.Connections() - connections; got != 0 {
		t.Errorf("%d new connections for warm signatures", got)
	}
}

func Test64CallersKeepTheirConnections(t *testing.T) {
	f := newFake(t, 1)
	f.SetDelay(5 * time.Millisecond)
	b := open(t, fakeConfig(f))
	ref := fakeRef(f, 0)
	burst := func() {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	burst()
	warm := f.Connections()
	for range 10 {
		burst()
	}
	if got := f.Connections() - warm; got > 320 { // of 640, if none were kept
		t.Errorf("%d new connections in 10 bursts of 64 warm calls", got)
	}
}

func TestThrottledSignatureIsReportedAndNotRepeated(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	ref := fakeRef(f, 0)
	for header, want := range map[string]time.Duration{"": 0, "3": 3 * time.Second, "nonsense": 0, "-1": 0} {
		var asked atomic.Int64
		f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/sign/") {
				return false
			}
			asked.Add(1)
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			vaultfake.Refuse(w, http.StatusTooManyRequests, "request path \"hsmsigner/sign\": rate limit quota exceeded")
			return true
		})
		_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
		var throttled *key.ThrottledError
		if !errors.As(err, &throttled) || throttled.RetryAfter != want {
			t.Errorf("Retry-After %q: %v, want throttled with %v", header, err, want)
		}
		if asked.Load() != 1 {
			t.Errorf("Retry-After %q: %d calls, want 1", header, asked.Load())
		}
	}
}

func TestThrottledListingGoesOn(t *testing.T) {
	f := newFake(t, 1200)
	var n atomic.Int64
	f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/addresses") && n.Add(1)%2 == 1 {
			vaultfake.Refuse(w, http.StatusTooManyRequests, "rate limit quota exceeded")
			return true
		}
		return false
	})
	if got := listAll(t, open(t, fakeConfig(f))); len(got) != 1200 {
		t.Errorf("%d keys, want 1200", len(got))
	}
}

func listAll(t *testing.T, b key.Backend) map[key.Ref]key.Key {
	t.Helper()
	keys := map[key.Ref]key.Key{}
	cursor := ""
	for range 1000 {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			keys[k.Ref] = k
		}
		for _, p := range page.Problems {
			t.Errorf("problem %+v", p)
		}
		if cursor = page.Next; cursor == "" {
			return keys
		}
	}
	t.Fatal("the listing does not end")
	return nil
}

func TestTenThousandKeysTakeTwentyOneCalls(t *testing.T) {
	f := newFake(t, 10_000)
	f.SetDelay(20 * time.Millisecond)
	begin := time.Now()
	got := listAll(t, open(t, fakeConfig(f)))
	took := time.Since(begin)
	if len(got) != 10_000 {
		t.Errorf("%d keys, want 10000", len(got))
	}
	// 20 full pages and one that is empty.
	if calls := f.Calls("GET hsmsigner/addresses"); calls != 21 {
		t.Errorf("%d calls, want 21", calls)
	}
	t.Logf("10,000 keys, 20 ms a call: %v", took)
}

func TestHangingVaultLetsGoAtTheDeadline(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	ref := fakeRef(f, 0)
	release := make(chan struct{})
	f.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/sign/") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return true
		}
		return false
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := b.SignDigest(ctx, ref, [32]byte{1})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 9*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestHangingLoginLetsEveryCallerGoAtItsDeadline(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	f.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := b.SignDigest(ctx, fakeRef(f, 0), [32]byte{1})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 9*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	closing := time.Now()
	_ = b.Close()
	if took := time.Since(closing); took > 9*time.Second { // less than a login may take
		t.Errorf("closing took %v while a login hangs", took)
	}
}

// What the engine would never say: each is a signature of the account after
// secp.Finish, or refused.
func TestWrongAnswersAreRefusedOrMadeCanonical(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	address := f.Addresses()[0]
	k := f.Key(address)
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	n := crypto.S256().Params().N
	highS := func(sig []byte) []byte {
		s := new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:64]))
		s.FillBytes(sig[32:64])
		sig[64] ^= 1
		return sig
	}
	hexed := func(b []byte) string { return "0x" + hex.EncodeToString(b) }
	tests := map[string]struct {
		answer func(digest []byte) any // the signature, or a whole answer
		kind   error                   // nil: it is a signature
		wrong  bool                    // it is one of another key
	}{
		"high S":     {answer: func(d []byte) any { return hexed(highS(sign(t, d, k))) }},
		"wrong hint": {answer: func(d []byte) any { s := sign(t, d, k); s[64] ^= 1; return hexed(s) }},
		"wrong key":  {answer: func(d []byte) any { return hexed(sign(t, d, other)) }, wrong: true},
		"r twice":    {answer: func(d []byte) any { s := sign(t, d, k); copy(s[32:64], s[:32]); return hexed(s) }, wrong: true},
		"short r":    {answer: func(d []byte) any { return hexed(sign(t, d, k)[1:]) }, kind: key.ErrBadResponse},
		"long":       {answer: func(d []byte) any { return hexed(append(sign(t, d, k), 0)) }, kind: key.ErrBadResponse},
		"no 0x":      {answer: func(d []byte) any { return hexed(sign(t, d, k))[2:] }, kind: key.ErrBadResponse},
		"no hex":     {answer: func([]byte) any { return "0xzz" }, kind: key.ErrBadResponse},
		"r is 0":     {answer: func(d []byte) any { s := sign(t, d, k); clear(s[:32]); return hexed(s) }, kind: key.ErrBadResponse},
		"s is n":     {answer: func(d []byte) any { s := sign(t, d, k); n.FillBytes(s[32:64]); return hexed(s) }, kind: key.ErrBadResponse},
		"v is 27":    {answer: func(d []byte) any { s := sign(t, d, k); s[64] += 27; return hexed(s) }, kind: key.ErrBadResponse},
		"nothing":    {answer: func([]byte) any { return nil }, kind: key.ErrBadResponse},
		"a number":   {answer: func([]byte) any { return 5 }, kind: key.ErrBadResponse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/sign/") {
					return false
				}
				f.Answer(w, map[string]any{"address": address, "signature": tt.answer(digestOf(r))})
				return true
			})
			var digest [32]byte
			_, _ = rand.Read(digest[:])
			sig, err := b.SignDigest(t.Context(), fakeRef(f, 0), digest)
			if !errors.Is(err, tt.kind) {
				t.Fatalf("%v, want %v", err, tt.kind)
			}
			if err != nil {
				return
			}
			_, err = secp.FinishHinted(crypto.PubkeyToAddress(k.PublicKey), digest, sig.R, sig.S, sig.Hint)
			if (err != nil) != tt.wrong {
				t.Errorf("%v, want an error: %v", err, tt.wrong)
			}
		})
	}
}

func TestLeadingZerosSurvive(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	k := f.Key(f.Addresses()[0])
	zeros := 0
	for i := 0; i < 20_000 && zeros < 4; i++ {
		digest := [32]byte{1, byte(i), byte(i >> 8)}
		want := sign(t, digest[:], k)
		if want[0] != 0 && want[32] != 0 {
			continue
		}
		zeros++
		sig, err := b.SignDigest(t.Context(), fakeRef(f, 0), digest)
		if err != nil || sig.R != [32]byte(want[:32]) || sig.S != [32]byte(want[32:64]) {
			t.Errorf("%x: %+v, %v", want, sig, err)
		}
	}
	if zeros < 4 {
		t.Error("no signature with a leading zero")
	}
}

func TestStrangeAnswersAreBadResponses(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	for name, answer := range map[string]func(w http.ResponseWriter){
		"another address": func(w http.ResponseWriter) {
			f.Answer(w, map[string]any{"address": "0x00", "signature": "0x" + strings.Repeat("11", 64) + "00"})
		},
		"a web page": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"no data":    func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"request_id":"x"}`)) },
		"no content": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"a list":     func(w http.ResponseWriter) { f.Answer(w, []int{1}) },
		"too long":   func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 17<<20)) },
	} {
		f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/sign/") {
				answer(w)
				return true
			}
			return false
		})
		if _, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1}); !errors.Is(err, key.ErrBadResponse) {
			t.Errorf("%s: %v, want ErrBadResponse", name, err)
		}
	}
}

func TestListingWithBadEntriesKeepsTheGoodOnes(t *testing.T) {
	f := newFake(t, 2)
	good, bad := f.Addresses()[0], f.Addresses()[1]
	point := "0x" + hex.EncodeToString(crypto.FromECDSAPub(&f.Key(good).PublicKey))
	for name, entry := range map[string]map[string]any{
		"no public key": {"address": bad, "name": "x", "enabled": true},
		"another's":     {"address": bad, "name": "x", "enabled": true, "public_key": point},
		"other curve":   {"address": bad, "name": "x", "enabled": true, "public_key": "0x04" + strings.Repeat("11", 64)},
	} {
		f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/addresses") {
				return false
			}
			f.Answer(w, map[string]any{"keys": []string{good, bad}, "key_info": map[string]any{
				good: map[string]any{"address": good, "name": "good", "enabled": false, "public_key": point}, bad: entry,
			}})
			return true
		})
		page, err := open(t, fakeConfig(f)).Keys(t.Context(), "")
		if err != nil || len(page.Keys) != 1 || len(page.Problems) != 1 || page.Problems[0].Name != bad {
			t.Errorf("%s: %+v, %v", name, page, err)
			continue
		}
		if k := page.Keys[0]; k.State != key.Disabled || k.Reason == "" {
			t.Errorf("%s: switched-off key listed as %+v", name, k)
		}
	}
}

func TestEmptyVaultHasNoKeys(t *testing.T) {
	page, err := open(t, fakeConfig(newFake(t, 0))).Keys(t.Context(), "")
	if err != nil || len(page.Keys) != 0 || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
}

func digestOf(r *http.Request) []byte {
	var body struct {
		Digest string `json:"digest"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	digest, _ := hex.DecodeString(strings.TrimPrefix(body.Digest, "0x"))
	return digest
}
