// SPDX-License-Identifier: Apache-2.0

package abi

import "encoding/json"

// entry is one of an ABI's array, in the order in which compilers write it.
type entry struct {
	Type       string       `json:"type"`
	Name       string       `json:"name,omitempty"`
	Inputs     *[]parameter `json:"inputs,omitempty"`
	Outputs    *[]parameter `json:"outputs,omitempty"`
	Mutability string       `json:"stateMutability,omitempty"`
	Anonymous  *bool        `json:"anonymous,omitempty"`
}

type parameter struct {
	Name         string       `json:"name"`
	Type         string       `json:"type"`
	InternalType string       `json:"internalType,omitempty"`
	Components   *[]parameter `json:"components,omitempty"`
	Indexed      *bool        `json:"indexed,omitempty"`
}

func parameters(params []Param, event bool) *[]parameter {
	list := make([]parameter, 0, len(params))
	for i := range params {
		p := &params[i]
		out := parameter{Name: p.Name, InternalType: p.InternalType}
		t := p.Type
		out.Type = t.text
		for t.Elem != nil {
			t = t.Elem
		}
		if t.Kind == Tuple {
			out.Type, out.Components = "tuple"+p.Type.text[len(t.text):], parameters(t.Members, false)
		}
		if event {
			out.Indexed = &p.Indexed
		}
		list = append(list, out)
	}
	return &list
}

// MarshalJSON writes the method as an entry of an ABI, which [ParseMethod] reads.
func (m *Method) MarshalJSON() ([]byte, error) {
	e := entry{Type: "function", Name: m.Name, Inputs: parameters(m.Inputs, false), Mutability: m.Mutability}
	switch {
	case m.Name != "":
		e.Outputs = parameters(m.Outputs, false)
	case m.sig == "fallback" || m.sig == "receive":
		e.Type, e.Inputs = m.sig, nil
	default:
		e.Type = "constructor"
	}
	return json.Marshal(e)
}

// MarshalJSON writes the event as an entry of an ABI, which [ParseEvent] reads.
func (e *Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(entry{Type: "event", Name: e.Name, Inputs: parameters(e.Inputs, true), Anonymous: &e.Anonymous})
}

// MarshalJSON writes the error as an entry of an ABI.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(entry{Type: "error", Name: e.Name, Inputs: parameters(e.Inputs, false)})
}
