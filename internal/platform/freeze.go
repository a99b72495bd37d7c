// SPDX-License-Identifier: Apache-2.0

package platform

import "time"

// Freeze is that something may sign nothing and send nothing.
type Freeze struct {
	Scope   string    `json:"scope"` // everything, membership:<id>, wallet:<name> or account:<wallet>:<address>
	Reason  string    `json:"reason"`
	By      string    `json:"by,omitempty"` // principal; not told if he stands above
	At      time.Time `json:"at"`
	Service string    `json:"service_id,omitempty"`
	Address string    `json:"address,omitempty"` // checksummed, EIP-55
	// Above says that somebody above the caller has frozen it, who alone can release
	// it.
	Above bool `json:"above"`
}

// FreezeState is whether something is frozen, and by what.
type FreezeState struct {
	Frozen bool     `json:"frozen"`
	By     []Freeze `json:"freezes"` // that hold here, the widest first
	// Known is false while the store does not answer: then everything counts as
	// frozen.
	Known bool `json:"known"`
}
