// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// defaultFund is 10,000 ether, in wei.
func defaultFund() *big.Int {
	return new(big.Int).Mul(big.NewInt(10_000), big.NewInt(1e18))
}

// parseFund reads 0xaddress[=ether].
func parseFund(s string) (common.Address, *big.Int, error) {
	text, amount, given := strings.Cut(s, "=")
	if !strings.HasPrefix(text, "0x") || !common.IsHexAddress(text) {
		return common.Address{}, nil, errors.New("want 0x and 40 hexadecimal digits, then perhaps = and an amount of ether")
	}
	wei := defaultFund()
	if given {
		var err error
		if wei, err = parseEther(amount); err != nil {
			return common.Address{}, nil, err
		}
	}
	return common.HexToAddress(text), wei, nil
}

// parseEther turns a decimal amount of ether into wei, exactly.
func parseEther(s string) (*big.Int, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) > 18 {
		return nil, errors.New("the amount has more than 18 digits after the point")
	}
	digits := whole + fraction + strings.Repeat("0", 18-len(fraction))
	if whole == "" || strings.Trim(digits, "0123456789") != "" {
		return nil, errors.New("the amount must be a decimal number of ether, such as 1.5")
	}
	wei, ok := new(big.Int).SetString(digits, 10)
	if !ok || wei.BitLen() > 200 { // leaves room for sums
		return nil, errors.New("the amount is too large")
	}
	return wei, nil
}
