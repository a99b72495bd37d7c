// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"strconv"
)

// EndpointStatus is what is known of one endpoint, for readiness, metrics and
// the console. It has no address in it.
type EndpointStatus struct {
	Name    string
	Active  bool   // calls go there
	Healthy bool   // it may take over, or stay
	Head    uint64 // height of its newest block, as it says; 0: not known
	Lag     uint64 // blocks behind the best of the others
	Reason  string // why it is not healthy
	Stats   Stats
}

// Endpoints returns the endpoints in configured order. A single one is not
// watched: it is healthy if its last request was answered, and its head is the
// one that was last asked for.
func (c *Client) Endpoints() []EndpointStatus {
	active := c.active()
	list := make([]EndpointStatus, len(c.endpoints))
	for i, e := range c.endpoints {
		s := EndpointStatus{Name: e.name, Active: e == active, Head: e.newest.Load(), Stats: e.stats.snapshot()}
		if e.watch != nil {
			e.watch.describe(&s)
		} else if s.Healthy = s.Stats.LastSuccess.After(s.Stats.LastFailure); !s.Healthy {
			s.Reason = "not asked yet"
			if s.Stats.LastError != nil {
				s.Reason = reasonOf(s.Stats.LastError)
			}
		}
		list[i] = s
	}
	return list
}

func (w *watch) describe(s *EndpointStatus) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	is, reason := w.condition()
	s.Healthy, s.Reason, s.Lag = is == conditionHealthy, reason, w.lagNow()
}

// condition is the kind of an endpoint's health.
type condition uint8

const (
	conditionUnknown condition = iota
	conditionHealthy
	conditionDown
	conditionForeign
	conditionUnshown
	conditionLate
)

// condition puts the findings into a word, and a phrase for operators. Callers
// hold mu.
func (w *watch) condition() (condition, string) {
	switch {
	case w.count == 0:
		return conditionUnknown, "not asked yet"
	case w.fails > 0:
		return conditionDown, reasonOf(w.err)
	case w.foreignChain() != nil:
		return conditionForeign, reasonOf(w.foreignChain())
	case !w.usable():
		return conditionUnshown, "does not have the blocks that it claims"
	}
	if lag := w.lagNow(); lag > w.m.c.cfg.MaxLag {
		return conditionLate, strconv.FormatUint(lag, 10) + " blocks behind"
	}
	return conditionHealthy, ""
}

// maxReason bounds what of a node's own words is shown.
const maxReason = 200

// reasonOf is an error in a phrase from our own stock, or in the node's words.
func reasonOf(err error) string {
	var f *fault
	var refused *Error
	switch {
	case errors.As(err, &f):
		return f.Error()
	case errors.As(err, &refused):
		return "node refuses: " + refused.Message[:min(len(refused.Message), maxReason)]
	}
	return err.Error()
}
