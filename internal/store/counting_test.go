// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// Who counts is told of exactly what a transaction stores: of nothing of the closures
// that failed in it, whether they wrote or not, and of nothing of those before it.
func TestWhoCountsIsToldOfWhatIsStored(t *testing.T) {
	db, err := OpenSQLite(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	gate := errors.New("the gate is closed")
	var shut bool // set and read by the goroutine that writes
	db.AuditTo(AuditSink{Stamp: func([32]byte) []byte { return nil }, Gate: func() error {
		if shut {
			return gate
		}
		return nil
	}})
	type told struct{ before, after, changed []string }
	var all []told // likewise
	var now told
	db.Count(Counting{
		Before: func(w *Writer, stored []Spender) error {
			now = told{before: ids(stored)}
			if slices.Contains(now.before, "refused") {
				return gate
			}
			return w.SetAllowance(Allowance{Name: "k", State: fmt.Sprint(now.before)})
		},
		After: func(changed []Allowance, stored []Spender, doubtful bool) {
			now.after = ids(stored)
			for _, a := range changed {
				now.changed = append(now.changed, a.Name+a.State)
			}
			if doubtful {
				t.Error("nothing is in doubt")
			}
			all = append(all, now)
			now = told{}
		},
	})
	if err := db.WriteAllowance(t.Context(), func(w *Writer) error {
		_, _, err := w.LockAllowances([]string{"k"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// All that follows waits until it can share one transaction.
	begun, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		once := sync.OnceFunc(func() { close(begun); <-release })
		if err := db.Write(t.Context(), func(w *Writer) error {
			once()
			return w.AuditIntent(audit.Intent{ID: "first", At: time.UnixMicro(1)})
		}); err != nil {
			t.Error(err)
		}
	})
	<-begun
	write := func(want error, f func(w *Writer) error) {
		queued := len(db.lanes[0].queue)
		wg.Go(func() {
			if err := db.Write(t.Context(), f); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
		for end := time.Now().Add(30 * time.Second); len(db.lanes[0].queue) == queued; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("it is not queued")
				return
			}
		}
	}
	intent := func(w *Writer, id string) error { return w.AuditIntent(audit.Intent{ID: id, At: time.UnixMicro(1)}) }
	write(nil, func(w *Writer) error { return intent(w, "second") })
	write(gate, func(w *Writer) error { // it writes nothing, and the transaction goes on
		shut = true
		defer func() { shut = false }()
		return intent(w, "gated")
	})
	write(nil, func(w *Writer) error {
		return w.InsertTx(Tx{ID: "tx", Wallet: "w", Sender: "s", Kind: UserTx, State: Queued, Clearance: "{}"})
	})
	write(nil, func(w *Writer) error { // nothing is reserved for it
		return w.InsertTx(Tx{ID: "free", Wallet: "w", Sender: "s", Kind: UserTx, State: Queued})
	})
	close(release)
	wg.Wait()
	for _, f := range []func(w *Writer) error{
		func(w *Writer) error { return errors.Join(intent(w, "rolled back"), gate) },
		func(w *Writer) error { return intent(w, "refused") },
	} {
		if err := db.Write(t.Context(), f); !errors.Is(err, gate) {
			t.Errorf("got %v, want %v", err, gate)
		}
	}
	if err := db.Write(t.Context(), (*Writer).bump); err != nil {
		t.Fatal(err)
	}
	var stored []string
	for _, a := range all {
		if fmt.Sprint(a.before) != fmt.Sprint(a.after) {
			t.Errorf("before the commit %v, and after it %v", a.before, a.after)
		}
		if want := []string{"k" + fmt.Sprint(a.before)}; !slices.Equal(a.changed, want) {
			t.Errorf("changed is %v, want %v", a.changed, want)
		}
		stored = append(stored, a.after...)
	}
	slices.Sort(stored)
	if want := []string{"first", "second", "tx"}; !slices.Equal(stored, want) {
		t.Errorf("told of %v, want %v", stored, want)
	}
	if _, _, err := db.AuditOf(t.Context(), "refused"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what could not be counted is stored: %v", err)
	}
}

func ids(stored []Spender) (all []string) {
	for _, s := range stored {
		all = append(all, s.ID)
	}
	return all
}
