// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Parse reads an ABI, the JSON array of a contract's functions, events and errors.
// Members that it does not know are ignored. The error is a [*ParseError].
func Parse(data []byte) (*Contract, error) {
	v, err := document(data)
	if err != nil {
		return nil, err
	}
	if v.Kind != strictjson.Array {
		msg := "want the array of a contract's functions, events and errors, got " + v.Kind.String()
		if v.Get("abi").Kind == strictjson.Array {
			msg += "; its member abi seems to be what is wanted"
		}
		return nil, &ParseError{Entry: -1, Msg: msg}
	}
	if len(v.Elems) > maxEntries {
		return nil, &ParseError{Entry: -1, Msg: fmt.Sprintf("%d entries, at most %d are accepted", len(v.Elems), maxEntries)}
	}
	r := reader{}
	c := &Contract{
		methods: make(map[string][]*Method), selectors: make(map[[4]byte]*Method),
		events: make(map[string][]*Event), topics: make(map[common.Hash][]*Event),
	}
	b := builder{c: c, events: make(map[string]bool), errors: make(map[string]bool)}
	for i, e := range v.Elems {
		r.entry = i
		if err := b.add(&r, e); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// ParseMethod reads one entry of an ABI, an object, that is a function.
func ParseMethod(data []byte) (*Method, error) {
	r, v, err := single(data)
	if err != nil {
		return nil, err
	}
	if kind := kindOf(v); kind != "function" {
		return nil, r.fail("type", "want function, got %s", excerpt(kind))
	}
	return r.method(v)
}

// ParseEvent reads one entry of an ABI, an object, that is an event.
func ParseEvent(data []byte) (*Event, error) {
	r, v, err := single(data)
	if err != nil {
		return nil, err
	}
	if kind := kindOf(v); kind != "event" {
		return nil, r.fail("type", "want event, got %s", excerpt(kind))
	}
	return r.event(v)
}

// NewMethod makes a method of parts that are known to be right: mutability is one of
// pure, view, nonpayable and payable. The keys of the parameters are set anew.
func NewMethod(name string, inputs, outputs []Param, mutability string) *Method {
	setKeys(inputs, "input")
	setKeys(outputs, "output")
	m := &Method{Name: name, Inputs: inputs, Outputs: outputs, Mutability: mutability}
	m.sign()
	return m
}

func (m *Method) sign() {
	m.sig = signature(m.Name, m.Inputs)
	m.selector = selectorOf(m.sig)
}

func document(data []byte) (strictjson.Value, error) {
	if len(data) > maxDocument {
		return strictjson.Value{}, &ParseError{Entry: -1, Msg: fmt.Sprintf("longer than %d bytes", maxDocument)}
	}
	v, err := strictjson.Parse(data)
	if err != nil {
		return v, &ParseError{Entry: -1, Msg: err.Error()}
	}
	return v, nil
}

func single(data []byte) (*reader, strictjson.Value, error) {
	v, err := document(data)
	if err != nil {
		return nil, v, err
	}
	r := &reader{entry: -1}
	if v.Kind != strictjson.Object {
		return nil, v, r.fail("", "want an object, one entry of an ABI, got %s", v.Kind)
	}
	return r, v, nil
}

func kindOf(v strictjson.Value) string {
	kind := v.Get("type")
	if kind.Kind == strictjson.Absent {
		return "function" // the specification's default
	}
	return kind.Text
}

// builder puts a contract together from its entries.
type builder struct {
	c      *Contract
	events map[string]bool
	errors map[string]bool // by signature
}

func (b *builder) add(r *reader, v strictjson.Value) error {
	if v.Kind != strictjson.Object {
		return r.fail("", "want an object, got %s", v.Kind)
	}
	if t := v.Get("type"); t.Kind != strictjson.Absent && t.Kind != strictjson.String {
		return r.fail("type", "want a string, got %s", t.Kind)
	}
	switch kind := kindOf(v); kind {
	case "function":
		return b.method(r, v)
	case "event":
		return b.event(r, v)
	case "error":
		return b.error(r, v)
	case "constructor", "fallback", "receive":
		return b.special(r, v, kind)
	default:
		return r.fail("type", "%s is not one of function, constructor, receive, fallback, event and error", excerpt(kind))
	}
}

func (b *builder) method(r *reader, v strictjson.Value) error {
	m, err := r.method(v)
	if err != nil {
		return err
	}
	// ABIs that were put together of several, as those of proxies are, hold the same
	// function twice.
	old := b.c.selectors[m.selector]
	if old != nil && old.sig != m.sig {
		return r.fail("", "function %s has the selector of %s", excerpt(m.sig), excerpt(old.sig))
	}
	if old != nil {
		if tupleText(old.Outputs) != tupleText(m.Outputs) || old.Mutability != m.Mutability {
			return r.fail("", "function %s is there twice, with other outputs or another mutability", excerpt(m.sig))
		}
		return nil
	}
	if len(b.c.methods[m.Name]) == maxSame {
		return r.fail("name", "more than %d functions called %s", maxSame, excerpt(m.Name))
	}
	b.c.selectors[m.selector] = m
	b.c.Methods = append(b.c.Methods, m)
	b.c.methods[m.Name] = append(b.c.methods[m.Name], m)
	return nil
}

func (b *builder) event(r *reader, v strictjson.Value) error {
	e, err := r.event(v)
	if err != nil {
		return err
	}
	// The same event may be declared by several libraries. With other parameters
	// indexed it is another one, told apart by how many topics its logs have.
	id := fmt.Sprint(e.sig, e.Anonymous)
	for i := range e.Inputs {
		id += fmt.Sprint(e.Inputs[i].Indexed)
	}
	if b.events[id] {
		return nil
	}
	b.events[id] = true
	b.c.Events = append(b.c.Events, e)
	b.c.events[e.Name] = append(b.c.events[e.Name], e)
	if !e.Anonymous {
		b.c.topics[e.topic] = append(b.c.topics[e.topic], e)
	}
	return nil
}

func (b *builder) error(r *reader, v strictjson.Value) error {
	name, err := r.name(v)
	if err != nil {
		return err
	}
	e := &Error{Name: name}
	if e.Inputs, err = r.params(v, "inputs", "input"); err != nil {
		return err
	}
	e.sig = signature(name, e.Inputs)
	e.selector = selectorOf(e.sig)
	if !b.errors[e.sig] {
		b.errors[e.sig] = true
		b.c.Errors = append(b.c.Errors, e)
	}
	return nil
}

func (b *builder) special(r *reader, v strictjson.Value, kind string) error {
	m := &Method{}
	var err error
	if m.Inputs, err = r.params(v, "inputs", "input"); err != nil {
		return err
	}
	if m.Mutability, err = r.mutability(v); err != nil {
		return err
	}
	at := map[string]**Method{"constructor": &b.c.Constructor, "fallback": &b.c.Fallback, "receive": &b.c.Receive}[kind]
	if *at != nil {
		return r.fail("", "a second %s", kind)
	}
	if kind == "constructor" {
		m.sig = signature("constructor", m.Inputs)
	} else {
		m.Inputs, m.sig = nil, kind
	}
	*at = m
	return nil
}

// reader reads the entries of one document.
type reader struct {
	entry int
	nodes int
}

func (r *reader) fail(path, format string, args ...any) error {
	return &ParseError{Entry: r.entry, Path: path, Msg: fmt.Sprintf(format, args...)}
}

func (r *reader) method(v strictjson.Value) (*Method, error) {
	name, err := r.name(v)
	if err != nil {
		return nil, err
	}
	m := &Method{Name: name}
	if m.Inputs, err = r.params(v, "inputs", "input"); err != nil {
		return nil, err
	}
	if m.Outputs, err = r.params(v, "outputs", "output"); err != nil {
		return nil, err
	}
	if m.Mutability, err = r.mutability(v); err != nil {
		return nil, err
	}
	m.sign()
	return m, nil
}

func (r *reader) event(v strictjson.Value) (*Event, error) {
	name, err := r.name(v)
	if err != nil {
		return nil, err
	}
	e := &Event{Name: name}
	if e.Anonymous, err = r.flag(v, "anonymous", "anonymous"); err != nil {
		return nil, err
	}
	if e.Inputs, err = r.params(v, "inputs", "input"); err != nil {
		return nil, err
	}
	if n := e.topics(); n > 4 {
		return nil, r.fail("inputs", "%d topics, a log has at most 4", n)
	}
	e.sig = signature(name, e.Inputs)
	e.topic = crypto.Keccak256Hash([]byte(e.sig))
	return e, nil
}

func (r *reader) text(v strictjson.Value, path, member string, most int) (string, error) {
	s := v.Get(member)
	if !s.Present() {
		return "", nil
	}
	if s.Kind != strictjson.String {
		return "", r.fail(path, "want a string, got %s", s.Kind)
	}
	if len(s.Text) > most {
		return "", r.fail(path, "longer than %d bytes", most)
	}
	return s.Text, nil
}

func (r *reader) name(v strictjson.Value) (string, error) {
	name, err := r.text(v, "name", "name", maxName)
	if err != nil {
		return "", err
	}
	if !identifier(name) {
		return "", r.fail("name", "%q is not a name: want letters, digits, _ and $, not beginning with a digit", name)
	}
	return name, nil
}

// identifier reports whether s is one in Solidity. Names end up in paths, in
// documents and on pages, so nothing else is let in.
func identifier(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (r *reader) flag(v strictjson.Value, path, member string) (bool, error) {
	f := v.Get(member)
	if f.Present() && f.Kind != strictjson.Bool {
		return false, r.fail(path, "want true or false, got %s", f.Kind)
	}
	return f.Text == "true", nil
}

// mutability also reads what compilers wrote before version 0.4.16 of Solidity.
func (r *reader) mutability(v strictjson.Value) (string, error) {
	if v.Get("stateMutability").Present() {
		s, err := r.text(v, "stateMutability", "stateMutability", maxName)
		if err != nil {
			return "", err
		}
		switch s {
		case "pure", "view", "nonpayable", "payable":
			return s, nil
		}
		return "", r.fail("stateMutability", "%q is not one of pure, view, nonpayable and payable", s)
	}
	constant, err := r.flag(v, "constant", "constant")
	if err != nil {
		return "", err
	}
	payable, err := r.flag(v, "payable", "payable")
	switch {
	case err != nil:
		return "", err
	case constant:
		return "view", nil
	case payable:
		return "payable", nil
	}
	return "nonpayable", nil
}

// params reads a member of an entry that lists parameters. word is what those are
// called in JSON that have no name.
func (r *reader) params(v strictjson.Value, member, word string) ([]Param, error) {
	return r.list(v.Get(member), member, word)
}

func (r *reader) list(v strictjson.Value, path, word string) ([]Param, error) {
	if !v.Present() {
		return nil, nil
	}
	if v.Kind != strictjson.Array {
		return nil, r.fail(path, "want an array, got %s", v.Kind)
	}
	if len(v.Elems) > maxParams {
		return nil, r.fail(path, "%d parameters, at most %d are accepted", len(v.Elems), maxParams)
	}
	if r.nodes += len(v.Elems); r.nodes > maxNodes {
		return nil, r.fail(path, "the ABI has more than %d parameters", maxNodes)
	}
	list := make([]Param, 0, len(v.Elems))
	for i, e := range v.Elems {
		p, err := r.param(e, fmt.Sprintf("%s[%d]", path, i))
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if headOf(list) > maxHead {
		return nil, r.fail(path, "values of these types are longer than %d bytes", maxHead)
	}
	setKeys(list, word)
	return list, nil
}

func (r *reader) param(v strictjson.Value, path string) (Param, error) {
	var p Param
	if v.Kind != strictjson.Object {
		return p, r.fail(path, "want an object, got %s", v.Kind)
	}
	var err error
	if p.Name, err = r.text(v, path+".name", "name", maxName); err != nil {
		return p, err
	}
	if p.Name != "" && !identifier(p.Name) {
		return p, r.fail(path+".name", "%q is not a name: want letters, digits, _ and $, not beginning with a digit", p.Name)
	}
	if p.InternalType, err = r.text(v, path+".internalType", "internalType", maxInternal); err != nil {
		return p, err
	}
	if strings.ContainsFunc(p.InternalType, func(c rune) bool { return c < ' ' || c > '~' }) {
		return p, r.fail(path+".internalType", "%s has characters that no type has", excerpt(p.InternalType))
	}
	if p.Indexed, err = r.flag(v, path+".indexed", "indexed"); err != nil {
		return p, err
	}
	typ, err := r.text(v, path+".type", "type", maxName)
	if err != nil {
		return p, err
	}
	var components []Param
	if base, _, _ := strings.Cut(typ, "["); base == "tuple" {
		if v.Get("components").Kind != strictjson.Array {
			return p, r.fail(path+".components", "missing; a tuple wants the array of its members")
		}
		if components, err = r.list(v.Get("components"), path+".components", "field"); err != nil {
			return p, err
		}
	}
	if p.Type, err = ParseType(typ, components); err != nil {
		return p, r.fail(path+".type", "%v", err)
	}
	nameTuple(p.Type, p.InternalType)
	return p, nil
}

// nameTuple takes the name of a tuple, or of an array of tuples, from the internal
// type, such as struct Market.Order[].
func nameTuple(t *Type, internal string) {
	for t.Elem != nil {
		t = t.Elem
	}
	name, is := strings.CutPrefix(internal, "struct ")
	if t.Kind != Tuple || !is {
		return
	}
	name, _, _ = strings.Cut(name, "[")
	for _, part := range strings.Split(name, ".") {
		if !identifier(part) {
			return
		}
	}
	t.Struct = name
}
