// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// movement is an amount that a request moves, or lets somebody else move.
type movement struct {
	scope  movementScope
	token  common.Address // of oneToken
	amount *big.Int       // nil: unlimited, or not to be known
	pieces *big.Int       // where the token's amounts are ids (ERC-721): how many; nil: unlimited
}

// movementScope says what of a movement is.
type movementScope uint8

const (
	native     movementScope = iota
	oneToken                 // of token
	someToken                // of a token that cannot be told: every limit on tokens counts it
	everything               // of anything at all: every limit counts it
)

// movements is what the request moves, read once for all limits.
func (f *facts) movements() []movement {
	if f.moved {
		return f.moves
	}
	f.moved = true
	switch {
	case f.req.Transaction != nil:
		f.moves = f.transfers()
	case f.req.TypedData != nil:
		f.moves = f.permits()
	}
	return f.moves
}

func (f *facts) transfers() []movement {
	moves := []movement{{scope: native, amount: f.value, pieces: f.value}}
	selector, ok := f.selector()
	if !ok || f.to == nil {
		return moves
	}
	// Calldata to an account itself does something only if the account has been
	// delegated to code (EIP-7702), and then that code may do anything in its name.
	if *f.to == f.req.Account {
		return append(moves, movement{scope: everything})
	}
	for _, m := range tokenMethods()[selector] {
		var args value
		if args, ok = f.arguments(m.method); ok {
			return append(moves, m.moves(*f.to, args)...)
		}
		moves = append(moves, movement{scope: m.unreadable, token: *f.to})
	}
	return moves
}

// moved is a movement of an amount that is also the number of pieces.
func moved(token common.Address, n *big.Int) movement {
	return movement{scope: oneToken, token: token, amount: n, pieces: n}
}

// unlimited is a permission without end.
func unlimited(token common.Address) movement { return movement{scope: oneToken, token: token} }

// allowance is what somebody may take who is given a permission for n: contracts
// take the largest value of the type for "without end".
func allowance(token common.Address, n value) movement {
	amount := n.uint()
	if new(big.Int).Add(amount, big.NewInt(1)).BitLen() > n.typ.size {
		return unlimited(token)
	}
	return moved(token, amount)
}
