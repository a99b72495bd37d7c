// SPDX-License-Identifier: Apache-2.0

// Package apply makes the resources of the management API what a YAML file says
// they are: it reads the file, compares it with what is there, and creates and
// changes what differs, in the order in which they need each other.
//
// A resource of the file is one of the server's by its name, within its
// consortium, environment and membership; two of the same name are an error.
// Applying a file twice changes nothing the second time. Nothing is deleted
// unless it was asked for. Secrets are in the file only by reference (a file or
// an environment variable), are sent to the server only, and are in no plan, no
// message and no error. It uses the public client, and so may do what its API
// key may do.
package apply

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of resource, as the file names it.
type Kind string

// The kinds, in the order in which they need each other.
const (
	Consortium    Kind = "consortium"
	Membership    Kind = "membership"
	Environment   Kind = "environment"
	Node          Kind = "node"
	Configuration Kind = "configuration"
	Service       Kind = "service"
	AppCred       Kind = "appcred"
	APIKey        Kind = "apikey"
)

// Kinds are all of them, in that order.
func Kinds() []Kind {
	return []Kind{Consortium, Membership, Environment, Node, Configuration, Service, AppCred, APIKey}
}

// shape is what there is to know about a kind.
type shape struct {
	collection    string   // last part of the path
	title         string   // the server's field for the name
	fields        []string // that are sent as they stand in the file
	fixed         []string // those of them that cannot be changed
	inConsortium  bool
	inEnvironment bool // and then of a membership
}

func (k Kind) shape() shape {
	switch k {
	case Consortium:
		return shape{collection: "consortia", title: "name", fields: []string{"description"}}
	case Membership:
		return shape{collection: "memberships", title: "org_name", inConsortium: true}
	case Environment:
		return shape{
			collection: "environments", title: "name", inConsortium: true,
			fields: []string{"description", "provider", "consensus_type", "chain_id", "require_hsm"},
		}
	case Node:
		return shape{collection: "nodes", title: "name", inConsortium: true, inEnvironment: true, fields: []string{"chain_id", "urls"}, fixed: []string{"chain_id"}}
	case Configuration:
		return shape{collection: "configurations", title: "name", inConsortium: true, inEnvironment: true, fields: []string{"details"}}
	case Service:
		return shape{collection: "services", title: "name", inConsortium: true, inEnvironment: true, fields: []string{"details"}}
	case AppCred:
		return shape{collection: "appcreds", title: "name", inConsortium: true, inEnvironment: true, fields: []string{"auth_type", "username"}, fixed: []string{"auth_type", "username"}}
	}
	return shape{collection: "apikeys", title: "name", fields: []string{"grants"}, fixed: []string{"grants"}}
}

// Action is what is done with a resource.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	// Check sends secrets again, since the server never shows those it has. If
	// they are the same, nothing changes.
	Check     Action = "check"
	Unchanged Action = "unchanged"
	Delete    Action = "delete"
)

// Step is one line of a plan, and later of what was done.
type Step struct {
	Action  Action   `json:"action"`
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name"`
	In      string   `json:"in,omitempty"`  // consortium / environment / membership
	ID      string   `json:"_id,omitempty"` // empty: not made yet
	Changes []string `json:"changes,omitempty"`

	item     *Item // nil for Delete
	path     []string
	revision string
	body     map[string]any
	refs     *refs
}

// String is for people: "update service treasury in acme/prod/ops: details.node_id".
func (s *Step) String() string {
	text := fmt.Sprintf("%s %s %s", s.Action, s.Kind, s.Name)
	if s.In != "" {
		text += " in " + s.In
	}
	if len(s.Changes) > 0 {
		text += ": " + strings.Join(s.Changes, ", ")
	}
	return text
}

// Plan is what would be done, in order.
type Plan struct {
	Steps []*Step
}

// Changes reports whether the plan is to do something.
func (p *Plan) Changes() bool {
	return slices.ContainsFunc(p.Steps, func(s *Step) bool { return s.Action != Unchanged })
}

// Count is how many steps have an action.
func (p *Plan) Count(a Action) (n int) {
	for _, s := range p.Steps {
		if s.Action == a {
			n++
		}
	}
	return n
}
