// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/control"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/metrics"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// stopTimeout is how long a graceful stop may take: everything accepted is
// answered or durably stored by then.
const stopTimeout = 30 * time.Second

// serve runs the daemon until ctx is done: it builds the pieces from the
// store upward, opens the doors last, and closes everything in reverse.
func serve(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	opened := false
	defer func() {
		// Who stops a daemon that still starts has got what he asked for.
		if !opened && ctx.Err() != nil && errors.Is(err, context.Canceled) {
			log.Info("stopped before it was ready")
			err = nil
		}
	}()
	defer ballast()()
	registry := metrics.New(metrics.Build{Version: version, Revision: revision()})

	db, err := openDatabase(ctx, c, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	owner := store.NewID() // of this process start, in leases and among replicas
	trail, err := openAudit(ctx, c, db, owner, log)
	if err != nil {
		return err
	}
	defer trail.close()
	watch, err := openOversight(ctx, c, db, trail.book.Verifier().Name(), log)
	if err != nil {
		return err
	}
	spans, endTracing, err := openTracing(c.Tracing, owner, log)
	if err != nil {
		return err
	}
	defer endTracing()
	var wallets *fleet.Fleet
	others, err := joinReplicas(ctx, c, db, owner,
		func(ctx context.Context, name string) { takeAccounts(ctx, wallets, name, log) },
		func(n int) { wallets.Share(n) }, spans.Tracer(), log)
	if err != nil {
		return err
	}
	defer others.close()
	hooks, err := openHooks(c, db, registry, log)
	if err != nil {
		return err
	}
	manager := txmgr.New(txmgr.Config{
		Store: db, Logger: log, Observer: registry, Owner: owner, Hooks: hooks.outbox(),
		Shared: others != nil, Peers: others.peers(), LeaseTTL: c.Replica.Lease,
		Tracer: spans.Tracer(), Freeze: watch.stop,
	})
	wallets = newFleet(c, db, manager, watch, registry, log)
	watch.wallets = wallets
	defer func() { err = errors.Join(err, wallets.Shutdown()) }()
	if err := openWallets(ctx, c.Wallets, wallets); err != nil {
		return err
	}

	gates, err := openContracts(c, db, owner, watch, wallets, log)
	if err != nil {
		return err
	}
	managed, err := openManagement(ctx, c, db, wallets, trail, watch, gates, registry.History(), log)
	if err != nil {
		return err
	}
	who := managed.callers(c, log)
	door, err := rpc.New(rpc.Config{
		Default: c.DefaultWallet, Auth: who.principal, Allow: who.allow,
		AllowedHosts: c.RPC.Hosts, AllowedOrigins: c.RPC.Origins,
		Limits: rpc.Limits{
			Body: c.RPC.Limits.Body, Batch: c.RPC.Limits.Batch, Concurrent: c.RPC.Limits.Requests,
			Sockets: c.RPC.Limits.Connections, Subscriptions: c.RPC.Limits.Subscriptions,
		},
		SendTimeout: sendTimeout(c), Gateway: gates.visit,
		Approvals: watch.waiting(), ApprovalWait: c.Approvals.Wait,
		Metrics: registry, Tracer: spans.Tracer(), Logger: log,
	})
	if err != nil {
		return err
	}
	if err := serveWallets(wallets, door, c.RPC.Methods); err != nil {
		return err
	}
	managed.watch(door, gates)
	admin := adminHandler(c, db, wallets, trail, managed, registry)

	rpcListener, err := listen(ctx, c.RPC.Listen, c.RPC.TLS, log)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	defer rpcListener.Close()
	adminListener, err := listen(ctx, c.Admin.Listen, c.Admin.TLS, log)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	defer adminListener.Close()
	desk, err := control.Serve(ctx, c.Data, &controlDesk{manager: manager, wallets: wallets, operator: managed.desk()}, log)
	if err != nil {
		return err
	}

	opened = true
	manager.Start()
	others.start(ctx, manager)
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	var tidying sync.WaitGroup
	tidying.Go(func() { tidy(background, db, c.Retention, owner, log) })
	tidying.Go(func() { hooks.run(background) })
	tidying.Go(func() { watch.run(background) })
	tidying.Go(func() { gates.run(background) })
	tidying.Go(func() { managed.run(background) })
	if managed == nil { // whose directory does it
		tidying.Go(func() { who.guard.Run(background) })
	}
	defer tidying.Wait()
	defer endBackground()
	rpcServer := newServer(door, c.RPC.Limits.Connections, log)
	adminServer := newServer(admin, 100, log)
	failed := make(chan error, 2)
	var serving sync.WaitGroup
	serving.Go(func() { failed <- rpcServer.Serve(rpcListener) })
	serving.Go(func() { failed <- adminServer.Serve(adminListener) })
	log.Info("ready", "rpc", rpcListener.Addr().String(), "admin", adminListener.Addr().String(), "wallets", len(wallets.Wallets()))

	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-failed:
		log.Error("a listener failed", "err", err)
	}
	// No new work, answers for what was accepted, then the rest.
	admin.Stopping()
	if err == nil {
		// The load balancer sees that we are not ready and turns away, while we
		// still serve: so no request is refused.
		rpcServer.SetKeepAlivesEnabled(false)
		time.Sleep(c.Replica.Drain)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	early, cancelEarly := context.WithTimeout(stop, stopTimeout-5*time.Second)
	defer cancelEarly()
	gates.stop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		manager.Stop(early)
	}()
	doorErr := door.Shutdown(early)
	<-stopped
	err = errors.Join(err, ignoreDeadline(doorErr), ignoreDeadline(rpcServer.Shutdown(stop)), desk.Close(stop), ignoreDeadline(adminServer.Shutdown(stop)))
	_ = rpcServer.Close()
	_ = adminServer.Close()
	serving.Wait()
	log.Info("stopped")
	return err
}

