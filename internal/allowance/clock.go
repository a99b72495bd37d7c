// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// clockName is the row of table allowance that has the time. No limit has that
	// name.
	clockName = ""
	// beatEvery bounds how much a clock that is set forward shortly before the
	// program ends can take from what counts.
	beatEvery = 10 * time.Second
)

// times is how far time has come: the JSON of that row. Microseconds.
type times struct {
	Clock int64 `json:"clock"`
	Wall  int64 `json:"wall"` // the database's clock then, or later: never less than has passed
}

// now is the time by which limits count: what running processes have measured,
// beginning with the database's clock when there was none. It is not known before
// this process has seen that row.
func (l *Ledger) now() (now int64, known bool) {
	l.clock.Lock()
	defer l.clock.Unlock()
	return l.base + (l.since() - l.at).Microseconds(), l.met
}

// see takes over what the row says, at a time of the database's clock, and
// returns what it should say.
func (l *Ledger) see(text string, wall int64) (times, error) {
	was := times{Clock: wall, Wall: wall}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &was); err != nil {
			return was, fmt.Errorf("allowance: %w: the time: %w", ErrDamaged, err)
		}
	}
	l.clock.Lock()
	defer l.clock.Unlock()
	since := l.since()
	now := was.Clock
	if l.met {
		now = max(now, l.base+(since-l.at).Microseconds())
	} else {
		now += max(0, wall-was.Wall) // while nobody measured it, or somebody has since
	}
	l.met, l.base, l.at = true, now, since
	return times{Clock: now, Wall: max(wall, was.Wall+now-was.Clock)}, nil
}

// beat writes down how far time has come.
func (l *Ledger) beat(w *store.Writer) error {
	texts, at, err := w.LockAllowances([]string{clockName})
	if err != nil {
		return err
	}
	is, err := l.see(texts[clockName], l.wall(at).UnixMicro())
	if err != nil {
		return err
	}
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	return w.SetAllowance(store.Allowance{Name: clockName, State: string(text)})
}

// tick is beat in a commit of its own.
func (l *Ledger) tick(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return l.cfg.Store.WriteAllowance(ctx, l.beat)
}

// meet sees the time without writing it, for what only reads.
func (l *Ledger) meet(ctx context.Context) (int64, error) {
	if now, known := l.now(); known {
		return now, nil
	}
	rows, at, err := l.cfg.Store.Allowances(ctx, []string{clockName})
	if err != nil {
		return 0, err
	}
	text := ""
	if len(rows) > 0 {
		text = rows[0].State
	}
	is, err := l.see(text, l.wall(at).UnixMicro())
	return is.Clock, err
}
