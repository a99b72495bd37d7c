// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
)

// ParseTenantDetails reads the details of a configuration, as JSON, that came
// from a membership, and refuses what no tenant may bring: whatever names a file
// of this machine, an identity of the daemon's, or what was granted to another.
// What was granted to this membership stands in the result as if the operator
// had written it. The file system is looked at for a keystore's folder only.
//
// Keys that are not known are ignored, since other clients send them, except
// where one looks like a slip in what limits the keys. The error is an [Errors].
func (c *Config) ParseTenantDetails(membership string, data []byte) (Details, error) {
	r := c.tenantReader("details", membership)
	root, problem := jsonDocument(data)
	if problem != nil {
		problem.File = r.file
		return Details{}, Errors{*problem}
	}
	return r.details(root)
}

// tenantReader reads what a membership wrote.
func (c *Config) tenantReader(what, membership string) *reader {
	r := &reader{file: what, scope: tenant, modules: c.Modules, egress: c.Egress}
	for i := range c.Grants {
		if membership != "" && c.Grants[i].Membership == membership {
			r.grant = &c.Grants[i]
		}
	}
	return r
}

// ignores reports whether a key that nobody asked for is passed over.
func (o *object) ignores(name string) bool {
	if o.r.scope != tenant || o.path != "" {
		return false
	}
	return suggest(name, []string{"include", "exclude", "require_hsm", "rate_limit", "quota_share"}) == ""
}

// SecretDetails are the fields of details, and of their admin block, whose values
// are secrets, of whatever provider.
func SecretDetails() []string {
	return []string{"user_secret", "client_cert", "client_cert_password", "client_key"}
}

// The bounds of what a tenant writes.
const (
	maxTenantDepth = 6
	maxTenantNodes = 2000
)

// jsonDocument makes of one JSON object what a YAML document would be, without
// what YAML has beside: no anchors, no tags, no merge keys.
func jsonDocument(data []byte) (*yaml.Node, *Problem) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	p := &jsonReader{d: d, left: maxTenantNodes}
	root, err := p.value(0)
	if err == nil {
		if _, extra := d.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("has something after it")
		}
	}
	switch {
	case err != nil:
		return nil, &Problem{Message: "is not one JSON object: " + err.Error()}
	case root.Kind != yamlMapping:
		return nil, &Problem{Message: "want a JSON object"}
	}
	return root, nil
}

type jsonReader struct {
	d    *json.Decoder
	left int
}

// value reads one value. Its errors show nothing of the text.
func (p *jsonReader) value(depth int) (*yaml.Node, error) {
	t, err := p.d.Token()
	if err != nil {
		return nil, errors.New("it cannot be parsed")
	}
	if p.left--; p.left < 0 || depth > maxTenantDepth {
		return nil, fmt.Errorf("it has more than %d values, or is nested more than %d deep", maxTenantNodes, maxTenantDepth)
	}
	switch t := t.(type) {
	case json.Delim:
		return p.inner(t, depth)
	case string:
		return &yaml.Node{Kind: yamlScalar, Tag: "!!str", Value: t}, nil
	case json.Number:
		tag := "!!int"
		if slices.ContainsFunc([]byte(t), func(b byte) bool { return b == '.' || b == 'e' || b == 'E' }) {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yamlScalar, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yamlScalar, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	default:
		return &yaml.Node{Kind: yamlScalar, Tag: "!!null"}, nil
	}
}

// inner reads the values of an object or list up to its end.
func (p *jsonReader) inner(begin json.Delim, depth int) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yamlMapping}
	if begin == '[' {
		node.Kind = yamlList
	}
	for p.d.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, item)
		if node.Kind == yamlMapping { // that was the key: the decoder has seen to it
			if item, err = p.value(depth + 1); err != nil {
				return nil, err
			}
			node.Content = append(node.Content, item)
		}
	}
	if _, err := p.d.Token(); err != nil {
		return nil, errors.New("it cannot be parsed")
	}
	return node, nil
}
