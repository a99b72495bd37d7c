// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/client"
)

// record is a resource as the server shows it.
type record map[string]any

func (r record) text(field string) string {
	s, _ := r[field].(string)
	return s
}

// target is a resource that another one refers to: one that is there, or one
// that the plan makes first.
type target struct {
	id   string
	name string
	step *Step // nil: not in the file
}

func (t target) now() string {
	if t.step != nil {
		return t.step.ID
	}
	return t.id
}

// refs are what an item refers to.
type refs struct {
	consortium, environment, membership, configuration, node target
	grants                                                   []grant
}

type grant struct {
	role                   string
	consortium, membership target
}

// planner compares a file with a server.
type planner struct {
	client *client.Client
	lists  map[string][]record
	steps  []*Step
	refs   map[*Step]*refs
	errs   Errors
}

// Make compares the items with what the server has. It changes nothing. With
// prune, what is in the same memberships and environments, and not in the file,
// is to be deleted: services, app credentials, configurations and nodes only.
func Make(ctx context.Context, c *client.Client, items []*Item, prune bool) (*Plan, error) {
	p := &planner{client: c, lists: map[string][]record{}, refs: map[*Step]*refs{}}
	for _, kind := range Kinds() {
		for _, item := range items {
			if item.Kind != kind {
				continue
			}
			if err := p.add(ctx, item); err != nil {
				if refused := new(client.Error); ctx.Err() != nil || errors.As(err, &refused) {
					return nil, err // the next would fare no better
				}
				p.errs = append(p.errs, fmt.Sprintf("%s: %s %s: %s", item.where, item.Kind, item.Name, err))
			}
		}
	}
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	if prune {
		if err := p.prune(ctx); err != nil {
			return nil, err
		}
	}
	for _, s := range p.steps {
		if r := p.refs[s]; r != nil {
			s.refs = r
		}
	}
	return &Plan{Steps: p.steps}, nil
}

// list reads a collection once.
func (p *planner) list(ctx context.Context, path []string) ([]record, error) {
	key := strings.Join(path, "/")
	if all, ok := p.lists[key]; ok {
		return all, nil
	}
	var all []record
	if _, err := p.client.Do(ctx, http.MethodGet, path, nil, nil, &all); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r record) bool { return r.text("state") == client.Deleting })
	p.lists[key] = all
	return all, nil
}

// collection is the path of a kind's collection in the place of r. It is nil if
// that place is not made yet.
func (k Kind) collection(r *refs) []string {
	s := k.shape()
	if !s.inConsortium {
		return []string{s.collection}
	}
	path := []string{"consortia", r.consortium.now()}
	if s.inEnvironment {
		path = append(path, "environments", r.environment.now())
	}
	if slices.Contains(path, "") {
		return nil
	}
	return append(path, s.collection)
}

// same reports whether two places are the same, also if they are not made yet.
func (t target) same(o target) bool {
	if t.step != nil || o.step != nil {
		return t.step == o.step || t.now() != "" && t.now() == o.now()
	}
	return t.id == o.id
}

func (k Kind) samePlace(a, b *refs) bool {
	s := k.shape()
	return (!s.inConsortium || a.consortium.same(b.consortium)) &&
		(!s.inEnvironment || a.environment.same(b.environment) && a.membership.same(b.membership))
}

