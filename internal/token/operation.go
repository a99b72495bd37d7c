// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/abi"
)

// KindOf tells by its interface whether a contract is a token: whether it has every
// method that the standard demands (EIP-20, EIP-721). What is both is neither.
func KindOf(c *abi.Contract) (Kind, bool) {
	fungible := has(c, "totalSupply()", "balanceOf(address)", "transfer(address,uint256)", "transferFrom(address,address,uint256)",
		"approve(address,uint256)", "allowance(address,address)")
	single := has(c, "balanceOf(address)", "ownerOf(uint256)", "safeTransferFrom(address,address,uint256)", "transferFrom(address,address,uint256)",
		"approve(address,uint256)", "setApprovalForAll(address,bool)", "getApproved(uint256)", "isApprovedForAll(address,address)")
	switch {
	case fungible == single:
		return "", false
	case fungible:
		return ERC20, true
	}
	return ERC721, true
}

func has(c *abi.Contract, signatures ...string) bool {
	return !slices.ContainsFunc(signatures, func(s string) bool { _, err := c.Method(s); return err != nil })
}

// Operation is something that is done with a token, whatever its contract calls it.
type Operation string

// The operations. Those from Balance on change nothing.
const (
	Mint       Operation = "mint"       // makes new tokens
	Transfer   Operation = "transfer"   // gives the signing account's, or with From another's, to somebody
	Approve    Operation = "approve"    // lets somebody else transfer
	ApproveAll Operation = "approveall" // lets somebody else transfer all, of ERC-721
	Burn       Operation = "burn"       // destroys
	Pause      Operation = "pause"
	Unpause    Operation = "unpause"

	Balance   Operation = "balance"   // how much, or how many, an account has
	Allowance Operation = "allowance" // how much of an account's somebody else may transfer, of ERC-20
	OwnerOf   Operation = "ownerof"   // whose a token is, of ERC-721
	TokenURI  Operation = "uri"       // where a token is described, of ERC-721
	Supply    Operation = "supply"    // how much there is
	Name      Operation = "name"
	Symbol    Operation = "symbol"
	Decimals  Operation = "decimals" // of ERC-20
	Paused    Operation = "paused"
	Cap       Operation = "cap"   // the most that there may be
	Owner     Operation = "owner" // who may mint and pause
)

// Field is what a caller gives for an operation.
type Field string

// The fields. Account is whom a question is about.
const (
	To      Field = "to"      // an address: who gets it, or is approved
	From    Field = "from"    // an address: whose it is; the signing account if it is not given
	Value   Field = "amount"  // how much, of ERC-20, in the smallest unit
	ID      Field = "tokenId" // which one, of ERC-721
	Flag    Field = "approved"
	Account Field = "account"
	Spender Field = "spender"
)

// shape is one way in which contracts offer an operation.
type shape struct {
	signature string
	fields    []Field // one for each argument, in its order
}

// shapes are the ways in the order in which they are tried.
var shapes = map[Kind]map[Operation][]shape{
	ERC20: {
		Mint:      {{"mint(address,uint256)", []Field{To, Value}}},
		Approve:   {{"approve(address,uint256)", []Field{To, Value}}},
		Transfer:  {{"transfer(address,uint256)", []Field{To, Value}}, {"transferFrom(address,address,uint256)", []Field{From, To, Value}}},
		Burn:      {{"burn(uint256)", []Field{Value}}, {"burnFrom(address,uint256)", []Field{From, Value}}},
		Balance:   {{"balanceOf(address)", []Field{Account}}},
		Allowance: {{"allowance(address,address)", []Field{Account, Spender}}},
		Decimals:  {{"decimals()", nil}},
		Cap:       {{"cap()", nil}},
	},
	ERC721: {
		Mint: {
			{"mint(address)", []Field{To}},
			{"safeMint(address)", []Field{To}},
			{"mint(address,uint256)", []Field{To, ID}},
			{"safeMint(address,uint256)", []Field{To, ID}},
		},
		Approve:    {{"approve(address,uint256)", []Field{To, ID}}},
		ApproveAll: {{"setApprovalForAll(address,bool)", []Field{To, Flag}}},
		Transfer:   {{"safeTransferFrom(address,address,uint256)", []Field{From, To, ID}}},
		Burn:       {{"burn(uint256)", []Field{ID}}},
		Balance:    {{"balanceOf(address)", []Field{Account}}},
		OwnerOf:    {{"ownerOf(uint256)", []Field{ID}}},
		TokenURI:   {{"tokenURI(uint256)", []Field{ID}}},
	},
}

// both are the operations that both kinds have in the same way.
var both = map[Operation][]shape{
	Pause:   {{"pause()", nil}},
	Unpause: {{"unpause()", nil}},
	Supply:  {{"totalSupply()", nil}},
	Name:    {{"name()", nil}},
	Symbol:  {{"symbol()", nil}},
	Paused:  {{"paused()", nil}},
	Owner:   {{"owner()", nil}},
}

// Way is how a contract offers an operation.
type Way struct {
	Method *abi.Method
	Fields []Field // one for each argument, in its order
}

// Ways returns how a contract of this kind offers an operation: none if it does not.
func (op Operation) Ways(k Kind, c *abi.Contract) []Way {
	list := shapes[k][op]
	if len(list) == 0 {
		list = both[op]
	}
	var found []Way
	for _, s := range list {
		if m, err := c.Method(s.signature); err == nil {
			found = append(found, Way{m, s.fields})
		}
	}
	return found
}

// Of returns the way of an operation for which exactly these fields are given. From
// counts as given where a way needs it, since the signing account stands in for it.
// The error is an [*OperationError].
func (op Operation) Of(k Kind, c *abi.Contract, given ...Field) (Way, error) {
	ways := op.Ways(k, c)
	for _, w := range ways {
		if fits(w.Fields, given, false) {
			return w, nil
		}
	}
	for _, w := range ways {
		if fits(w.Fields, given, true) {
			return w, nil
		}
	}
	return Way{}, &OperationError{Operation: op, Kind: k, ways: ways}
}

// fits reports whether the given fields are the wanted ones, without From if the
// signing account stands in.
func fits(want, given []Field, standIn bool) bool {
	for _, f := range given {
		if !slices.Contains(want, f) {
			return false
		}
	}
	for _, f := range want {
		if !slices.Contains(given, f) && (f != From || !standIn) {
			return false
		}
	}
	return true
}

// OperationError says that a token does not offer an operation, or what is to be
// given for it.
type OperationError struct {
	Operation Operation
	Kind      Kind
	ways      []Way
}

// Offered reports whether the token offers the operation at all, so that it is the
// fields that are wrong.
func (e *OperationError) Offered() bool { return len(e.ways) > 0 }

func (e *OperationError) Error() string {
	if len(e.ways) == 0 {
		return fmt.Sprintf("the token does not offer %s: its contract has no method for it", e.Operation)
	}
	var all []string
	for _, w := range e.ways {
		var names []string
		for _, f := range w.Fields {
			names = append(names, string(f))
		}
		if len(names) == 0 {
			names = []string{"nothing"}
		}
		all = append(all, strings.Join(names, ", "))
	}
	return fmt.Sprintf("%s of this token wants %s", e.Operation, strings.Join(all, "; or "))
}
