// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// searches reports whether the filter asks for what only few rows have: those are
// found first, by an index of their own, and then held against the rest of it.
func (f *TxFilter) searches() bool {
	return f.ID != "" || f.Hash != (common.Hash{}) || f.Nonce != nil || f.Key != ""
}

// search is the whole text of a list by id, hash, key or nonce.
func (l *lister) search() string {
	f := &l.filter
	var conds []string
	if f.ID != "" {
		conds = append(conds, "t.id = "+l.arg(f.ID))
	}
	if f.Hash != (common.Hash{}) {
		conds = append(conds, "t.id IN (SELECT a.tx FROM attempt a WHERE a.hash = "+l.arg(f.Hash.Bytes())+")")
	}
	if f.Key != "" {
		conds = append(conds, "t.id IN ("+l.byKey()+")")
	}
	switch {
	case f.Nonce == nil:
	case conds != nil: // an expression, so that no plan goes by the nonce
		conds = append(conds, "t.nonce + 0 = "+l.arg(int64(*f.Nonce)))
	default:
		// Every account has had the low nonces: only as many as are shown.
		return "SELECT " + txColumns + " FROM tx t WHERE t.id IN (" + l.byNonce() + ") ORDER BY t.id DESC LIMIT " + l.arg(l.limit)
	}
	conds = append(conds, l.rest()...)
	return "SELECT " + txColumns + " FROM tx t WHERE " + strings.Join(conds, " AND ") + " ORDER BY t.id DESC LIMIT " + l.arg(l.limit)
}

// rest is what else the filter asks, without the help of an index.
func (l *lister) rest() []string {
	conds := l.unindexed()
	if l.senders != nil {
		conds = append(conds, l.in("t.sender || ''", stringArgs(l.senders)))
	}
	if len(l.filter.States) > 0 {
		conds = append(conds, l.in("t.state || ''", stringArgs(l.filter.States)))
	}
	if l.filter.Before != "" {
		conds = append(conds, "t.id || '' < "+l.arg(l.filter.Before))
	}
	return conds
}

// byNonce finds ids by the nonce. There is no index over all senders, which every
// new transaction would have to be written to: the senders are asked one by one,
// those of the wallet's accounts if they are not named. CROSS JOIN keeps SQLite to
// that order.
func (l *lister) byNonce() string {
	part := func(has string) string {
		var from string
		var conds []string
		switch {
		case l.senders != nil:
			from = "tx t"
			conds = append(conds, l.in("t.sender", stringArgs(l.senders)))
		case l.filter.Wallet != "":
			from = "account c CROSS JOIN sender s CROSS JOIN tx t"
			conds = append(conds, "c.wallet = "+l.arg(l.filter.Wallet), "s.address = c.address", "t.sender = s.id")
		default:
			from = "sender s CROSS JOIN tx t"
			conds = append(conds, "t.sender = s.id")
		}
		conds = append(conds, "t.nonce = "+l.arg(int64(*l.filter.Nonce)), has)
		conds = append(conds, l.unindexed()...)
		if len(l.filter.States) > 0 {
			conds = append(conds, l.in("t.state || ''", stringArgs(l.filter.States)))
		}
		if l.filter.Before != "" {
			conds = append(conds, "t.id || '' < "+l.arg(l.filter.Before))
		}
		return "SELECT id FROM (SELECT t.id FROM " + from + " WHERE " + strings.Join(conds, " AND ") +
			" ORDER BY t.id || '' DESC LIMIT " + l.arg(l.limit) + ") AS p"
	}
	return part("t.live = 1") + "1 UNION ALL " + part("t.live = 0 AND t.nonce IS NOT NULL") + "2"
}

// byKey finds ids by the idempotency key, whoever gave it. A key counts within its
// wallet and credential, by which the index is ordered: these queries jump along it
// from wallet to wallet and from credential to credential, so they cost as much as
// there are credentials, however many keys those have used.
func (l *lister) byKey() string {
	var wallets string
	if l.filter.Wallet != "" {
		wallets = `SELECT CAST(` + l.arg(l.filter.Wallet) + ` AS TEXT)`
	} else {
		wallets = `SELECT (SELECT i.wallet FROM idempotency i ORDER BY i.wallet LIMIT 1)
		UNION ALL
		SELECT (SELECT i.wallet FROM idempotency i WHERE i.wallet > w.wallet ORDER BY i.wallet LIMIT 1) FROM w WHERE w.wallet IS NOT NULL`
	}
	return `WITH RECURSIVE w (wallet) AS (` + wallets + `),
	c (wallet, credential) AS (
		SELECT w.wallet, (SELECT i.credential FROM idempotency i WHERE i.wallet = w.wallet ORDER BY i.credential LIMIT 1) FROM w
		UNION ALL
		SELECT c.wallet, (SELECT i.credential FROM idempotency i WHERE i.wallet = c.wallet AND i.credential > c.credential ORDER BY i.credential LIMIT 1)
		FROM c WHERE c.credential IS NOT NULL)
	SELECT i.tx FROM c CROSS JOIN idempotency i
	WHERE i.wallet = c.wallet AND i.credential = c.credential AND i.key IN (` + l.arg(l.filter.Key) + `, ` + l.arg(GatewayKey+l.filter.Key) + `)`
}
