// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"strconv"
)

// Response is the node's answer to one request, byte for byte as it came.
// Exactly one of the two is set; a result of null is the text "null".
type Response struct {
	Result json.RawMessage
	Error  json.RawMessage // the error object
}

// envelope is one JSON-RPC response object, cut out of the answer without
// copying or decoding its result.
type envelope struct {
	id json.RawMessage
	Response
}

// scanEnvelope reads one response object at s. The whole of it is checked to
// be JSON (see scanner). Names are compared exactly; a name written with
// escapes is not recognised, and no node writes one so. A member that occurs
// twice is an error, since two readers could take it for two answers.
func scanEnvelope(s *scanner) (envelope, error) {
	var e envelope
	if !s.byte('{') {
		return e, badResponse("not a JSON-RPC response object")
	}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		return e, badResponse("neither result nor error")
	}
	for {
		s.space()
		start := s.i
		if !s.name() {
			return e, errNotJSON()
		}
		name := memberName(s.b[start:])
		s.space()
		start = s.i
		if !s.value() {
			return e, errNotJSON()
		}
		value := s.b[start:s.i:s.i]
		var into *json.RawMessage
		switch name {
		case "result":
			into = &e.Result
		case "error":
			into = &e.Error
		case "id":
			into = &e.id
		}
		if into != nil {
			if *into != nil {
				return e, badResponse("member %q occurs twice", name)
			}
			*into = value
		}
		if s.byte(',') {
			continue
		}
		if s.byte('}') {
			return e, e.settle()
		}
		return e, errNotJSON()
	}
}

// settle makes sure that there is either a result or an error. JSON-RPC 1.0
// habits ("error": null beside a result, "result": null beside an error) are
// tolerated, two real answers are not.
func (e *envelope) settle() error {
	if e.Error != nil && string(e.Error) == "null" {
		e.Error = nil
	}
	if e.Error == nil {
		if e.Result == nil {
			return badResponse("neither result nor error")
		}
		return nil
	}
	if e.Result != nil && string(e.Result) != "null" {
		return badResponse("both result and error")
	}
	e.Result = nil
	return nil
}

// err is the node's own error, if that was the answer.
func (r Response) err() error {
	if r.Error == nil {
		return nil
	}
	return parseError(r.Error)
}

// memberName is the text of a name up to its closing quote; names with
// escapes come out as something that matches nothing we look for.
func memberName(b []byte) string {
	for i := 1; i < len(b) && i < 16; i++ {
		switch b[i] {
		case '"':
			switch string(b[1:i]) { // compared without allocating
			case "result":
				return "result"
			case "error":
				return "error"
			case "id":
				return "id"
			case "method":
				return "method"
			case "params":
				return "params"
			}
			return ""
		case '\\':
			return ""
		}
	}
	return ""
}

// number is the id as we sent it. Some gateways turn it into a string.
func (e *envelope) number() (uint64, bool) {
	t := e.id
	if len(t) >= 2 && t[0] == '"' {
		t = t[1 : len(t)-1]
	}
	if len(t) == 0 || len(t) > 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(t), 10, 64)
	return n, err == nil
}

func errNotJSON() error { return badResponse("not JSON") }

// parseSingle reads a body that is one response object and nothing else.
func parseSingle(body []byte) (envelope, error) {
	s := &scanner{b: body}
	e, err := scanEnvelope(s)
	if err != nil {
		return e, err
	}
	if s.space(); s.i != len(s.b) {
		return e, badResponse("data after the answer")
	}
	return e, nil
}

// parseBatch reads a body that is an array of at most limit response objects.
// A body that is a single object is returned as single: the node's refusal of
// the whole batch.
func parseBatch(body []byte, limit int) (list []envelope, single *envelope, err error) {
	s := &scanner{b: body}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '{' {
		e, err := parseSingle(body)
		if err != nil {
			return nil, nil, err
		}
		return nil, &e, nil
	}
	if !s.byte('[') {
		return nil, nil, errNotJSON()
	}
	if s.byte(']') {
		return nil, nil, badResponse("empty answer to a batch")
	}
	list = make([]envelope, 0, min(limit, maxBatchCalls))
	for {
		if len(list) == limit {
			return nil, nil, badResponse("more answers than questions")
		}
		e, err := scanEnvelope(s)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, e)
		if s.byte(',') {
			continue
		}
		if !s.byte(']') {
			return nil, nil, errNotJSON()
		}
		if s.space(); s.i != len(s.b) {
			return nil, nil, badResponse("data after the answer")
		}
		return list, nil, nil
	}
}
