// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/metrics"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// openDatabase opens the rows for the daemon, and says at the start what a
// fail-over of the database could cost.
func openDatabase(ctx context.Context, c *config.Config, registry *metrics.Registry, log *slog.Logger) (*store.DB, error) {
	cfg, err := storeConfig(c)
	if err != nil {
		return nil, err
	}
	cfg.Logger, cfg.OnCommit = log, registry.Commit
	cfg.Exclusive = !c.Database.Set()
	db, err := store.OpenDB(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if c.Database.Set() {
		text, level := db.Durability()
		log.Log(ctx, level, "database durability", "database", text)
	}
	return db, nil
}

func storeConfig(c *config.Config) (store.Config, error) {
	cfg := store.Config{Dir: c.Data}
	if !c.Database.Set() {
		return cfg, nil
	}
	var err error
	if cfg.URL, err = c.Database.URL.Reveal(); err != nil {
		return cfg, err
	}
	cfg.Connections, cfg.StatementTimeout = c.Database.Connections, c.Database.Timeout
	cfg.Pooler = c.Database.Pooler == config.PoolerTransaction
	// A daemon that is stopped in the middle of a transaction keeps its leases
	// from being taken for so long.
	cfg.IdleTimeout = max(500*time.Millisecond, min(5*time.Second, c.Replica.Lease/2))
	return cfg, nil
}

// readDatabase opens the rows beside the daemon, or without one.
func readDatabase(ctx context.Context, c *config.Config) (*store.DB, error) {
	cfg, err := storeConfig(c)
	if err != nil {
		return nil, err
	}
	where := cfg.Dir
	if cfg.URL != "" {
		where = cfg.URL
	}
	db, err := store.OpenReadOnly(ctx, where)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound("there is no database in %s: the daemon makes it when it first starts", cfg.Dir)
	}
	return db, err
}

// tidyEvery is how often rows are looked for whose time is up.
const tidyEvery = 30 * time.Second

// tidy removes rows whose time is up, until ctx ends. Where daemons share a
// database, one of them does it at a time.
func tidy(ctx context.Context, db *store.DB, r config.Retention, owner string, log *slog.Logger) {
	if r.Transactions == 0 && r.IdempotencyKeys == 0 && r.Audit == 0 {
		return
	}
	every := tidyEvery
	for _, keep := range []time.Duration{r.Transactions, r.IdempotencyKeys, r.Audit} {
		if keep > 0 {
			every = min(every, keep/4)
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	owner += "/tidy"
	defer func() {
		// Also if the last one was asked for and the answer not waited for.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = db.ReleaseLeases(end, owner) // else it runs out
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := db.AcquireLease(ctx, "tidy", owner, 10*every); err != nil {
			if !errors.Is(err, store.ErrLeaseHeld) && ctx.Err() == nil {
				log.Warn("cannot look for rows whose time is up", "err", err)
			}
			continue
		}
		if err := tidyOnce(ctx, db, r, log); err != nil && ctx.Err() == nil {
			log.Warn("cannot remove rows whose time is up", "err", err)
		}
	}
}

func tidyOnce(ctx context.Context, db *store.DB, r config.Retention, log *slog.Logger) error {
	now := time.Now()
	before := func(keep time.Duration) time.Time {
		if keep == 0 {
			return time.Unix(0, 0) // for ever
		}
		return now.Add(-keep)
	}
	gone, err := db.Prune(ctx, before(r.Transactions), before(r.IdempotencyKeys))
	if err != nil {
		return err
	}
	audit := 0
	if r.Audit > 0 {
		if audit, err = db.PruneAudit(ctx, before(r.Audit)); err != nil {
			return err
		}
	}
	if gone+audit > 0 {
		log.Debug("removed rows whose time is up", "transactions", gone, "audit", audit)
	}
	return nil
}
