// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// maxNodes bounds the types that a document describes, those of components once. A
// method or an event counts as perEntry.
const (
	maxNodes = 20_000
	perEntry = 8
)

// maxExample bounds the values of an example.
const maxExample = 200

// types describes the types of an ABI, and gives a component to each tuple.
type types struct {
	schemas obj
	names   map[string]string // of components, by the shape of the tuple
	taken   map[string]bool
	fixed   map[string]definition
	nodes   int
}

func newTypes(schemas obj) *types {
	t := &types{schemas: schemas, names: map[string]string{}, taken: map[string]bool{}, fixed: fixed()}
	for name := range t.fixed {
		t.taken[name] = true
	}
	return t
}

// use puts a fixed schema, and what it refers to, among the components.
func (t *types) use(name string) obj {
	if t.schemas[name] == nil {
		f := t.fixed[name]
		t.schemas[name] = f.schema
		for _, other := range f.uses {
			t.use(other)
		}
	}
	return ref(name)
}

func ref(name string) obj { return obj{"$ref": "#/components/schemas/" + name} }

// name takes a name for a component that nothing else has.
func (t *types) name(wanted string) string {
	name := identifier(wanted)
	if name == "" {
		name = "Tuple"
	}
	for n, base := 2, name; t.taken[name]; n++ {
		name = base + "_" + strconv.Itoa(n)
	}
	t.taken[name] = true
	return name
}

const (
	integerPattern  = `^(-?[0-9]+|0x[0-9a-fA-F]+)$`
	unsignedPattern = `^([0-9]+|0x[0-9a-fA-F]+)$`
	addressPattern  = `^(0x)?[0-9a-fA-F]{40}$`
	bytesPattern    = `^(0x)?([0-9a-fA-F]{2})*$`
	hashPattern     = `^0x[0-9a-f]{64}$`
)

// schema describes a type. where names a tuple that has no name in its source.
func (t *types) schema(of *abi.Type, where string) obj {
	t.nodes++
	if t.nodes > maxNodes {
		return obj{}
	}
	switch of.Kind {
	case abi.Uint:
		return obj{"type": "string", "pattern": unsignedPattern, "description": of.String()}
	case abi.Int:
		return obj{"type": "string", "pattern": integerPattern, "description": of.String()}
	case abi.Bool:
		return obj{"type": "boolean"}
	case abi.Address:
		return obj{"type": "string", "pattern": addressPattern, "description": "address"}
	case abi.FixedBytes:
		return obj{"type": "string", "pattern": `^(0x)?[0-9a-fA-F]{` + strconv.Itoa(2*of.Size) + `}$`, "description": of.String()}
	case abi.Bytes:
		return obj{"type": "string", "pattern": bytesPattern, "description": "bytes, 0x and hex digits"}
	case abi.String:
		return obj{"type": "string"}
	case abi.Array:
		return obj{"type": "array", "items": t.schema(of.Elem, where)}
	case abi.FixedArray:
		return obj{"type": "array", "items": t.schema(of.Elem, where), "minItems": of.Size, "maxItems": of.Size}
	case abi.Tuple:
		return ref(t.tuple(of, where))
	}
	return obj{}
}

// tuple gives the component of a tuple. Two of the same name and members are one.
func (t *types) tuple(of *abi.Type, where string) string {
	shape := of.Struct + shapeOf(of.Members)
	if name, known := t.names[shape]; known {
		return name
	}
	wanted := of.Struct
	if wanted == "" {
		wanted = where
	}
	name := t.name(wanted)
	t.names[shape] = name
	t.schemas[name] = t.object(of.Members, nil, name)
	return name
}

// shapeOf tells lists of members apart.
func shapeOf(members []abi.Param) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range members {
		m := &members[i]
		b.WriteString(m.Key + ":" + m.Type.String())
		for elem := m.Type; elem != nil; elem = elem.Elem {
			if elem.Kind == abi.Tuple {
				b.WriteString(elem.Struct + shapeOf(elem.Members))
			}
		}
		b.WriteByte(';')
	}
	b.WriteByte(')')
	return b.String()
}

// object describes parameters as the members of an object, all of which are needed.
func (t *types) object(of []abi.Param, said map[string]string, where string) obj {
	properties, required := obj{}, []string{}
	for i := range of {
		p := &of[i]
		properties[p.Key] = described(t.schema(p.Type, where+"_"+p.Key), said[p.Name])
		required = append(required, p.Key)
	}
	o := obj{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// described adds what the author says to a schema. Beside a reference there may be
// nothing in OpenAPI 3.0, so it stands around one.
func described(schema obj, text string) obj {
	if text == "" {
		return schema
	}
	if schema["$ref"] != nil {
		return obj{"allOf": []any{schema}, "description": text}
	}
	if is, ok := schema["description"].(string); ok {
		text += " (" + is + ")"
	}
	schema["description"] = text
	return schema
}

// example is a body to begin with, its members in the order of the ABI; false if
// there is none that is short.
func example(of []abi.Param) (strictjson.Value, bool) {
	left := maxExample
	v := exampleOf(of, &left)
	return v, left > 0
}

func exampleOf(of []abi.Param, left *int) strictjson.Value {
	v := strictjson.Value{Kind: strictjson.Object}
	for i := range of {
		v.Members = append(v.Members, strictjson.Member{Name: of[i].Key, Value: exampleValue(of[i].Type, left)})
	}
	return v
}

func exampleValue(of *abi.Type, left *int) strictjson.Value {
	if *left--; *left <= 0 {
		return strictjson.Value{}
	}
	switch of.Kind {
	case abi.Uint, abi.Int:
		return strictjson.StringValue("1")
	case abi.Bool:
		return strictjson.Value{Kind: strictjson.Bool, Text: "true"}
	case abi.Address:
		return strictjson.StringValue("0x" + strings.Repeat("0", 39) + "1")
	case abi.FixedBytes:
		return strictjson.StringValue("0x" + strings.Repeat("00", of.Size))
	case abi.Bytes:
		return strictjson.StringValue("0x")
	case abi.String:
		return strictjson.StringValue("text")
	case abi.Tuple:
		return exampleOf(of.Members, left)
	}
	list := strictjson.Value{Kind: strictjson.Array}
	n := 1
	if of.Kind == abi.FixedArray {
		n = of.Size
	}
	for range n {
		if *left <= 0 {
			break
		}
		list.Elems = append(list.Elems, exampleValue(of.Elem, left))
	}
	return list
}
