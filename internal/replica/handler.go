// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// maxWait bounds how long a peer may have its question wait.
const maxWait = 15 * time.Minute

// Manager answers for the senders of this process; *txmgr.Manager.
type Manager interface {
	Outcome(ctx context.Context, sender, tx string, deadline time.Time) (common.Hash, error)
	OperateHere(ctx context.Context, sender string, op txmgr.Operation) (txmgr.Report, error)
}

// Handler answers the other replicas. Whoever does not show this process's
// token gets 401 and nothing else.
func (r *Registry) Handler(m Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /replica/v1/await", r.answer(func(ctx context.Context, q question) reply {
		wait := min(time.Duration(q.MS)*time.Millisecond, maxWait)
		hash, err := m.Outcome(ctx, q.Sender, q.Tx, time.Now().Add(wait))
		a := failed(err)
		a.Hash = hash
		return a
	}))
	mux.HandleFunc("POST /replica/v1/operate", r.answer(func(ctx context.Context, q question) reply {
		if q.Operation == nil {
			return failed(errors.New("the request names no operation"))
		}
		report, err := m.OperateHere(ctx, q.Sender, *q.Operation)
		a := failed(err)
		a.Report = &report
		return a
	}))
	return mux
}

func (r *Registry) answer(do func(context.Context, question) reply) http.HandlerFunc {
	want := []byte("Bearer " + r.token)
	return func(w http.ResponseWriter, request *http.Request) {
		if subtle.ConstantTimeCompare([]byte(request.Header.Get("Authorization")), want) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var q question
		decoder := json.NewDecoder(http.MaxBytesReader(w, request.Body, maxMessage))
		if err := decoder.Decode(&q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		a := do(request.Context(), q)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // the peer has gone, if anything
	}
}

// failed words an error for a peer.
func failed(err error) reply {
	var pending *txmgr.PendingError
	switch {
	case err == nil:
		return reply{}
	case errors.Is(err, txmgr.ErrNoSender):
		return reply{Unknown: true}
	case errors.Is(err, store.ErrNotFound):
		return reply{Missing: true}
	case errors.As(err, &pending):
		return reply{Pending: true}
	}
	return reply{Failure: txmgr.EncodeFailure(err)}
}
