// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// typedRule is what a rule wants of typed data. A domain that leaves a field out is
// bound to no name, chain or contract: whether it is one of those that a rule lists
// cannot be known.
type typedRule struct {
	names, versions []string
	contracts       []common.Address
	chains          []*big.Int
	primary         []string // names, or whole encodings of types
	members         []memberTest
}

func (t *typedRule) holds(f *facts) outcome {
	td := f.req.TypedData
	o := known(true)
	if t.primary != nil {
		o = known(slices.ContainsFunc(t.primary, func(p string) bool { return isType(td, p) }))
	}
	if t.names != nil {
		o = o.and(domainText(td, "name", td.Domain.Name, t.names))
	}
	if t.versions != nil {
		o = o.and(domainText(td, "version", td.Domain.Version, t.versions))
	}
	if t.contracts != nil {
		o = o.and(t.contract(td))
	}
	if t.chains != nil {
		o = o.and(t.chain(td))
	}
	for i := range t.members {
		if !o.possibly {
			return o
		}
		o = o.and(t.members[i].holds(f.message()))
	}
	return o
}

// isType reports whether p names the message's type: by name, or with all its
// members and those of the types within, as EIP-712 encodes types.
func isType(td *apitypes.TypedData, p string) bool {
	if !strings.Contains(p, "(") {
		return p == td.PrimaryType
	}
	return strings.HasPrefix(p, td.PrimaryType+"(") && p == string(td.EncodeType(td.PrimaryType))
}

// domainHas reports whether the domain has a field of the type that EIP-712 gives it.
// Of another type, it makes another domain.
func domainHas(td *apitypes.TypedData, name, typ string) bool {
	return slices.Contains(td.Types["EIP712Domain"], apitypes.Type{Name: name, Type: typ})
}

func domainText(td *apitypes.TypedData, name, got string, want []string) outcome {
	if !domainHas(td, name, "string") {
		return unknown
	}
	return known(slices.Contains(want, got))
}

// verifyingContract is the contract that the domain is bound to, if it is.
func verifyingContract(td *apitypes.TypedData) (common.Address, bool) {
	if !domainHas(td, "verifyingContract", "address") {
		return common.Address{}, false
	}
	v := typedBytes(&argType{kind: kindAddress}, td.Domain.VerifyingContract)
	return v.address(), v.typ.kind == kindAddress
}

func (t *typedRule) contract(td *apitypes.TypedData) outcome {
	got, ok := verifyingContract(td)
	if !ok {
		return unknown
	}
	return known(slices.Contains(t.contracts, got))
}

func (t *typedRule) chain(td *apitypes.TypedData) outcome {
	id := (*big.Int)(td.Domain.ChainId)
	if !domainHas(td, "chainId", "uint256") || id == nil {
		return unknown
	}
	return known(slices.ContainsFunc(t.chains, func(c *big.Int) bool { return c.Cmp(id) == 0 }))
}

func (t *typedRule) saw(f *facts) string {
	td := f.req.TypedData
	contract := "no contract"
	if a, ok := verifyingContract(td); ok {
		contract = a.Hex()
	}
	s := "type " + short(td.PrimaryType) + ", domain " + short(td.Domain.Name) + " for " + contract
	for i := range t.members {
		if o := t.members[i].holds(f.message()); !o.surely {
			s += "; member " + t.members[i].path + " is not as wanted"
		}
	}
	return s
}

// short keeps what a caller wrote from filling a page.
func short(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:57], "") + "…"
	}
	return `"` + s + `"`
}
