// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// Approvals is what holds for requests that rules have people asked about.
type Approvals struct {
	// Wait is how long a caller of JSON-RPC is kept waiting for the people before he
	// is told that his request waits: wait; default 0, at most 10m.
	Wait time.Duration
	// Expires is how long a request waits whose rule sets no time: expires; default
	// 24h.
	Expires time.Duration
	// MaxPending is how many requests of one caller may wait at one wallet:
	// max_pending; default 100.
	MaxPending int
	// Keep is how long requests that have ended are kept: keep; default 2160h. The
	// audit trail keeps what became of them in any case.
	Keep time.Duration
}

// DefaultApprovals is what holds if nothing is said.
func DefaultApprovals() Approvals {
	return Approvals{Expires: 24 * time.Hour, MaxPending: 100, Keep: 90 * day}
}

func readApprovals(v value) (Approvals, error) {
	c := DefaultApprovals()
	o := v.object()
	field(o, "wait", &c.Wait, duration(0, 10*time.Minute))
	field(o, "expires", &c.Expires, duration(time.Minute, 30*day))
	field(o, "max_pending", &c.MaxPending, integer(1, 10_000))
	field(o, "keep", &c.Keep, duration(day, 3650*day))
	o.done()
	return c, nil
}
