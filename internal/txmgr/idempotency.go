// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// claim looks an idempotency key up, waiting for a request with the same key
// that is not yet stored or refused. If the key is unknown it is claimed for
// the caller until release. name is that of the wallet that the request came in
// by, which scopes the key: at the replica that holds the lease it need not be w.
func (w *Wallet) claim(ctx context.Context, name string, p auth.Principal, key string) (release func(), row store.IdempotentRow, known bool, err error) {
	k := idempotencyKey{name, p.Name, key}
	for {
		w.m.mu.Lock()
		other := w.m.keys[k]
		if other == nil {
			mine := make(chan struct{})
			w.m.keys[k] = mine
			w.m.mu.Unlock()
			release = func() {
				w.m.mu.Lock()
				delete(w.m.keys, k)
				w.m.mu.Unlock()
				close(mine)
			}
			row, known, err = w.m.db.Idempotent(ctx, name, p.Name, key)
			err = storeFailed(err)
			if known || err != nil {
				release()
			}
			return release, row, known, err
		}
		w.m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, row, false, ctx.Err()
		}
	}
}

// inHand reports whether a request with that key is not yet stored or refused.
func (w *Wallet) inHand(name string, p auth.Principal, key string) bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return key != "" && w.m.keys[idempotencyKey{name, p.Name, key}] != nil
}

// repeat answers a request whose idempotency key is known: the same request
// gets the stored outcome, another one an error (TXMGR.md no. 1).
func (w *Wallet) repeat(ctx context.Context, row store.IdempotentRow, hash [32]byte, deadline time.Time) (common.Hash, error) {
	if row.RequestHash != hash {
		return common.Hash{}, &RefusedError{Code: codeRefused, Msg: "the idempotency key was used for another request: use a new key, or send that request again unchanged"}
	}
	t, err := w.m.db.Tx(ctx, row.TxID)
	if errors.Is(err, store.ErrNotFound) {
		return storedOutcome(row.State, row.Hash, row.Error)
	}
	if err != nil { // that it cannot be read says nothing of it
		w.m.log.Warn("cannot read what became of a transaction", "tx", row.TxID, "err", err)
		return common.Hash{}, &PendingError{TxID: row.TxID}
	}
	w.m.repeats(ctx, t)
	if t.State.Final() {
		return storedOutcome(t.State, t.Hash, t.Error)
	}
	s, err := w.senderAt(ctx, t.Sender)
	if err != nil {
		return common.Hash{}, &PendingError{TxID: t.ID}
	}
	return s.join(w, t.ID, deadline)
}

// storedOutcome is what a repeated request is told of a transaction that is
// no longer in memory.
func storedOutcome(state store.TxState, hash common.Hash, failure string) (common.Hash, error) {
	if state == store.Failed {
		return common.Hash{}, ParseFailure(failure)
	}
	return hash, nil
}
