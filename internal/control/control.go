// SPDX-License-Identifier: Apache-2.0

// Package control is how the command line talks to the daemon that works on
// the same data directory: HTTP with JSON over a Unix socket in it.
//
// It carries only what needs the running daemon. What the store can answer,
// the command line reads from the store itself, daemon or not. Whoever may
// open the socket is the operator: there is no other authentication, so the
// socket has mode 0600 in a directory of mode 0700, and it is never a network
// port. Nothing here returns a key or signs what the caller chose.
package control

import (
	"context"
	"errors"
)

// Daemon is what a running daemon does for the command line. Its methods are
// safe for concurrent use. An error that wraps [ErrNotFound] or [ErrRefused]
// reaches the command line as such.
type Daemon interface {
	// Repair examines a sender, and with any action but Explain changes it.
	Repair(ctx context.Context, sender string, action RepairAction) (Report, error)
	// Refresh looks for new and removed keys of a wallet now, and returns once
	// the store has what it found.
	Refresh(ctx context.Context, wallet string) error
}

// Errors of a [Daemon] and of a [Client].
var (
	ErrNotRunning = errors.New("no daemon is running on this data directory")
	ErrNotFound   = errors.New("not found")
	ErrRefused    = errors.New("refused") // with the reason; nothing was changed
)

// Action names what Repair is to do.
type Action string

// The actions on a sender.
const (
	Explain Action = "explain"  // compare with the chain, change nothing
	Adopt   Action = "adopt"    // take the chain's count for true, go on from there
	Release Action = "release"  // go on from our own rows
	Cancel  Action = "cancel"   // replace one unmined transaction by a self-transfer of value 0
	SpeedUp Action = "speed-up" // sign one unmined transaction again with higher fees
)

// Actions are all of them, in the order of their danger.
func Actions() []Action { return []Action{Explain, Adopt, Release, Cancel, SpeedUp} }

// RepairAction is one order for a sender.
type RepairAction struct {
	Action Action `json:"action"`
	Tx     string `json:"tx,omitempty"` // id; for Cancel and SpeedUp only
	// For SpeedUp, wei per gas in decimal; empty: what the chain asks now.
	Fee string `json:"max_fee_per_gas,omitempty"`
	Tip string `json:"priority_fee_per_gas,omitempty"`
}

// OfTx reports whether the action is on one transaction.
func (a Action) OfTx() bool { return a == Cancel || a == SpeedUp }

// Report is what Repair found and did.
type Report struct {
	Sender   string   `json:"sender"`
	Parked   string   `json:"parked,omitempty"` // why the sender waits, after the action; empty if it does not
	Latest   uint64   `json:"latest"`           // transactions of the sender that the chain counts
	Next     uint64   `json:"next"`             // nonce that would be assigned next
	Queued   int      `json:"queued"`           // accepted, without a nonce yet
	InFlight int      `json:"in_flight"`        // with a nonce, not mined
	Findings []string `json:"findings"`         // one sentence each
	Advice   []string `json:"advice,omitempty"` // which action would do what
	Done     string   `json:"done,omitempty"`   // what the action changed; empty for Explain
}
