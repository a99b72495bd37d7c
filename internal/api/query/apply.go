// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// object is one element of a list: as it is written, and for looking into.
type object struct {
	written json.RawMessage
	members map[string]any // numbers as json.Number; nil if nothing looks into it
}

// Apply gives what the query wants of a list, as JSON. Without a sort, the order
// of the list stays.
func (q Query) Apply(list []any) ([]json.RawMessage, error) {
	look := len(q.conditions) > 0 || len(q.sort) > 0 || q.fields != nil
	wanted := make([]object, 0, len(list))
	for _, item := range list {
		o, err := read(item, look)
		if err != nil {
			return nil, err
		}
		if q.wants(o) {
			wanted = append(wanted, o)
		}
	}
	if len(q.sort) > 0 {
		slices.SortStableFunc(wanted, q.order)
	}
	wanted = wanted[min(q.skip, len(wanted)):]
	if q.limit > 0 {
		wanted = wanted[:min(q.limit, len(wanted))]
	}
	result := make([]json.RawMessage, len(wanted))
	for i, o := range wanted {
		var err error
		if result[i], err = q.project(o); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func read(item any, look bool) (object, error) {
	var o object
	var err error
	if o.written, err = json.Marshal(item); err != nil {
		return o, fmt.Errorf("query: write an element of a list: %w", err)
	}
	if !look {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(o.written))
	d.UseNumber()
	if err := d.Decode(&o.members); err != nil {
		return o, fmt.Errorf("query: read an element of a list: %w", err)
	}
	return o, nil
}

func (q Query) wants(o object) bool {
	return !slices.ContainsFunc(q.conditions, func(c condition) bool {
		value, there := o.at(c.path)
		return !c.holds(value, there)
	})
}

// at gives what a field holds. One that holds null is not there.
func (o object) at(path []string) (value any, there bool) {
	value = o.members
	for _, name := range path {
		members, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = members[name]; !ok || value == nil {
			return nil, false
		}
	}
	return value, true
}

// order puts what lacks the field last, whichever way the order goes.
func (q Query) order(a, b object) int {
	for _, by := range q.sort {
		x, hasX := a.at(by.path)
		y, hasY := b.at(by.path)
		if hasX != hasY {
			if hasX {
				return -1
			}
			return 1
		}
		c := collate(x, y)
		if by.falling {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// collate orders numbers by value, before times, before text without regard to
// small and capital letters, before the rest.
func collate(x, y any) int {
	if a, ok := instant(x); ok {
		if b, ok := instant(y); ok {
			return a.Compare(b)
		}
	}
	n, isNumber := x.(json.Number)
	m, alsoNumber := y.(json.Number)
	if isNumber && alsoNumber {
		a, okA := number(n.String())
		b, okB := number(m.String())
		if okA && okB {
			return a.Cmp(b)
		}
	}
	if isNumber != alsoNumber {
		if isNumber {
			return -1
		}
		return 1
	}
	s, isPlain := plain(x)
	t, alsoPlain := plain(y)
	if isPlain != alsoPlain {
		if isPlain {
			return -1
		}
		return 1
	}
	return cmp.Compare(strings.ToLower(s)+"\x00"+s, strings.ToLower(t)+"\x00"+t)
}

// instant reads a time as the API writes it. Its text does not sort: the
// fraction of a second is as long as it needs to be.
func instant(value any) (time.Time, bool) {
	s, ok := value.(string)
	if !ok || len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}

// project leaves only the fields that are wanted, and what names the object.
func (q Query) project(o object) (json.RawMessage, error) {
	if q.fields == nil {
		return o.written, nil
	}
	chosen := map[string]any{}
	for _, name := range append([]string{"_id"}, q.fields...) {
		if v, ok := o.members[name]; ok {
			chosen[name] = v
		}
	}
	return json.Marshal(chosen)
}
