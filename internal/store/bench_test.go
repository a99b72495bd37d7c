// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// places are the databases to measure.
func places(b *testing.B, run func(b *testing.B, cfg store.Config)) {
	b.Run("sqlite", func(b *testing.B) { run(b, store.Config{Dir: b.TempDir()}) })
	b.Run("postgres", func(b *testing.B) {
		url, err := server.NewDatabase(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		run(b, store.Config{URL: url})
	})
}

func openBench(b *testing.B, cfg store.Config) *store.DB {
	b.Helper()
	db, err := store.OpenDB(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		if cfg.Dir != "" {
			_ = syscall.Unlink(filepath.Join(cfg.Dir, "hsmsigner.db"))
		}
	})
	return db
}

// cpuUsed is the processor time of this process, and of the PostgreSQL server.
func cpuUsed(b *testing.B) (own, servers time.Duration) {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	servers, err := server.CPU()
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), servers
}

// life is one transaction on its way through the store.
type life struct {
	tx      store.Tx
	attempt store.Attempt
	intent  audit.Intent
	outcome audit.Outcome
	hash    common.Hash
	raw     []byte
}

func newLife(sender string, nonce uint64, epoch int64, key bool) *life {
	id, hash := store.NewID(), common.HexToHash(store.NewID())
	l := &life{hash: hash, raw: make([]byte, 180)}
	l.tx = store.Tx{
		ID: id, Wallet: "treasury", Credential: "app:bench", Intent: store.NewID(), Sender: sender, Kind: store.UserTx,
		Payload: make([]byte, 120), State: store.Assigned, Nonce: &nonce,
	}
	if key {
		l.tx.IdempotencyKey = store.NewID()
	}
	l.attempt = store.Attempt{ID: store.NewID(), Tx: id, Sender: sender, Nonce: nonce, Kind: store.FirstAttempt, Digest: common.HexToHash(id), Epoch: epoch}
	l.intent = audit.Intent{
		ID: l.tx.Intent, At: time.Now(), Principal: l.tx.Credential, Wallet: l.tx.Wallet, Action: audit.SendTransaction,
		Subject: id, Verdict: "allow: default",
	}
	l.outcome = audit.Outcome{ID: store.NewID(), Intent: l.tx.Intent, At: time.Now(), Digest: l.attempt.Digest, Hash: hash}
	return l
}

func (l *life) accept(w *store.Writer) error {
	if err := w.AuditIntent(l.intent); err != nil {
		return err
	}
	if err := w.InsertTx(l.tx); err != nil {
		return err
	}
	return w.InsertAttempt(l.attempt)
}

func (l *life) sign(w *store.Writer) error {
	a := l.attempt
	if err := w.AuditOutcome(l.outcome); err != nil {
		return err
	}
	if err := w.ExpectSigned(a.ID, a.Tx, a.Nonce, a.Digest, a.Epoch, l.raw, l.hash); err != nil {
		return err
	}
	return w.ExpectTx(l.tx.ID, []store.TxState{store.Assigned}, store.TxUpdate{State: store.Signed, Hash: &l.hash})
}

func (l *life) mine(w *store.Writer) error {
	block, ok := uint64(1), true
	return w.ExpectTx(l.tx.ID, []store.TxState{store.Held, store.Signed, store.Sent, store.Superseded, store.Mined},
		store.TxUpdate{State: store.Mined, Hash: &l.hash, Block: &block, BlockHash: &l.hash, Succeeded: &ok})
}

func (l *life) confirm(w *store.Writer) error {
	text := ""
	if err := w.ExpectOutcome(l.attempt.ID, []store.AttemptOutcome{store.Open}, store.Won); err != nil {
		return err
	}
	return w.ExpectTx(l.tx.ID, []store.TxState{store.Mined}, store.TxUpdate{State: store.Confirmed, Error: &text})
}

// BenchmarkSender measures what a transaction costs in the store, from its
// acceptance to its confirmation, as package txmgr writes it for one busy
// address: rounds of 60, each step of all of them in one fenced write.
func BenchmarkSender(b *testing.B) {
	places(b, func(b *testing.B, cfg store.Config) {
		const round = 60
		var commits atomic.Int64
		cfg.OnCommit = func(int, time.Duration) { commits.Add(1) }
		db := openBench(b, cfg)
		ctx := context.Background()
		lease, err := db.AcquireLease(ctx, "1-bench", "me", time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		f := store.Fence{Sender: lease.Sender, Owner: lease.Owner, Epoch: lease.Epoch}
		b.ReportAllocs()
		b.ResetTimer()
		own, servers := cpuUsed(b)
		for done := 0; done < b.N; done += round {
			lives := make([]*life, min(round, b.N-done))
			for i := range lives {
				lives[i] = newLife(lease.Sender, uint64(done+i), lease.Epoch, false)
			}
			for _, step := range []func(*life, *store.Writer) error{(*life).accept, (*life).sign, (*life).mine, (*life).confirm} {
				err := db.WriteFenced(ctx, f, func(w *store.Writer) error {
					for _, l := range lives {
						if err := step(l, w); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.StopTimer()
		own2, servers2 := cpuUsed(b)
		b.ReportMetric(float64(own2-own)/float64(b.N), "cpu-ns/tx")
		b.ReportMetric(float64(servers2-servers)/float64(b.N), "server-cpu-ns/tx")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	})
}

// BenchmarkMany is the same for 64 addresses of one transaction each at a time,
// with an idempotency key: nothing but group commit makes batches.
func BenchmarkMany(b *testing.B) {
	places(b, func(b *testing.B, cfg store.Config) {
		var commits, writes atomic.Int64
		cfg.OnCommit = func(n int, _ time.Duration) { commits.Add(1); writes.Add(int64(n)) }
		db := openBench(b, cfg)
		ctx := context.Background()
		var wg sync.WaitGroup
		var next atomic.Int64
		b.ReportAllocs()
		b.ResetTimer()
		own, servers := cpuUsed(b)
		for range 64 {
			wg.Go(func() {
				sender := store.NewID()
				lease, err := db.AcquireLease(ctx, sender, "me", time.Hour)
				if err != nil {
					b.Error(err)
					return
				}
				f := store.Fence{Sender: lease.Sender, Owner: lease.Owner, Epoch: lease.Epoch}
				for nonce := uint64(0); next.Add(1) <= int64(b.N); nonce++ {
					l := newLife(sender, nonce, lease.Epoch, true)
					for _, step := range []func(*life, *store.Writer) error{(*life).accept, (*life).sign, (*life).mine, (*life).confirm} {
						if err := db.WriteFenced(ctx, f, func(w *store.Writer) error { return step(l, w) }); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		own2, servers2 := cpuUsed(b)
		b.ReportMetric(float64(own2-own)/float64(b.N), "cpu-ns/tx")
		b.ReportMetric(float64(servers2-servers)/float64(b.N), "server-cpu-ns/tx")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		b.ReportMetric(float64(writes.Load())/float64(commits.Load()), "writes/commit")
	})
}
