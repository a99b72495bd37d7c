// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// argField is the field of a form in which an argument of a method is typed. The
// members of a tuple have fields of their own; an array is typed as JSON, or, if
// its elements are simple, separated by commas.
type argField struct {
	ID      string // in the page
	Name    string // in the form: arg.2, and arg.2.0 for the first member of a tuple
	Label   string
	Type    string // canonical
	Source  string // what the source calls it, if that says more
	Value   string
	Problem string
	Help    string
	Example string
	Choice  bool // true or false
	Long    bool // a text of several lines
	Members []argField
}

// argFields are the fields of some parameters. Values and problems are those of
// the form that was sent; nil for one that is empty.
func argFields(id, name string, params []abi.Param, sent *form) []argField {
	out := make([]argField, len(params))
	for i := range params {
		p, at := &params[i], strconv.Itoa(i)
		f := argField{ID: id + "-" + at, Name: name + "." + at, Label: p.Key, Type: p.Type.String(), Source: p.InternalType}
		if f.Source == f.Type {
			f.Source = ""
		}
		if sent != nil {
			f.Value, f.Problem = sent.Get(f.Name), sent.Wrong(f.Name)
		}
		switch p.Type.Kind {
		case abi.Tuple:
			f.Members = argFields(f.ID, f.Name, p.Type.Members, sent)
		case abi.Bool:
			f.Choice = true
		case abi.String: // it may have several lines
			f.Long = true
		case abi.Array, abi.FixedArray:
			f.Long, f.Help = true, "A list as JSON."
			if p.Type.Elem.Word() {
				f.Help = "Separated by commas, or a list as JSON."
			}
		case abi.Int, abi.Uint:
			f.Help = "A whole number, in decimal or 0x."
		case abi.Address:
			f.Example = "0x…"
		case abi.Bytes:
			f.Help, f.Example = "0x and hex digits; 0x alone is none.", "0x"
		case abi.FixedBytes:
			f.Help = "0x and " + strconv.Itoa(2*p.Type.Size) + " hex digits."
		}
		out[i] = f
	}
	return out
}

// argNames are the names of all fields of some parameters.
func argNames(fields []argField) (names []string) {
	for _, f := range fields {
		names = append(append(names, f.Name), argNames(f.Members)...)
	}
	return names
}

// argsTyped reads the arguments that were typed. What they mean package abi says;
// only lists are taken apart here.
func argsTyped(name string, params []abi.Param, values url.Values) ([]strictjson.Value, error) {
	out := make([]strictjson.Value, len(params))
	for i := range params {
		t, field := params[i].Type, name+"."+strconv.Itoa(i)
		text := values.Get(field)
		if t.Kind != abi.String {
			text = strings.TrimSpace(text)
		}
		switch t.Kind {
		case abi.Tuple:
			members, err := argsTyped(field, t.Members, values)
			if err != nil {
				return nil, err
			}
			out[i] = strictjson.Value{Kind: strictjson.Array, Elems: members}
		case abi.Array, abi.FixedArray:
			v, err := listTyped(t.Elem, text)
			if err != nil {
				return nil, &platform.Error{Reason: platform.Invalid, Field: field, Msg: err.Error()}
			}
			out[i] = v
		case abi.String: // browsers send the ends of lines as CR LF
			out[i] = strictjson.StringValue(strings.ReplaceAll(text, "\r\n", "\n"))
		default:
			out[i] = strictjson.StringValue(text)
		}
	}
	return out, nil
}

func listTyped(elem *abi.Type, text string) (strictjson.Value, error) {
	if !strings.HasPrefix(text, "[") && elem.Word() {
		v := strictjson.Value{Kind: strictjson.Array, Elems: []strictjson.Value{}}
		for _, one := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \r\n\t;", r) }) {
			v.Elems = append(v.Elems, strictjson.StringValue(one))
		}
		return v, nil
	}
	v, err := strictjson.Parse([]byte(text))
	if err != nil || v.Kind != strictjson.Array {
		return v, errors.New(`want a list as JSON, such as ["a", "b"], or [] for none`)
	}
	return v, nil
}

// argRefusal puts what package abi says of an argument beside its field.
func argRefusal(name string, params []abi.Param, err error) error {
	var wrong *abi.ArgError
	if !errors.As(err, &wrong) || wrong.Path == "" {
		return deskRefusal(err)
	}
	field, rest := name, wrong.Path
	for level := params; ; {
		i, after, ok := nextParam(level, rest)
		if !ok {
			break
		}
		field, rest = field+"."+strconv.Itoa(i), after
		if level[i].Type.Kind != abi.Tuple {
			break
		}
		level = level[i].Type.Members
	}
	text := wrong.Want
	if wrong.Got != "" {
		text = "want " + text + ", got " + wrong.Got
	}
	if rest = strings.TrimPrefix(rest, "."); rest != "" {
		text = rest + ": " + text
	}
	return &platform.Error{Reason: platform.Invalid, Field: field, Msg: text}
}

// nextParam finds the parameter that a path of package abi begins with, by its key
// or, where arguments were given in order, its number.
func nextParam(params []abi.Param, path string) (i int, rest string, ok bool) {
	path = strings.TrimPrefix(path, ".")
	for i := range params {
		for _, key := range []string{params[i].Key, "[" + strconv.Itoa(i) + "]", strconv.Itoa(i)} {
			rest, found := strings.CutPrefix(path, key)
			if found && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return i, rest, true
			}
		}
	}
	return 0, path, false
}
