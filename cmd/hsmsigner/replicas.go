// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/replica"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// replicas is this daemon among those that share its database; nil if it has
// one of its own.
type replicas struct {
	registry *replica.Registry
	client   *replica.Client
	listener net.Listener // nil: peers cannot reach us
	server   *http.Server
	stop     context.CancelFunc
	running  sync.WaitGroup
	log      *slog.Logger
}

// joinReplicas prepares to find and to answer the other replicas. snapshot is told
// of a wallet whose accounts another one has stored, live how many there are. Call
// start when the manager is there.
func joinReplicas(ctx context.Context, c *config.Config, db *store.DB, owner string, snapshot func(ctx context.Context, wallet string), live func(n int), tracer trace.Tracer, log *slog.Logger) (*replicas, error) {
	if !c.Database.Set() {
		return nil, nil //nolint:nilnil // no replicas is no error
	}
	r := &replicas{log: log}
	url := c.Replica.URL
	if c.Replica.Listen != "" {
		var err error
		if r.listener, err = listen(ctx, c.Replica.Listen, config.TLS{}, log); err != nil {
			return nil, fmt.Errorf("replica: %w", err)
		}
		if url == "" { // a port that the system chose
			url = "http://" + r.listener.Addr().String()
		}
	}
	r.registry = replica.New(replica.Config{
		Store: db, Owner: owner, URL: url, Version: version, Settings: fingerprint(c), Logger: log, Tracer: tracer, Live: live,
		Snapshot: snapshot,
	})
	r.client = replica.NewClient(r.registry)
	return r, nil
}

// peers is how the manager asks the others.
func (r *replicas) peers() txmgr.Peers {
	if r == nil {
		return nil
	}
	return r.client
}

// start lets the others see and ask this one.
func (r *replicas) start(ctx context.Context, manager *txmgr.Manager) {
	if r == nil {
		return
	}
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.running.Go(func() { r.registry.Run(ctx) })
	if r.listener == nil {
		r.log.Info("no replica.listen: peers read this one's answers from the database")
		return
	}
	r.server = &http.Server{
		Handler: r.registry.Handler(manager), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	r.running.Go(func() {
		if err := r.server.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
			r.log.Error("peers cannot reach this replica any more", "err", err)
		}
	})
}

// close takes this replica off the list. Peers that still wait for an answer
// read it from the rows.
func (r *replicas) close() {
	if r == nil {
		return
	}
	if r.stop != nil {
		r.stop()
	}
	if r.server != nil {
		_ = r.server.Close()
	} else if r.listener != nil {
		_ = r.listener.Close()
	}
	r.running.Wait()
	r.client.Close()
}

// fingerprint is the same for all replicas that would treat a request the same
// way. Secrets and addresses of nodes do not count.
func fingerprint(c *config.Config) string {
	sum := sha256.New()
	for _, w := range c.Wallets {
		w.Node.URL, w.Node.WSURL, w.Node.Headers = config.Secret{}, config.Secret{}, nil
		fmt.Fprintf(sum, "%s %d %s %d %d %s %s %s %s %s %s %d %v %v %v\n", w.Name, w.Node.ChainID, w.Node.Instance, w.Window, w.Confirmations,
			w.SignTransaction, w.RawOwn, w.MaxFeePerGas, w.TxFeeCap, w.Expires, w.BumpAfter, w.FeeCeiling, w.Details.Include, w.Details.Exclude, w.Details.RequireHSM)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
