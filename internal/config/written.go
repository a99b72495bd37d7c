// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ParseFlags reads details from flags: settings are FIELD=VALUE, with a dot
// before the field of a field (user_secret.file=PATH) and commas in lists. A
// secret is never taken as a value, since others can read the command line: it
// is a file, or - for stdin, of which one setting may be read. Relative paths
// start in the working directory. The error is an [Errors].
func ParseFlags(provider string, settings []string, stdin io.Reader) (Details, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Details{}, err
	}
	r := &reader{file: "--set", dir: dir, scope: commandLine, stdin: stdin}
	root := &yaml.Node{Kind: yamlMapping}
	put(root, []string{"provider"}, provider)
	for _, setting := range settings {
		name, text, ok := strings.Cut(setting, "=")
		if !ok || name == "" {
			// What was meant may be a secret, so it is not shown.
			return Details{}, Errors{{File: r.file, Message: "want FIELD=VALUE"}}
		}
		if !put(root, strings.Split(name, "."), text) {
			return Details{}, Errors{{File: r.file, Path: name, Message: "is given both as a value and with fields of its own"}}
		}
	}
	return r.details(root)
}

func (r *reader) details(root *yaml.Node) (Details, error) {
	d, err := readDetails(value{r, root, ""})
	if err != nil {
		return Details{}, err
	}
	if len(r.problems) > 0 {
		return Details{}, r.problems.Sorted()
	}
	return d, nil
}

// put sets the value at a path of keys. It is false if something on the way is
// a value already.
func put(node *yaml.Node, path []string, text string) bool {
	for ; len(path) > 1; path = path[1:] {
		child := childOf(node, path[0])
		if child == nil {
			child = &yaml.Node{Kind: yamlMapping}
			node.Content = append(node.Content, scalarNode(path[0]), child)
		}
		if node = child; node.Kind != yamlMapping {
			return false
		}
	}
	node.Content = append(node.Content, scalarNode(path[0]), scalarNode(text))
	return true
}

func childOf(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

func scalarNode(text string) *yaml.Node { return &yaml.Node{Kind: yamlScalar, Value: text} }

// flagSecret is a secret that was given by a flag as text.
func (r *reader) flagSecret(text string) (Secret, error) {
	if text != "-" {
		return Secret{}, errors.New("must not stand on the command line, where others can read it: want .file=PATH, or - for standard input")
	}
	if r.stdin == nil {
		return Secret{}, errors.New("standard input is needed for something else: want .file=PATH")
	}
	data, err := io.ReadAll(io.LimitReader(r.stdin, maxSecret+1))
	r.stdin = nil
	if err != nil {
		return Secret{}, fmt.Errorf("standard input: %w", err)
	}
	defer clear(data)
	plain := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if plain == "" || len(data) > maxSecret {
		return Secret{}, fmt.Errorf("standard input: want 1 to %d bytes", maxSecret)
	}
	return NewSecret(plain), nil
}

// splitList makes a list of a flag's value: a, b.
func (v value) splitList() value {
	if v.r.scope != commandLine || v.node.Kind != yamlScalar {
		return v
	}
	node := &yaml.Node{Kind: yamlList}
	for part := range strings.SplitSeq(v.node.Value, ",") {
		node.Content = append(node.Content, scalarNode(strings.TrimSpace(part)))
	}
	return value{v.r, node, v.path}
}

// absolute makes a path start from the folder of the config file, or for flags
// from the working directory.
func (r *reader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.dir, path)
}
