// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

// ownServer is for tests that break it.
func ownServer(t *testing.T) (s *pgtest.Server, url string) {
	t.Helper()
	s, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if url, err = s.NewDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, url
}

// within tries fn until it succeeds.
func within(t *testing.T, limit time.Duration, what string, fn func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s not within %v: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestRestartOfAnIdleServerIsNotNoticed(t *testing.T) {
	s, url := ownServer(t)
	db := openURL(t, store.Config{URL: url})
	for range 3 {
		tx := someTx()
		put(t, db, tx)
		if _, err := db.AcquireLease(t.Context(), "s", "me", time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Stop(), s.Up(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	put(t, db, someTx())
	if _, err := db.AcquireLease(t.Context(), "s", "me", time.Hour); err != nil {
		t.Fatal(err)
	}
	if txs, err := db.List(t.Context(), store.TxFilter{}); err != nil || len(txs) != 4 {
		t.Fatalf("%d rows, %v", len(txs), err)
	}
}

func TestCrashesOfTheServerLoseNothingThatWasAnswered(t *testing.T) {
	s, url := ownServer(t)
	pooler, err := s.Pooler(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{"direct": url, "pooler": pooler.URL("test1")} {
		t.Run(name, func(t *testing.T) { crash(t, s, url) })
	}
}

func crash(t *testing.T, s *pgtest.Server, url string) {
	db := openURL(t, store.Config{URL: url, StatementTimeout: time.Second})
	var mu sync.Mutex
	outcome := make(map[string]error)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				tx := someTx()
				err := db.Write(context.Background(), func(w *store.Writer) error { return w.InsertTx(tx) })
				mu.Lock()
				outcome[tx.ID] = err
				mu.Unlock()
				if err != nil {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if err := s.Up(t.Context()); err != nil {
			t.Error(err)
		}
		within(t, time.Minute, "a write after the crash", func() error { return db.Ping(t.Context()) })
	}
	within(t, time.Minute, "fifty writes", func() error {
		mu.Lock()
		defer mu.Unlock()
		stored := 0
		for _, err := range outcome {
			if err == nil {
				stored++
			}
		}
		if stored < 50 {
			return fmt.Errorf("only %d", stored)
		}
		return nil
	})
	stop.Store(true)
	wg.Wait()
	counts := map[string]int{}
	for id, err := range outcome {
		var unknown *store.CommitError
		_, there := db.Tx(t.Context(), id)
		switch {
		case there != nil && !errors.Is(there, store.ErrNotFound):
			t.Fatal(there)
		case err == nil:
			counts["stored"]++
			if there != nil {
				t.Errorf("answered with success and lost: %s", id)
			}
		case errors.As(err, &unknown):
			counts["unknown"]++
		default:
			counts["failed"]++
			if there == nil {
				t.Errorf("answered with %v and stored: %s", err, id)
			}
		}
	}
	t.Log(counts)
	if counts["stored"] < 50 {
		t.Errorf("only %v", counts)
	}
}

// A COMMIT that waits for a standby which is not there: its outcome is unknown
// to the daemon, and stays so until it has ended and a later commit is safe.
func TestReadsAreHeldBackWhileACommitIsOnItsWay(t *testing.T) {
	s, url := ownServer(t)
	ctx := t.Context()
	db := openURL(t, store.Config{URL: url, StatementTimeout: 3 * time.Second})
	standby := func(names string) {
		t.Helper()
		for _, text := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
			if err := s.Exec(ctx, "postgres", text); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
	}
	standby("nobody")
	tx := someTx()
	var pid atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- db.Write(ctx, func(w *store.Writer) error {
			pid.Store(int64(store.BackendPID(w)))
			return w.InsertTx(tx)
		})
	}()
	within(t, 20*time.Second, "the commit", func() error {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		var n int
		err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = $1", pid.Load()).Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("does not wait for its standby")
		}
		return err
	})
	// The process that carries it out hangs, whatever the others do.
	if err := syscall.Kill(int(pid.Load()), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(int(pid.Load()), syscall.SIGCONT) }()
	var unknown *store.CommitError
	if err := <-done; !errors.As(err, &unknown) {
		t.Fatalf("got %v", err)
	}
	standby("")
	for range 3 {
		if _, err := db.Tx(ctx, tx.ID); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Fatalf("a read answered %v while the commit is on its way", err)
		}
	}
	if err := syscall.Kill(int(pid.Load()), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "a read", func() error { _, err := db.Tx(ctx, tx.ID); return err })
}

func TestDeadlockIsTriedAgain(t *testing.T) {
	ctx := t.Context()
	url := newDatabase(t)
	db := openURL(t, store.Config{URL: url})
	a, b := someTx(), someTx()
	put(t, db, a)
	put(t, db, b)
	other, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	run := func(text, id string) {
		t.Helper()
		if _, err := other.Exec(ctx, text, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	run("UPDATE tx SET error = 'other' WHERE id = $1", b.ID)
	var runs atomic.Int64
	done := make(chan error, 1)
	mine := "mine"
	go func() {
		done <- db.Write(ctx, func(w *store.Writer) error {
			runs.Add(1)
			return errors.Join(w.ExpectTx(a.ID, nil, store.TxUpdate{Error: &mine}), w.ExpectTx(b.ID, nil, store.TxUpdate{Error: &mine}))
		})
	}()
	watch, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close(ctx)
	within(t, 20*time.Second, "it has a, and waits for b", func() error {
		var n int
		err := watch.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("nobody waits")
		}
		return err
	})
	run("UPDATE tx SET error = 'other' WHERE id = $1", a.ID)
	if _, err := other.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || runs.Load() < 2 {
		t.Fatalf("%d runs, %v", runs.Load(), err)
	}
	for _, id := range []string{a.ID, b.ID} {
		if tx, err := db.Tx(ctx, id); err != nil || tx.Error != mine {
			t.Errorf("%+v, %v", tx, err)
		}
	}
}

func TestSilentTransactionIsEndedAndItsLeaseFreed(t *testing.T) {
	ctx := t.Context()
	cfg := store.Config{URL: newDatabase(t), IdleTimeout: 4 * time.Second, LockTimeout: 200 * time.Millisecond}
	stopped, next := openURL(t, cfg), openURL(t, cfg)
	lease, err := stopped.AcquireLease(ctx, "s", "stopped", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	holds := make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	tx := someTx()
	go func() {
		f := store.Fence{Sender: "s", Owner: "stopped", Epoch: lease.Epoch}
		done <- stopped.WriteFenced(ctx, f, func(w *store.Writer) error {
			if _, err := w.UpdateTx("none", nil, store.TxUpdate{State: store.Failed}); err != nil { // has the lease row locked
				return err
			}
			once.Do(func() {
				close(holds)
				time.Sleep(8 * time.Second) // as if the process were stopped
			})
			return w.InsertTx(tx)
		})
	}()
	select {
	case <-holds:
	case err := <-done:
		t.Fatal(err)
	}
	time.Sleep(2100 * time.Millisecond) // expired, but locked
	if _, err := next.AcquireLease(ctx, "s", "next", time.Hour); !errors.Is(err, store.ErrLeaseHeld) && err != nil {
		t.Fatalf("got %v", err)
	}
	within(t, time.Minute, "the lease", func() error { _, err := next.AcquireLease(ctx, "s", "next", time.Hour); return err })
	if err := <-done; !errors.Is(err, store.ErrLeaseLost) {
		t.Fatalf("the old holder's write: %v", err)
	}
	if _, err := next.Tx(ctx, tx.ID); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestServerThatIsAwayIsSaidAtOnce(t *testing.T) {
	s, url := ownServer(t)
	db := openURL(t, store.Config{URL: url})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	err := db.Write(t.Context(), func(*store.Writer) error { return nil })
	if err == nil {
		err = db.Ping(t.Context())
	}
	if err == nil || time.Since(begun) > 15*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if _, err := db.Tx(t.Context(), "none"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a read answers %v", err)
	}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, db, someTx())
}
