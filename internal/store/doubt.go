// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// doubt is a commit whose outcome is unknown.
type doubt struct {
	xid string // PostgreSQL's id of the transaction
}

// doubts are those that nothing has settled yet. While there are any, reads are
// held back: what they would show could still change.
type doubts struct {
	any atomic.Bool
	mu  sync.Mutex
	all []*doubt
}

var errDoubt = errors.New("store: an earlier commit of unknown outcome has not ended yet")

func (d *doubts) add(one *doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
	d.any.Store(true)
}

func (d *doubts) list() []*doubt {
	if !d.any.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all)
}

// remove is for those that a successful commit has settled.
func (d *doubts) remove(settled []*doubt) {
	if len(settled) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = slices.DeleteFunc(d.all, func(one *doubt) bool { return slices.Contains(settled, one) })
	d.any.Store(len(d.all) > 0)
}
