// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/hsmsigner/hsmsigner/internal/strictyaml"
)

// maxText bounds a policy.
const maxText = 1 << 20

// root parses one YAML document, of which JSON is a part, and gives its root.
func root(text []byte) (*yaml.Node, *Problem) {
	if len(text) > maxText {
		return nil, &Problem{Message: fmt.Sprintf("is larger than %d bytes", maxText)}
	}
	return strictyaml.Root(text, "version, and rules or limits")
}

// reader collects what is wrong, instead of stopping at the first mistake.
type reader struct {
	file     string
	problems Errors
	steps    int // of all patterns so far
}

// node is one part of the text and the path that leads to it.
type node struct {
	r    *reader
	yaml *yaml.Node
	path string
}

func (n node) fail(format string, args ...any) {
	n.r.problems = append(n.r.problems, Problem{File: n.r.file, Line: n.yaml.Line, Path: n.path, Message: fmt.Sprintf(format, args...)})
}

// plain reports whether the node says what it seems to say. Anchors and tags
// let one text stand for another, which nobody sees who reads a rule by itself.
func (n node) plain() bool {
	switch {
	case n.yaml.Kind == yaml.AliasNode || n.yaml.Anchor != "":
		n.fail("anchors and aliases are not supported: write it out")
	case n.yaml.Style&yaml.TaggedStyle != 0:
		n.fail("the tag %s is not supported: leave it out", n.yaml.Tag)
	default:
		return true
	}
	return false
}

func (n node) is() string {
	switch n.yaml.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.yaml.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	}
	return "text"
}

// object is a mapping whose keys are asked for one by one.
type object struct {
	node
	keys   []string // in the order of the text
	values map[string]node
	asked  []string
}

// object reads a mapping. If n is something else, that is reported and the object
// is nil; every method of a nil object does nothing.
func (n node) object() *object {
	if !n.plain() {
		return nil
	}
	if n.yaml.Kind != yaml.MappingNode {
		n.fail("want a mapping (key: value), not %s", n.is())
		return nil
	}
	o := &object{node: n, values: map[string]node{}}
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		key, item := n.yaml.Content[i], n.yaml.Content[i+1]
		at := node{n.r, key, join(n.path, key.Value)}
		_, twice := o.values[key.Value]
		switch {
		case !at.plain():
		case key.Kind != yaml.ScalarNode || key.Value == "":
			node{n.r, key, n.path}.fail("want a name as key")
		case key.Value == "<<":
			node{n.r, key, n.path}.fail("merge keys (<<) are not supported: write the keys out")
		case twice:
			at.fail("is given twice")
		default:
			o.keys = append(o.keys, key.Value)
			o.values[key.Value] = node{n.r, item, at.path}
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

// given returns the value of a key, if the text has it.
func (o *object) given(key string) (node, bool) {
	if o == nil {
		return node{}, false
	}
	if !slices.Contains(o.asked, key) {
		o.asked = append(o.asked, key)
	}
	n, ok := o.values[key]
	if ok && n.yaml.Kind == yaml.ScalarNode && n.yaml.ShortTag() == "!!null" {
		n.fail("is empty: give it a value or leave the key out")
		return node{}, false
	}
	return n, ok
}

// need is given, and reports a key that is not there.
func (o *object) need(key string) (node, bool) {
	n, ok := o.given(key)
	if o != nil && !ok {
		if _, empty := o.values[key]; !empty {
			node{o.r, o.yaml, join(o.path, key)}.fail("is missing")
		}
	}
	return n, ok
}

// done reports every key that nobody asked for.
func (o *object) done() {
	if o == nil {
		return
	}
	for _, key := range o.keys {
		if !slices.Contains(o.asked, key) {
			o.values[key].fail("unknown key, want one of: %s", strings.Join(slices.Sorted(slices.Values(o.asked)), ", "))
		}
	}
}

// list reads a list that has at least one item; a single scalar counts as a list
// of one.
func (n node) list() []node {
	if !n.plain() {
		return nil
	}
	if n.yaml.Kind == yaml.ScalarNode {
		return []node{n}
	}
	if n.yaml.Kind != yaml.SequenceNode {
		n.fail("want a list, not %s", n.is())
		return nil
	}
	if len(n.yaml.Content) == 0 {
		n.fail("is an empty list: want at least one item")
	}
	items := make([]node, len(n.yaml.Content))
	for i, item := range n.yaml.Content {
		items[i] = node{n.r, item, n.path + "[" + strconv.Itoa(i) + "]"}
	}
	return items
}

// text is what a scalar says as it was written, whatever YAML takes it for: 007
// and 0x10 stay so. It has no character that cannot be seen.
func (n node) text(want string) (string, bool) {
	switch {
	case !n.plain():
		return "", false
	case n.yaml.Kind != yaml.ScalarNode || n.yaml.ShortTag() == "!!null":
		n.fail("want %s, not %s", want, n.is())
		return "", false
	case n.yaml.Value == "":
		n.fail("is empty: want %s", want)
		return "", false
	}
	for _, c := range n.yaml.Value {
		if !unicode.IsPrint(c) {
			n.fail("has the character %U, which cannot be seen: want %s", c, want)
			return "", false
		}
	}
	return n.yaml.Value, true
}

func (n node) mapping() bool { return n.yaml.Kind == yaml.MappingNode }
