// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// MaxEncoded is how many bytes the arguments of a call may have once encoded. No
// node takes a transaction that is nearly as long.
const MaxEncoded = 2 << 20

// Args are the values of parameters: either by name, by each parameter's Key, or in
// order. The zero Args are none, for what has no parameters.
//
// A value may also be a string where an array or a tuple is wanted, as in the query
// of a URL: then it is JSON text. This holds for the values themselves and not for
// what is within them.
type Args struct {
	ByName map[string]strictjson.Value
	List   []strictjson.Value // if not nil, ByName is empty
}

// ArgsOf makes the arguments of a JSON value: of an object by name, of an array in
// order; null and an absent value are none. The error is an [*ArgError].
func ArgsOf(v strictjson.Value) (Args, error) {
	switch v.Kind {
	case strictjson.Absent, strictjson.Null:
		return Args{}, nil
	case strictjson.Array:
		return Args{List: append([]strictjson.Value{}, v.Elems...)}, nil
	case strictjson.Object:
		a := Args{ByName: make(map[string]strictjson.Value, len(v.Members))}
		for _, m := range v.Members {
			a.ByName[m.Name] = m.Value
		}
		return a, nil
	}
	return Args{}, &ArgError{Want: "an object of them by name, or an array of them in order", Got: show(v)}
}

// Encode makes the data of a call: the selector and the arguments. The error is an
// [*ArgError].
func (m *Method) Encode(a Args) ([]byte, error) {
	selector := m.Selector()
	return encode(selector[:], m.Inputs, a)
}

// EncodeConstructor makes what follows the creation code of a contract. A contract
// whose ABI has no constructor takes no arguments. The error is an [*ArgError].
func EncodeConstructor(c *Contract, a Args) ([]byte, error) {
	if c.Constructor == nil {
		return Encode(nil, a)
	}
	return Encode(c.Constructor.Inputs, a)
}

// Encode encodes values of these parameters as one tuple. The error is an
// [*ArgError].
func Encode(params []Param, a Args) ([]byte, error) { return encode(nil, params, a) }

func encode(prefix []byte, params []Param, a Args) ([]byte, error) {
	if err := a.outline(params); err != nil {
		return nil, err
	}
	e := encoder{buf: append([]byte(nil), prefix...)}
	at, err := e.grow("", headOf(params))
	if err != nil {
		return nil, err
	}
	base := at
	for i := range params {
		p := &params[i]
		v := a.value(i, p)
		if v.Kind == strictjson.String && (p.Type.Elem != nil || p.Type.Kind == Tuple) {
			if v, err = strictjson.Parse([]byte(v.Text)); err != nil {
				return nil, &ArgError{Path: p.Key, Want: wanted(p.Type), Got: "a string that is " + err.Error()}
			}
		}
		if err := e.item(p.Key, at, base, p.Type, v); err != nil {
			return nil, err
		}
		at += p.Type.head
	}
	return e.buf, nil
}

// outline checks that there is a value for each parameter and no other value.
func (a Args) outline(params []Param) error {
	if a.List != nil {
		if len(a.ByName) > 0 {
			return &ArgError{Want: "arguments by name or in order", Got: "both"}
		}
		if len(a.List) != len(params) {
			return &ArgError{Want: arguments(params), Got: strconv.Itoa(len(a.List))}
		}
		return nil
	}
	found := 0
	for i := range params {
		if v, ok := a.ByName[params[i].Key]; ok && v.Kind != strictjson.Absent {
			found++
			continue
		}
		return &ArgError{Path: params[i].Key, Want: wanted(params[i].Type), Got: "nothing"}
	}
	if found == len(a.ByName) {
		return nil
	}
	unknown := ""
	for name := range a.ByName {
		if !hasKey(params, name) && (unknown == "" || name < unknown) {
			unknown = name
		}
	}
	return &ArgError{Path: excerpt(unknown), Want: "there is no such argument; want " + arguments(params)}
}

func hasKey(params []Param, key string) bool {
	for i := range params {
		if params[i].Key == key {
			return true
		}
	}
	return false
}

func (a Args) value(i int, p *Param) strictjson.Value {
	if a.List != nil {
		return a.List[i]
	}
	return a.ByName[p.Key]
}

// arguments says which there are.
func arguments(params []Param) string {
	if len(params) == 0 {
		return "no arguments"
	}
	count := strconv.Itoa(len(params)) + " arguments"
	if len(params) == 1 {
		count = "1 argument"
	}
	return count + " (" + outlineOf(params) + ")"
}

func outlineOf(params []Param) string {
	if len(params) == 0 {
		return "none"
	}
	list := make([]string, 0, len(params))
	for i := range params {
		list = append(list, excerpt(params[i].Key)+" "+excerpt(params[i].Type.text))
	}
	return listed(list)
}

// encoder appends to what it has; heads are filled in place.
type encoder struct {
	buf []byte
}

