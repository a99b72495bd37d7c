// SPDX-License-Identifier: Apache-2.0

package query

import "github.com/hsmsigner/hsmsigner/internal/api/schema"

// Filter describes the value of a parameter that filters by a field.
func Filter(field *schema.Schema) *schema.Schema {
	s := &schema.Schema{Type: schema.String, Description: field.Description}
	switch {
	case field.Format == dateTime:
		s.Pattern = `^!?$|^(!|[<>]=?)?([0-9]{4}-[0-9]{2}-[0-9]{2}(T.*)?|[0-9]{1,15})$`
	case field.Type == schema.Integer:
		s.Pattern = `^!?$|^(!|[<>]=?)?-?[0-9]{1,80}(\.[0-9]{1,20})?$`
	case field.Type == schema.Boolean:
		s.Pattern = `^!?(true|false)?$`
	case field.Type == schema.Object, field.Type == schema.Array:
		s.Pattern = `^!?$`
	}
	return s
}

// Choice describes the value of the parameter that chooses fields.
func Choice(item *schema.Schema) *schema.Schema {
	return &schema.Schema{Type: schema.Array, Items: &schema.Schema{Type: schema.String, Enum: item.Names()}}
}

// Order describes the value of the parameter that sorts.
func Order(item *schema.Schema) *schema.Schema {
	var names []string
	for _, name := range item.Names() {
		names = append(names, name, "-"+name)
	}
	return &schema.Schema{Type: schema.Array, Items: &schema.Schema{Type: schema.String, Enum: names}}
}
