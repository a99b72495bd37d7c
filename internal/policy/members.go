// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// maxMethods bounds the methods of one rule.
const maxMethods = 200

// readMethods reads methods: signatures, or mappings of signature and args.
func readMethods(n node) condition {
	var methods []callRule
	items := n.list()
	if len(items) > maxMethods {
		n.fail("has %d methods: want at most %d", len(items), maxMethods)
		items = nil
	}
	for _, item := range items {
		if c, ok := readCall(item); ok {
			methods = append(methods, c)
		}
	}
	return condition{
		holds: called(methods),
		saw: func(f *facts) string {
			selector, ok := f.selector()
			switch {
			case !ok:
				return "no method is called"
			case len(f.data) < 4:
				return fmt.Sprintf("the data 0x%x is too short for a method", f.data)
			}
			for _, m := range methods {
				if m.method.selector == selector {
					return whyCall(f, m)
				}
			}
			return fmt.Sprintf("the method 0x%x is none of those", selector)
		},
	}
}

func whyCall(f *facts, m callRule) string {
	args, ok := f.arguments(m.method)
	if !ok {
		return "the data is not the canonical encoding of a call of " + m.method.text
	}
	for i := range m.args {
		if o := m.args[i].holds(args); !o.surely || !o.possibly {
			return "argument " + m.args[i].path + " of " + m.method.text + " is not as wanted"
		}
	}
	return "the method is " + m.method.text
}

func readCall(n node) (callRule, bool) {
	if !n.mapping() {
		m, ok := parsed(n, "a method", parseMethod)
		return callRule{method: m}, ok
	}
	o := n.object()
	var c callRule
	signature, ok := o.need("signature")
	if ok {
		c.method, ok = parsed(signature, "a method", parseMethod)
	}
	if v, given := o.given("args"); given {
		c.args = readMembers(v)
		for _, t := range c.args {
			if ok {
				t.check(v, c.method)
			}
		}
	}
	o.done()
	return c, ok
}

// check reports a path that leads nowhere in the method's arguments, and a test
// that cannot be made on what it leads to.
func (t *memberTest) check(n node, m *method) {
	typ := m.args
	for _, s := range t.steps {
		var next *argType
		switch {
		case typ.kind == kindArray && s.name == "" && (typ.length < 0 || s.index < typ.length):
			next = typ.elem
		case typ.kind == kindTuple && s.name == "" && s.index >= 0 && s.index < len(typ.fields):
			next = typ.fields[s.index].typ
		case typ.kind == kindTuple && s.name != "":
			for _, f := range typ.fields {
				if f.name == s.name {
					next = f.typ
				}
			}
		}
		if next == nil {
			n.fail("%s is no argument of %s", t.path, m.text)
			return
		}
		typ = next
	}
	if !t.test.fits(typ.kind) {
		n.fail("%s is %s: that has no such condition", t.path, typ.kind)
		return
	}
	for _, list := range []*literals{t.test.in, t.test.notIn} {
		if list == nil {
			continue
		}
		for text := range list.texts {
			if !typ.has(text) {
				n.fail("%s is %s: %q is none", t.path, typ.kind, text)
			}
		}
	}
}

// has reports whether a text means a value of the type.
func (t *argType) has(text string) bool {
	var word [32]byte
	switch t.kind {
	case kindUint, kindInt:
		n, ok := integerLiteral(text)
		return ok && t.fits(n, &word)
	case kindAddress:
		_, err := addressLiteral(text)
		return err == nil
	case kindBool:
		return text == "true" || text == "false"
	case kindFixed, kindBytes:
		return typedBytes(t, text).typ.kind == t.kind
	}
	return t.kind == kindString
}

var pathPattern = regexp.MustCompile(`^([A-Za-z_$][A-Za-z0-9_$]*|[0-9]{1,4})(\.([A-Za-z_$][A-Za-z0-9_$]*|[0-9]{1,4})|\[[0-9]{0,4}\])*$`)

// readMembers reads conditions by the paths of what they are on: amount,
// details.token, recipients[], transfers[].to, 0.
func readMembers(n node) []memberTest {
	o := n.object()
	var tests []memberTest
	if o == nil {
		return nil
	}
	if len(o.keys) == 0 {
		n.fail("is empty: want at least one condition")
	}
	for _, path := range o.keys {
		v, ok := o.given(path)
		if !ok {
			continue
		}
		if !pathPattern.MatchString(path) {
			v.fail("want a path like amount, details.token, recipients[], transfers[0].to, or the place of an argument, from 0")
			continue
		}
		tests = append(tests, memberTest{path: path, steps: parsePath(path), test: readTest(v)})
	}
	return tests
}

func parsePath(path string) []step {
	var steps []step
	for _, part := range strings.FieldsFunc(strings.ReplaceAll(path, "[", ".["), func(c rune) bool { return c == '.' }) {
		digits := strings.Trim(part, "[]")
		index, err := strconv.Atoi(digits)
		switch {
		case part == "[]":
			steps = append(steps, step{index: -1})
		case err == nil:
			steps = append(steps, step{index: index})
		default:
			steps = append(steps, step{name: part})
		}
	}
	return steps
}

// readTest reads the conditions on one value. A scalar or list by itself is what
// it may be.
func readTest(n node) valueTest {
	var t valueTest
	if !n.mapping() {
		t.in = readLiterals(n)
		return t
	}
	o := n.object()
	if v, ok := o.given("in"); ok {
		t.in = readLiterals(v)
	}
	if v, ok := o.given("not_in"); ok {
		t.notIn = readLiterals(v)
	}
	t.min, t.max = o.bound("min", integer), o.bound("max", integer)
	if v, ok := o.given("pattern"); ok {
		t.pattern = v.pattern(wholeText)
	}
	o.closed(bounds{t.min, t.max})
	if t.pattern != nil && (t.min != nil || t.max != nil) {
		n.fail("pattern is for text, min and max are for numbers")
	}
	return t
}

func readLiterals(n node) *literals {
	l := &literals{texts: map[string]bool{}}
	for _, text := range all(n, "a value", anyText) {
		if len(text) == 42 && strings.HasPrefix(text, "0x") {
			if _, err := addressLiteral(text); err != nil {
				n.fail("%s", err)
			}
		}
		l.add(text)
	}
	return l
}

// readTypedData reads what typed data may be.
func readTypedData(n node) condition {
	o := n.object()
	var t typedRule
	if v, ok := o.given("names"); ok {
		t.names = all(v, "the domain's name", anyText)
	}
	if v, ok := o.given("versions"); ok {
		t.versions = all(v, "the domain's version", anyText)
	}
	if v, ok := o.given("verifying_contracts"); ok {
		t.contracts = all(v, "an address", addressLiteral)
	}
	if v, ok := o.given("chains"); ok {
		t.chains = all(v, "a chain id", chainID)
	}
	if v, ok := o.given("primary_types"); ok {
		t.primary = all(v, "the name of a type", anyText)
	}
	if v, ok := o.given("members"); ok {
		t.members = readMembers(v)
	}
	o.done()
	if o != nil && len(o.keys) == 0 {
		n.fail("is empty: want names, versions, verifying_contracts, chains, primary_types or members")
	}
	return condition{holds: t.holds, saw: t.saw}
}

func chainID(s string) (*big.Int, error) {
	n, ok := wholeNumber(s)
	if !ok || n.Sign() <= 0 {
		return nil, fmt.Errorf("want a chain id, not %q", s)
	}
	return n, nil
}
