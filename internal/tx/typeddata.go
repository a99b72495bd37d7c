// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Limits of typed data. They leave room for the largest documents in use
// (order books sign a few hundred values) and keep hashing under a second.
const (
	maxTypes      = 64        // struct types of one document
	maxFields     = 128       // members of one struct type
	maxTypeText   = 16 * 1024 // bytes of all names and types together
	maxValues     = 16 * 1024 // values of message and domain together
	maxWork       = 500_000   // struct values times defined fields and their text: the encoder checks all types for each struct
	maxTypedBytes = 1 << 20   // of a document that comes as a string
)

// domainType is the name that EIP-712 gives the type of the domain.
const domainType = "EIP712Domain"

// TypedData is an EIP-712 document that was checked completely: its types are
// defined, its values fit them, nothing is missing or left over.
type TypedData struct {
	// Data is the document for whoever judges or shows it. Integers are
	// *big.Int, addresses and bytes 0x-strings as the caller wrote them.
	Data apitypes.TypedData

	domain map[string]any // also fields that are empty, which Data.Domain drops
	arrays bool           // a struct type that the message uses has an array
}

// ParseTypedData reads the document of eth_signTypedData, _v3 and _v4: an
// object, or a JSON string that holds one, which is parsed strictly too. It is
// stricter than most wallets where they disagree on the digest: every value
// must be there and fit its type exactly, arrays have the length that their
// type states, null and recursive types are refused, and the domain's type
// must be listed under types. Addresses may have letters of any case, since
// documents with wrong checksums are common, go-ethereum's own among them. Every error is an *[ArgError] with the path.
func ParseTypedData(v strictjson.Value) (*TypedData, error) {
	if v.Kind == strictjson.String {
		if len(v.Text) > maxTypedBytes {
			return nil, argErr("", "typed data of %d bytes exceeds the limit of %d", len(v.Text), maxTypedBytes)
		}
		inner, err := strictjson.Parse([]byte(v.Text))
		if err != nil {
			return nil, argErr("", "the typed data in the string is %v", err)
		}
		v = inner
	}
	switch v.Kind {
	case strictjson.Object:
	case strictjson.Array:
		return nil, argErr("", "want a typed-data object (EIP-712); the array form of eth_signTypedData (version 1) is not supported")
	default:
		return nil, argErr("", "want a typed-data object (EIP-712), got %s", v.Kind)
	}
	for _, m := range v.Members {
		switch m.Name {
		case "types", "primaryType", "domain", "message":
		default:
			return nil, argErr(excerpt(m.Name), "unknown field; typed data has types, primaryType, domain and message")
		}
	}
	types, err := parseTypes(v.Get("types"))
	if err != nil {
		return nil, err
	}
	primary := v.Get("primaryType")
	switch {
	case primary.Kind != strictjson.String:
		return nil, argErr("primaryType", "want the name of a type, got %s", primary.Kind)
	case primary.Text == domainType:
		return nil, argErr("primaryType", "must not be %s: there would be no message", domainType)
	case types[primary.Text] == nil:
		return nil, argErr("primaryType", "type %q is not defined under types", excerpt(primary.Text))
	}
	w := walker{types: types}
	for name, fields := range types {
		w.fields += len(fields)
		w.text += len(name)
		for _, f := range fields {
			w.text += len(f.Name) + len(f.Type)
		}
	}
	domain, err := w.structure("domain", domainType, v.Get("domain"))
	if err != nil {
		return nil, err
	}
	w.arrays = false
	message, err := w.structure("message", primary.Text, v.Get("message"))
	if err != nil {
		return nil, err
	}
	return &TypedData{
		Data:   apitypes.TypedData{Types: types, PrimaryType: primary.Text, Domain: describe(domain), Message: message},
		domain: domain,
		arrays: w.arrays,
	}, nil
}

// describe fills go-ethereum's struct for the five fields of EIP-712.
func describe(domain map[string]any) apitypes.TypedDataDomain {
	text := func(name string) string { s, _ := domain[name].(string); return s }
	d := apitypes.TypedDataDomain{
		Name: text("name"), Version: text("version"), VerifyingContract: text("verifyingContract"), Salt: text("salt"),
	}
	if id, ok := domain["chainId"].(*big.Int); ok {
		d.ChainId = (*math.HexOrDecimal256)(new(big.Int).Set(id))
	}
	return d
}

