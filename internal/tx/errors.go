// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"fmt"
	"math/big"
	"strings"
)

// ArgError says that the caller's arguments are wrong: which field, and what
// it wants. Its text holds at most a short excerpt of what the caller sent.
type ArgError struct {
	Field string // path of the field, such as "gasPrice" or "accessList[0].address"; empty for the whole
	Msg   string
}

func (e *ArgError) Error() string {
	if e.Field == "" {
		return e.Msg
	}
	return e.Field + ": " + e.Msg
}

func argErr(field, format string, args ...any) *ArgError {
	return &ArgError{Field: field, Msg: fmt.Sprintf(format, args...)}
}

// ChainError says that the caller named another chain than the wallet's.
type ChainError struct {
	Got, Want *big.Int
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("chain id %s does not match %s", e.Got, e.Want)
}

// LimitError says that a fee or an amount of gas passes what the operator or
// the chain allows.
type LimitError struct {
	Setting string // the setting that would have to change: "max_fee_per_gas" or "max_fee"; empty for a limit of the chain
	Msg     string
}

func (e *LimitError) Error() string { return e.Msg }

// excerpt shortens what the caller sent so that an error message stays one.
func excerpt(s string) string {
	const most = 48
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
