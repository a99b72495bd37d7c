// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// explain says how SQLite would carry out text.
func explain(t *testing.T, db *DB, text string, args ...any) string {
	t.Helper()
	scan := func(rows *sql.Rows) (string, error) {
		var id, parent, unused int
		var detail string
		err := rows.Scan(&id, &parent, &unused, &detail)
		return detail, err
	}
	r, err := db.reader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := collect(r, scan, "explain", "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// What replicas ask several times a second, and lists, must not read the rows
// that are final, of which there may be millions.
func TestPlansReadNoMoreThanTheyNeed(t *testing.T) {
	db, err := OpenSQLite(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	write := func(text string) {
		if err := db.Write(t.Context(), func(w *Writer) error { _, err := w.exec("", text); return err }); err != nil {
			t.Fatal(err)
		}
	}
	write(`INSERT INTO sender (id, chain_id, genesis, instance, address, membership, proven, parked, confirmed_number)
		VALUES ('s', 1, x'00', '', x'00000000000000000000000000000000000000aa', '', 1, '', 0)`)
	address := common.HexToAddress("0xaa")

	plans := map[string]struct{ plan, index string }{
		"polling offers":   {explain(t, db, `SELECT DISTINCT sender FROM tx WHERE offered = 1 ORDER BY sender`), "tx_offered"},
		"open senders":     {explain(t, db, openSenders+` SELECT sender FROM o`), "tx_open"},
		"unfinished ones":  {explain(t, db, unfinishedOf, "w"), "tx_open"},
		"loading a sender": {explain(t, db, `SELECT `+txColumns+` FROM tx t WHERE t.sender = $1 AND t.final = 0 AND t.state <> 'offered'`, "s"), "tx_open"},
	}
	for name, c := range map[string]struct {
		filter TxFilter
		index  string
	}{
		"list of a wallet":             {TxFilter{Wallet: "w"}, "tx_wallet"},
		"list of a sender":             {TxFilter{Sender: "s", Before: "f"}, "tx_ended_sender"},
		"list of an address":           {TxFilter{Address: address}, "tx_ended_sender"},
		"list of a final state":        {TxFilter{States: []TxState{Failed}}, "tx_ended"},
		"list of confirmed ones":       {TxFilter{States: []TxState{Confirmed}}, "tx_ended"},
		"list of an open state":        {TxFilter{States: []TxState{Sent}}, "tx_open"},
		"list of all in a mix":         {TxFilter{States: []TxState{Sent, Failed}, Wallet: "w"}, "tx_ended"},
		"list of a sender's failed":    {TxFilter{Sender: "s", States: []TxState{Failed}}, "tx_ended"},
		"list of a sender's confirmed": {TxFilter{Sender: "s", States: []TxState{Confirmed}}, "tx_ended_sender"},
		"list of a wallet's confirmed": {TxFilter{Wallet: "w", States: []TxState{Confirmed}}, "tx_wallet"},
	} {
		l := lister{filter: c.filter, limit: 50}
		if c.filter.Sender != "" || c.filter.Address != (common.Address{}) {
			l.senders = []string{"s"}
		}
		text := l.parts()
		plans[name] = struct{ plan, index string }{explain(t, db, text, l.args...), c.index}
	}
	nonce := uint64(7)
	for name, c := range map[string]struct {
		filter TxFilter
		want   []string // what the plan has to name
	}{
		"search for an id":                 {TxFilter{ID: "i"}, []string{"sqlite_autoindex_tx_1 (id=?)"}},
		"search for a hash":                {TxFilter{Wallet: "w", Hash: common.HexToHash("0x1")}, []string{"attempt_hash", "sqlite_autoindex_tx_1 (id=?)"}},
		"search for a key":                 {TxFilter{Wallet: "w", Key: "k"}, []string{"sqlite_autoindex_idempotency_1 (wallet=? AND credential=? AND key=?)", "sqlite_autoindex_tx_1 (id=?)"}},
		"search for a key anywhere":        {TxFilter{Key: "k", States: []TxState{Failed}, Before: "f"}, []string{"sqlite_autoindex_idempotency_1 (wallet=? AND credential=? AND key=?)", "sqlite_autoindex_tx_1 (id=?)"}},
		"search for a nonce of an address": {TxFilter{Address: address, Nonce: &nonce}, []string{"tx_nonce (sender=? AND nonce=?)", "tx_nonce_past (sender=? AND nonce=?)"}},
		"search for a nonce of a wallet": {TxFilter{Wallet: "w", Nonce: &nonce, Before: "f", States: []TxState{Sent}}, []string{
			"sqlite_autoindex_account_1 (wallet=?)", "sender_address (address=?)", "tx_nonce (sender=? AND nonce=?)", "tx_nonce_past (sender=? AND nonce=?)",
		}},
		"search for a nonce anywhere":  {TxFilter{Nonce: &nonce}, []string{"tx_nonce (sender=? AND nonce=?)", "tx_nonce_past (sender=? AND nonce=?)"}},
		"search for a nonce and a key": {TxFilter{Wallet: "w", Nonce: &nonce, Key: "k"}, []string{"sqlite_autoindex_idempotency_1 (wallet=? AND credential=? AND key=?)"}},
	} {
		l := lister{filter: c.filter, limit: 50}
		if c.filter.Address != (common.Address{}) {
			l.senders = []string{"s"}
		}
		text := l.text()
		plan := explain(t, db, text, l.args...)
		for _, want := range c.want {
			if !strings.Contains(plan, want) {
				t.Errorf("%s does not go by %s:\n%s", name, want, plan)
			}
		}
		if strings.Contains(plan, "SCAN t") || strings.Contains(plan, "SCAN i") && !strings.Contains(plan, "SCAN i USING COVERING INDEX sqlite_autoindex_idempotency_1") || strings.Contains(plan, "tx_wallet") {
			t.Errorf("%s reads rows that it does not need:\n%s", name, plan)
		}
	}
	for name, p := range plans {
		if !slices.Contains(strings.Fields(p.plan), p.index) || strings.Contains(p.plan, "autoindex") {
			t.Errorf("%s does not go by %s alone:\n%s", name, p.index, p.plan)
		}
	}
}
