// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"log/slog"
	"time"
)

// Event is something about access that an operator wants on record. It holds no
// secret, and no name that is not ours: people type passwords into the field for
// the name.
type Event struct {
	At     time.Time
	Kind   EventKind
	Who    string // a principal's name, or the id that was tried, if there is one of that name; else empty
	Name   string // of somebody who has signed in, as the identity provider has it
	Remote string // address
	Reason string // for people
	Count  int    // how many of them, if it stands for many
}

// EventKind is a kind of [Event].
type EventKind string

// The kinds.
const (
	SignedIn  EventKind = "signed in"
	SignedOut EventKind = "signed out"
	BadLogin  EventKind = "bad login"
	Revoked   EventKind = "revoked" // seen by this replica
)

// LogEvents writes events to a log: what is done with them without a recorder.
func LogEvents(log *slog.Logger) func(context.Context, Event) {
	return func(ctx context.Context, e Event) {
		level := slog.LevelInfo
		if e.Kind == BadLogin {
			level = slog.LevelWarn
		}
		attrs := []slog.Attr{slog.String("event", string(e.Kind))}
		for _, a := range []struct{ key, value string }{{"who", e.Who}, {"remote", e.Remote}, {"reason", e.Reason}} {
			if a.value != "" {
				attrs = append(attrs, slog.String(a.key, a.value))
			}
		}
		if e.Count > 1 {
			attrs = append(attrs, slog.Int("count", e.Count))
		}
		log.LogAttrs(ctx, level, "access", attrs...)
	}
}
