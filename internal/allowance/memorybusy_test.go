// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// While anything else of a limit is being written, nothing is taken off it in
// memory: neither of the two would see what the other takes.
func TestNothingIsTakenInMemoryWhileALimitIsBeingWritten(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0), take("other", 0, 100, 0))
	n := 0
	asks := func(key string) bool {
		n++
		o := &op{kind: reserve, id: fmt.Sprint(n), takes: []policy.Take{take(key, 1, 100, 0)}}
		return l.remembers(o)
	}
	first := []*op{{kind: renew, id: "a", takes: []policy.Take{take("k", 60, 100, 0)}}}
	one, two := l.mem.begin(first), l.mem.begin(first)
	if asks("k") || !asks("other") {
		t.Error("a limit that is being written is taken from, or another is not")
	}
	l.mem.end(one, nil)
	if asks("k") {
		t.Error("it is taken from although another batch is on its way")
	}
	l.mem.end(two, nil)
	if !asks("k") {
		t.Error("it is not taken from although nothing is on its way")
	}
	l.mem.end(l.mem.begin(first), errors.New("a commit of which nobody knows"))
	if asks("k") {
		t.Error("nobody knows what is used of it")
	}
	mustReserve(t, l, "finds out", take("k", 1, 100, 0))
	if got := used(t, l, "k"); got != 2 {
		t.Errorf("%d are used", got)
	}
}

// What one transaction changes twice, by the rows and for what it stores, is counted
// both times.
func TestOneCommitCountsWhatIsReservedInItAndBeforeIt(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	receipt := mustReserve(t, l, "tx", take("k", 30, 100, 0))
	if err := db.WriteAllowance(t.Context(), func(w *store.Writer) error {
		o := &op{kind: reserve, id: "slow", takes: []policy.Take{take("k", 20, 100, 0)}}
		if _, err := l.write(w, []*op{o}); err != nil || o.err != nil {
			return errors.Join(err, o.err)
		}
		return accept(db, "tx", receipt)(w)
	}); err != nil {
		t.Fatal(err)
	}
	if got := [2]int64{used(t, l, "k"), rows(t, db, "k")}; got != [2]int64{50, 50} {
		t.Errorf("%v are used and in the rows, want 50", got)
	}
}
