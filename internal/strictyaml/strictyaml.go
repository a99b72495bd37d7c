// SPDX-License-Identifier: Apache-2.0

// Package strictyaml parses texts of which a mistake must never be passed over:
// the config file and policies. A text is one YAML document, of which JSON is a
// part, and all that is wrong with it is reported at once, each with its line.
// What the values mean is its callers' to say.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a text.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // counted from 1; 0 if no line is to blame
	Path    string `json:"path,omitempty"` // like wallets[0].node.url
	Message string `json:"message"`        // what is wrong and what would be right; never a secret
}

// String is "config.yaml:12: rpc.listen: what is wrong".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Errors is everything that is wrong with a text. It is never empty when returned
// as an error.
type Errors []Problem

// Error has one line per problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Sorted puts the problems in the order of their lines.
func (e Errors) Sorted() Errors {
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Path, b.Path))
	})
	return e
}

var errorLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// Root parses one document and returns its root. want says what a text should
// hold that holds nothing.
func Root(text []byte, want string) (*yaml.Node, *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0 {
		return nil, &Problem{Message: "is empty: want " + want}
	}
	if err == nil {
		if err = decoder.Decode(&second); err == nil {
			return nil, &Problem{Line: second.Line, Message: "holds a second YAML document: want one"}
		}
	}
	if !errors.Is(err, io.EOF) {
		m := errorLine.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0])
		if m == nil {
			return nil, &Problem{Message: "not valid YAML: " + err.Error()}
		}
		line, _ := strconv.Atoi(m[1])
		return nil, &Problem{Line: line, Message: "not valid YAML: " + m[2]}
	}
	return first.Content[0], nil
}
