// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Problem is where a value is not as described. Its text shows nothing of the
// value, which may be a secret.
type Problem struct {
	Field string // like details.user_id or grants[0].role; empty for the whole value
	Msg   string
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return p.Msg
	}
	return p.Field + ": " + p.Msg
}

// Check reports the first place where v is not as described: a *Problem.
func (s *Schema) Check(v strictjson.Value) error {
	if p := s.check(v, ""); p != nil {
		return p
	}
	return nil
}

func (s *Schema) check(v strictjson.Value, at string) *Problem {
	if !slices.ContainsFunc(append([]string{s.Type}, s.Or...), func(t string) bool { return typed(t, v) }) {
		return &Problem{at, "want " + s.typeName() + ", not " + v.Kind.String()}
	}
	switch v.Kind {
	case strictjson.String:
		return s.text(v.Text, at)
	case strictjson.Number:
		return s.number(v.Text, at)
	case strictjson.Object:
		return s.object(v, at)
	case strictjson.Array:
		return s.array(v, at)
	}
	return nil
}

func typed(name string, v strictjson.Value) bool {
	switch name {
	case "":
		return true
	case Object:
		return v.Kind == strictjson.Object
	case Array:
		return v.Kind == strictjson.Array
	case String:
		return v.Kind == strictjson.String
	case Boolean:
		return v.Kind == strictjson.Bool
	case Null:
		return v.Kind == strictjson.Null
	}
	return v.Kind == strictjson.Number
}

func (s *Schema) typeName() string {
	switch s.Type {
	case Object:
		return "an object"
	case Array:
		return "an array"
	case Integer:
		return "a whole number"
	}
	return "a " + s.Type
}

func (s *Schema) text(text, at string) *Problem {
	n := utf8.RuneCountInString(text)
	switch {
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, text):
		return &Problem{at, "want one of " + strings.Join(s.Enum, ", ")}
	case n < s.MinLength && s.MinLength == 1:
		return &Problem{at, "must not be empty"}
	case n < s.MinLength:
		return &Problem{at, fmt.Sprintf("want at least %d characters", s.MinLength)}
	case s.MaxLength > 0 && n > s.MaxLength:
		return &Problem{at, fmt.Sprintf("want at most %d characters", s.MaxLength)}
	case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(text):
		return &Problem{at, "want text of the pattern " + s.Pattern}
	}
	return nil
}

// number reads whole numbers only where they are written as such: 1e3 and 1.0
// are numbers that many programs do not take for whole.
func (s *Schema) number(text, at string) *Problem {
	if s.Type != Integer {
		return nil
	}
	if strings.ContainsAny(text, ".eE") {
		return &Problem{at, "want a whole number, written without point and exponent"}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // too large for it, in one direction or the other
		if strings.HasPrefix(text, "-") && s.Minimum != nil {
			return &Problem{at, fmt.Sprintf("want at least %d", *s.Minimum)}
		}
		if u, err := strconv.ParseUint(text, 10, 64); err != nil || s.Maximum != nil && u > uint64(max(*s.Maximum, 0)) {
			return &Problem{at, "this number is too large"}
		}
		return nil
	}
	switch {
	case s.Minimum != nil && n < *s.Minimum:
		return &Problem{at, fmt.Sprintf("want at least %d", *s.Minimum)}
	case s.Maximum != nil && n > *s.Maximum:
		return &Problem{at, fmt.Sprintf("want at most %d", *s.Maximum)}
	}
	return nil
}

func (s *Schema) object(v strictjson.Value, at string) *Problem {
	for _, name := range s.Required {
		if v.Get(name).Kind == strictjson.Absent {
			return &Problem{join(at, name), "is missing"}
		}
	}
	for _, m := range v.Members {
		p, known := s.Properties[m.Name]
		switch {
		case !known && s.Closed:
			return &Problem{at, "want no other properties than " + strings.Join(s.Names(), ", ")}
		case !known && s.Values == nil:
			continue
		case !known:
			p = s.Values
		}
		if problem := p.check(m.Value, join(at, m.Name)); problem != nil {
			return problem
		}
	}
	return nil
}

func (s *Schema) array(v strictjson.Value, at string) *Problem {
	if len(v.Elems) < s.MinItems {
		return &Problem{at, fmt.Sprintf("want at least %d elements", s.MinItems)}
	}
	if s.MaxItems > 0 && len(v.Elems) > s.MaxItems {
		return &Problem{at, fmt.Sprintf("want at most %d elements", s.MaxItems)}
	}
	if s.Items == nil {
		return nil
	}
	for i, e := range v.Elems {
		if p := s.Items.check(e, at+"["+strconv.Itoa(i)+"]"); p != nil {
			return p
		}
	}
	return nil
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}
