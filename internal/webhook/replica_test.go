// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/webhook"
)

// deliverUntilKilled is the child process of TestKilledInMidDelivery.
func deliverUntilKilled(dir, url string) {
	db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	cfg := fast(db, hookTo("shop", url))
	cfg.LeaseTTL = 5 * time.Second // the next one waits for it
	h, err := webhook.New(cfg)
	if err != nil {
		panic(err)
	}
	h.Run(context.Background())
}

// The receiver has the event, its answer never comes: kill -9. What was not
// acknowledged comes again, with the same id; what was does not.
func TestKilledInMidDeliveryDeliversAgain(t *testing.T) {
	dir := t.TempDir()
	hang := make(chan struct{})
	rec := receive(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 3 {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	})
	open := func() *store.DB {
		db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	cfg := func(db *store.DB) webhook.Config {
		c := fast(db, hookTo("shop", rec.server.URL))
		c.Concurrency = 1
		return c
	}
	db := open()
	ids := put(t, db, newHooks(t, cfg(db)), 4)["treasury/shop"]
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe)
	child.Env = append(os.Environ(), "WEBHOOK_TEST_CHILD="+dir, "WEBHOOK_TEST_URL="+rec.server.URL)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the receiver has four", func() bool { return len(rec.all()) == 4 })
	left := func() int {
		ro, err := store.OpenReadOnly(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ro.Close()
		return waiting(t, ro)
	}
	eventually(t, "three are acknowledged", func() bool { return left() == 1 })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	close(hang)
	first := rec.ids()

	db = open()
	h := newHooks(t, cfg(db))
	stop := start(t, h)
	eventually(t, "the rest is delivered", func() bool { return waiting(t, db) == 0 })
	stop()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	all := rec.ids()
	if len(all) != 5 || all[4] != first[3] {
		t.Fatalf("heard %v", all)
	}
	slices.Sort(first)
	if !slices.Equal(first, ids) {
		t.Fatalf("heard %v, want %v", first, ids)
	}
}

func TestShutdownWaitsForWhatIsOnItsWay(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(int, http.ResponseWriter, *http.Request) { time.Sleep(200 * time.Millisecond) })
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL)))
	stop := start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is on its way", func() bool { return len(rec.all()) == 1 })
	stop()
	if n := waiting(t, db); n != 0 {
		t.Fatalf("%d events wait", n)
	}
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cfg := fast(db, hookTo("shop", rec.server.URL))
	cfg.LeaseTTL = 2 * time.Second
	h := newHooks(t, cfg)
	stop := start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is on its way", func() bool { return len(rec.all()) > 0 })
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	due, err := db.DueEvents(t.Context(), []string{"treasury/shop"}, time.Now(), 9)
	if err != nil || len(due) != 1 || due[0].Tries != 0 {
		t.Fatalf("got %+v, %v", due, err)
	}
}

// Of several replicas one delivers; when it goes another takes over.
func TestOneReplicaDeliversAtATime(t *testing.T) {
	db := openStore(t)
	rec := receive(t, nil)
	var all []*webhook.Hooks
	var stops []func()
	for range 3 {
		cfg := fast(db, hookTo("shop", rec.server.URL))
		h := newHooks(t, cfg)
		all = append(all, h)
		stops = append(stops, start(t, h))
	}
	want := 0
	for i := range all {
		put(t, db, all[i], 50)
		want += 50
		eventually(t, "all are delivered", func() bool { return waiting(t, db) == 0 })
		if n := len(rec.all()); n != want {
			t.Fatalf("%d deliveries of %d events", n, want)
		}
		owner, left, err := db.LeaseOf(t.Context(), "webhook")
		if err != nil || left <= 0 {
			t.Fatalf("%q, %v, %v", owner, left, err)
		}
		stops[i]()
	}
}

// A holder that was paused beyond its lease stops when it finds out.
func TestALostLeaseEndsTheTries(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 0 {
			<-r.Context().Done()
		}
	})
	cfg := fast(db, hookTo("shop", rec.server.URL))
	cfg.LeaseTTL, cfg.Owner = 6*time.Second, "a"
	h := newHooks(t, cfg)
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is on its way", func() bool { return len(rec.all()) == 1 })
	// The same owner asks anew: another epoch, so the first has lost it.
	stolen, err := db.AcquireLease(t.Context(), "webhook", "a", 700*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is delivered by the next epoch", func() bool { return waiting(t, db) == 0 })
	if n := len(rec.all()); n != 2 {
		t.Fatalf("%d tries", n)
	}
	if _, err := db.RenewLease(t.Context(), store.Fence{Sender: "webhook", Owner: "a", Epoch: stolen.Epoch}, time.Second); err == nil {
		t.Fatal("the lease was not taken anew")
	}
}