// sendTimeout is how long a door waits for a transaction: longer than the manager,
// which knows at its deadline what to answer.
func sendTimeout(c *config.Config) time.Duration { return c.RPC.Timeout + 15*time.Second }

// ignoreDeadline drops the error of a shutdown that ran out of time: what is
// stored goes on at the next start.
func ignoreDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// newServer sets every timeout and limit that net/http has. Reading the body
// and writing the answer have deadlines of their own in package rpc.
func newServer(h http.Handler, connections int, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		// Also bounds how long net/http waits for the body of a request that was
		// refused before its body was read. A door that reads the body sets a
		// deadline of its own.
		ReadTimeout:    20 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ConnState:      boundConnections(connections),
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// boundConnections closes connections above limit as they come.
func boundConnections(limit int) func(net.Conn, http.ConnState) {
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	return func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			if len(open) >= 2*limit {
				_ = c.Close()
				return
			}
			open[c] = struct{}{}
		case http.StateClosed, http.StateHijacked:
			delete(open, c)
		}
	}
}

// adminHandler says what readiness looks at: the wallets of the config file. How
// the services of tenants are is their own business: they ask for their status.
func adminHandler(c *config.Config, db *store.DB, wallets *fleet.Fleet, trail *auditTrail, managed *management, registry *metrics.Registry) *api.Handler {
	cfg := api.Config{Metrics: registry.Handler(), Store: db.Ping, Audit: trail.health, Hosts: c.Admin.Hosts, Explain: explain}
	cfg.Management, cfg.SignIn, cfg.Console = managed.handlers()
	cfg.Open = managed.mayLook(c)
	cfg.Origins = origins(c.Management.AdminURL)
	for _, declared := range c.Wallets {
		w := wallets.Wallet(declared.Name)
		cfg.Wallets = append(cfg.Wallets, api.Wallet{Name: w.Name(), Node: w.NodeHealth, Backend: w.BackendHealth, Keys: w.HasKeys})
	}
	return api.New(cfg)
}
