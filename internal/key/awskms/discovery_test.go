// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
)

// 400 keys, 100 ms a call and a twenty-fifth of the documented quotas: what the
// quota alone would take, and a fifth more. BenchmarkDiscovery does the same with
// 10,000 keys, 20 ms and the whole quota, which wants a machine that is not busy.
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
			s := startFake(t, awskmsfake.Config{Latency: 100 * time.Millisecond, Quotas: quotas})
			test.fill(s)
			limit := test.quota * 12 / 10
			// A busy machine may be slower than the quota, which says nothing about
			// us: the best of three counts.
			for attempt := 1; ; attempt++ {
				config := fakeConfig(s)
				config.Discovery, config.Reads = test.discovery, key.NewQuota(awskms.ReadPerSecond/scale)
				b := open(t, config)
				slowest := time.Duration(0)
				for _, round := range []string{"first", "second"} {
					begun, before := time.Now(), s.Total()
					keys, problems := list(t, b)
					took := time.Since(begun)
					if len(keys) != test.want || len(problems) != 0 {
						t.Fatalf("got %d keys, problems %+v", len(keys), problems)
					}
					t.Logf("%s listing: %d keys in %v, %d calls; the quota alone: %v", round, len(keys), took.Round(time.Millisecond), s.Total()-before, test.quota)
					slowest = max(slowest, took)
				}
				if slowest <= limit {
					return
				}
				if attempt == 3 {
					t.Fatalf("a listing took %v, want at most %v", slowest, limit)
				}
			}
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
	s.AddKeys(2500, "k", nil)
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "k"
	b := open(t, config)
	first, err := b.Keys(t.Context(), "")
	if err != nil || first.Next == "" {
		t.Fatalf("the first page has no next: %v", err)
	}
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Code: "KMSInternalException", Status: 500})
	if _, err := b.Keys(t.Context(), first.Next); !errors.Is(err, key.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	s.ClearFaults()
	s.AddKeys(2500, "l", nil) // so that the page is not the last
	for range 2 {
		second, err := b.Keys(t.Context(), first.Next)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(first.Keys) + len(second.Keys); n != 2500 {
			t.Errorf("%d keys, want 2500", n)
		}
	}
}

func TestPagesOfManyKeysAreStable(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(4500, "k", nil)
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "k"
	b := open(t, config)
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
	if len(seen) != 4500 || pages != 3 {
		t.Errorf("%d keys on %d pages", len(seen), pages)
	}
	for _, cursor := range []string{"x", "1:5", "99:1", "1", ":"} {
		if _, err := b.Keys(t.Context(), cursor); !key.Transient(err) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
