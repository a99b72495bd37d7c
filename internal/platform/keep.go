// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// open has a service run as its row says.
func (k *keeper) open(ctx context.Context, s *served, now time.Time) {
	w, key, err := k.spec(s.row)
	if key != s.want {
		s.want, s.since, s.wait, s.retry, s.err = key, now, 0, time.Time{}, nil
	}
	if s.busy || s.key == key && s.err == nil || now.Before(s.retry) {
		return
	}
	if err != nil {
		k.opened(ctx, s, key, err, now)
		return
	}
	k.crew.start(ctx, s, func(ctx context.Context) func(time.Time) {
		err := k.fill(ctx, w)
		return func(now time.Time) { k.opened(ctx, s, key, err, now) }
	})
}

// opened takes over how the opening of a service has ended.
func (k *keeper) opened(ctx context.Context, s *served, key string, err error, now time.Time) {
	if err == nil {
		s.key = key
	}
	switch {
	case key != s.want: // it is to be something else by now
	case err == nil:
		s.err, s.wait = nil, 0
	default:
		s.err = err
		s.wait = min(max(2*s.wait, firstWait), maxWait)
		s.retry = now.Add(s.wait)
		if ctx.Err() == nil {
			k.p.cfg.Logger.WarnContext(ctx, "a service cannot be opened", "service", s.row.ID, "err", err, "retry_in", s.wait)
		}
	}
}

var (
	errGone    = errors.New("what it uses is gone")
	errForeign = errors.New("the configuration or the node that its row names is not of its membership, environment and consortium: the row was changed outside of the API")
)

// wanted is what a service should be, with the rows that say so; its Wallet is
// not filled in yet.
type wanted struct {
	service                          string
	spec                             ServiceSpec
	configuration, node, environment row
}

// spec is what a service should be, and the key that tells whether that is what it
// is.
func (k *keeper) spec(r row) (wanted, string, error) {
	at := r.lane()
	w := wanted{service: r.ID, configuration: k.rows[at.configuration], node: k.rows[at.node], environment: k.rows[r.Environment]}
	if w.configuration.ID == "" || w.node.ID == "" || w.environment.ID == "" {
		return wanted{}, "gone", errGone
	}
	if !w.ours(r) {
		return wanted{}, "foreign", errForeign
	}
	w.spec = ServiceSpec{
		Consortium: r.Consortium, Environment: r.Environment, Membership: r.Membership,
		Backend: version(w.configuration, k.p.imposed(w.environment)), Node: version(w.node, false),
		Resets: r.data.Resets, Draining: r.State == Deleting,
	}
	return w, fmt.Sprint(w.spec.Backend, w.spec.Node, w.spec.Resets, w.spec.Draining), nil
}

// ours reports whether all that a service uses is what the API lets it use. Rows
// can be changed by others than the API, and a secret that is opened for the wrong
// tenant is lost.
func (w wanted) ours(r row) bool {
	for _, used := range []row{w.configuration, w.node} {
		if used.Consortium != r.Consortium || used.Environment != r.Environment || used.Membership != r.Membership {
			return false
		}
	}
	return w.environment.Consortium == r.Consortium &&
		w.configuration.kind() == Configurations && w.node.kind() == Nodes && w.environment.kind() == Environments
}

// settle writes the states of services that are not started.
func (k *keeper) settle(ctx context.Context, now time.Time) {
	var found []store.ResourceState
	for _, id := range k.order {
		s := k.services[id]
		if s == nil || s.gone || s.row.State != Provisioning && s.row.State != Failed {
			continue
		}
		state, reason := k.stateOf(s, now)
		if s.row.State == Failed && state == Provisioning {
			// It failed before, here or elsewhere: until it is started, that is so.
			if state = Failed; reason == "" {
				reason = s.row.Reason
			}
		}
		if state == s.row.State && (reason == s.row.Reason || now.Sub(s.written) < reworded) {
			continue
		}
		found = append(found, store.ResourceState{ID: id, Revision: s.row.Revision, State: state, Reason: reason})
	}
	if len(found) == 0 {
		return
	}
	if err := k.p.cfg.Store.SetResourceStates(ctx, found); err != nil {
		if ctx.Err() == nil {
			k.p.cfg.Logger.WarnContext(ctx, "states of services cannot be written", "services", len(found), "err", err)
		}
		return
	}
	for _, f := range found {
		s := k.services[f.ID]
		s.row.State, s.row.Reason, s.written = f.State, f.Reason, now
		k.p.cfg.Logger.InfoContext(ctx, "service has another state", "service", f.ID, "state", f.State, "reason", f.Reason)
	}
}

func (k *keeper) stateOf(s *served, now time.Time) (state, reason string) {
	if s.err != nil {
		if errors.Is(s.err, errUnsealed) {
			return Provisioning, s.err.Error()
		}
		return Failed, s.err.Error()
	}
	if s.key != s.want {
		if now.Sub(s.since) >= patience {
			return Failed, "it cannot be opened yet: what is needed for that has not answered"
		}
		return Provisioning, ""
	}
	run, ok := k.p.cfg.Runtime.Status(s.row.ID)
	if !ok {
		return Provisioning, ""
	}
	return settledState(run, now.Sub(s.since) >= patience)
}

// remove removes services that were deleted and have nothing under way, and closes
// those whose row is gone.
func (k *keeper) remove(ctx context.Context, now time.Time) {
	for id, s := range k.services {
		switch {
		case s.busy:
		case s.gone && s.key == "":
			delete(k.services, id)
		case s.gone:
			k.crew.start(ctx, s, func(ctx context.Context) func(time.Time) {
				k.end(ctx, id)
				return func(time.Time) { s.key = "" }
			})
		case s.row.State == Deleting:
			k.leave(ctx, s, now)
		}
	}
}

// leave has a deleted service taken away when its time has come.
func (k *keeper) leave(ctx context.Context, s *served, now time.Time) {
	if s.leaving.IsZero() {
		s.leaving = now
	}
	switch {
	case s.key != s.want && s.err == nil: // it is not known to take nothing new
	case k.p.cfg.Shared && now.Sub(s.leaving) < letGo, now.Sub(s.counted) < k.p.cfg.Poll:
	default:
		s.counted = now
		k.takeAway(ctx, s)
	}
}
