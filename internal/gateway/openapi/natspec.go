// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// natspec is what a contract's author says of it, in the two documents that solc
// writes (https://docs.soliditylang.org/en/v0.8.30/natspec-format.html). What is
// not as there is left out: documentation that is wrong is no reason to have none.
type natspec struct {
	title   string
	about   words
	methods map[string]words // by signature; the constructor's by "constructor"
	events  map[string]words
	errors  map[string]words
	state   map[string]words // of public variables, by name
}

// words are what is said of one thing.
type words struct {
	notice, details string
	params, returns map[string]string
}

// text is all that is said of the thing itself.
func (w words) text() string {
	if w.notice == "" || w.details == "" {
		return w.notice + w.details
	}
	return w.notice + "\n\n" + w.details
}

// line is the text in one line.
func (w words) line() string { return strings.Join(strings.Fields(w.text()), " ") }

func readNatspec(docs json.RawMessage) *natspec {
	n := &natspec{}
	v, err := strictjson.Parse(docs)
	if len(docs) == 0 || err != nil {
		return n
	}
	dev, user := v.Get("devdoc"), v.Get("userdoc")
	n.title = plain(dev.Get("title").Text)
	n.about = words{notice: plain(user.Get("notice").Text), details: plain(dev.Get("details").Text)}
	n.methods = merged(dev.Get("methods"), user.Get("methods"))
	n.events = merged(dev.Get("events"), user.Get("events"))
	n.errors = merged(dev.Get("errors"), user.Get("errors"))
	n.state = merged(dev.Get("stateVariables"), user.Get("stateVariables"))
	return n
}

// merged puts what both documents say of the same things together.
func merged(dev, user strictjson.Value) map[string]words {
	all := map[string]words{}
	for _, m := range dev.Members {
		v := first(m.Value)
		w := words{details: plain(v.Get("details").Text), params: texts(v.Get("params")), returns: texts(v.Get("returns"))}
		if one := plain(v.Get("return").Text); one != "" && len(w.returns) == 0 {
			w.returns = map[string]string{"_0": one}
		}
		all[m.Name] = w
	}
	for _, m := range user.Members {
		w := all[m.Name]
		w.notice = plain(first(m.Value).Get("notice").Text)
		all[m.Name] = w
	}
	return all
}

// first is the value itself, or of a list, as errors have, the first of it.
func first(v strictjson.Value) strictjson.Value {
	if v.Kind == strictjson.Array && len(v.Elems) > 0 {
		return v.Elems[0]
	}
	return v
}

func texts(v strictjson.Value) map[string]string {
	all := make(map[string]string, len(v.Members))
	for _, m := range v.Members {
		if m.Value.Kind == strictjson.String {
			all[m.Name] = plain(m.Value.Text)
		}
	}
	return all
}

// maxText bounds one text of an author, in bytes.
const maxText = 4096

// plain makes a text fit for a document: of bounded length, and with nothing in it
// that is not printed but line feeds.
func plain(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	s = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}
