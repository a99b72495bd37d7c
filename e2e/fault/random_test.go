// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// Scenarios 1, 4, 5, 7, 8, 9, 20 and 26 at once, in whatever order a seed puts
// them. FAULT_RUNS is the number of runs, FAULT_SEED the first seed.
func TestRandomFaultsOnSQLite(t *testing.T) {
	randomFaults(t, number(t, "FAULT_RUNS", 12), Options{})
}

// The same with three replicas on one PostgreSQL, lease 1 s.
func TestRandomFaultsOnPostgres(t *testing.T) {
	randomFaults(t, number(t, "FAULT_RUNS", 6), Options{Postgres: postgres(t), Replicas: 3})
}

func randomFaults(t *testing.T, runs int, o Options) {
	t.Helper()
	r := rig(t)
	sum := NewSummary()
	first := uint64(number(t, "FAULT_SEED", int(time.Now().UnixNano()%1e9)))
	for seed := first; seed < first+uint64(runs); seed++ {
		rep, err := r.Run(t.Context(), seed, o)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum.Add(rep)
		t.Log(rep)
		for _, v := range rep.Violations {
			t.Errorf("seed %d: %s (kept in %s)\n%s", seed, v, rep.Dir, rep.Schedule)
		}
	}
	t.Logf("\n%s", sum)
	if runs < len(faultpoint.Points()) {
		return
	}
	for _, p := range sum.Missed() {
		t.Errorf("fault point %s was never reached", p)
	}
}
