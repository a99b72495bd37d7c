// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// The daemon is killed wherever a transaction is between its reservation and the
// node. What was stored is sent and counts, what was not counts until the window has
// passed, and not longer: in a limit over time by its window, in one for ever by ten
// minutes after which nobody can come with it any more.
func TestAKillBetweenReservationAndSendLeaksNothingBeyondTheWindow(t *testing.T) {
	bin, err := harness.BuildFaulty(t.TempDir())
	must(t, err)
	rules := filepath.Join(t.TempDir(), "faults")
	t.Setenv(faultpoint.EnvFile, rules)
	r := newRig(t, bin, 1)
	d := r.start(`policy:
  version: hsmsigner-policy-v1
  limits:
    - {name: window, asset: native, per: account, max: 8 wei, window: 5m}
    - {name: ever, asset: native, per: account, max: 15 wei, window: total}
`)
	c, from := r.dial(d), r.keys.Addresses[0]
	points := []string{faultpoint.Accept, faultpoint.Nonce, faultpoint.Intent, faultpoint.Signed, faultpoint.Store, faultpoint.Send}
	for i, point := range points {
		must(t, os.WriteFile(rules, []byte(point+":kill"), 0o600))
		time.Sleep(50 * time.Millisecond) // it is read again within 20 ms
		if _, err := r.pay(c, from, harness.Fresh(), 1); err == nil {
			t.Errorf("%s: the daemon was not killed", point)
		}
		must(t, os.Remove(rules))
		d.Restart()
		// All but the first, of which no row was stored, are sent after all.
		r.eventually(patience, fmt.Sprintf("%s: %d are mined", point, i), func() bool { return len(r.chain()) >= i })
	}
	pay := func(times int) {
		t.Helper()
		for range times {
			if _, err := r.pay(c, from, harness.Fresh(), 1); err != nil {
				t.Errorf("within the limit: %v", err)
			}
		}
	}
	pay(8 - len(points))
	_, err = r.pay(c, from, harness.Fresh(), 1)
	r.deniedBy(err, "declared/window")

	// Window and a sixtieth later, in which the daemon was down, all of it is back.
	if code := d.Stop(); code != 0 {
		t.Fatalf("the daemon ended with code %d", code)
	}
	down(t, d, 306*time.Second)
	d.Restart()
	pay(7)
	_, err = r.pay(c, from, harness.Fresh(), 1)
	r.deniedBy(err, "declared/ever") // 15 by now, with the one that was lost
	if code := d.Stop(); code != 0 {
		t.Fatalf("the daemon ended with code %d", code)
	}
	down(t, d, 11*time.Minute)
	d.Restart()
	r.eventually(patience, "what was lost is given back", func() bool {
		_, err := r.pay(c, from, harness.Fresh(), 1)
		return err == nil
	})
	_, err = r.pay(c, from, harness.Fresh(), 1)
	r.deniedBy(err, "declared/ever")
	if total := r.sum(r.settle(15, patience)); total.Int64() != 15 {
		t.Errorf("%s wei are mined, the limit is 15", total)
	}
	r.audited()
}

// down has a daemon that is stopped believe that it was for so long: the clock of the
// machine, when limits were last counted by it, was so much earlier.
func down(t *testing.T, d *harness.Daemon, long time.Duration) {
	t.Helper()
	db, err := sql.Open(sqlite.Driver, filepath.Join(d.Dir, "data", "hsmsigner.db"))
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `INSERT INTO allowance (name, state)
		SELECT '', json_object('clock', max(json_extract(state, '$.clock')), 'wall', $1) FROM allowance WHERE true
		ON CONFLICT (name) DO UPDATE SET state = excluded.state`, time.Now().Add(-long).UnixMicro())
	must(t, err)
}
