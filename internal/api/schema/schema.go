// SPDX-License-Identifier: Apache-2.0

// Package schema is the part of JSON Schema that the management API describes
// itself with: one description makes the OpenAPI document, refuses requests that
// are not as described, and judges answers in the tests. So a request that the
// document forbids is never let through, and none is refused here that it allows.
//
// It knows shapes, not meanings: whether an id is that of anything is for others
// to say. It holds no reference to what it checked.
package schema

import (
	"encoding/json"
	"slices"
)

// The types of values. Integer is a whole number.
const (
	Object  = "object"
	Array   = "array"
	String  = "string"
	Integer = "integer"
	Number  = "number"
	Boolean = "boolean"
	Null    = "null"
)

// Schema describes a JSON value (JSON Schema 2020-12, which OpenAPI 3.1 uses).
// The zero Schema describes any value. It is not changed once it is in use.
type Schema struct {
	// Name makes the schema a component of its own: where it is used, it is
	// written as a reference to it.
	Name string

	Type        string
	Or          []string // types that are as good; what is said of a type holds for its values only
	Description string
	Format      string // for readers; not checked
	Enum        []string
	Pattern     string // in the part of the syntax that Go and ECMAScript share
	MinLength   int    // characters
	MaxLength   int    // characters; 0: no limit of its own
	Minimum     *int64
	Maximum     *int64
	Properties  map[string]*Schema
	Required    []string
	Closed      bool    // no properties but these
	Values      *Schema // of all other properties
	Items       *Schema
	MinItems    int
	MaxItems    int // 0: no limit of its own
	Default     any
	Examples    []any
}

// MarshalJSON writes the schema, or a reference to it if it is a component.
func (s *Schema) MarshalJSON() ([]byte, error) {
	if s.Name != "" {
		return json.Marshal(map[string]string{"$ref": "#/components/schemas/" + s.Name})
	}
	return json.Marshal(s.Definition())
}

// Definition is what the schema says, as JSON Schema would write it.
func (s *Schema) Definition() map[string]any {
	d := map[string]any{}
	put := func(name string, value any, there bool) {
		if there {
			d[name] = value
		}
	}
	if len(s.Or) > 0 {
		d["type"] = append([]string{s.Type}, s.Or...)
	} else {
		put("type", s.Type, s.Type != "")
	}
	put("description", s.Description, s.Description != "")
	put("format", s.Format, s.Format != "")
	put("enum", s.Enum, len(s.Enum) > 0)
	put("pattern", s.Pattern, s.Pattern != "")
	put("minLength", s.MinLength, s.MinLength > 0)
	put("maxLength", s.MaxLength, s.MaxLength > 0)
	put("minimum", s.Minimum, s.Minimum != nil)
	put("maximum", s.Maximum, s.Maximum != nil)
	put("properties", s.Properties, len(s.Properties) > 0)
	put("required", s.Required, len(s.Required) > 0)
	put("additionalProperties", s.Values, s.Values != nil)
	put("additionalProperties", false, s.Closed)
	put("items", s.Items, s.Items != nil)
	put("minItems", s.MinItems, s.MinItems > 0)
	put("maxItems", s.MaxItems, s.MaxItems > 0)
	put("default", s.Default, s.Default != nil)
	put("examples", s.Examples, len(s.Examples) > 0)
	return d
}

// Components adds all schemas with a name that s is made of, itself included.
func (s *Schema) Components(to map[string]*Schema) {
	if s == nil {
		return
	}
	if s.Name != "" {
		if _, ok := to[s.Name]; ok {
			return
		}
		to[s.Name] = s
	}
	for _, p := range s.Properties {
		p.Components(to)
	}
	s.Values.Components(to)
	s.Items.Components(to)
}

// Partial is the schema of the same object if only the named properties are
// sure to be there.
func (s *Schema) Partial(name, description string, sure ...string) *Schema {
	c := *s
	c.Name, c.Description, c.Required = name, description, sure
	return &c
}

// Names are the names of the properties, in order.
func (s *Schema) Names() []string {
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
