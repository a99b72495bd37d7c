// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

// Policy is rules that stand in the operator's file, or in one that it names. It
// is text here: package policy knows the language, and whoever reads the config
// has it parsed, so that a mistake is found when the config is checked.
type Policy struct {
	File string // that the text is in, as messages name it; absolute if the config names it
	Text []byte // YAML or JSON, on the lines of File. Not to be changed
}

// Set reports whether there are rules.
func (p Policy) Set() bool { return len(p.Text) > 0 }

// maxPolicy bounds a file of rules.
const maxPolicy = 256 << 10

// readPolicy reads {file: path}, or rules that stand in the config file itself.
func readPolicy(v value) (Policy, error) {
	if v.node.Kind != yamlMapping {
		return Policy{}, fmt.Errorf("want rules, beginning with version: hsmsigner-policy-v1, or {file: path}; not %s", v.kind())
	}
	if len(v.node.Content) != 2 || v.node.Content[0].Value != "file" {
		return v.inlinePolicy()
	}
	path, err := filePath(v.object().at("file"))
	if err != nil {
		return Policy{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Policy{}, withoutName(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	switch {
	case err != nil:
		return Policy{}, withoutName(err)
	case len(text) > maxPolicy:
		return Policy{}, fmt.Errorf("%s is larger than %d bytes", path, maxPolicy)
	case len(bytes.TrimSpace(text)) == 0:
		return Policy{}, fmt.Errorf("%s is empty: want rules, beginning with version: hsmsigner-policy-v1", path)
	}
	return Policy{File: path, Text: text}, nil
}

// withoutName is an error of a file with its path once.
func withoutName(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return fmt.Errorf("%s: %w", at.Path, at.Err)
	}
	return err
}

// inlinePolicy takes the rules out of the config file as they were written, each
// on its line, so that whoever parses them can say on which line a mistake is.
func (v value) inlinePolicy() (Policy, error) {
	p := Policy{File: v.r.file}
	first := v.node.Content[0]
	if v.node.Style&yaml.FlowStyle == 0 && v.r.text != nil {
		p.Text = cut(v.r.text, first.Line, first.Column-1)
		return p, nil
	}
	// {…} in one line, or several: its lines are not worth the trouble.
	text, err := yaml.Marshal(v.node)
	if err != nil {
		return Policy{}, errors.New("cannot be read as rules: write them as lines of their own, not in {…}")
	}
	p.Text = append(bytes.Repeat([]byte("\n"), v.node.Line-1), text...)
	return p, nil
}

// cut takes the block that begins on a line (from 1), and is indented so far, out
// of a text; what is before it is empty lines.
func cut(text []byte, line, indent int) []byte {
	out := bytes.Repeat([]byte("\n"), line-1)
	margin := bytes.Repeat([]byte(" "), indent)
	lines := bytes.SplitAfter(text, []byte("\n"))
	for _, l := range lines[min(line-1, len(lines)):] {
		rest, inside := bytes.CutPrefix(l, margin)
		bare := bytes.TrimSpace(l)
		switch {
		case inside:
			out = append(out, rest...)
		case len(bare) == 0 || bare[0] == '#':
			out = append(out, '\n')
		default:
			return out
		}
	}
	return out
}