// grow appends n zero bytes and says where they begin.
func (e *encoder) grow(path string, n int) (int, error) {
	at := len(e.buf)
	if n > MaxEncoded-at {
		return 0, &ArgError{Path: path, Want: fmt.Sprintf("values of at most %d bytes once encoded", MaxEncoded), Got: "more"}
	}
	e.buf = append(e.buf, make([]byte, n)...)
	return at, nil
}

// length writes an offset or a length to a word.
func (e *encoder) length(at, n int) {
	binary.BigEndian.PutUint64(e.buf[at+word-8:], uint64(n))
}

// item writes a value beside others whose heads begin at base: itself, or if it is
// dynamic its offset, and itself at the end.
func (e *encoder) item(path string, at, base int, t *Type, v strictjson.Value) error {
	if !t.dynamic {
		return e.static(path, at, t, v)
	}
	e.length(at, len(e.buf)-base)
	switch t.Kind {
	case Bytes, String:
		b, err := blob(t, v)
		if err != nil {
			return wrong(path, t, v, err)
		}
		at, err := e.grow(path, word+(len(b)+word-1)/word*word)
		if err != nil {
			return err
		}
		e.length(at, len(b))
		copy(e.buf[at+word:], b)
		return nil
	case Tuple:
		at, err := e.grow(path, headOf(t.Members))
		if err != nil {
			return err
		}
		return e.members(path, at, t, v)
	default:
		elems, err := elements(path, t, v)
		if err != nil {
			return err
		}
		if t.Kind == Array {
			at, err := e.grow(path, word)
			if err != nil {
				return err
			}
			e.length(at, len(elems))
		}
		at, err := e.grow(path, len(elems)*t.Elem.head)
		if err != nil {
			return err
		}
		return e.elems(path, at, t, elems)
	}
}

// static writes a value of fixed length in place.
func (e *encoder) static(path string, at int, t *Type, v strictjson.Value) error {
	switch t.Kind {
	case Tuple:
		return e.members(path, at, t, v)
	case FixedArray:
		elems, err := elements(path, t, v)
		if err != nil {
			return err
		}
		return e.elems(path, at, t, elems)
	default:
		if err := primitive(e.buf[at:at+word], t, v); err != nil {
			return wrong(path, t, v, err)
		}
		return nil
	}
}

func (e *encoder) elems(path string, at int, t *Type, elems []strictjson.Value) error {
	base := at
	for i, v := range elems {
		if err := e.item("", at, base, t.Elem, v); err != nil {
			return within(path+"["+strconv.Itoa(i)+"]", err)
		}
		at += t.Elem.head
	}
	return nil
}

func (e *encoder) members(path string, at int, t *Type, v strictjson.Value) error {
	switch v.Kind {
	case strictjson.Array:
		if len(v.Elems) != len(t.Members) {
			return &ArgError{Path: path, Want: fmt.Sprintf("%d values in order (%s)", len(t.Members), outlineOf(t.Members)), Got: strconv.Itoa(len(v.Elems))}
		}
	case strictjson.Object:
		if err := complete(path, t, v); err != nil {
			return err
		}
	default:
		return &ArgError{Path: path, Want: wanted(t), Got: show(v)}
	}
	base := at
	for i := range t.Members {
		m := &t.Members[i]
		value := v.Get(m.Key)
		if v.Kind == strictjson.Array {
			value = v.Elems[i]
		}
		if err := e.item("", at, base, m.Type, value); err != nil {
			return within(path+"."+m.Key, err)
		}
		at += m.Type.head
	}
	return nil
}

// complete checks that an object has all members of a tuple and no others.
func complete(path string, t *Type, v strictjson.Value) error {
	for i := range t.Members {
		m := &t.Members[i]
		if v.Get(m.Key).Kind == strictjson.Absent {
			return &ArgError{Path: path + "." + m.Key, Want: wanted(m.Type), Got: "nothing"}
		}
	}
	if len(v.Members) == len(t.Members) {
		return nil
	}
	for _, m := range v.Members {
		if !hasKey(t.Members, m.Name) {
			return &ArgError{Path: path + "." + excerpt(m.Name), Want: "there is no such member; want " + outlineOf(t.Members)}
		}
	}
	return nil
}

func elements(path string, t *Type, v strictjson.Value) ([]strictjson.Value, error) {
	if v.Kind != strictjson.Array {
		return nil, &ArgError{Path: path, Want: wanted(t), Got: show(v)}
	}
	if t.Kind == FixedArray && len(v.Elems) != t.Size {
		return nil, &ArgError{Path: path, Want: fmt.Sprintf("exactly %d values of %s", t.Size, excerpt(t.Elem.text)), Got: strconv.Itoa(len(v.Elems))}
	}
	return v.Elems, nil
}

// within puts a path in front of that of an error. Paths are made only for errors.
func within(path string, err error) error {
	switch e := err.(type) { //nolint:errorlint // made in this package and never wrapped
	case *ArgError:
		e.Path = join(path, e.Path)
	case *DataError:
		e.Path = join(path, e.Path)
	}
	return err
}

func join(path, rest string) string {
	if rest == "" || rest[0] == '[' || rest[0] == '.' || path == "" {
		return strings.TrimPrefix(path+rest, ".")
	}
	return path + "." + rest
}
