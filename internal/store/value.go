// SPDX-License-Identifier: Apache-2.0

package store

import (
	"database/sql"
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// The columns' types and ours. Zero times, zero hashes and nil amounts are
// NULL, since 32 bytes of nothing in every row would cost room.

func timeArg(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func timeOf(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMicro(v.Int64).UTC()
}

func hashArg(h common.Hash) any {
	if h == (common.Hash{}) {
		return nil
	}
	return h.Bytes()
}

func boolArg(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// uintArg refuses what BIGINT cannot hold. EIP-2681 ends nonces at 2⁶⁴−2, but
// no account will ever have sent 2⁶³ transactions.
func uintArg(what string, n uint64) (any, error) {
	if n > math.MaxInt64 {
		return nil, fmt.Errorf("store: %s %d is above 2^63-1", what, n)
	}
	return int64(n), nil
}

func nonceArg(n *uint64) (any, error) {
	if n == nil {
		return nil, nil
	}
	return uintArg("nonce", *n)
}

func bigArg(n *big.Int) any {
	if n == nil {
		return nil
	}
	return n.String()
}

func bigOf(v sql.NullString) (*big.Int, error) {
	if !v.Valid {
		return nil, nil
	}
	n, ok := new(big.Int).SetString(v.String, 10)
	if !ok {
		return nil, fmt.Errorf("amount is not a decimal number")
	}
	return n, nil
}
