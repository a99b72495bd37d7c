// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// ether is an amount of wei for people: exact, without trailing zeros.
func ether(wei string) string {
	n, ok := new(big.Int).SetString(wei, 10)
	if !ok {
		return ""
	}
	whole, rest := new(big.Int).QuoRem(n, big.NewInt(1e18), new(big.Int))
	if rest.Sign() == 0 {
		return whole.String()
	}
	fraction := rest.String()
	fraction = strings.Repeat("0", 18-len(fraction)) + fraction
	return whole.String() + "." + strings.TrimRight(fraction, "0")
}

func nonceText(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}

// age is how long ago t was, in the largest unit.
func age(t, now time.Time) string {
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}
