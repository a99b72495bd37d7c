// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// permits is what typed data lets somebody take: ERC-2612, DAI, ERC-4494, ERC-3009
// and Permit2, by the names and types of their members, in any order. What looks
// like a permission but is none of these counts as unlimited, for any token. What
// does not look like one counts nothing: limits see through no other protocol.
func (f *facts) permits() []movement {
	td := f.req.TypedData
	v := f.message()
	token, bound := verifyingContract(td)
	one := func(m movement) []movement {
		if !bound && (m.amount == nil || m.amount.Sign() > 0) {
			return []movement{{scope: someToken}}
		}
		return []movement{m}
	}
	s := shapeOf(td, td.PrimaryType)
	switch td.PrimaryType {
	case "Permit":
		switch {
		case s.is("owner address", "spender address", "value uint256", "nonce uint256", "deadline uint256"):
			return one(allowanceOf(token, v, "value"))
		case s.is("holder address", "spender address", "nonce uint256", "expiry uint256", "allowed bool"):
			allowed, ok := v.member("allowed")
			if ok && allowed.typ.kind == kindBool && !allowed.bool() {
				return nil
			}
			return one(unlimited(token))
		case s.is("spender address", "tokenId uint256", "nonce uint256", "deadline uint256"):
			return one(moved(token, big.NewInt(1)))
		}
	case "TransferWithAuthorization", "ReceiveWithAuthorization":
		if s.is("from address", "to address", "value uint256", "validAfter uint256", "validBefore uint256", "nonce bytes32") {
			return one(allowanceOf(token, v, "value"))
		}
	case "PermitSingle", "PermitBatch":
		if s.is("details PermitDetails", "spender address", "sigDeadline uint256") ||
			s.is("details PermitDetails[]", "spender address", "sigDeadline uint256") {
			if shapeOf(td, "PermitDetails").is("token address", "amount uint160", "expiration uint48", "nonce uint48") {
				return details(v, "details")
			}
		}
	case "PermitTransferFrom", "PermitBatchTransferFrom", "PermitWitnessTransferFrom", "PermitBatchWitnessTransferFrom":
		if s.isPermitTransfer(td) && shapeOf(td, "TokenPermissions").is("token address", "amount uint256") {
			return details(v, "permitted")
		}
	}
	if permissive(td, td.PrimaryType, map[string]bool{}) {
		return []movement{{scope: someToken}}
	}
	return nil
}

// isPermitTransfer allows a witness: one more member of any type.
func (s shape) isPermitTransfer(td *apitypes.TypedData) bool {
	for _, permitted := range []string{"permitted TokenPermissions", "permitted TokenPermissions[]"} {
		want := []string{permitted, "spender address", "nonce uint256", "deadline uint256"}
		if s.has(want...) && (len(s) == len(want) || len(s) == len(want)+1 && strings.Contains(td.PrimaryType, "Witness")) {
			return true
		}
	}
	return false
}

// details is one movement for each permission of Permit2, which names its token.
func details(v value, name string) []movement {
	list, _ := v.member(name)
	entries := []value{list}
	if list.typ != nil && list.typ.kind == kindArray {
		entries = list.kids
	}
	var moves []movement
	for _, e := range entries {
		token, ok := e.member("token")
		if !ok || token.typ.kind != kindAddress {
			moves = append(moves, movement{scope: someToken})
			continue
		}
		moves = append(moves, allowanceOf(token.address(), e, "amount"))
	}
	return moves
}

// allowanceOf is the permission for the amount in a member; if it cannot be read,
// without end.
func allowanceOf(token common.Address, v value, name string) movement {
	n, ok := v.member(name)
	if !ok || n.typ.kind != kindUint {
		return unlimited(token)
	}
	return allowance(token, n)
}

// shape is the members of a type, as "name type", without their order.
type shape map[string]bool

func shapeOf(td *apitypes.TypedData, name string) shape {
	s := shape{}
	for _, f := range td.Types[name] {
		s[f.Name+" "+f.Type] = true
	}
	return s
}

func (s shape) has(members ...string) bool {
	for _, m := range members {
		if !s[m] {
			return false
		}
	}
	return true
}

func (s shape) is(members ...string) bool { return len(s) == len(members) && s.has(members...) }

// permissive reports whether a type, or one within it, looks like a permission to
// take tokens: by its name, by a member for whom the permission is, or by one that is a
// call which others make in the signer's name (a meta-transaction).
func permissive(td *apitypes.TypedData, name string, seen map[string]bool) bool {
	if seen[name] {
		return false
	}
	seen[name] = true
	for _, word := range []string{"permit", "approv", "allowance", "withauthorization", "metatransaction", "forwardrequest"} {
		if strings.Contains(strings.ToLower(name), word) {
			return true
		}
	}
	for _, f := range td.Types[name] {
		switch strings.ToLower(strings.Trim(f.Name, "_")) {
		case "spender", "operator", "approved", "allowed", "functionsignature":
			return true
		}
		base, _, _ := strings.Cut(f.Type, "[")
		if td.Types[base] != nil && permissive(td, base, seen) {
			return true
		}
	}
	return false
}
