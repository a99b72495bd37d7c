// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestBucketGivesItsRateAndItsBurst(t *testing.T) {
	var b auth.Bucket
	const second = time.Second
	for range 5 {
		if wait := b.Take(second, 1, 10, 5); wait != 0 {
			t.Fatalf("within the burst: wait %s", wait)
		}
	}
	if wait := b.Take(second, 1, 10, 5); wait != 100*time.Millisecond {
		t.Errorf("over the burst: wait %s", wait)
	}
	if wait := b.Take(second, 3, 10, 5); wait != 300*time.Millisecond {
		t.Errorf("three over the burst: wait %s", wait)
	}
	if wait := b.Take(second+100*time.Millisecond, 1, 10, 5); wait != 0 {
		t.Errorf("after the time it said: wait %s", wait)
	}
	if wait := b.Take(10*second, 1000, 10, 5); wait != 0 {
		t.Errorf("more than the burst from a full bucket: wait %s", wait)
	}
	b.Give(1, 10, 5)
	if wait := b.Take(10*second, 1, 10, 5); wait != 0 {
		t.Errorf("what was given back: wait %s", wait)
	}
	if wait := b.Take(10*second, 1, 0, 0); wait != 0 {
		t.Errorf("no limit: wait %s", wait)
	}
}

func TestBucketNeverGivesTooMuchToMany(t *testing.T) {
	var b auth.Bucket
	var got atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 200 {
				if b.Take(0, 1, 10, 500) == 0 {
					got.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got.Load() != 500 {
		t.Errorf("gave %d, want 500", got.Load())
	}
}

// atOnce does something while no time passes by which a bucket could fill.
func atOnce(t *testing.T, d *auth.Directory, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d.Restart() // every bubble begins at the same moment
		f(t)
	})
}

func limited(t *testing.T, err error) *auth.LimitError {
	t.Helper()
	var e *auth.LimitError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a limit", err)
	}
	if e.RetryAfter <= 0 || e.HTTPStatus() != http.StatusTooManyRequests {
		t.Errorf("got %+v with status %d", e, e.HTTPStatus())
	}
	return e
}

func TestCredentialOverItsLimitIsToldWhenToComeAgain(t *testing.T) {
	p := newPlace(t)
	first, second := p.app("h0aaaaaaa1"), p.app("h0aaaaaaa2")
	key := p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})
	d := p.directory(auth.DirectoryConfig{Limits: auth.Limits{Credential: 3}})
	atOnce(t, d, func(t *testing.T) {
		for range 3 {
			if _, err := d.App(basic("h0aaaaaaa1", first)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Manager(bearer(key)); err != nil {
				t.Fatal(err)
			}
		}
		who, err := d.App(basic("h0aaaaaaa1", first))
		if e := limited(t, err); e.RetryAfter > time.Second || who != (auth.Principal{}) {
			t.Errorf("come again after %s, as %v", e.RetryAfter, who)
		}
		_, err = d.Manager(bearer(key))
		limited(t, err)
	})
	// Changes of credentials do not fill it again.
	d.Changed()
	atOnce(t, d, func(t *testing.T) {
		_, err := d.App(basic("h0aaaaaaa1", first))
		limited(t, err)
		if _, err := d.App(basic("h0aaaaaaa2", second)); err != nil {
			t.Errorf("another credential: %v", err)
		}
	})
	if err := d.Allow(auth.Principal{Name: "app:of the file"}, 1000); err != nil {
		t.Errorf("one that is not in the directory: %v", err)
	}
}

func TestMembershipOverItsLimitTakesNothingFromAnother(t *testing.T) {
	p := newPlace(t)
	first, second, third := p.app("h0aaaaaaa1"), p.app("h0aaaaaaa2"), p.appOf("h0aaaaaaa3", "h0membe002")
	d := p.directory(auth.DirectoryConfig{Limits: auth.Limits{Membership: 4}})
	atOnce(t, d, func(t *testing.T) {
		for range 2 {
			for id, password := range map[string]string{"h0aaaaaaa1": first, "h0aaaaaaa2": second} {
				if _, err := d.App(basic(id, password)); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err := d.App(basic("h0aaaaaaa1", first))
		limited(t, err)
		_, err = d.App(basic("h0aaaaaaa2", second))
		limited(t, err)
		who, err := d.App(basic("h0aaaaaaa3", third))
		if err != nil {
			t.Errorf("another membership: %v", err)
		}
		if err := d.Allow(who, 3); err != nil {
			t.Errorf("a batch within the limit: %v", err)
		}
		limited(t, d.Allow(who, 1))
	})
}

func TestMembershipsRefusalCostsTheCredentialNothing(t *testing.T) {
	p := newPlace(t)
	first, second := p.app("h0aaaaaaa1"), p.app("h0aaaaaaa2")
	d := p.directory(auth.DirectoryConfig{Limits: auth.Limits{Credential: 1000, Membership: 2}})
	for range 2 {
		if _, err := d.App(basic("h0aaaaaaa1", first)); err != nil {
			t.Fatal(err)
		}
	}
	for range 5000 {
		if _, err := d.App(basic("h0aaaaaaa2", second)); err == nil {
			return // the membership's limit has room again: so has the credential's
		} else if e := limited(t, err); e.Reason != "this membership is over its limit of requests per second" {
			t.Fatalf("refused for %s", e.Reason)
		}
	}
}

func TestKeysOfAMembershipShareItsLimitWithItsCredentials(t *testing.T) {
	p := newPlace(t)
	grant := auth.Grant{Consortium: "h0conso001", Membership: "h0membe001", Role: auth.Operates}
	app := p.app("h0aaaaaaa1")
	first, second := p.key("h0kkkkkkk1", grant), p.key("h0kkkkkkk2", grant, grant)
	other := p.key("h0kkkkkkk3", auth.Grant{Consortium: "h0conso001", Membership: "h0membe002", Role: auth.Admin})
	root := p.key("h0kkkkkkk4", grant, auth.Grant{Role: auth.Admin})
	d := p.directory(auth.DirectoryConfig{Limits: auth.Limits{Membership: 3}})
	atOnce(t, d, func(t *testing.T) {
		for _, key := range []string{first, second} {
			if _, err := d.Manager(bearer(key)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.App(basic("h0aaaaaaa1", app)); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{first, second} {
			who, err := d.Manager(bearer(key))
			if e := limited(t, err); e.Reason != "this membership is over its limit of requests per second" || len(who.Grants) > 0 {
				t.Errorf("refused for %s, as %+v", e.Reason, who)
			}
		}
		_, err := d.App(basic("h0aaaaaaa1", app))
		limited(t, err)
		for range 3 {
			if _, err := d.Manager(bearer(root)); err != nil {
				t.Errorf("a key that is for more than the membership: %v", err)
			}
		}
		if _, err := d.Manager(bearer(other)); err != nil {
			t.Errorf("another membership's: %v", err)
		}
	})
}
