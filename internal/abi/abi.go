// SPDX-License-Identifier: Apache-2.0

// Package abi reads the interface of a contract, in the JSON that Solidity and
// Vyper compilers write, and turns JSON values into the bytes of a call and the
// bytes of a reply, an event or a revert back into JSON.
//
// It follows the Solidity Contract ABI Specification, v2, of
// https://docs.soliditylang.org/en/v0.8.30/abi-spec.html.
//
// It guarantees one reading: a value that does not fit its type exactly is
// refused with its path, and nothing is rounded, cut, padded or guessed. What is
// decoded from a chain may be hostile: time and memory are bounded by the size of
// the data, whatever its offsets say.
//
// JSON of a value, as it is written, and in brackets what is read besides:
//
//   - intN, uintN: a string of the decimal number [0x and hexadecimal digits; an
//     integral JSON number without exponent or fraction]
//   - bool: true or false ["true", "false"]
//   - address, bytesN, bytes, function: a string of 0x and lowercase hexadecimal
//     digits [any case, without 0x; bytes also as an array of numbers 0 to 255]
//   - string: a string, or {"hex": "0x…"} where the bytes are no valid UTF-8
//   - arrays: an array
//   - tuple: an object with its members in order [an array of the values in order]
//   - an indexed parameter of an event whose type takes more than one word, of
//     which the chain keeps nothing but a hash: {"hash": "0x…"}
//
// A parameter without a name is called input, or input1 if it is the second and so
// on; of outputs it is output, output1 …, and of a tuple's members field, field1 …
// ([Param.Key]).
//
// The package asks no node, knows no chain and keeps nothing.
package abi

import (
	"sort"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Contract is the interface of one contract. It is made by [Parse], never changed
// after, and safe for concurrent use.
type Contract struct {
	Constructor *Method // nil: the one without parameters that Solidity makes
	Methods     []*Method
	Events      []*Event
	Errors      []*Error
	Fallback    *Method // nil if there is none; without parameters
	Receive     *Method // nil if there is none; without parameters

	methods   map[string][]*Method // by name
	selectors map[[4]byte]*Method
	events    map[string][]*Event      // by name
	topics    map[common.Hash][]*Event // by signature, without the anonymous
}

// Method is one function of a contract, or its constructor, whose Name is empty. It is
// made by [Parse], [ParseMethod] or [NewMethod] and never changed after; so are events
// and errors.
type Method struct {
	Name       string
	Inputs     []Param
	Outputs    []Param
	Mutability string // pure, view, nonpayable or payable

	sig      string
	selector [4]byte
}

// Event is one event of a contract.
type Event struct {
	Name      string
	Inputs    []Param
	Anonymous bool // its signature is no topic, so that it cannot be told from others

	sig   string
	topic common.Hash
}

// Error is an error of a contract's own, with which a call reverts.
type Error struct {
	Name   string
	Inputs []Param

	sig      string
	selector [4]byte
}

// Param is a parameter of a method, event or error, or a member of a tuple.
type Param struct {
	Name         string // may be empty
	Key          string // its name in JSON: never empty, unique in its list
	Type         *Type
	Indexed      bool   // of an event: a topic
	InternalType string // what the source calls the type, such as "struct Order[]"; may be empty
}

// signature is what a selector or a topic is the hash of: transfer(address,uint256).
func signature(name string, params []Param) string {
	return name + tupleText(params)
}

func selectorOf(sig string) [4]byte { return [4]byte(crypto.Keccak256([]byte(sig))) }

// Signature is the canonical form: transfer(address,uint256). That of a constructor
// has constructor for a name.
func (m *Method) Signature() string { return m.sig }

// Selector is the first four bytes of a call of the method.
func (m *Method) Selector() [4]byte { return m.selector }

// Constant reports whether a call of the method changes nothing, so that a node
// answers it without a transaction.
func (m *Method) Constant() bool { return m.Mutability == "view" || m.Mutability == "pure" }

// Payable reports whether a call of the method may bring ether.
func (m *Method) Payable() bool { return m.Mutability == "payable" }

// Signature is the canonical form: Transfer(address,address,uint256).
func (e *Event) Signature() string { return e.sig }

// Topic is the first topic of the event's logs, unless it is anonymous.
func (e *Event) Topic() common.Hash { return e.topic }

// topics is how many topics a log of the event has.
func (e *Event) topics() int {
	n := 1
	if e.Anonymous {
		n = 0
	}
	for i := range e.Inputs {
		if e.Inputs[i].Indexed {
			n++
		}
	}
	return n
}

// Signature is the canonical form: ERC20InsufficientBalance(address,uint256,uint256).
func (e *Error) Signature() string { return e.sig }

// Selector is the first four bytes of the data of a revert with this error.
func (e *Error) Selector() [4]byte { return e.selector }

// split cuts a signature after its name. Blanks do not count.
func split(name string) (bare, sig string) {
	name = strings.ReplaceAll(name, " ", "")
	bare, _, full := strings.Cut(name, "(")
	if !full {
		return bare, ""
	}
	return bare, name
}

// Method finds a method by its name, or if several have it by its signature, such
// as transfer(address,uint256). The error is a [*LookupError].
func (c *Contract) Method(name string) (*Method, error) {
	bare, sig := split(name)
	list := c.methods[bare]
	if sig != "" {
		for _, m := range list {
			if m.sig == sig {
				return m, nil
			}
		}
		return nil, &LookupError{What: "method", Name: name, Have: signatures(list)}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return nil, &LookupError{What: "method", Name: name, Ambiguous: len(list) > 1, Have: signatures(list)}
}

// MethodFor is Method, but where several methods have the name it takes the only
// one that the arguments fit. If they fit none or several, the error is a
// [*LookupError] that lists the signatures.
func (c *Contract) MethodFor(name string, a Args) (*Method, error) {
	m, err := c.Method(name)
	if err == nil {
		return m, nil
	}
	bare, sig := split(name)
	if sig != "" {
		return nil, err
	}
	for _, candidate := range c.methods[bare] {
		if _, wrong := candidate.Encode(a); wrong != nil {
			continue
		}
		if m != nil {
			return nil, err
		}
		m = candidate
	}
	if m == nil {
		return nil, err
	}
	return m, nil
}

// MethodOf finds the method that a call's data is for, by its selector.
func (c *Contract) MethodOf(calldata []byte) (*Method, bool) {
	if len(calldata) < 4 {
		return nil, false
	}
	m, ok := c.selectors[[4]byte(calldata[:4])]
	return m, ok
}

// Event finds an event by its name, or if several have it by its signature. The
// error is a [*LookupError].
func (c *Contract) Event(name string) (*Event, error) {
	bare, sig := split(name)
	list := c.events[bare]
	if sig != "" {
		for _, e := range list {
			if e.sig == sig {
				return e, nil
			}
		}
	} else if len(list) == 1 {
		return list[0], nil
	}
	return nil, &LookupError{What: "event", Name: name, Ambiguous: sig == "" && len(list) > 1, Have: signatures(list)}
}

// EventFor finds the event that a log with these topics is of. Anonymous events
// are never found.
func (c *Contract) EventFor(topics []common.Hash) (*Event, bool) {
	if len(topics) == 0 {
		return nil, false
	}
	for _, e := range c.topics[topics[0]] {
		if e.topics() == len(topics) {
			return e, true
		}
	}
	return nil, false
}

func signatures[T interface{ Signature() string }](list []T) []string {
	out := make([]string, 0, len(list))
	for _, x := range list {
		out = append(out, x.Signature())
	}
	sort.Strings(out)
	return out
}
