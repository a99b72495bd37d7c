// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// BenchmarkStamp is what a signature pays on its way for each record: its line,
// its hash, its keyed hash, and its place in the queue.
func BenchmarkStamp(b *testing.B) {
	k, err := KeyFrom(logName, make([]byte, SeedSize))
	if err != nil {
		b.Fatal(err)
	}
	stamp := k.stamper()
	i, _ := signature(1)
	var line []byte
	var queue []audit.Entry
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		line = i.AppendLine(line[:0])
		hash := audit.HashLine(line)
		stamp(hash)
		queue = append(queue[:len(queue)%4096], audit.Entry{Kind: audit.IntentKind, ID: i.ID, Hash: hash})
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/record")
}

// BenchmarkBuild is what the log takes for each record beside the database:
// seals, tree and checkpoint, by the size of the batch.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1, 16, 200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k, err := KeyFrom(logName, make([]byte, SeedSize))
			if err != nil {
				b.Fatal(err)
			}
			book := &Book{cfg: Config{Key: k}, tree: new(tree)}
			entries := make([]audit.Entry, n)
			for i := range entries {
				entries[i] = audit.Entry{Kind: audit.IntentKind, ID: store.NewID(), Hash: [32]byte{byte(i), byte(i >> 8)}}
			}
			b.ReportAllocs()
			start := cpu()
			for b.Loop() {
				_, next, err := book.build(entries, time.Now(), false)
				if err != nil {
					b.Fatal(err)
				}
				book.tree = next
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N)/float64(n), "cpu-ns/record")
		})
	}
}

// BenchmarkAppend is that with the database, by the processor time of the whole
// process.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{16, 400, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db, err := store.OpenSQLite(context.Background(), store.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			k, err := KeyFrom(logName, make([]byte, SeedSize))
			if err != nil {
				b.Fatal(err)
			}
			book, err := Open(context.Background(), Config{Store: db, Key: k})
			if err != nil {
				b.Fatal(err)
			}
			entries := make([]audit.Entry, n)
			start := cpu()
			for b.Loop() {
				for i := range entries {
					entries[i] = audit.Entry{Kind: audit.IntentKind, ID: store.NewID(), Hash: [32]byte{byte(i), byte(i >> 8)}}
				}
				if err := book.append(context.Background(), entries, step{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N)/float64(n), "cpu-ns/record")
		})
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkVerify is what verifying takes for each record of a log whose batches
// are of a few hundred.
func BenchmarkVerify(b *testing.B) {
	r := open(b, b.TempDir())
	r.stop()
	r.book.cfg.Sweep = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = r.book.Run(ctx); close(ended) }()
	r.stop = func() { cancel(); <-ended }
	const records = 20_000
	for done := 0; done < records; done += 400 {
		err := r.db.Write(context.Background(), func(w *store.Writer) error {
			for i := range 200 {
				intent, outcome := signature(i)
				if err := w.AuditIntent(intent); err != nil {
					return err
				}
				if err := w.AuditOutcome(outcome); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.book.Await(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	start := cpu()
	for b.Loop() {
		wantOK(b, verify(b, r.book.Reader, VerifyConfig{}))
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N)/records, "cpu-ns/record")
}
