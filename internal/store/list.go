// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// The limits of a List.
const (
	defaultLimit = 50
	maxLimit     = 1000
)

// List returns transactions, newest id first. Lists of all, of a wallet, of a
// sender, of an address and of states read about as many rows as they return.
// A combination may read further: those of a state that few rows have (any but
// Confirmed) read all rows in that state, others all of the sender or wallet. An
// id, a hash, a key and a nonce of one sender or address are looked up; a nonce of
// whomever asks each account of the wallet.
func (db *DB) List(ctx context.Context, f TxFilter) ([]Tx, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	l := lister{filter: f, limit: min(limit, maxLimit)}
	if f.Sender != "" {
		l.senders = []string{f.Sender}
	}
	if f.Address != (common.Address{}) {
		ids, err := collect(r, scanString, "find senders of "+f.Address.Hex(), `SELECT id FROM sender WHERE address = $1 ORDER BY id`, f.Address.Bytes())
		if err != nil {
			return nil, err
		}
		if f.Sender != "" && !slices.Contains(ids, f.Sender) {
			return nil, nil
		}
		if f.Sender == "" {
			l.senders = ids
		}
		if len(ids) == 0 {
			return nil, nil
		}
	}
	return collect(r, scanTx, "list transactions", l.text(), l.args...)
}

func (l *lister) text() string {
	if l.filter.searches() {
		return l.search()
	}
	return `SELECT ` + txColumns + ` FROM tx t WHERE t.id IN (` + l.parts() + `) ORDER BY t.id DESC LIMIT ` + l.arg(l.limit)
}

// lister builds a list as the union of parts, each of which one index serves in
// the order of the list, so that each stops at the limit.
type lister struct {
	filter  TxFilter
	senders []string
	limit   int
	args    []any
}

func (l *lister) arg(value any) string {
	l.args = append(l.args, value)
	return "$" + strconv.Itoa(len(l.args))
}

func (l *lister) parts() string {
	var parts []string
	add := func(id string, conds ...string) {
		if l.filter.Before != "" {
			conds = append(conds, id+" < "+l.arg(l.filter.Before))
		}
		text := "SELECT t.id FROM tx t"
		if len(conds) > 0 {
			text += " WHERE " + strings.Join(conds, " AND ")
		}
		text += " ORDER BY " + id + " DESC LIMIT " + l.arg(l.limit)
		// SQLite takes no LIMIT in a part of a UNION but inside of brackets.
		parts = append(parts, "SELECT id FROM ("+text+") AS p"+strconv.Itoa(len(parts)))
	}
	final, open := splitFinal(l.filter.States)
	all := len(l.filter.States) == 0
	rare := !slices.Contains(final, Confirmed)
	switch {
	case len(l.senders) == 0 && all:
		add("t.id", l.wallet()...)
	case len(l.senders) == 0 && !rare && l.filter.Wallet != "":
		add("t.id", append(l.wallet(), l.in("t.state || ''", stringArgs(l.filter.States)))...)
		return parts[0]
	case len(l.senders) == 0 || !all && rare:
		for _, state := range final {
			conds := append([]string{"t.final = 1", "t.ended = " + l.arg(string(state))}, l.unindexed()...)
			if len(l.senders) > 0 {
				conds = append(conds, l.in("t.sender || ''", stringArgs(l.senders)))
			}
			add("t.id", conds...)
		}
	default:
		for _, id := range l.senders {
			conds := append([]string{"t.final = 1", "t.sender = " + l.arg(id)}, l.unindexed()...)
			if !all {
				conds = append(conds, l.in("t.state || ''", stringArgs(final)))
			}
			add("t.id", conds...)
		}
	}
	if len(open) > 0 || all && len(l.senders) > 0 {
		conds := append([]string{"t.final = 0"}, l.unindexed()...)
		if len(l.senders) > 0 {
			conds = append(conds, l.in("t.sender", stringArgs(l.senders)))
		} else {
			conds = append(conds, "t.sender > ''") // all; so that the planner sees what tx_open is good for
		}
		if !all {
			conds = append(conds, l.in("t.state || ''", stringArgs(open)))
		}
		add("t.id || ''", conds...)
	}
	return strings.Join(parts, " UNION ALL ")
}

func (l *lister) wallet() []string {
	if l.filter.Wallet == "" {
		return nil
	}
	return []string{"t.wallet = " + l.arg(l.filter.Wallet)}
}

// unindexed filters by wallet in a part that another index serves better: an
// expression keeps the planner from that of the wallet.
func (l *lister) unindexed() []string {
	if l.filter.Wallet == "" {
		return nil
	}
	return []string{"t.wallet || '' = " + l.arg(l.filter.Wallet)}
}

func (l *lister) in(column string, values []any) string {
	marks := make([]string, len(values))
	for i, v := range values {
		marks[i] = l.arg(v)
	}
	return column + " IN (" + strings.Join(marks, ", ") + ")"
}

func splitFinal(states []TxState) (final, open []TxState) {
	for _, s := range states {
		if s.Final() {
			final = append(final, s)
		} else {
			open = append(open, s)
		}
	}
	return final, open
}
