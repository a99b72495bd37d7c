// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestGuesserIsSlowedByAddressAndByName(t *testing.T) {
	for name, next := range map[string]func(i int) *http.Request{
		"one address, many names": func(i int) *http.Request { return basic(fmt.Sprintf("h0aaaaaa%02d", i), "x") },
		"one name, many addresses": func(i int) *http.Request {
			r := basic("h0aaaaaaa1", "x")
			r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", i)
			return r
		},
		"one IPv6 network": func(i int) *http.Request {
			r := basic(fmt.Sprintf("h0aaaaaa%02d", i), "x")
			r.RemoteAddr = fmt.Sprintf("[2001:db8::%d]:1", i)
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			d := p.directory(auth.DirectoryConfig{})
			d.Guard().SetHold(20 * time.Millisecond)
			atOnce(t, d, func(t *testing.T) {
				for i := range 20 {
					if _, err := d.App(next(i)); !errors.Is(err, auth.ErrCredentials) {
						t.Fatalf("try %d: %v", i, err)
					}
				}
				start := time.Now()
				_, err := d.App(next(20))
				if limited(t, err); time.Since(start) < 20*time.Millisecond {
					t.Errorf("refused at once, after %s", time.Since(start))
				}
			})
		})
	}
}

func TestGuesserWhoHangsUpIsNotWaitedFor(t *testing.T) {
	g := auth.NewGuard(nil, nil)
	g.SetHold(time.Hour)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 40 {
		_ = g.Bad(request("192.0.2.1:5").WithContext(gone), "h0aaaaaaa1", true)
	}
}

func TestBadLoginsAreRecordedAndAFloodOfThemIsSummedUp(t *testing.T) {
	var mu sync.Mutex
	var events []auth.Event
	g := auth.NewGuard(func(_ context.Context, e auth.Event) {
		mu.Lock()
		events = append(events, e)
		mu.Unlock()
	}, nil)
	g.SetHold(0)
	for range 1000 {
		_ = g.Bad(request("192.0.2.1:5"), "h0aaaaaaa1", true)
	}
	g.Report(t.Context())
	n := 0
	for _, e := range events {
		n += e.Count
		if e.Kind != auth.BadLogin || e.At.IsZero() {
			t.Errorf("got %+v", e)
		}
	}
	if n != 1000 || len(events) > 25 || events[0].Who != "h0aaaaaaa1" || events[0].Remote != "192.0.2.1" {
		t.Errorf("%d events for %d bad logins, the first %+v", len(events), n, events[0])
	}
}

// flood is how many bad logins issue no. 6 is about.
const flood = 100_000

// A user whose own name is flooded with bad logins, from his own address, is
// never refused and hardly slowed. His requests go over HTTP; the flood goes to
// the directory itself, faster than any door would let it, so that what it costs
// is what it costs us and not what it costs those who send it.
func TestHundredThousandBadLoginsForAUsersOwnNameHardlySlowHim(t *testing.T) {
	p := newPlace(t)
	password := p.app("h0aaaaaaa1")
	d := p.directory(auth.DirectoryConfig{})
	d.Guard().SetHold(4 * time.Millisecond)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.App(r); err != nil {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer door.Close()
	client := door.Client()
	ask := func() time.Duration {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, door.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("h0aaaaaaa1", password)
		start := time.Now()
		answer, err := client.Do(r)
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("the rightful user is refused with %d", answer.StatusCode)
		}
		return took
	}
	median := func(n int) time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = ask()
		}
		slices.Sort(all)
		return all[n/2]
	}
	median(200) // warm

	// The machine has other work, so the quiet and the flooded moments take turns
	// and the best of each are compared; a few tries in all.
	best := 100.0
	for try := range 8 {
		quiet, flooded := time.Hour, time.Hour
		const turns = 5
		for range turns {
			quiet = min(quiet, median(400))
			var group sync.WaitGroup
			var left atomic.Int64
			left.Store(flood / turns)
			for range 64 {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						r := request("127.0.0.1:9")
						r.SetBasicAuth("h0aaaaaaa1", "wrong")
						if _, err := d.App(r); err == nil {
							t.Error("a wrong password was taken")
						}
					}
				})
			}
			for left.Load() > 0 {
				flooded = min(flooded, median(200))
			}
			group.Wait()
		}
		ratio := float64(flooded) / float64(quiet)
		t.Logf("try %d: median %s quiet, %s flooded: %.3f", try, quiet, flooded, ratio)
		if ratio < 1.10 {
			return
		}
		best = min(best, ratio)
	}
	t.Errorf("the user is slowed by %.0f %%", 100*(best-1))
}

// BenchmarkApp is what checking a credential adds to a request.
func BenchmarkApp(b *testing.B) {
	db, err := store.OpenSQLite(b.Context(), store.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	v, password := newVerifier(b, 1), auth.NewSecret()
	err = db.Write(b.Context(), func(w *store.Writer) error {
		return w.InsertResource(store.Resource{
			ID: "h0aaaaaaa1", Kind: "appcreds", Environment: "h0envir001", Membership: "h0membe001", Created: time.Now(), Updated: time.Now(),
			Data:     []byte(`{"auth_type":"basic_auth"}`),
			Verifier: auth.AppCred{ID: "h0aaaaaaa1", AuthType: auth.Basic, Membership: "h0membe001", Environment: "h0envir001"}.Stored(v, password),
		})
	})
	if err != nil {
		b.Fatal(err)
	}
	d, err := auth.NewDirectory(b.Context(), auth.DirectoryConfig{Store: db, Verifier: v, Limits: auth.Limits{Credential: 1e6, Membership: 1e6}})
	if err != nil {
		b.Fatal(err)
	}
	d.Guard().SetHold(0)
	for name, c := range map[string]struct {
		id, password string
		good         bool
	}{
		"right":   {"h0aaaaaaa1", password, true},
		"wrong":   {"h0aaaaaaa1", password[:42] + "!", false},
		"unknown": {"h0aaaaaaa2", password, false},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				who, good := d.Password(c.id, c.password)
				if good != c.good || good && d.Allow(who, 1) != nil {
					b.Fatal(good)
				}
			}
		})
		b.Run(name+"/request", func(b *testing.B) {
			r := basic(c.id, c.password)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.App(r); (err == nil) != c.good {
					b.Fatal(err)
				}
			}
		})
	}
}
