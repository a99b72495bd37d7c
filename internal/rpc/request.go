// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// request is one JSON-RPC request object as it was understood.
type request struct {
	id     strictjson.Value // Absent for a notification
	method string
	params strictjson.Value // an Array, an Object, or Absent; null counts as absent
}

// notification reports whether nobody waits for an answer.
func (r *request) notification() bool { return r.id.Kind == strictjson.Absent }

// arg returns the i-th positional parameter, or an absent Value.
func (r *request) arg(i int) strictjson.Value {
	if i < len(r.params.Elems) {
		return r.params.Elems[i]
	}
	return strictjson.Value{}
}

// appendParams writes the parameters anew, as the node is to get them. Absent
// ones become [], which every node takes.
func (r *request) appendParams(b []byte) []byte {
	if r.params.Kind == strictjson.Absent {
		return append(b, '[', ']')
	}
	return r.params.AppendTo(b)
}

// parse reads the body of one HTTP request or one WebSocket message.
func parse(body []byte) (strictjson.Value, *Error) {
	v, err := strictjson.Parse(body)
	if err != nil {
		return v, parseError(err)
	}
	switch v.Kind {
	case strictjson.Object:
		return v, nil
	case strictjson.Array:
		if len(v.Elems) == 0 {
			return v, invalidRequest("the batch is empty")
		}
		return v, nil
	default:
		return v, invalidRequest("want a request object or an array of them, got %s", v.Kind)
	}
}

// decode reads one request object (JSON-RPC 2.0 §4). When it refuses, the
// request still carries the id, if that was readable, and else null: the
// answer to something that is not a request always goes out.
func decode(v strictjson.Value) (request, *Error) {
	r := request{id: strictjson.Value{Kind: strictjson.Null}}
	if v.Kind != strictjson.Object {
		return r, invalidRequest("want a request object, got %s", v.Kind)
	}
	var version, method, params, id strictjson.Value
	for i := range v.Members {
		m := &v.Members[i]
		switch m.Name {
		case "jsonrpc":
			version = m.Value
		case "method":
			method = m.Value
		case "params":
			params = m.Value
		case "id":
			id = m.Value
		}
	}
	switch id.Kind {
	case strictjson.Absent:
	case strictjson.Null, strictjson.Number, strictjson.String:
		r.id = id
	default:
		return r, invalidRequest("id must be a string, a number or null, got %s", id.Kind)
	}
	for i := range v.Members {
		switch name := v.Members[i].Name; name {
		case "jsonrpc", "method", "params", "id":
		default:
			return r, invalidRequest("unknown member %s; want jsonrpc, id, method and params, in exactly these letters", quote(name))
		}
	}
	switch {
	case version.Kind == strictjson.Absent:
		return r, invalidRequest(`jsonrpc is missing; want "jsonrpc":"2.0"`)
	case version.Kind != strictjson.String || version.Text != "2.0":
		return r, invalidRequest(`jsonrpc must be the string "2.0"`)
	case method.Kind == strictjson.Absent:
		return r, invalidRequest("method is missing")
	case method.Kind != strictjson.String:
		return r, invalidRequest("method must be a string, got %s", method.Kind)
	case method.Text == "":
		return r, invalidRequest("method is empty")
	}
	switch params.Kind {
	case strictjson.Absent, strictjson.Null:
		params = strictjson.Value{}
	case strictjson.Array, strictjson.Object:
	default:
		return r, invalidRequest("params must be an array, got %s", params.Kind)
	}
	r.id, r.method, r.params = id, method.Text, params
	return r, nil
}

// maxQuoted bounds what of a caller's text is repeated in an error.
const maxQuoted = 64

// quote makes a caller's text fit for an error message: short, and with
// nothing unprintable in it.
func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%.*q…", maxQuoted, s)
	}
	return fmt.Sprintf("%q", s)
}
