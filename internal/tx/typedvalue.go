// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// walker checks values against types and turns them into what go-ethereum's
// encoder takes. The encoder itself checks little: it rounds large numbers,
// ignores the length of fixed arrays and lets int8 hold 255.
type walker struct {
	types  apitypes.Types
	fields int // of all types
	text   int // bytes of all names in the types
	values int
	work   int
	arrays bool
}

func (w *walker) structure(path, typ string, v strictjson.Value) (map[string]any, error) {
	if v.Kind != strictjson.Object {
		return nil, argErr(path, "want an object of type %s, got %s", typ, v.Kind)
	}
	if w.work += w.fields + w.text/64; w.work > maxWork {
		return nil, argErr(path, "too many struct values for so many types; split the document")
	}
	fields := w.types[typ]
	for _, m := range v.Members {
		known := false
		for _, f := range fields {
			known = known || f.Name == m.Name
		}
		if !known {
			return nil, argErr(path+"."+excerpt(m.Name), "type %s has no such field", typ)
		}
	}
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		at := path + "." + f.Name
		fv := v.Get(f.Name)
		if !fv.Present() {
			return nil, argErr(at, "missing; type %s wants a value of type %s here", typ, f.Type)
		}
		value, err := w.value(at, f.Type, fv)
		if err != nil {
			return nil, err
		}
		out[f.Name] = value
	}
	return out, nil
}

func (w *walker) value(path, typ string, v strictjson.Value) (any, error) {
	if w.values++; w.values > maxValues {
		return nil, argErr("message", "more than %d values", maxValues)
	}
	// The last brackets are the outermost array: T[2][] is a list of pairs.
	if open := strings.LastIndexByte(typ, '['); open >= 0 {
		return w.array(path, typ[:open], typ[open+1:len(typ)-1], v)
	}
	if w.types[typ] != nil {
		return w.structure(path, typ, v)
	}
	value, err := primitiveValue(typ, v)
	if err != nil {
		return nil, argErr(path, "%v", err)
	}
	return value, nil
}

func (w *walker) array(path, elem, length string, v strictjson.Value) (any, error) {
	w.arrays = true
	if v.Kind != strictjson.Array {
		return nil, argErr(path, "want an array of %s, got %s", elem, v.Kind)
	}
	if length != "" && strconv.Itoa(len(v.Elems)) != length {
		return nil, argErr(path, "want exactly %s values of type %s, got %d", length, elem, len(v.Elems))
	}
	out := make([]any, len(v.Elems))
	for i, e := range v.Elems {
		value, err := w.value(fmt.Sprintf("%s[%d]", path, i), elem, e)
		if err != nil {
			return nil, err
		}
		out[i] = value
	}
	return out, nil
}

func primitiveValue(typ string, v strictjson.Value) (any, error) {
	wrong := func() error { return fmt.Errorf("want %s, got %s", describeType(typ), show(v)) }
	switch {
	case typ == "bool":
		if v.Kind != strictjson.Bool {
			return nil, wrong()
		}
		return v.Text == "true", nil
	case typ == "string":
		if v.Kind != strictjson.String {
			return nil, wrong()
		}
		return v.Text, nil
	case typ == "address":
		if v.Kind != strictjson.String || fixed(v.Text, make([]byte, common.AddressLength)) != nil {
			return nil, wrong()
		}
		return v.Text, nil
	case strings.HasPrefix(typ, "bytes"):
		if v.Kind != strictjson.String {
			return nil, wrong()
		}
		b, err := hexutil.Decode(v.Text)
		if err != nil || typ != "bytes" && strconv.Itoa(len(b)) != typ[len("bytes"):] {
			return nil, wrong()
		}
		return v.Text, nil
	}
	n, err := integer(v)
	if err != nil {
		return nil, fmt.Errorf("%w; want %s", err, describeType(typ))
	}
	if !fits(typ, n) {
		return nil, fmt.Errorf("%s is out of range; want %s", excerpt(n.String()), describeType(typ))
	}
	return n, nil
}

func describeType(typ string) string {
	switch {
	case typ == "bool":
		return "true or false"
	case typ == "string":
		return "a string"
	case typ == "address":
		return "an address, 0x and 40 hexadecimal digits"
	case typ == "bytes":
		return `bytes such as "0x60fe"`
	case strings.HasPrefix(typ, "bytes"):
		return typ + ", 0x and two hexadecimal digits for each byte"
	}
	return "an integer of type " + typ + ", as a number or a decimal or 0x-string"
}

// fits reports whether n is in the range of an integer type.
func fits(typ string, n *big.Int) bool {
	digits, unsigned := strings.CutPrefix(typ, "uint")
	if !unsigned {
		digits = typ[len("int"):]
	}
	bits := 256
	if digits != "" {
		bits, _ = strconv.Atoi(digits)
	}
	if unsigned {
		return n.Sign() >= 0 && n.BitLen() <= bits
	}
	if n.Sign() < 0 { // two's complement: one more below zero than above
		n = new(big.Int).Not(n)
	}
	return n.BitLen() <= bits-1
}

// maxNumber bounds the text of a number: 2^256 has 78 digits.
const maxNumber = 100

var errNotInteger = errors.New("not an integer")

// integer reads a JSON number exactly (5.0 and 1e3 are integers too), or a
// string with a decimal or 0x-hexadecimal number.
func integer(v strictjson.Value) (*big.Int, error) {
	if len(v.Text) > maxNumber {
		return nil, errors.New("the number is too long")
	}
	switch v.Kind {
	case strictjson.Number:
		return exactInteger(v.Text)
	case strictjson.String:
	default:
		return nil, fmt.Errorf("%w: %s", errNotInteger, v.Kind)
	}
	digits, base := strings.TrimPrefix(v.Text, "-"), 10
	negative := len(digits) < len(v.Text)
	if rest, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = rest, 16
	}
	if digits == "" || digits[0] == '+' || digits[0] == '-' {
		return nil, fmt.Errorf("%w: %q", errNotInteger, v.Text)
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return nil, fmt.Errorf("%w: %q", errNotInteger, v.Text)
	}
	if negative {
		n.Neg(n)
	}
	return n, nil
}

// exactInteger reads a JSON number without the rounding of floating point.
func exactInteger(s string) (*big.Int, error) {
	mantissa, exp := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > maxNumber || e < -maxNumber {
			return nil, errors.New("the number's exponent is too large")
		}
		mantissa, exp = s[:i], e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	n, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return nil, fmt.Errorf("%w: %s", errNotInteger, s)
	}
	exp -= len(fraction)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp >= 0 {
		return n.Mul(n, power), nil
	}
	n, rest := n.QuoRem(n, power, new(big.Int))
	if rest.Sign() != 0 {
		return nil, fmt.Errorf("%w: %s", errNotInteger, s)
	}
	return n, nil
}
