// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// door is a service with its table of methods.
type door struct {
	*Service
	methods map[string]*method
	share   *share // of its membership

	under atomic.Int64  // requests under way; below zero once the service is removed
	idle  chan struct{} // closed when the service is removed and nothing is under way
}

// removed is what under is less by, once the service is removed.
const removed = math.MinInt64 / 2

// enter begins a request; false if the service is gone.
func (d *door) enter() bool {
	if d.under.Add(1) > 0 {
		return true
	}
	d.leave()
	return false
}

// leave ends a request that enter began. The last one to leave a removed
// service tells; one that came too late may leave after that.
func (d *door) leave() {
	if d.under.Add(-1) == removed {
		d.vacate()
	}
}

// vacate may be called by several: who comes first closes the channel.
func (d *door) vacate() {
	if d.under.CompareAndSwap(removed, removed/2*3) {
		close(d.idle)
	}
}

// open reports whether p may know of the service.
func (d *door) open(p auth.Principal) bool {
	return (p.Membership == "" || p.Membership == d.Membership) &&
		(p.Environment == "" || p.Environment == d.Environment)
}

// sameScope reports whether the same principals may use both.
func (d *door) sameScope(as *door) bool {
	return d.Membership == as.Membership && d.Environment == as.Environment
}

// find returns the wallet that a path names, or nil if there is none that p
// may use: to p, what is another's does not exist.
func (s *Server) find(path string, p auth.Principal) *door {
	name := strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if name == "" {
		name = s.cfg.Default
	}
	if d := (*s.doors.Load())[name]; d != nil && d.open(p) {
		return d
	}
	return nil
}

// enter is find for a request, which the caller ends with leave.
func (s *Server) enter(path string, p auth.Principal) *door {
	for {
		d := s.find(path, p)
		if d == nil || d.enter() {
			return d
		}
		// It was replaced or removed this very moment, and is not found again.
	}
}

func noWallet() *Error { return invalidRequest("there is no wallet at this path") }

// SetService adds a service, or puts it in the place of the one that has its
// name. Requests under way at the former end as they began. WebSockets stay
// open and go on with the new one, but for their subscriptions, which are at
// the former's node as long as that lasts; if the new one is another
// membership's or environment's they are closed as by RemoveService.
//
// An error says what is wrong with svc, and nothing has changed.
func (s *Server) SetService(svc *Service) error {
	if err := svc.check(svc.Name); err != nil {
		return fmt.Errorf("rpc: wallet %s: %w", svc.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.doors.Load())
	old := next[svc.Name]
	if old != nil && old.Name == svc.Name {
		maps.DeleteFunc(next, func(_ string, d *door) bool { return d == old })
	}
	d := s.newDoor(svc)
	if err := d.register(next, svc.names(svc.Name)); err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	d.share.services++
	s.doors.Store(&next)
	if old != nil {
		s.move(old, d)
		old.retire()
		old.share.services--
	}
	s.reckon()
	return nil
}

// RemoveService takes away the service that has this name, under all its
// names. Nothing new gets to it from then on; requests under way are answered,
// and then its WebSockets are closed with status 1001. The channel is closed
// when nothing is under way any more, which is when the service's node and
// backend may be closed; nobody has to wait for it. It is nil if there was no
// such service.
func (s *Server) RemoveService(name string) (idle <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := (*s.doors.Load())[name]
	if d == nil {
		return nil
	}
	next := maps.Clone(*s.doors.Load())
	maps.DeleteFunc(next, func(_ string, have *door) bool { return have == d })
	s.doors.Store(&next)
	s.move(d, nil)
	d.retire()
	d.share.services--
	s.reckon()
	return d.idle
}

// register puts a door under its names.
func (d *door) register(in map[string]*door, names []string) error {
	for _, name := range names {
		if had := in[name]; had != nil {
			return fmt.Errorf("wallet %s: the name %q is that of wallet %s", d.Name, name, had.Name)
		}
		in[name] = d
	}
	return nil
}

// retire lets no request in any more.
func (d *door) retire() {
	if d.under.Add(removed) == removed {
		d.vacate()
	}
}

// move brings the sockets of one door to another, or ends them. The caller
// holds mu.
func (s *Server) move(from, to *door) {
	s.moveVisitors(from, to)
	for k := range s.sockets {
		switch {
		case k.door.Load() != from:
		case to != nil && to.sameScope(from):
			k.door.Store(to)
		default:
			k.leave()
		}
	}
}

// newDoor makes a door. Services with the same methods share one table. The
// caller holds mu, or has the server to itself.
func (s *Server) newDoor(svc *Service) *door {
	key := strings.Join(svc.ExtraMethods, " ")
	table := s.tables[key]
	if table == nil {
		table = methodTable(svc)
		s.tables[key] = table
	}
	return &door{Service: svc, methods: table, share: s.share(svc.Membership), idle: make(chan struct{})}
}

// names are those of a service that is known as name, each once.
func (svc *Service) names(name string) []string {
	names := append([]string{name}, svc.Aliases...)
	slices.Sort(names)
	return slices.Compact(names)
}

// check returns every mistake of a service at once.
func (svc *Service) check(name string) error {
	var errs []error
	for _, n := range svc.names(name) {
		if n == "" || strings.Contains(n, "/") {
			errs = append(errs, fmt.Errorf("the name %q cannot be the first element of a URL's path", n))
		}
	}
	for _, m := range svc.ExtraMethods {
		if err := checkExtraMethod(m); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
