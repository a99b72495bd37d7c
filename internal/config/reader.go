// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	yamlMapping = yaml.MappingNode
	yamlList    = yaml.SequenceNode
	yamlScalar  = yaml.ScalarNode
)

// reader collects what is wrong, instead of stopping at the first mistake.
type reader struct {
	file          string // as the user named it
	dir           string // relative paths start here
	text          []byte // of the config file; nil if there is none
	problems      Errors
	warnings      []Warning
	inlineSecrets bool // some secret stands in the config file itself
	plainHooks    bool // there are networks whose webhooks may be http

	modules map[string]Module // the PKCS#11 libraries that details may name
	scope   scope             // who wrote what is read
	egress  Egress            // where a tenant's addresses may lead
	grant   *Grant            // what was granted to the tenant; nil: nothing
	stdin   io.Reader         // where flags may take a secret from; nil once it was read
}

// value is one node of the file and the path that leads to it.
type value struct {
	r    *reader
	node *yaml.Node
	path string
}

func (v value) fail(format string, args ...any) {
	v.r.problems = append(v.r.problems, Problem{File: v.r.file, Line: v.node.Line, Path: v.path, Message: fmt.Sprintf(format, args...)})
}

func (v value) warn(format string, args ...any) {
	v.r.warnings = append(v.r.warnings, Warning{v.r.file, v.node.Line, v.path, fmt.Sprintf(format, args...)})
}

// warnIfWorldReadable warns if everybody on the machine can read the file.
func (v value) warnIfWorldReadable(path, what string) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o004 != 0 {
		v.warn("everybody on this machine can read %s: chmod 600 %s", what, path)
	}
}

// kind names the node as an error message would.
func (v value) kind() string {
	switch v.node.Kind {
	case yamlMapping:
		return "a mapping"
	case yamlList:
		return "a list"
	}
	switch v.node.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!str":
		return "text"
	}
	return "a " + strings.TrimPrefix(v.node.ShortTag(), "!!")
}

// parser turns a value into a T. It may report problems of parts of the value
// by itself; the error it returns is reported for the value as a whole.
type parser[T any] func(v value) (T, error)

// object is a mapping whose keys are asked for one by one.
type object struct {
	value
	values map[string]value
	asked  []string
}

// object reads a mapping. If v is something else, that is reported and the
// object is nil; every method of a nil object does nothing.
func (v value) object() *object {
	if v.node.Kind != yamlMapping {
		v.fail("want a mapping (key: value), not %s", v.kind())
		return nil
	}
	o := &object{value: v, values: make(map[string]value)}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, item := v.node.Content[i], v.node.Content[i+1]
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		child := value{v.r, item, join(v.path, key.Value)}
		keyValue := value{v.r, key, child.path}
		switch _, twice := o.values[key.Value]; {
		case key.Kind != yamlScalar || key.Value == "":
			value{v.r, key, v.path}.fail("want a name as key")
		case key.Value == "<<":
			value{v.r, key, v.path}.fail("merge keys (<<) are not supported: write the keys out")
		case twice:
			keyValue.fail("is given twice")
		default:
			o.values[key.Value] = child
		}
	}
	return o
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// given returns the value of a key, if the file has it.
func (o *object) given(key string) (value, bool) {
	if o == nil {
		return value{}, false
	}
	if !slices.Contains(o.asked, key) {
		o.asked = append(o.asked, key)
	}
	v, ok := o.values[key]
	return v, ok
}

// at is the value of a key, or the object itself where the file lacks it: the
// place to blame for a contradiction.
func (o *object) at(key string) value {
	if v, ok := o.given(key); ok {
		return v
	}
	return value{o.r, o.node, join(o.path, key)}
}

// done reports every key that nobody asked for.
func (o *object) done() {
	if o == nil {
		return
	}
	for name, v := range o.values {
		if slices.Contains(o.asked, name) || o.ignores(name) {
			continue
		}
		if near := suggest(name, o.asked); near != "" {
			v.fail("unknown key, did you mean %q?", near)
			continue
		}
		v.fail("unknown key, want one of: %s", strings.Join(slices.Sorted(slices.Values(o.asked)), ", "))
	}
}

// item is the value at an index of a list.
func (v value) item(i int) value {
	node := v.node.Content[i]
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return value{v.r, node, v.path + "[" + strconv.Itoa(i) + "]"}
}

// field reads an optional key. Without it, *into keeps its default.
func field[T any](o *object, key string, into *T, parse parser[T]) {
	v, ok := o.given(key)
	if !ok {
		return
	}
	if v.node.ShortTag() == "!!null" {
		v.fail("is empty: give it a value or leave the key out")
		return
	}
	got, err := parse(v)
	if err != nil {
		v.fail("%s", err)
		return
	}
	*into = got
}

// need reads a key that must be there.
func need[T any](o *object, key string, into *T, parse parser[T]) {
	v, ok := o.given(key)
	switch {
	case o == nil:
	case !ok:
		o.at(key).fail("is missing")
	case v.node.ShortTag() == "!!null":
		v.fail("is empty: want a value")
	default:
		field(o, key, into, parse)
	}
}

// list reads a list of items; each mistaken item is reported by itself.
func list[T any](item parser[T]) parser[[]T] {
	return func(v value) ([]T, error) {
		v = v.splitList()
		if v.node.Kind != yamlList {
			return nil, fmt.Errorf("want a list, not %s", v.kind())
		}
		items := make([]T, 0, len(v.node.Content))
		for i := range v.node.Content {
			child := v.item(i)
			got, err := item(child)
			if err != nil {
				child.fail("%s", err)
				continue
			}
			items = append(items, got)
		}
		return items, nil
	}
}
