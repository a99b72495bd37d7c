// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// openRows opens the database that the daemons use, beside them and without their
// code: the checker's view must not share a mistake with theirs.
func openRows(dir, postgres string) (*sql.DB, error) {
	driver, dsn := "pgx", postgres
	if postgres == "" {
		driver, dsn = sqlite.Driver, "file:"+filepath.Join(dir, "hsmsigner.db")+"?mode=ro&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("fault: open the rows: %w", err)
	}
	return db, nil
}

// unfinished counts the rows that are not final.
func unfinished(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM tx WHERE final = 0`).Scan(&n)
	return n, err
}

// readRows fills in what the database holds.
func (e *Evidence) readRows(ctx context.Context, db *sql.DB) error {
	addresses := map[string]common.Address{}
	err := each(ctx, db, `SELECT id, address FROM sender`, func(scan func(...any) error) error {
		var id string
		var address []byte
		err := scan(&id, &address)
		addresses[id] = common.BytesToAddress(address)
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, db, `SELECT id, idempotency_key, kind, state, intent, error, replaces, sender, nonce, live, final, hash FROM tx`, func(scan func(...any) error) error {
		var r Row
		var sender string
		var nonce sql.NullInt64
		var live, final int
		var hash []byte
		if err := scan(&r.ID, &r.Key, &r.Kind, &r.State, &r.Intent, &r.Error, &r.Replaces, &sender, &nonce, &live, &final, &hash); err != nil {
			return err
		}
		r.Sender, r.Live, r.Final, r.Hash = addresses[sender], live != 0, final != 0, common.BytesToHash(hash)
		if nonce.Valid {
			n := uint64(nonce.Int64)
			r.Nonce = &n
		}
		e.Rows = append(e.Rows, r)
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, db, `SELECT id, tx, kind, outcome, sender, nonce, hash FROM attempt`, func(scan func(...any) error) error {
		var a Attempt
		var sender string
		var hash []byte
		err := scan(&a.ID, &a.Tx, &a.Kind, &a.Outcome, &sender, &a.Nonce, &hash)
		a.Sender, a.Hash = addresses[sender], common.BytesToHash(hash)
		e.Attempts = append(e.Attempts, a)
		return err
	})
	if err != nil {
		return err
	}
	e.Intents, e.Outcomes = map[string]bool{}, map[string][]Outcome{}
	err = each(ctx, db, `SELECT id FROM audit_intent`, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		e.Intents[id] = true
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, db, `SELECT intent, hash, error FROM audit_outcome`, func(scan func(...any) error) error {
		var intent string
		var o Outcome
		var hash []byte
		err := scan(&intent, &hash, &o.Error)
		o.Hash = common.BytesToHash(hash)
		e.Outcomes[intent] = append(e.Outcomes[intent], o)
		return err
	})
}

func each(ctx context.Context, db *sql.DB, query string, row func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("fault: %s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return fmt.Errorf("fault: %s: %w", query, err)
		}
	}
	return rows.Err()
}

// blocksAtOnce is how many blocks one batch asks for.
const blocksAtOnce = 50

// readChain fills in everything that the senders have had mined after a block,
// from the node itself.
func (e *Evidence) readChain(ctx context.Context, node *rpc.Client, after uint64) error {
	ours := map[common.Address]bool{}
	for _, s := range e.Senders {
		ours[s] = true
	}
	var head hexutil.Uint64
	if err := node.CallContext(ctx, &head, "eth_blockNumber"); err != nil {
		return fmt.Errorf("fault: head: %w", err)
	}
	type block struct {
		Transactions []struct {
			Hash  common.Hash
			From  common.Address
			Nonce hexutil.Uint64
			Input hexutil.Bytes
		}
	}
	for first := after + 1; first <= uint64(head); first += blocksAtOnce {
		blocks := make([]*block, min(blocksAtOnce, uint64(head)-first+1))
		batch := make([]rpc.BatchElem, len(blocks))
		for i := range batch {
			batch[i] = rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{hexutil.Uint64(first + uint64(i)), true}, Result: &blocks[i]}
		}
		if err := node.BatchCallContext(ctx, batch); err != nil {
			return fmt.Errorf("fault: blocks from %d: %w", first, err)
		}
		for i, b := range blocks {
			if batch[i].Error != nil || b == nil {
				return fmt.Errorf("fault: block %d: %v", first+uint64(i), batch[i].Error)
			}
			for _, t := range b.Transactions {
				if ours[t.From] {
					e.Chain = append(e.Chain, Mined{Hash: t.Hash, From: t.From, Nonce: uint64(t.Nonce), Input: t.Input, Block: first + uint64(i)})
				}
			}
		}
	}
	return nil
}
