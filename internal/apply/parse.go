// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Item is one resource of a file.
type Item struct {
	Kind        Kind
	Name        string
	Consortium  string // name or id; empty: the only one there is
	Environment string
	Membership  string

	Configuration, Node string         // of a service
	Fields              map[string]any // as in the API, with secrets in place
	SecretTo            string         // file for the password or key that the server makes

	where string // for messages: file:line
}

const maxFile = 4 << 20

// Errors are all mistakes of a file.
type Errors []string

func (e Errors) Error() string { return strings.Join(e, "\n") }

// Parse reads the resources of a file, whose name is for messages and whose
// folder is where relative paths of secrets start. Unknown keys are mistakes;
// all mistakes are reported at once, as [Errors].
func Parse(name string, r io.Reader) ([]*Item, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	dir := "."
	if name != "-" {
		dir = filepath.Dir(name)
	}
	p := &parser{name: name, dir: dir}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Errors{name + ": not valid YAML: " + strings.TrimPrefix(strings.SplitN(err.Error(), "\n", 2)[0], "yaml: ")}
		}
		p.document(document.Content[0])
	}
	if len(p.items) == 0 && len(p.errs) == 0 {
		return nil, Errors{name + ": declares nothing"}
	}
	p.twins()
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return p.items, nil
}

// maxValues bounds what anchors can make of a small file.
const (
	maxValues = 100_000
	maxDepth  = 32
)

type parser struct {
	name, dir string
	values    int
	items     []*Item
	errs      Errors
}

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Sprintf("%s:%d: ", p.name, n.Line)+fmt.Sprintf(format, args...))
}

func (p *parser) document(n *yaml.Node) {
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			p.item(c)
		}
	case n.ShortTag() == "!!null": // an empty document, as --- at the end makes one
	default:
		p.item(n)
	}
}

// item reads one resource.
func (p *parser) item(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "want a resource (kind: …, name: …), or a list of them")
		return
	}
	item := &Item{Fields: map[string]any{}, where: fmt.Sprintf("%s:%d", p.name, n.Line)}
	members, ok := p.members(n)
	if !ok {
		return
	}
	kind, given := members["kind"]
	if !given || !slices.Contains(Kinds(), Kind(kind.Value)) {
		p.fail(n, "kind: want one of %v", Kinds())
		return
	}
	item.Kind = Kind(kind.Value)
	s := item.Kind.shape()
	texts := map[string]*string{"name": &item.Name, "kind": new(string)}
	if s.inConsortium {
		texts["consortium"] = &item.Consortium
	}
	if s.inEnvironment {
		texts["environment"], texts["membership"] = &item.Environment, &item.Membership
	}
	switch item.Kind {
	case Service:
		texts["configuration"], texts["node"] = &item.Configuration, &item.Node
	case AppCred, APIKey:
		texts["secret_to"] = &item.SecretTo
	}
	for key, value := range members {
		if into, ok := texts[key]; ok {
			*into = p.text(value, key)
			continue
		}
		if !slices.Contains(s.fields, key) {
			p.fail(value, "%s: a %s has no such field: want one of %s", key, item.Kind, strings.Join(known(texts, s.fields), ", "))
			continue
		}
		item.Fields[key] = p.value(value, key)
	}
	p.complete(n, item)
	p.items = append(p.items, item)
}

func (p *parser) complete(n *yaml.Node, item *Item) {
	if item.Name == "" {
		p.fail(n, "name: is missing")
	}
	switch item.Kind {
	case Configuration:
		item.Fields["type"] = "cloudhsm"
		if _, ok := item.Fields["details"].(map[string]any); !ok {
			p.fail(n, "details: is missing: want the provider and its fields")
		}
	case Service:
		item.Fields["service"] = "cloudhsm"
		details, _ := item.Fields["details"].(map[string]any)
		if details == nil {
			details = map[string]any{}
			item.Fields["details"] = details
		}
		if item.Configuration == "" {
			p.fail(n, "configuration: is missing: want the name or id of one")
		}
		for _, id := range []string{"cloudhsm_id", "node_id"} {
			if _, given := details[id]; given {
				p.fail(n, "details.%s: write configuration and node instead, which take names too", id)
			}
		}
	case AppCred:
		if item.Fields["auth_type"] == "mtls" {
			if item.SecretTo != "" {
				p.fail(n, "secret_to: a certificate has no password")
			}
		} else if item.SecretTo == "" {
			p.fail(n, "secret_to: is missing: want a file for the password, which the server shows once")
		}
	case APIKey:
		if item.SecretTo == "" {
			p.fail(n, "secret_to: is missing: want a file for the key, which the server shows once")
		}
	}
	if item.SecretTo != "" && !filepath.IsAbs(item.SecretTo) {
		item.SecretTo = filepath.Join(p.dir, item.SecretTo)
	}
}

func known(texts map[string]*string, fields []string) []string {
	all := slices.Clone(fields)
	for name := range texts {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// members are the keys of a mapping, each of which may be there once.
func (p *parser) members(n *yaml.Node) (map[string]*yaml.Node, bool) {
	members := map[string]*yaml.Node{}
	ok := true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch _, twice := members[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Value == "" || key.Value == "<<":
			p.fail(key, "want a name as key; merge keys (<<) are not supported")
			ok = false
		case twice:
			p.fail(key, "%s: is given twice", key.Value)
			ok = false
		}
		members[key.Value] = value
	}
	return members, ok
}

func (p *parser) text(n *yaml.Node, key string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || n.Value == "" {
		p.fail(n, "%s: want text, in quotes if it looks like a number", key)
		return ""
	}
	return n.Value
}

// value reads what goes into the body of a request, and puts a [Secret] where a
// reference stands.
func (p *parser) value(n *yaml.Node, path string) any {
	if p.values++; p.values >= maxValues || strings.Count(path, ".")+strings.Count(path, "[") > maxDepth {
		if p.values != maxValues+1 {
			p.fail(n, "%.100s: is nested too deeply, or there is too much of it", path)
		}
		p.values = maxValues
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		members, ok := p.members(n)
		if !ok {
			return nil
		}
		if s, ok := p.secret(members, n, path); ok {
			return s
		}
		values := map[string]any{}
		for key, child := range members {
			values[key] = p.value(child, path+"."+key)
		}
		return values
	case yaml.SequenceNode:
		list := []any{}
		for i, child := range n.Content {
			if child.Kind == yaml.AliasNode {
				child = child.Alias
			}
			list = append(list, p.value(child, fmt.Sprintf("%s[%d]", path, i)))
		}
		return list
	}
	if secretField(path) {
		p.fail(n, "%s: must not stand in this file: want {file: path} or {env: NAME}", path)
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		p.fail(n, "%s: is no value", path)
	}
	if text, ok := v.(string); ok && strings.HasPrefix(path, "urls.") && hasPassword(text) {
		p.fail(n, "%s: holds a password, which must not stand in this file: want {file: path} or {env: NAME}", path)
		return nil
	}
	return v
}

// twins reports resources that the file declares twice.
func (p *parser) twins() {
	seen := map[string]string{}
	for _, item := range p.items {
		key := strings.Join([]string{string(item.Kind), item.Consortium, item.Environment, item.Membership, item.Name}, "\x00")
		if first, twice := seen[key]; twice {
			p.errs = append(p.errs, fmt.Sprintf("%s: %s %s is declared at %s already", item.where, item.Kind, item.Name, first))
		}
		seen[key] = item.where
	}
}
