// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Words says what the properties of a struct mean, by "Type.property", or by
// "property" where it means the same everywhere.
type Words map[string]string

// Of describes what encoding/json makes of a struct type. A property that may be
// left out is not required. It panics if the type has a field that it cannot
// describe, or one without words: that is a mistake in the program, which a test
// finds.
func Of(t reflect.Type, words Words) *Schema {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("schema: %s is not a struct", t))
	}
	s := &Schema{Name: t.Name(), Type: Object, Properties: map[string]*Schema{}}
	s.add(t, t.Name(), words)
	slices.Sort(s.Required)
	return s
}

func (s *Schema) add(t reflect.Type, owner string, words Words) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.add(f.Type, owner, words)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		p := value(f.Type, words)
		if p.Name == "" {
			text, ok := words[owner+"."+name]
			if !ok {
				text, ok = words[name]
			}
			if !ok {
				panic(fmt.Sprintf("schema: nothing says what %s.%s means", owner, name))
			}
			p.Description = text
		}
		s.Properties[name] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			s.Required = append(s.Required, name)
		}
	}
}

func value(t reflect.Type, words Words) *Schema {
	if t == reflect.TypeFor[time.Time]() {
		return &Schema{Type: String, Format: "date-time"}
	}
	switch t.Kind() {
	case reflect.String:
		return &Schema{Type: String}
	case reflect.Bool:
		return &Schema{Type: Boolean}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: Integer, Minimum: new(int64)}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &Schema{Type: Integer}
	case reflect.Pointer:
		return value(t.Elem(), words)
	case reflect.Slice:
		return &Schema{Type: Array, Items: value(t.Elem(), words)}
	case reflect.Map:
		return &Schema{Type: Object, Values: value(t.Elem(), words)}
	case reflect.Struct:
		return Of(t, words)
	case reflect.Interface:
		return &Schema{}
	}
	panic(fmt.Sprintf("schema: cannot describe %s", t))
}
