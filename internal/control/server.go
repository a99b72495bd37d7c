// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	maxBody     = 64 << 10         // bytes of a request
	callTimeout = 60 * time.Second // of one request, on both sides
)

// Server is a listening control socket.
type Server struct {
	http    *http.Server
	release func()
	done    chan struct{}
}

// Serve listens on the socket of the data directory dir and answers until
// Close; ctx counts only until Serve returns. The caller holds the lock of dir, so that a socket which is there
// already was left behind by a process that is gone: it is replaced.
func Serve(ctx context.Context, dir string, daemon Daemon, log *slog.Logger) (*Server, error) {
	path, release, err := address(dir)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		release()
		return nil, fmt.Errorf("control socket: remove the old one: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			_ = listener.Close()
		}
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{
		release: release,
		done:    make(chan struct{}),
		http: &http.Server{
			Handler:           managed(daemon, http.MaxBytesHandler(routes(daemon), maxBody)),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      callTimeout + 5*time.Second,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket stopped", "error", err)
		}
	}()
	return s, nil
}

// Close lets requests in work end until ctx is done, and removes the socket.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	<-s.done
	s.release()
	return err
}

func routes(daemon Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/senders/{sender}/repair", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context, action RepairAction) (Report, error) {
			if !slices.Contains(Actions(), action.Action) {
				return Report{}, fmt.Errorf("%w: %q is not an action: want one of %v", ErrRefused, action.Action, Actions())
			}
			if action.Action.OfTx() != (action.Tx != "") {
				return Report{}, fmt.Errorf("%w: the id of a transaction belongs to cancel and speed-up, and to nothing else", ErrRefused)
			}
			return daemon.Repair(ctx, r.PathValue("sender"), action)
		})
	})
	mux.HandleFunc("POST /v1/wallets/{wallet}/refresh", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context, _ struct{}) (struct{}, error) {
			return struct{}{}, daemon.Refresh(ctx, r.PathValue("wallet"))
		})
	})
	return mux
}

// failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

// answer decodes the request, lets do work and encodes what came of it.
func answer[Q, A any](w http.ResponseWriter, r *http.Request, do func(context.Context, Q) (A, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	var request Q
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		respond(w, http.StatusBadRequest, failure{"request: " + err.Error()})
		return
	}
	result, err := do(ctx, request)
	switch {
	case err == nil:
		respond(w, http.StatusOK, result)
	case errors.Is(err, ErrNotFound):
		respond(w, http.StatusNotFound, failure{err.Error()})
	case errors.Is(err, ErrRefused):
		respond(w, http.StatusConflict, failure{err.Error()})
	default:
		respond(w, http.StatusInternalServerError, failure{err.Error()})
	}
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone, if anything
}
