// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ParseError says that a document is no ABI that can be used: which entry, and why.
type ParseError struct {
	Entry int    // index in the array; -1 for the whole document
	Path  string // within the entry, such as inputs[0].type; empty for the entry itself
	Msg   string
}

func (e *ParseError) Error() string {
	where := "abi"
	if e.Entry >= 0 {
		where = fmt.Sprintf("abi[%d]", e.Entry)
	}
	if e.Path != "" {
		where += "." + shortPath(e.Path)
	}
	return where + ": " + e.Msg
}

// ArgError says that a value does not fit its type: where it is, what was wanted
// and what was found. Its text holds at most short excerpts of the value.
type ArgError struct {
	Path string // such as to.items[3].amount; empty for all arguments together
	Want string
	Got  string // empty if Want says it all
}

func (e *ArgError) Error() string {
	path := shortPath(e.Path)
	if path == "" {
		path = "arguments"
	}
	if e.Got == "" {
		return path + ": " + e.Want
	}
	return fmt.Sprintf("%s: want %s, got %s", path, e.Want, e.Got)
}

// DataError says that bytes are no encoding of the types that they should be of.
type DataError struct {
	Path string // of the value, as in [ArgError]; empty for the whole
	Msg  string
}

func (e *DataError) Error() string {
	if e.Path == "" {
		return "data: " + e.Msg
	}
	return "data of " + shortPath(e.Path) + ": " + e.Msg
}

// shortPath leaves out the middle of a path of many long names.
func shortPath(path string) string {
	const most = 200
	if len(path) <= most {
		return path
	}
	return strings.ToValidUTF8(path[:most/2], "") + "…" + strings.ToValidUTF8(path[len(path)-most/2:], "")
}

// What a [LookupError] is.
var (
	ErrUnknown   = errors.New("not in the ABI")
	ErrAmbiguous = errors.New("several have the name")
)

// LookupError says that a name finds nothing, or more than one. It is ErrUnknown or
// ErrAmbiguous.
type LookupError struct {
	What      string // "method" or "event"
	Name      string // as it was asked for
	Ambiguous bool
	Have      []string // signatures that have the bare name
}

// Unwrap is what the error is.
func (e *LookupError) Unwrap() error {
	if e.Ambiguous {
		return ErrAmbiguous
	}
	return ErrUnknown
}

func (e *LookupError) Error() string {
	name := excerpt(e.Name)
	switch {
	case e.Ambiguous:
		return fmt.Sprintf("the contract has %d %ss called %s: give the full signature, one of %s", len(e.Have), e.What, name, listed(e.Have))
	case len(e.Have) > 0:
		return fmt.Sprintf("the contract has no %s %s, but %s", e.What, name, listed(e.Have))
	}
	return fmt.Sprintf("the contract has no %s called %s", e.What, name)
}

// listed writes the first of many names.
func listed(names []string) string {
	const most = 12
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// excerpt shortens what a caller sent, so that an error message stays one, and
// quotes what is not plain text.
func excerpt(s string) string {
	const most = 64
	cut := ""
	if len(s) > most {
		s, cut = strings.ToValidUTF8(s[:most], ""), "…"
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r == 0x7f || r == '"' }) {
		return fmt.Sprintf("%q", s) + cut
	}
	return s + cut
}
