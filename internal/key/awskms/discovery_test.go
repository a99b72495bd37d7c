// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
)

// 400 keys, 100 ms a call and a twenty-fifth of the documented quotas: what the
// quota alone would take, and a fifth more. The clock is the test's and the
// connections are in memory, so that a busy machine changes nothing.
// BenchmarkDiscovery does the same with 10,000 keys, 20 ms, the whole quota and a
// real clock.
func TestDiscoveryTakesWhatTheQuotaTakes(t *testing.T) {
	const scale = 25
	quotas := awskmsfake.Quotas()
	for operation := range quotas {
		if operation != "GetResources" { // the adapter's own pace is not scaled
			quotas[operation] /= scale
		}
	}
	for _, test := range discoveries(10_000 / scale) {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := bufconn.Listen(1 << 16)
				s := startFake(t, awskmsfake.Config{Latency: 100 * time.Millisecond, Quotas: quotas, Listener: l})
				test.fill(s)
				config := fakeConfig(s)
				config.Discovery, config.Reads = test.discovery, key.NewQuota(awskms.ReadPerSecond/scale)
				config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }
				b := open(t, config)
				for _, round := range []string{"first", "second"} {
					begun, before := time.Now(), s.Total()
					keys, problems := list(t, b)
					took := time.Since(begun)
					if len(keys) != test.want || len(problems) != 0 {
						t.Fatalf("got %d keys, problems %+v", len(keys), problems)
					}
					t.Logf("%s listing: %d keys in %v, %d calls; the quota alone: %v", round, len(keys), took.Round(time.Millisecond), s.Total()-before, test.quota)
					if limit := test.quota * 12 / 10; took > limit {
						t.Errorf("the %s listing took %v, want at most %v", round, took, limit)
					}
				}
			})
		})
	}
}

// BenchmarkDiscovery reports how long a first listing of ten thousand keys takes
// at 20 ms a call under the documented quotas, in units of what the quota alone
// takes ("x-quota"). The bucket of the quota is full when it begins.
func BenchmarkDiscovery(b *testing.B) {
	for _, test := range discoveries(10_000) {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				s := awskmsfake.Start(awskmsfake.Config{Latency: 20 * time.Millisecond, Quotas: awskmsfake.Quotas()})
				test.fill(s)
				config := fakeConfig(s)
				config.Discovery, config.Reads = test.discovery, key.NewQuota(awskms.ReadPerSecond)
				backend, err := awskms.Open(b.Context(), config)
				if err != nil {
					b.Fatal(err)
				}
				begun, n := time.Now(), 0
				for cursor := ""; ; {
					page, err := backend.Keys(b.Context(), cursor)
					if err != nil {
						b.Fatal(err)
					}
					n += len(page.Keys)
					if cursor = page.Next; cursor == "" {
						break
					}
				}
				if n != test.want {
					b.Fatalf("%d keys", n)
				}
				b.ReportMetric(float64(time.Since(begun))/float64(test.quota), "x-quota")
				_ = backend.Close()
				s.Close()
			}
		})
	}
}

type discoveryTest struct {
	name      string
	discovery awskms.Discovery
	fill      func(*awskmsfake.Server)
	want      int
	quota     time.Duration // what the quota alone takes
}

// discoveries are the three ways to find n keys among some others, n/5 a
// second.
func discoveries(n int) []discoveryTest {
	fill := func(s *awskmsfake.Server) {
		s.AddKeys(n, "signer/", map[string]string{"use": "signer"})
		s.AddKeys(n/20, "other/", nil)
	}
	reading := 5 * time.Second
	tagging := time.Duration(n) * time.Second / 100 / awskms.TagPagesPerSecond
	return []discoveryTest{
		{"ByAlias", awskms.Discovery{AliasPrefix: "signer/"}, fill, n, reading},
		{"ByTag", awskms.Discovery{TagKey: "use", TagValue: "signer"}, fill, n, max(reading, tagging)},
		{"All", awskms.Discovery{}, fill, n + n/20, reading + reading/20},
	}
}

// Whoever lists reads a page again that failed, and must get all of it, as he
// must if it did not fail and only its answer was lost.
func TestPageThatFailedCanBeReadAgain(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(410, "k", nil)
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "k"
	b := open(t, config)
	b.SetPageKeys(200)
	first, err := b.Keys(t.Context(), "")
	if err != nil || first.Next == "" {
		t.Fatalf("the first page has no next: %v", err)
	}
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Code: "KMSInternalException", Status: 500})
	if _, err := b.Keys(t.Context(), first.Next); !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "KMS cannot answer now") {
		t.Fatalf("got %v", err)
	}
	s.ClearFaults()
	for range 2 {
		if second, err := b.Keys(t.Context(), first.Next); err != nil || len(second.Keys) != 200 || second.Next == "" {
			t.Errorf("%d keys, want 200: %v", len(second.Keys), err)
		}
	}
}

func TestPagesOfManyKeysAreStable(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(450, "k", nil)
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "k"
	b := open(t, config)
	b.SetPageKeys(200)
	pages, seen, last := 0, map[key.Ref]bool{}, ""
	for cursor := ""; ; {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, k := range page.Keys {
			if seen[k.Ref] || strings.Compare(k.Name, last) <= 0 {
				t.Fatalf("%s %s after %s", k.Ref, k.Name, last)
			}
			seen[k.Ref], last = true, k.Name
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 450 || pages != 3 {
		t.Errorf("%d keys on %d pages", len(seen), pages)
	}
	for _, cursor := range []string{"x", "1:5", "99:1", "1", ":"} {
		if _, err := b.Keys(t.Context(), cursor); !key.Transient(err) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