// Hash is the digest to sign: keccak256("\x19\x01" ‖ domain ‖ message).
func (td *TypedData) Hash() (common.Hash, error) {
	// The encoder reads the domain from its argument, but refuses to encode
	// anything while this struct is empty, which EIP-712 allows.
	encoder := apitypes.TypedData{Types: td.Data.Types, Domain: apitypes.TypedDataDomain{Name: "unused"}}
	domain, err := encoder.HashStruct(domainType, td.domain)
	if err != nil {
		return common.Hash{}, fmt.Errorf("hash the domain: %w", err)
	}
	message, err := encoder.HashStruct(td.Data.PrimaryType, td.Data.Message)
	if err != nil {
		return common.Hash{}, fmt.Errorf("hash the message: %w", err)
	}
	return crypto.Keccak256Hash([]byte("\x19\x01"), domain, message), nil
}

// CheckChain refuses a document whose domain names another chain, with a
// *[ChainError]. A domain without chainId binds to no chain and passes.
func (td *TypedData) CheckChain(chainID *big.Int) error {
	id, ok := td.domain["chainId"].(*big.Int)
	if ok && id.Cmp(chainID) != 0 {
		return &ChainError{Got: id, Want: chainID}
	}
	return nil
}

// CheckV3 refuses what eth_signTypedData_v3 cannot sign: arrays.
func (td *TypedData) CheckV3() error {
	if td.arrays {
		return argErr("types", "eth_signTypedData_v3 has no arrays; use eth_signTypedData_v4")
	}
	return nil
}

