// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// What a limit costs each of many senders at once, against what every one of them
// pays anyway: the commit by which it is accepted.
func BenchmarkManySenders(b *testing.B) {
	for _, on := range []string{"SQLite", "PostgreSQL"} {
		var db *store.DB
		if on == "SQLite" {
			db = sqlite(b)
		} else {
			db = replicas(b, 1)[0]
		}
		l := New(Config{Store: db})
		var n atomic.Int64
		for _, limits := range []int{0, 1, 3} {
			takes := make([]policy.Take, limits)
			for i := range takes {
				takes[i] = take(fmt.Sprint("limit", i), 1, 1<<60, time.Hour)
			}
			b.Run(fmt.Sprintf("%s/%d limits", on, limits), func(b *testing.B) {
				b.SetParallelism(128)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						id := fmt.Sprintf("%s%d", on, n.Add(1))
						receipt, err := l.Reserve(b.Context(), id, takes)
						if err != nil {
							b.Error(err)
						}
						if err := db.Write(b.Context(), func(w *store.Writer) error {
							if err := w.InsertTx(store.Tx{ID: id, Wallet: "w", Sender: "s", Kind: store.UserTx, State: store.Queued, Payload: make([]byte, 120)}); err != nil {
								return err
							}
							return w.AuditIntent(audit.Intent{ID: id, At: time.Now(), Principal: "p", Wallet: "w", Subject: id})
						}); err != nil {
							b.Error(err)
						}
						l.Settle(id, receipt, policy.Stored)
					}
				})
			})
		}
	}
}
