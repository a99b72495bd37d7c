// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var errWanted = errors.New("wanted")

var commitTests = []test{
	{"ErrorComesBackVerbatimAndUndoes", func(t *testing.T, db *store.DB) {
		tx := newTx()
		err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := w.InsertTx(tx); err != nil {
				return err
			}
			return errWanted
		})
		if err != errWanted {
			t.Fatalf("got %v", err)
		}
		_, err = db.Tx(t.Context(), tx.ID)
		wantErr(t, err, store.ErrNotFound)
	}},
	{"PanicIsContained", func(t *testing.T, db *store.DB) {
		tx := newTx()
		err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := w.InsertTx(tx); err != nil {
				return err
			}
			panic("boom")
		})
		if err == nil || !strings.Contains(err.Error(), "boom") {
			t.Fatalf("got %v", err)
		}
		_, err = db.Tx(t.Context(), tx.ID)
		wantErr(t, err, store.ErrNotFound)
		insert(t, db, newTx())
	}},
	{"SwallowedErrorStillUndoes", func(t *testing.T, db *store.DB) {
		holder := withNonce(newTx(), store.Assigned, 1)
		insert(t, db, holder)
		tx := newTx()
		err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := w.InsertTx(tx); err != nil {
				return err
			}
			_ = w.InsertTx(withNonce(newTx(), store.Assigned, 1))
			return nil
		})
		wantErr(t, err, store.ErrNonceTaken)
		_, err = db.Tx(t.Context(), tx.ID)
		wantErr(t, err, store.ErrNotFound)
	}},
	{"ReadsSeeTheClosuresOwnWrites", func(t *testing.T, db *store.DB) {
		tx := withNonce(newTx(), store.Assigned, 1)
		a := newAttempt(tx)
		write(t, db, func(w *store.Writer) error {
			if _, err := w.Tx(tx.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("before: %v", err)
			}
			if err := errors.Join(w.InsertTx(tx), w.InsertAttempt(a), w.PutSender(store.Sender{ID: sender})); err != nil {
				return err
			}
			got, err1 := w.Tx(tx.ID)
			all, err2 := w.Attempts(tx.ID)
			s, err3 := w.Sender(sender)
			if got.ID != tx.ID || len(all) != 1 || s.ID != sender {
				t.Errorf("got %+v, %+v, %+v", got, all, s)
			}
			return errors.Join(err1, err2, err3)
		})
	}},
	{"EndedContextRunsNothing", func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.Write(ctx, func(*store.Writer) error {
			t.Error("ran")
			return nil
		})
		wantErr(t, err, context.Canceled)
	}},
	{"ContextThatEndsWhileWaitingRunsNothing", func(t *testing.T, db *store.DB) {
		release, entered := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- db.Write(context.WithoutCancel(t.Context()), func(*store.Writer) error {
				close(entered)
				<-release
				return nil
			})
		}()
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := db.Write(ctx, func(*store.Writer) error {
			t.Error("ran")
			return nil
		})
		wantErr(t, err, context.DeadlineExceeded)
		close(release)
		wantErr(t, <-first, nil)
		write(t, db, func(*store.Writer) error { return nil })
	}},
	{"ContextThatEndsInsideIsTooLate", func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		tx := newTx()
		err := db.Write(ctx, func(w *store.Writer) error {
			cancel()
			return w.InsertTx(tx)
		})
		wantErr(t, err, nil)
		get(t, db, tx.ID)
	}},
	{"FailuresDoNotHurtNeighbours", func(t *testing.T, db *store.DB) {
		taken := withNonce(newTx(), store.Assigned, 1<<40)
		known := newTx()
		insert(t, db, taken, known)
		lease := acquire(t, db, "a", time.Hour)
		good := make([]store.Tx, racers)
		// Hold the writer back, so that all of them wait and share one commit.
		hold(t, db, func() {
			race(t, func(i int) (bool, error) {
				good[i] = withNonce(newTx(), store.Assigned, uint64(i))
				a := newAttempt(good[i])
				bad := newTx()
				bad.Sender, bad.IdempotencyKey = good[i].Sender, store.NewID()
				f := fence(lease)
				var want error
				switch i % 8 {
				case 1: // after a change
					want = errWanted
				case 2:
					bad, want = withNonce(bad, store.Assigned, 1<<40), store.ErrNonceTaken
				case 3:
					bad.IdempotencyKey, want = known.IdempotencyKey, &store.DuplicateKeyError{TxID: known.ID, RequestHash: known.RequestHash}
				case 4:
					f.Epoch, want = f.Epoch+1, store.ErrLeaseLost
				case 5: // before any change
					want = errWanted
				}
				err := db.WriteFenced(t.Context(), f, func(w *store.Writer) error {
					if i%8 == 5 {
						return want
					}
					if err := errors.Join(w.InsertTx(good[i]), w.InsertAttempt(a)); err != nil {
						return err
					}
					switch i % 8 {
					case 0, 6, 7:
						return nil
					case 1:
						return want
					}
					return w.InsertTx(bad)
				})
				var duplicate *store.DuplicateKeyError
				if errors.As(err, &duplicate) && i%8 == 3 {
					return false, nil
				}
				if !errors.Is(err, want) {
					t.Errorf("%d: got %v, want %v", i, err, want)
				}
				return err == nil, nil
			})
		})
		for i, tx := range good {
			_, err := db.Tx(t.Context(), tx.ID)
			wantStored := i%8 == 0 || i%8 > 5
			if stored := err == nil; stored != wantStored {
				t.Errorf("%d: stored %v (%v), want %v", i, stored, err, wantStored)
			}
			all, err := db.Attempts(t.Context(), tx.ID)
			if err != nil || (len(all) == 1) != wantStored {
				t.Errorf("%d: %d attempts, %v", i, len(all), err)
			}
		}
	}},
	{"ExpectationsThatFailUndoTheirClosureAlone", func(t *testing.T, db *store.DB) {
		rows := make([]store.Tx, racers)
		attempts := make([]store.Attempt, racers)
		for i := range rows {
			rows[i] = withNonce(newTx(), store.Assigned, uint64(i))
			attempts[i] = newAttempt(rows[i])
		}
		insert(t, db, rows...)
		write(t, db, func(w *store.Writer) error {
			for _, a := range attempts {
				if err := w.InsertAttempt(a); err != nil {
					return err
				}
			}
			return nil
		})
		raw, hash := []byte{1}, common.Hash{7}
		hold(t, db, func() {
			race(t, func(i int) (bool, error) {
				tx, a := rows[i], attempts[i]
				var want error
				err := db.Write(t.Context(), func(w *store.Writer) error {
					want = nil
					nonce := a.Nonce
					if i%8 == 1 {
						nonce, want = nonce+1, store.ErrChanged
					}
					if err := w.ExpectSigned(a.ID, a.Tx, nonce, a.Digest, a.Epoch, raw, hash); err != nil {
						return err
					}
					from := []store.TxState{store.Assigned}
					if i%8 == 2 {
						from, want = []store.TxState{store.Sent, store.Mined, store.Queued}, store.ErrChanged
					}
					if err := w.ExpectTx(tx.ID, from, store.TxUpdate{State: store.Signed, Hash: &hash}); err != nil {
						return err
					}
					switch i % 8 {
					case 3:
						want = store.ErrChanged
						return w.ExpectOutcome(a.ID, []store.AttemptOutcome{store.Void, store.Lost, store.Won}, store.Impossible)
					case 4: // the same row twice, in order
						return w.ExpectTx(tx.ID, []store.TxState{store.Signed}, store.TxUpdate{State: store.Sent})
					case 5: // to the nonce of another
						want = store.ErrNonceTaken
						taken := uint64((i + 1) % racers)
						return w.ExpectTx(tx.ID, []store.TxState{store.Signed}, store.TxUpdate{State: store.Assigned, SetNonce: true, Nonce: &taken})
					}
					return nil
				})
				if !errors.Is(err, want) {
					t.Errorf("%d: got %v, want %v", i, err, want)
				}
				return err == nil, nil
			})
		})
		for i, tx := range rows {
			want := store.Signed
			switch i % 8 {
			case 1, 2, 3, 5:
				want = store.Assigned
			case 4:
				want = store.Sent
			}
			if got := get(t, db, tx.ID); got.State != want {
				t.Errorf("%d is %s, want %s", i, got.State, want)
			}
			all, err := db.Attempts(t.Context(), tx.ID)
			if err != nil || len(all) != 1 || (all[0].Raw != nil) != (want != store.Assigned) {
				t.Errorf("%d: attempts %+v, %v", i, all, err)
			}
		}
	}},
	{"HundredsOfWritersAreAllStored", func(t *testing.T, db *store.DB) {
		const each = 6
		race(t, func(i int) (bool, error) {
			for k := range each {
				tx := withNonce(newTx(), store.Assigned, uint64(i*each+k))
				if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(tx) }); err != nil {
					return false, err
				}
				if _, err := db.Tx(t.Context(), tx.ID); err != nil {
					return false, err
				}
			}
			return true, nil
		})
		counts, err := db.Counts(t.Context())
		if err != nil || counts[store.Assigned] != racers*each {
			t.Fatalf("got %v, %v", counts, err)
		}
	}},
	{"CloseAnswersEverybodyAndRefusesTheRest", func(t *testing.T, db *store.DB) {
		n := race(t, func(i int) (bool, error) {
			if i == racers-1 {
				return false, db.Close()
			}
			err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(newTx()) })
			if errors.Is(err, store.ErrClosed) {
				return false, nil
			}
			return true, err
		})
		t.Logf("%d written before the close", n)
		err := db.Write(t.Context(), func(*store.Writer) error { return nil })
		wantErr(t, err, store.ErrClosed)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}},
	{"PingAnswers", func(t *testing.T, db *store.DB) {
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}},
}

// hold keeps the writer busy until fn's writes have had time to queue up.
func hold(t *testing.T, db *store.DB, fn func()) {
	t.Helper()
	release, entered, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Write(context.WithoutCancel(t.Context()), func(*store.Writer) error {
			close(entered)
			<-release
			return nil
		})
	}()
	<-entered
	timer := time.AfterFunc(100*time.Millisecond, func() { close(release) })
	defer timer.Stop()
	fn()
	wantErr(t, <-done, nil)
}
