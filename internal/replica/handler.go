// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
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
	Take(sender string, items []txmgr.Handover, taken func(), outcome func(i int, hash common.Hash, err error)) error
	Outcome(ctx context.Context, sender, tx string, deadline time.Time) (common.Hash, error)
	OperateHere(ctx context.Context, sender string, op txmgr.Operation) (txmgr.Report, error)
}

// Handler answers the other replicas. Whoever does not prove to be one gets 401
// and nothing else.
func (r *Registry) Handler(m Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /replica/v1/submit", r.submit(m))
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
	return func(w http.ResponseWriter, request *http.Request) {
		body, err := r.body(w, request, maxMessage)
		if err != nil {
			r.cfg.Logger.Warn("a question to this replica was refused", "err", err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var q question
		if err := json.Unmarshal(body, &q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ctx, end := r.span(request)
		a := do(ctx, q)
		end(a)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // the peer has gone, if anything
	}
}

// failed words an error for a peer.
func failed(err error) reply {
	var pending *txmgr.PendingError
	var busy *txmgr.BusyError
	switch {
	case err == nil:
		return reply{}
	case errors.Is(err, txmgr.ErrNoSender):
		return reply{Unknown: true}
	case errors.Is(err, store.ErrNotFound):
		return reply{Missing: true}
	case errors.As(err, &pending):
		return reply{Pending: true}
	case errors.As(err, &busy):
		return reply{Busy: busy}
	}
	return reply{Failure: txmgr.EncodeFailure(err)}
}