// find is what a name or id means, in the place of r. An empty one means the
// only one that there is.
func (p *planner) find(ctx context.Context, kind Kind, name string, r *refs) (target, error) {
	var found []target
	for _, s := range p.steps {
		if s.Kind == kind && kind.samePlace(p.refs[s], r) && (name == "" || s.Name == name || s.ID == name) {
			found = append(found, target{id: s.ID, name: s.Name, step: s})
		}
	}
	if path := kind.collection(r); path != nil {
		all, err := p.list(ctx, path)
		if err != nil {
			return target{}, err
		}
		for _, c := range all {
			id := c.text("_id")
			if slices.ContainsFunc(found, func(t target) bool { return t.id == id }) || !kind.owned(c, r) {
				continue
			}
			if title := c.text(kind.shape().title); name == "" || title == name || id == name {
				found = append(found, target{id: id, name: title})
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case name == "" && len(found) == 0:
		return target{}, fmt.Errorf("%s: there is none, and none is named", kind)
	case name == "":
		return target{}, fmt.Errorf("%s: there are %d: name one", kind, len(found))
	case len(found) == 0:
		return target{}, fmt.Errorf("%s: there is no %q, neither on the server nor in the file", kind, name)
	}
	return target{}, fmt.Errorf("%s: %d are called %q: give one its id, or another name", kind, len(found), name)
}

// owned reports whether a resource is of the membership of r, where its kind has
// one.
func (k Kind) owned(c record, r *refs) bool {
	return !k.shape().inEnvironment || c.text("membership_id") == r.membership.now()
}

// place finds what an item refers to.
func (p *planner) place(ctx context.Context, item *Item) (*refs, error) {
	r := &refs{}
	s := item.Kind.shape()
	for _, ref := range []struct {
		wanted bool
		kind   Kind
		name   string
		into   *target
	}{
		{s.inConsortium, Consortium, item.Consortium, &r.consortium},
		{s.inEnvironment, Environment, item.Environment, &r.environment},
		{s.inEnvironment, Membership, item.Membership, &r.membership},
		{item.Kind == Service, Configuration, item.Configuration, &r.configuration},
		{item.Kind == Service && item.Node != "", Node, item.Node, &r.node},
	} {
		if !ref.wanted {
			continue
		}
		t, err := p.find(ctx, ref.kind, ref.name, r)
		if err != nil {
			return nil, err
		}
		*ref.into = t
	}
	if item.Kind == APIKey {
		return r, p.grants(ctx, item, r)
	}
	return r, nil
}

// grants reads the grants of an API key, whose scopes may be names.
func (p *planner) grants(ctx context.Context, item *Item, r *refs) error {
	all, _ := item.Fields["grants"].([]any)
	if len(all) == 0 {
		return fmt.Errorf("grants: want a list, like [{role: admin}]")
	}
	for i, g := range all {
		members, _ := g.(map[string]any)
		var one grant
		scope := &refs{}
		for name, v := range members {
			text, ok := v.(string)
			if !ok || !slices.Contains([]string{"role", "consortium", "membership"}, name) {
				return fmt.Errorf("grants[%d]: want role, consortium and membership, and nothing else", i)
			}
			if name == "role" {
				one.role = text
			}
		}
		var err error
		if name, ok := members["consortium"].(string); ok {
			if one.consortium, err = p.find(ctx, Consortium, name, scope); err != nil {
				return err
			}
			scope.consortium = one.consortium
		}
		if name, ok := members["membership"].(string); ok {
			if one.consortium == (target{}) {
				return fmt.Errorf("grants[%d].consortium: is missing: want that of the membership", i)
			}
			if one.membership, err = p.find(ctx, Membership, name, scope); err != nil {
				return err
			}
		}
		r.grants = append(r.grants, one)
	}
	return nil
}

// add plans what is to be done for an item.
func (p *planner) add(ctx context.Context, item *Item) error {
	r, err := p.place(ctx, item)
	if err != nil {
		return err
	}
	for _, s := range p.steps {
		if s.Kind == item.Kind && s.Name == item.Name && item.Kind.samePlace(p.refs[s], r) {
			return fmt.Errorf("is declared at %s already, by other words", s.item.where)
		}
	}
	step := &Step{Action: Create, Kind: item.Kind, Name: item.Name, In: r.in(), item: item}
	var shown record
	if path := item.Kind.collection(r); path != nil {
		all, err := p.list(ctx, path)
		if err != nil {
			return err
		}
		var same []record
		for _, c := range all {
			if c.text(item.Kind.shape().title) == item.Name && item.Kind.owned(c, r) {
				same = append(same, c)
			}
		}
		if len(same) > 1 {
			return fmt.Errorf("%d have this name on the server: delete or rename the others", len(same))
		}
		if len(same) == 1 {
			shown = same[0]
		}
	}
	p.refs[step] = r
	if shown != nil {
		step.ID, step.revision = shown.text("_id"), shown.text("_revision")
		if err := step.compare(shown, r); err != nil {
			return err
		}
	}
	p.steps = append(p.steps, step)
	return nil
}

// in is the place of an item, for people.
func (r *refs) in() string {
	var parts []string
	for _, t := range []target{r.consortium, r.environment, r.membership} {
		if t != (target{}) {
			parts = append(parts, t.name)
		}
	}
	return strings.Join(parts, "/")
}

// compare decides what is to be done with a resource that is there.
func (s *Step) compare(shown record, r *refs) error {
	wanted := s.item.wanted(r)
	s.Action, s.body = Unchanged, map[string]any{}
	secrets := false
	for _, field := range slices.Sorted(maps.Keys(wanted)) {
		if field == "type" || field == "service" || field == "membership_id" || field == s.Kind.shape().title {
			continue
		}
		d := difference(field, wanted[field], shown[field])
		secrets = secrets || d.secrets
		if len(d.changed) > 0 && slices.Contains(s.Kind.shape().fixed, field) {
			return fmt.Errorf("%s cannot be changed: delete it first, or give the new one another name", field)
		}
		s.Changes = append(s.Changes, d.changed...)
		if d.patch != nil || len(d.changed) > 0 {
			s.body[field] = d.patch
		}
	}
	switch {
	case len(s.Changes) > 0:
		s.Action = Update
	case secrets:
		s.Action = Check
	}
	if s.Action != Unchanged && shown["read_only"] == true {
		return fmt.Errorf("is declared in the config file of the daemon, and changed only there")
	}
	if patch, ok := s.body["details"].(map[string]any); ok && patch["provider"] != nil {
		s.body["details"] = wanted["details"] // the server keeps no secret for another provider
	}
	return nil
}

// wanted is the body that would make an item, with ids as far as there are any.
func (i *Item) wanted(r *refs) map[string]any {
	body := maps.Clone(i.Fields)
	body[i.Kind.shape().title] = i.Name
	if i.Kind.shape().inEnvironment {
		body["membership_id"] = r.membership.now()
	}
	if i.Kind == Service {
		details := maps.Clone(i.Fields["details"].(map[string]any))
		details["cloudhsm_id"] = r.configuration.now()
		if i.Node != "" {
			details["node_id"] = r.node.now()
		}
		body["details"] = details
	}
	if i.Kind == APIKey {
		grants := []any{}
		for _, g := range r.grants {
			one := map[string]any{"role": g.role}
			for name, t := range map[string]target{"consortium_id": g.consortium, "membership_id": g.membership} {
				if t != (target{}) {
					one[name] = t.now()
				}
			}
			grants = append(grants, one)
		}
		body["grants"] = grants
	}
	return body
}

// diff is how a field differs.
type diff struct {
	changed []string // paths
	secrets bool     // it has some, which cannot be compared
	patch   any      // what to send; nil: nothing
}

func difference(path string, wanted, shown any) diff {
	switch w := wanted.(type) {
	case Secret:
		return diff{secrets: true, patch: w}
	case map[string]any:
		var d diff
		patch := map[string]any{}
		have, _ := shown.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(w)) {
			inner := difference(path+"."+key, w[key], have[key])
			d.changed, d.secrets = append(d.changed, inner.changed...), d.secrets || inner.secrets
			if inner.patch != nil || len(inner.changed) > 0 {
				patch[key] = inner.patch
			}
		}
		if len(patch) > 0 {
			d.patch = patch
		}
		return d
	case string:
		if strings.HasPrefix(path, "urls.") {
			return urlDifference(path, w, shown)
		}
	}
	if equal(wanted, shown) {
		return diff{}
	}
	return diff{changed: []string{path}, patch: wanted}
}

// urlDifference: the server shows scheme and host only.
func urlDifference(path, wanted string, shown any) diff {
	u, err := url.Parse(wanted)
	if err != nil || shown != u.Scheme+"://"+u.Host {
		return diff{changed: []string{path}, patch: wanted}
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return diff{secrets: true, patch: wanted}
	}
	return diff{}
}

// equal compares as JSON. What is left out is the zero value.
func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if errX != nil || errY != nil {
		return false
	}
	zero := func(s string) bool { return s == "null" || s == `""` || s == "0" || s == "false" }
	return string(x) == string(y) || zero(string(x)) && zero(string(y))
}
