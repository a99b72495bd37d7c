// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// events is where what happened is put on record; *store.DB is one.
type events interface {
	WriteEvent(ctx context.Context, e audit.Event) error
}

// accessRecord puts on the audit trail who signs in and out, and who fails to. The
// end of a credential is on it already, with the change that ended it, so what each
// replica sees of that goes to the log only.
//
// Strangers can fail as often as they like, and must not fill the trail: so many
// wrong credentials are put there one by one, and the others by their number.
type accessRecord struct {
	to  events
	log func(context.Context, auth.Event)

	mu     sync.Mutex
	room   float64   // for wrong credentials, one by one
	since  time.Time // when that was reckoned
	unsaid int       // wrong credentials that are not on the trail yet
}

// At most so many wrong credentials one by one, and so many a second again.
const (
	badAtOnce    = 50
	badPerSecond = 1.0

	recordTimeout = 10 * time.Second // for one event to be stored
)

// recordAccess is auth.DirectoryConfig.Record.
func recordAccess(to events, log *slog.Logger) func(context.Context, auth.Event) error {
	r := &accessRecord{to: to, log: auth.LogEvents(log), room: badAtOnce, since: time.Now()}
	return r.record
}

func (r *accessRecord) record(ctx context.Context, e auth.Event) error {
	r.log(ctx, e)
	kind := map[auth.EventKind]string{auth.SignedIn: "sign-in", auth.SignedOut: "sign-out", auth.BadLogin: "bad-credentials"}[e.Kind]
	switch {
	case kind == "":
		return nil
	case e.Kind == auth.BadLogin && !r.admit(&e):
		return nil
	}
	detail, err := json.Marshal(struct {
		Name   string `json:"name,omitempty"` // by which people know who signs in
		Remote string `json:"remote,omitempty"`
		Reason string `json:"reason,omitempty"`
		Count  int    `json:"count,omitempty"`
	}{e.Name, e.Remote, e.Reason, e.Count})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return r.to.WriteEvent(ctx, audit.Event{At: e.At, Principal: e.Who, Kind: kind, Detail: string(detail)})
}

// admit reports whether a wrong credential is put on the trail now. If so, those
// that were not are counted with it.
func (r *accessRecord) admit(e *auth.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.room = min(badAtOnce, r.room+badPerSecond*now.Sub(r.since).Seconds())
	r.since = now
	if r.room < 1 {
		r.unsaid += max(1, e.Count)
		return false
	}
	r.room--
	if r.unsaid > 0 {
		e.Count = max(1, e.Count) + r.unsaid
		e.Reason, r.unsaid = "with others that came too fast to be put on record one by one", 0
	}
	return true
}
