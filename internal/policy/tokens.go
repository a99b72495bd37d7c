// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"sync"

	"github.com/ethereum/go-ethereum/common"
)

// tokenMethod is a method of a token that moves tokens, or lets others move them.
type tokenMethod struct {
	method     *method
	unreadable movementScope // what it counts as if its arguments cannot be read
	moves      func(token common.Address, args value) []movement
}

// tokenMethods are the methods that limits count, by their selectors: of ERC-20
// and its additions (677, 777, 1363), ERC-721, ERC-1155, old tokens of DSToken's
// kind, ERC-4626, ERC-6909, and Permit2. What only takes a permission back is not there: it counts
// nothing. Neither are deposits of others' permits.
var tokenMethods = sync.OnceValue(func() map[[4]byte][]tokenMethod {
	all := map[[4]byte][]tokenMethod{}
	add := func(scope movementScope, moves func(common.Address, value) []movement, signatures ...string) {
		for _, s := range signatures {
			m, err := parseMethod(s)
			if err != nil {
				panic("policy: " + s + ": " + err.Error()) // a test has read them all
			}
			all[m.selector] = append(all[m.selector], tokenMethod{m, scope, moves})
		}
	}
	add(oneToken, transferred,
		"transfer(address to, uint256 amount)",
		"transferFrom(address from, address to, uint256 amount)", // ERC-721 too, with the id as amount
		"transferAndCall(address to, uint256 amount)",
		"transferAndCall(address to, uint256 amount, bytes data)",
		"transferFromAndCall(address from, address to, uint256 amount)",
		"transferFromAndCall(address from, address to, uint256 amount, bytes data)",
		"send(address to, uint256 amount, bytes data)",
		"operatorSend(address from, address to, uint256 amount, bytes data, bytes operatorData)",
		"burn(uint256 amount)",
		"burn(uint256 amount, bytes data)",
		"burn(address from, uint256 amount)",
		"burnFrom(address from, uint256 amount)",
		"operatorBurn(address from, uint256 amount, bytes data, bytes operatorData)",
		"push(address to, uint256 amount)",
		"pull(address from, uint256 amount)",
		"move(address from, address to, uint256 amount)",
		"redeem(uint256 amount, address receiver, address owner)", // shares of a vault, ERC-4626
	)
	add(oneToken, approved,
		"approve(address spender, uint256 amount)", // ERC-721 too, with the id as amount
		"increaseAllowance(address spender, uint256 amount)",
		"increaseApproval(address spender, uint256 amount)",
		"safeApprove(address spender, uint256 amount)",
		"safeIncreaseAllowance(address spender, uint256 amount)",
		"approveAndCall(address spender, uint256 amount)",
		"approveAndCall(address spender, uint256 amount, bytes data)",
	)
	add(oneToken, withoutEnd,
		"approve(address spender)",
		"authorizeOperator(address operator)",
		"withdraw(uint256 assets, address receiver, address owner)", // how many shares that is, only the vault knows
		"multicall(bytes[] calls)",                                  // of the token itself: any of its methods
	)
	add(oneToken, forAll,
		"setApprovalForAll(address operator, bool approved)",
		"setOperator(address operator, bool approved)",
	)
	add(oneToken, onePiece,
		"safeTransferFrom(address from, address to, uint256 id)",
		"safeTransferFrom(address from, address to, uint256 id, bytes data)",
	)
	add(oneToken, somePieces,
		"safeTransferFrom(address from, address to, uint256 id, uint256 amount, bytes data)",
		"safeBatchTransferFrom(address from, address to, uint256[] ids, uint256[] amount, bytes data)",
		"burn(address from, uint256 id, uint256 amount)",
		"burnBatch(address from, uint256[] ids, uint256[] amount)",
		"transfer(address to, uint256 id, uint256 amount)", // ERC-6909, as the next two
		"transferFrom(address from, address to, uint256 id, uint256 amount)",
	)
	add(oneToken, approvedPieces, "approve(address spender, uint256 id, uint256 amount)")
	add(someToken, permit2,
		"approve(address token, address spender, uint160 amount, uint48 expiration)",
		"transferFrom(address from, address to, uint160 amount, address token)",
	)
	add(someToken, permit2Batch,
		"transferFrom((address from, address to, uint160 amount, address token)[] transfers)")
	return all
})

func member(v value, name string) value {
	m, _ := v.member(name)
	return m
}

// onePieceOf counts one piece whatever the number says, since with ERC-721 it is an
// id, and may be 0.
func onePieceOf(m movement) []movement {
	m.pieces = big.NewInt(1)
	return []movement{m}
}

func transferred(token common.Address, args value) []movement {
	return onePieceOf(moved(token, member(args, "amount").uint()))
}

func approved(token common.Address, args value) []movement {
	return onePieceOf(allowance(token, member(args, "amount")))
}

func withoutEnd(token common.Address, _ value) []movement { return []movement{unlimited(token)} }

func forAll(token common.Address, args value) []movement {
	if !member(args, "approved").bool() {
		return nil
	}
	return []movement{unlimited(token)}
}

func onePiece(token common.Address, _ value) []movement {
	return []movement{moved(token, big.NewInt(1))}
}

func somePieces(token common.Address, args value) []movement {
	amount, sum := member(args, "amount"), new(big.Int)
	if amount.typ.kind != kindArray {
		return []movement{moved(token, amount.uint())}
	}
	for _, n := range amount.kids {
		sum.Add(sum, n.uint())
	}
	return []movement{moved(token, sum)}
}

func approvedPieces(token common.Address, args value) []movement {
	return []movement{allowance(token, member(args, "amount"))}
}

func permit2(_ common.Address, args value) []movement {
	return []movement{allowance(member(args, "token").address(), member(args, "amount"))}
}

func permit2Batch(_ common.Address, args value) []movement {
	var moves []movement
	for _, t := range member(args, "transfers").kids {
		moves = append(moves, permit2(common.Address{}, t)...)
	}
	return moves
}
