// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/metrics"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/webhook"
)

// hooks are the receivers of the config; the zero one has none.
type hooks struct{ all *webhook.Hooks }

func openHooks(c *config.Config, db *store.DB, registry *metrics.Registry, log *slog.Logger) (hooks, error) {
	var list []webhook.Hook
	for _, w := range c.Wallets {
		for _, h := range w.Webhooks {
			url, err := h.URL.Reveal()
			if err != nil {
				return hooks{}, err
			}
			list = append(list, webhook.Hook{
				Wallet: w.Name, Name: h.Name, URL: url, Events: h.Events, Timeout: h.Timeout,
				Secrets: func() ([]string, error) { return secretsOf(h) },
			})
		}
	}
	if len(list) == 0 {
		return hooks{}, nil
	}
	all, err := webhook.New(webhook.Config{
		Store: db, Hooks: list, GiveUp: c.Webhooks.GiveUp, Logger: log, Observer: registry.Webhooks(),
		Rules: dialrule.Rules{Allow: c.Webhooks.Allow, Deny: c.Webhooks.Deny},
	})
	return hooks{all}, err
}

// secretsOf are read at each delivery, so that a changed file counts at once.
func secretsOf(h config.Webhook) ([]string, error) {
	var list []string
	for _, s := range []config.Secret{h.Secret, h.OldSecret} {
		if !s.Set() {
			continue
		}
		plain, err := s.Reveal()
		if err != nil {
			return nil, err
		}
		list = append(list, plain)
	}
	return list, nil
}

// outbox is where the manager leaves what receivers are to hear; nil if there
// are none.
func (h hooks) outbox() txmgr.Hooks {
	if h.all == nil {
		return nil
	}
	return h.all
}

func (h hooks) run(ctx context.Context) {
	if h.all != nil {
		h.all.Run(ctx)
	}
}
