// SPDX-License-Identifier: Apache-2.0

package freeze

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// Kind says how far a freeze reaches.
type Kind string

// The kinds of scope.
const (
	Everything Kind = "everything" // the whole deployment
	Membership Kind = "membership" // all wallets of Scope.Owner.Membership
	Wallet     Kind = "wallet"     // all accounts of Scope.Owner.Wallet
	Account    Kind = "account"    // Scope.Account in Scope.Owner.Wallet, and in every other wallet of its membership
)

// Scope is what a freeze stops.
type Scope struct {
	Kind Kind
	// Owner names the membership or the wallet (by its name, as in
	// policy.Owner.Wallet); of an account both, since two wallets may have one key.
	// The rest of it stands in the audit trail only.
	Owner   policy.Owner
	Account common.Address // of Account
}

// String is the scope as it is shown: everything, membership:<id>,
// wallet:<name> or account:<wallet>:<address>.
func (s Scope) String() string {
	switch s.Kind {
	case Membership:
		return "membership:" + s.Owner.Membership
	case Wallet:
		return "wallet:" + s.Owner.Wallet
	case Account:
		return "account:" + s.Owner.Wallet + ":" + strings.ToLower(s.Account.Hex())
	}
	return string(s.Kind)
}

// stored is the scope as table frozen has it: that of an account tells the
// membership as well, behind an @.
func (s Scope) stored() string {
	if s.Kind == Account && s.Owner.Membership != "" {
		return s.String() + "@" + s.Owner.Membership
	}
	return s.String()
}

// ParseScope reads what [Scope.String] writes, and what is stored; the address may
// have any case.
func ParseScope(text string) (Scope, error) {
	kind, rest, _ := strings.Cut(text, ":")
	s := Scope{Kind: Kind(kind)}
	switch s.Kind {
	case Everything:
		if text != string(Everything) {
			return Scope{}, fmt.Errorf("scope %q: everything has no name behind it", text)
		}
	case Membership:
		s.Owner.Membership = rest
	case Wallet:
		s.Owner.Wallet = rest
	case Account:
		at := strings.LastIndexByte(rest, ':') // neither an address nor a membership has one
		if at >= 0 {
			var address string
			address, s.Owner.Membership, _ = strings.Cut(rest[at+1:], "@")
			rest = rest[:at+1] + address
		}
		if at < 0 || !common.IsHexAddress(rest[at+1:]) {
			return Scope{}, fmt.Errorf("scope %q: want account:<wallet>:<address>", text)
		}
		s.Owner.Wallet, s.Account = rest[:at], common.HexToAddress(rest[at+1:])
	}
	if err := s.check(); err != nil {
		return Scope{}, fmt.Errorf("scope %q: %w", text, err)
	}
	return s, nil
}

func (s Scope) check() error {
	switch s.Kind {
	case Everything:
		return nil
	case Membership:
		if s.Owner.Membership == "" {
			return errors.New("a membership is needed: membership:<id>")
		}
	case Wallet:
		if s.Owner.Wallet == "" {
			return errors.New("a wallet is needed: wallet:<name>")
		}
	case Account:
		if s.Owner.Wallet == "" || s.Account == (common.Address{}) {
			return errors.New("a wallet and an address are needed: account:<wallet>:<address>")
		}
	default:
		return fmt.Errorf("there is no scope of kind %q: want everything, membership:<id>, wallet:<name> or account:<wallet>:<address>", s.Kind)
	}
	return nil
}
