// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

func openBench(b *testing.B, onCommit func(int, time.Duration)) *DB {
	b.Helper()
	db, err := OpenSQLite(context.Background(), Config{Dir: b.TempDir(), OnCommit: onCommit})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

func benchTx(sender string, nonce uint64) (Tx, Attempt, audit.Intent) {
	t := Tx{
		ID: NewID(), Wallet: "treasury", Credential: "app:bench", IdempotencyKey: NewID(), Intent: NewID(),
		Sender: sender, Kind: UserTx, Payload: make([]byte, 120), State: Assigned, Nonce: &nonce,
	}
	a := Attempt{ID: NewID(), Tx: t.ID, Sender: sender, Nonce: nonce, Kind: FirstAttempt, Digest: common.HexToHash(t.ID), Epoch: 1}
	i := audit.Intent{ID: t.Intent, At: time.Now(), Principal: t.Credential, Wallet: t.Wallet, Action: audit.SendTransaction, Subject: t.ID, Verdict: "allow: default"}
	return t, a, i
}

// parallel shares b.N calls of fn among so many goroutines.
func parallel(b *testing.B, goroutines int, fn func(g, i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for g := range goroutines {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := fn(g, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkAccept measures what an accepted transaction costs at first: its
// row, its key, its first attempt and its intent, in one Write.
func BenchmarkAccept(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		b.Run(map[int]string{1: "alone", 64: "64 goroutines"}[goroutines], func(b *testing.B) {
			var commits atomic.Int64
			db := openBench(b, func(int, time.Duration) { commits.Add(1) })
			parallel(b, goroutines, func(_, i int) error {
				t, a, intent := benchTx("1-bench", uint64(i))
				return db.Write(context.Background(), func(w *Writer) error {
					if err := w.AuditIntent(intent); err != nil {
						return err
					}
					if err := w.InsertTx(t); err != nil {
						return err
					}
					return w.InsertAttempt(a)
				})
			})
			b.ReportMetric(float64(b.N)/float64(commits.Load()), "writes/commit")
		})
	}
}

// BenchmarkLife measures the whole life of a transaction in the store, from
// acceptance to confirmation, each step a Write of its own.
func BenchmarkLife(b *testing.B) {
	db := openBench(b, nil)
	ctx := context.Background()
	lease, err := db.AcquireLease(ctx, "1-bench", "me", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	f := Fence{Sender: lease.Sender, Owner: lease.Owner, Epoch: lease.Epoch}
	parallel(b, 64, func(_, i int) error {
		t, a, intent := benchTx("1-bench", uint64(i))
		nonce := t.Nonce
		t.Nonce, t.State = nil, Queued
		raw, hash := make([]byte, 180), common.HexToHash(a.ID)
		steps := []func(w *Writer) error{
			func(w *Writer) error {
				if err := w.AuditIntent(intent); err != nil {
					return err
				}
				return w.InsertTx(t)
			},
			func(w *Writer) error {
				if _, err := w.UpdateTx(t.ID, []TxState{Queued}, TxUpdate{State: Assigned, SetNonce: true, Nonce: nonce}); err != nil {
					return err
				}
				return w.InsertAttempt(a)
			},
			func(w *Writer) error {
				if _, err := w.StoreSigned(a.ID, a.Tx, a.Nonce, a.Digest, a.Epoch, raw, hash); err != nil {
					return err
				}
				if _, err := w.UpdateTx(t.ID, []TxState{Assigned}, TxUpdate{State: Signed, Hash: &hash}); err != nil {
					return err
				}
				return w.AuditOutcome(audit.Outcome{ID: NewID(), Intent: intent.ID, At: time.Now(), Digest: a.Digest, Hash: hash})
			},
			func(w *Writer) error {
				_, err := w.UpdateTx(t.ID, []TxState{Signed}, TxUpdate{State: Sent})
				return err
			},
			func(w *Writer) error {
				block, ok := uint64(i), true
				_, err := w.UpdateTx(t.ID, []TxState{Sent}, TxUpdate{State: Mined, Block: &block, BlockHash: &hash, Succeeded: &ok})
				return err
			},
			func(w *Writer) error {
				if _, err := w.SetAttemptOutcome(a.ID, []AttemptOutcome{Open}, Won); err != nil {
					return err
				}
				_, err := w.UpdateTx(t.ID, []TxState{Mined}, TxUpdate{State: Confirmed})
				return err
			},
		}
		for _, step := range steps {
			if err := db.WriteFenced(ctx, f, step); err != nil {
				return err
			}
		}
		return nil
	})
}
