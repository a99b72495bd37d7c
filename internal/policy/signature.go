// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"
)

// Limits of a signature, so that the size of a value is bounded by that of the
// calldata: no contract in use comes near them.
const (
	maxSignature = 2048 // bytes
	maxNesting   = 8    // tuples and arrays inside each other
	maxFixed     = 4096 // elements of an array of a fixed length
	maxHead      = 1 << 20
)

// method is a contract's method, by its ABI signature.
type method struct {
	text     string // canonical: transfer(address,uint256)
	selector [4]byte
	args     *argType // a tuple
}

// parseMethod reads a signature as Solidity writes it: transfer(address to, uint256
// amount). Names may be left out. The selector is that of the canonical form.
func parseMethod(s string) (*method, error) {
	if len(s) > maxSignature {
		return nil, fmt.Errorf("has more than %d characters", maxSignature)
	}
	p := &signatureParser{rest: strings.TrimPrefix(strings.TrimSpace(s), "function ")}
	name := p.word()
	if !identifier.MatchString(name) {
		return nil, errors.New("want a method like transfer(address to, uint256 amount)")
	}
	args, canonical, err := p.tuple(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, fmt.Errorf("has %q after its arguments", p.rest)
	}
	m := &method{text: name + canonical, args: args}
	copy(m.selector[:], crypto.Keccak256([]byte(m.text)))
	return m, nil
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)
	sizedType  = regexp.MustCompile(`^(uint|int|bytes)([1-9][0-9]{0,2})$`)
)

// elementary is the type of that name, nil if there is none.
func elementary(name string) *argType {
	switch name {
	case "address":
		return (&argType{kind: kindAddress}).layout()
	case "bool":
		return (&argType{kind: kindBool}).layout()
	case "string":
		return (&argType{kind: kindString}).layout()
	case "bytes":
		return (&argType{kind: kindBytes}).layout()
	case "uint":
		return (&argType{kind: kindUint, size: 256}).layout()
	case "int":
		return (&argType{kind: kindInt, size: 256}).layout()
	}
	m := sizedType.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	n, _ := strconv.Atoi(m[2])
	switch {
	case m[1] == "bytes" && n <= 32:
		return (&argType{kind: kindFixed, size: n}).layout()
	case m[1] == "bytes" || n > 256 || n%8 != 0:
		return nil
	case m[1] == "uint":
		return (&argType{kind: kindUint, size: n}).layout()
	}
	return (&argType{kind: kindInt, size: n}).layout()
}

type signatureParser struct{ rest string }

func (p *signatureParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

// word takes the longest run of what names and types are made of.
func (p *signatureParser) word() string {
	p.space()
	i := 0
	for i < len(p.rest) && (p.rest[i] == '_' || p.rest[i] == '$' || p.rest[i] >= '0' && p.rest[i] <= '9' ||
		p.rest[i] >= 'a' && p.rest[i] <= 'z' || p.rest[i] >= 'A' && p.rest[i] <= 'Z') {
		i++
	}
	w := p.rest[:i]
	p.rest = p.rest[i:]
	return w
}

func (p *signatureParser) take(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// tuple reads (type name, …) and gives its canonical form with it.
func (p *signatureParser) tuple(depth int) (*argType, string, error) {
	if !p.take('(') {
		return nil, "", errors.New("want ( and the types of the arguments, like transfer(address to, uint256 amount)")
	}
	t := &argType{kind: kindTuple}
	var canonical []string
	seen := map[string]bool{}
	for !p.take(')') {
		if len(t.fields) > 0 && !p.take(',') {
			return nil, "", errors.New("want , or ) between its arguments")
		}
		typ, text, err := p.typ(depth)
		if err != nil {
			return nil, "", err
		}
		name := p.word()
		switch {
		case name != "" && !identifier.MatchString(name):
			return nil, "", fmt.Errorf("%q is not a name of an argument", name)
		case name != "" && seen[name]:
			return nil, "", fmt.Errorf("has two arguments called %s", name)
		}
		seen[name] = true
		t.fields = append(t.fields, field{name, typ})
		canonical = append(canonical, text)
	}
	if len(t.fields) == 0 && depth > 0 {
		return nil, "", errors.New("has a tuple without members")
	}
	return t.layout(), "(" + strings.Join(canonical, ",") + ")", nil
}

func (p *signatureParser) typ(depth int) (*argType, string, error) {
	if depth >= maxNesting {
		return nil, "", fmt.Errorf("nests deeper than %d", maxNesting)
	}
	word := p.word()
	var t *argType
	text := word
	if p.space(); (word == "" || word == "tuple") && strings.HasPrefix(p.rest, "(") {
		var err error
		if t, text, err = p.tuple(depth + 1); err != nil {
			return nil, "", err
		}
	} else if t = elementary(word); t == nil {
		return nil, "", fmt.Errorf("%q is not a type of the contract ABI", word)
	}
	if word == "uint" || word == "int" {
		text += "256"
	}
	for n := depth; p.take('['); n++ {
		if n >= maxNesting {
			return nil, "", fmt.Errorf("nests deeper than %d", maxNesting)
		}
		digits, length := p.word(), -1
		if digits != "" {
			var err error
			if length, err = strconv.Atoi(digits); err != nil || length < 1 || length > maxFixed {
				return nil, "", fmt.Errorf("want an array of 1 to %d elements, not %q", maxFixed, digits)
			}
		}
		if !p.take(']') {
			return nil, "", errors.New("want ] after [")
		}
		t = (&argType{kind: kindArray, elem: t, length: length}).layout()
		if t.head > maxHead {
			return nil, "", errors.New("has an array that is too large")
		}
		text += "[" + digits + "]"
	}
	return t, text, nil
}
