// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// OriginFilter says whose transactions are listed that came in by the gateway.
type OriginFilter struct {
	Wallet     string
	Credential string
	From       *common.Address // of one account; nil for all
	Before     string          // id; only rows with a smaller id (older), for paging
	Since      time.Time       // zero: however old
	Limit      int             // default 50, at most 1000
}

// Origins lists transactions that came in by the gateway, newest id first.
func (db *DB) Origins(ctx context.Context, f OriginFilter) ([]Tx, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	args := []any{f.Wallet, f.Credential}
	text := `SELECT ` + txColumns + ` FROM tx t WHERE t.wallet = $1 AND t.credential = $2 AND t.origin <> ''`
	add := func(cond string, arg any) {
		args = append(args, arg)
		text += cond + "$" + string(rune('0'+len(args)))
	}
	if f.Before != "" {
		add(` AND t.id < `, f.Before)
	}
	if !f.Since.IsZero() {
		add(` AND t.created >= `, f.Since.UnixMicro())
	}
	if f.From != nil {
		add(` AND t.sender IN (SELECT s.id FROM sender s WHERE s.address = `, f.From.Bytes())
		text += ")"
	}
	add(` ORDER BY t.id DESC LIMIT `, int64(min(limit, maxLimit)))
	return collect(r, scanTx, "list what came in by the gateway", text, args...)
}