var (
	// typeName allows the colon that some exchanges use as a name space; no
	// name may hold what separates names in the encoding of types.
	typeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_:]*$`)
	// fieldType is narrower, as go-ethereum's encoder wants it.
	fieldType  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	memberName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)
	arraySpec  = regexp.MustCompile(`^(\[([1-9][0-9]{0,4})?\])*$`)
	sized      = regexp.MustCompile(`^(u?int|bytes)([1-9][0-9]*)$`)
)

// primitive reports whether name is an atomic or dynamic type of EIP-712.
func primitive(name string) bool {
	switch name {
	case "address", "bool", "string", "bytes", "int", "uint":
		return true
	}
	m := sized.FindStringSubmatch(name)
	if m == nil || len(m[2]) > 3 {
		return false
	}
	n := 0
	for _, c := range m[2] {
		n = n*10 + int(c-'0')
	}
	if m[1] == "bytes" {
		return n <= 32
	}
	return n <= 256 && n%8 == 0
}

// looksPrimitive keeps struct types from taking the name of a type that
// somebody might read as built in, such as uint7.
func looksPrimitive(name string) bool { return primitive(name) || sized.MatchString(name) }

func parseTypes(v strictjson.Value) (apitypes.Types, error) {
	if v.Kind != strictjson.Object {
		return nil, argErr("types", "want an object with the type definitions, got %s", v.Kind)
	}
	if len(v.Members) > maxTypes {
		return nil, argErr("types", "%d types exceed the limit of %d", len(v.Members), maxTypes)
	}
	types := make(apitypes.Types, len(v.Members))
	size := 0
	for _, m := range v.Members {
		path := "types." + excerpt(m.Name)
		if !typeName.MatchString(m.Name) || looksPrimitive(m.Name) {
			return nil, argErr(path, "%q cannot be the name of a struct type", excerpt(m.Name))
		}
		fields, n, err := parseFields(path, m.Value)
		if err != nil {
			return nil, err
		}
		types[m.Name] = fields
		if size += len(m.Name) + n; size > maxTypeText {
			return nil, argErr("types", "the definitions exceed the limit of %d bytes", maxTypeText)
		}
	}
	if types[domainType] == nil {
		return nil, argErr("types", "%s is missing; list the fields of the domain there", domainType)
	}
	return types, checkTypes(types)
}

func parseFields(path string, v strictjson.Value) ([]apitypes.Type, int, error) {
	if v.Kind != strictjson.Array {
		return nil, 0, argErr(path, "want an array of {name, type}, got %s", v.Kind)
	}
	if len(v.Elems) > maxFields {
		return nil, 0, argErr(path, "%d fields exceed the limit of %d", len(v.Elems), maxFields)
	}
	fields := make([]apitypes.Type, 0, len(v.Elems)) // not nil: go-ethereum takes a nil list for an undefined type
	seen := map[string]bool{}
	size := 0
	for i, e := range v.Elems {
		at := fmt.Sprintf("%s[%d]", path, i)
		if e.Kind != strictjson.Object {
			return nil, 0, argErr(at, "want an object {name, type}, got %s", e.Kind)
		}
		for _, m := range e.Members {
			if m.Name != "name" && m.Name != "type" {
				return nil, 0, argErr(at+"."+excerpt(m.Name), "unknown field; want name and type")
			}
		}
		name, typ := e.Get("name"), e.Get("type")
		switch {
		case name.Kind != strictjson.String || !memberName.MatchString(name.Text):
			return nil, 0, argErr(at+".name", "want an identifier, got %s", show(name))
		case typ.Kind != strictjson.String:
			return nil, 0, argErr(at+".type", "want the name of a type, got %s", show(typ))
		case seen[name.Text]:
			return nil, 0, argErr(at+".name", "%q is listed twice", excerpt(name.Text))
		}
		seen[name.Text] = true
		size += len(name.Text) + len(typ.Text)
		fields = append(fields, apitypes.Type{Name: name.Text, Type: typ.Text})
	}
	return fields, size, nil
}

// show quotes a string and names any other kind.
func show(v strictjson.Value) string {
	if v.Kind == strictjson.String {
		return fmt.Sprintf("%q", excerpt(v.Text))
	}
	return v.Kind.String()
}

// baseOf splits "Person[2][]" into "Person" and "[2][]".
func baseOf(typ string) (base, dims string) {
	if i := strings.IndexByte(typ, '['); i >= 0 {
		return typ[:i], typ[i:]
	}
	return typ, ""
}

// checkTypes makes sure that every type is defined and none contains itself.
func checkTypes(types apitypes.Types) error {
	names := slices.Sorted(maps.Keys(types)) // so that the same document gets the same error
	for _, name := range names {
		for i, f := range types[name] {
			at := fmt.Sprintf("types.%s[%d].type", name, i)
			base, dims := baseOf(f.Type)
			if !primitive(base) && types[base] == nil {
				return argErr(at, "type %q is not defined", excerpt(f.Type))
			}
			if !primitive(base) && !fieldType.MatchString(base) {
				return argErr(at, "%q can be a primaryType, but not the type of a field", excerpt(base))
			}
			if !arraySpec.MatchString(dims) {
				return argErr(at, "%q is not a type", excerpt(f.Type))
			}
			if name == domainType {
				if err := checkDomainField(at, f); err != nil {
					return err
				}
			}
		}
	}
	done := map[string]bool{}
	for _, name := range names {
		if err := acyclic(types, name, map[string]bool{}, done); err != nil {
			return err
		}
	}
	return nil
}

func checkDomainField(at string, f apitypes.Type) error {
	switch f.Name {
	case "name", "version", "verifyingContract", "salt":
		if primitive(f.Type) {
			return nil
		}
	case "chainId":
		if strings.HasPrefix(f.Type, "uint") && primitive(f.Type) {
			return nil
		}
		return argErr(at, "the domain's chainId must be a uint256, not %q", excerpt(f.Type))
	}
	return argErr(at, "the domain has no field %q of type %q (EIP-712: name, version, chainId, verifyingContract, salt)", excerpt(f.Name), excerpt(f.Type))
}

// acyclic refuses types that contain themselves, of which wallets make
// different digests. Depth is bounded by the number of types.
func acyclic(types apitypes.Types, name string, above, done map[string]bool) error {
	if done[name] {
		return nil
	}
	if above[name] {
		return argErr("types."+excerpt(name), "the type contains itself; recursive types are not supported")
	}
	above[name] = true
	for _, f := range types[name] {
		base, _ := baseOf(f.Type)
		if types[base] != nil {
			if err := acyclic(types, base, above, done); err != nil {
				return err
			}
		}
	}
	delete(above, name)
	done[name] = true
	return nil
}
