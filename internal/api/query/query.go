// SPDX-License-Identifier: Apache-2.0

// Package query is the query language of the management API's lists: which
// objects, which of their fields, in which order, and which part of the list.
//
//	?name=v             equal               ?name=!v       not equal, or not there
//	?name=              there               ?name=!        not there
//	?name=^v            begins with         ?name=$v       ends with
//	?name=~v            contains            ?name[]=a&name[]=b  one of; with !a, none of
//	?n=<10  ?n=<=10     less than           ?n=>10  ?n=>=10     greater than
//	?fields=_id,name    only these, and always _id
//	?sort=name,-_id     by name, then by falling _id
//	?limit=10&skip=20   after sorting
//
// A field in an object is named with a dot: details.provider. Several conditions
// hold together, also several on one field. ^, $ and ~ take small and capital
// letters for the same. A parameter that means nothing here is an error: a filter
// that is silently ignored would give more than was asked for, which is dangerous
// where the answer is, say, what a script deletes.
//
// It sees nothing but what the caller may see anyway, and never fails on what a
// list holds.
package query

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
)

// Limits of a query.
const (
	MaxLimit      = 1000 // objects in one answer, if limit is given
	maxParameters = 100
)

// Parameters that are no filters.
const (
	Fields = "fields"
	Sort   = "sort"
	Limit  = "limit"
	Skip   = "skip"
)

// Error is what is wrong with a query.
type Error struct {
	Parameter string
	Msg       string
}

func (e *Error) Error() string { return e.Parameter + ": " + e.Msg }

// Query is a parsed query. The zero Query wants all of all, as it comes.
type Query struct {
	fields     []string
	sort       []order
	limit      int // 0: all
	skip       int
	conditions []condition
}

type order struct {
	path    []string
	falling bool
}

// Parse reads a query of objects of which one is as item says.
func Parse(values url.Values, item *schema.Schema) (Query, error) {
	var q Query
	n := 0
	for _, name := range slices.Sorted(mapKeys(values)) {
		n += len(values[name])
		if n > maxParameters {
			return Query{}, &Error{name, fmt.Sprintf("want at most %d parameters", maxParameters)}
		}
		if err := q.add(name, values[name], item); err != nil {
			return Query{}, err
		}
	}
	return q, nil
}

func mapKeys(values url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range values {
			if !yield(name) {
				return
			}
		}
	}
}

func (q *Query) add(name string, values []string, item *schema.Schema) error {
	switch name {
	case Fields, Sort, Limit, Skip:
		if len(values) != 1 {
			return &Error{name, "is given more than once"}
		}
		return q.option(name, values[0], item)
	}
	field, list := strings.CutSuffix(name, "[]")
	p, ok := find(field, item)
	if !ok {
		return &Error{clean(name), "there is no such field to filter by: want one of " + strings.Join(item.Names(), ", ")}
	}
	path := strings.Split(field, ".")
	if list {
		c, err := member(path, values, p)
		if err != nil {
			return &Error{name, err.Error()}
		}
		q.conditions = append(q.conditions, c)
		return nil
	}
	for _, v := range values {
		c, err := compare(path, v, p)
		if err != nil {
			return &Error{name, err.Error()}
		}
		q.conditions = append(q.conditions, c)
	}
	return nil
}

func (q *Query) option(name, value string, item *schema.Schema) error {
	var err error
	switch name {
	case Fields:
		q.fields = []string{}
		for f := range strings.SplitSeq(value, ",") {
			if _, ok := item.Properties[f]; !ok {
				return &Error{name, "there is no such field: want some of " + strings.Join(item.Names(), ",")}
			}
			q.fields = append(q.fields, f)
		}
	case Sort:
		for f := range strings.SplitSeq(value, ",") {
			f, falling := strings.CutPrefix(f, "-")
			if _, ok := find(f, item); !ok {
				return &Error{name, "there is no such field: want some of " + strings.Join(item.Names(), ",") + ", with - before those that fall"}
			}
			q.sort = append(q.sort, order{strings.Split(f, "."), falling})
		}
	case Limit:
		if q.limit, err = Whole(value, 1, MaxLimit); err != nil {
			return &Error{name, err.Error()}
		}
	case Skip:
		if q.skip, err = Whole(value, 0, 1<<31-1); err != nil {
			return &Error{name, err.Error()}
		}
	}
	return nil
}

var digits = regexp.MustCompile(`^[0-9]{1,10}$`)

// Whole reads a whole number from least to most.
func Whole(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || !digits.MatchString(text) || n < least || n > most {
		return 0, fmt.Errorf("want a whole number from %d to %d", least, most)
	}
	return n, nil
}

// name of a property of an object that holds whatever was put there.
var property = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// find gives the description of a field, or an empty one of a property that
// nothing describes, in an object that may have any.
func find(field string, item *schema.Schema) (*schema.Schema, bool) {
	name, rest, deeper := strings.Cut(field, ".")
	p, ok := item.Properties[name]
	switch {
	case !ok && (!property.MatchString(name) || item.Type != "" && (item.Closed || item.Values == nil)):
		return nil, false
	case !ok && item.Values != nil:
		p = item.Values
	case !ok:
		p = &schema.Schema{}
	}
	if !deeper {
		return p, true
	}
	if p.Type != schema.Object && p.Type != "" || strings.Count(rest, ".") > 3 {
		return nil, false
	}
	return find(rest, p)
}

// clean is a parameter's name as an error may repeat it.
func clean(name string) string {
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "a parameter"
	}
	return name
}
