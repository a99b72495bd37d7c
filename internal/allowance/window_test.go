// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// spent is exact bookkeeping: what was let through, and when.
type spent struct {
	at     time.Duration
	amount int64
}

func within(all []spent, now, window time.Duration) (sum int64) {
	for _, s := range all {
		if s.at > now-window {
			sum += s.amount
		}
	}
	return sum
}

// rounds is how many random histories a test goes through.
func rounds(t *testing.T, normally int) int {
	t.Helper()
	text := os.Getenv("HSMSIGNER_ALLOWANCE_ROUNDS")
	if text == "" {
		return normally
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// history asks at random times, over several processes, and compares with exact
// bookkeeping. With jumps the clocks of the machine jump, back and forward.
func history(t *testing.T, seed uint64, jumps bool) {
	random := rand.New(rand.NewPCG(seed, 1))
	window := time.Duration(1+random.Int64N(100)) * time.Minute
	if random.IntN(4) == 0 {
		window = time.Duration(1 + random.Int64N(int64(48*time.Hour)))
	}
	limit := 1 + random.Int64N(10_000)
	c := &clock{}
	db := sqlite(t)
	ledgers := []*Ledger{c.ledger(db), c.ledger(db)}
	var all []spent
	for i := range 120 {
		c.real += time.Duration(random.Int64N(int64(window)/6 + 1))
		if random.IntN(25) == 0 {
			c.real += time.Duration(random.Int64N(int64(2 * window)))
		}
		if jumps && random.IntN(4) == 0 {
			c.off = time.Duration(random.Int64N(int64(6*window))) - 3*window
		}
		for _, l := range ledgers { // as they do every ten seconds
			if err := l.tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		which := random.IntN(2)
		id, amount := fmt.Sprint(i), 1+random.Int64N(limit/2+1)
		receipt, err := ledgers[which].Reserve(t.Context(), id, []policy.Take{take("k", amount, limit, window)})
		var exceeded *ExceededError
		switch {
		case errors.As(err, &exceeded):
			// Refused: it would not have fitted, had all counted a 60th longer.
			longest := window + window/parts + 2*time.Microsecond
			if sum := within(all, c.real, longest); !jumps && sum+amount <= limit {
				t.Fatalf("seed %d, step %d: %d was refused although only %d of %d were used in %v", seed, i, amount, sum, limit, longest)
			}
		case err != nil:
			t.Fatal(err)
		case random.IntN(5) == 0:
			ledgers[which].Settle(id, receipt, policy.Unused)
			ledgers[which].finish()
		default:
			all = append(all, spent{c.real, amount})
			ledgers[which].Settle(id, receipt, policy.Stored)
		}
		if sum := within(all, c.real, window); sum > limit {
			t.Fatalf("seed %d, step %d: %d of %d were let through in %v", seed, i, sum, limit, window)
		}
		if random.IntN(20) == 0 { // a restart
			ledgers[which].finish()
			if jumps && random.IntN(2) == 0 {
				c.off -= time.Duration(random.Int64N(int64(window)))
			}
			ledgers[which] = c.ledger(db)
			used(t, ledgers[which], "k")
		}
	}
	for _, l := range ledgers {
		l.finish()
	}
}

func TestARollingLimitAgreesWithExactBookkeeping(t *testing.T) {
	for seed := range rounds(t, 3) {
		history(t, uint64(seed), false)
	}
}

func TestARollingLimitIsAsExactAsItsSlices(t *testing.T) {
	for seed := range rounds(t, 30) {
		random := rand.New(rand.NewPCG(uint64(seed), 2))
		window := time.Duration(1 + random.Int64N(int64(time.Duration(1+random.IntN(100))*time.Hour)))
		limit := 1 + random.Int64N(1000)
		text, now := "", time.Duration(random.Int64())%(1e6*time.Hour)
		var all []spent
		for range 300 {
			now += time.Duration(random.Int64N(int64(window)/20 + 1))
			s := decode(text)
			s.advance(now.Microseconds())
			amount := 1 + random.Int64N(limit/5+1)
			taken := take("k", amount, limit, window)
			_, err := book{"k": s}.reserve(fmt.Sprint(random.Int64()), []policy.Take{taken})
			if err == nil {
				all = append(all, spent{now, amount})
			} else if sum := within(all, now, window+window/parts+2*parts*time.Microsecond); sum+amount <= limit {
				t.Fatalf("seed %d: %d was refused although only %d of %d were used", seed, amount, sum, limit)
			}
			if sum := within(all, now, window-time.Microsecond); sum > limit {
				t.Fatalf("seed %d: %d of %d were let through in %v", seed, sum, limit, window)
			}
			if s.changed {
				s.Open = nil
				if text, err = s.encode(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestClocksThatJumpNeverWidenAWindow(t *testing.T) {
	for seed := range rounds(t, 3) {
		history(t, uint64(seed), true)
	}
}
