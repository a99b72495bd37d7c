// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// Argument is an argument of a call, of an elementary type.
type Argument struct {
	Name    string
	Address *common.Address // of an address
	Number  *big.Int        // of an integer, or a boolean: 0 or 1
	Bits    int             // of the integer's type
	Bool    bool            // it is a boolean
}

// ReadCall reads calldata as a call of the method with that signature, as rules
// and limits read it: people who approve a call see what is counted. ok is false
// if it is a call of another method, is not encoded in the one canonical way, or
// has arguments that are no addresses, integers or booleans.
func ReadCall(signature string, data []byte) (args []Argument, ok bool) {
	m, err := parseMethod(signature)
	if err != nil || len(data) < 4 || [4]byte(data[:4]) != m.selector {
		return nil, false
	}
	v, ok := m.decode(data[4:])
	if !ok {
		return nil, false
	}
	for i, f := range m.args.fields {
		a := Argument{Name: f.name}
		switch f.typ.kind {
		case kindAddress:
			address := v.kids[i].address()
			a.Address = &address
		case kindUint, kindBool:
			a.Number, a.Bits, a.Bool = v.kids[i].uint(), f.typ.size, f.typ.kind == kindBool
		default:
			return nil, false
		}
		args = append(args, a)
	}
	return args, true
}
