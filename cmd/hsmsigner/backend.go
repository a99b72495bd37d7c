// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

// openBackend opens the key backend of a wallet: the one place that knows all
// adapters. The caller closes it. The quota is nil if no limit is set.
func openBackend(d config.Details, log *slog.Logger) (key.Backend, *key.Quota, error) {
	switch d.Provider {
	case "keystore":
		c := keystore.Config{Path: d.Path, Logger: log}
		if d.UserSecret.Set() {
			c.Password = func() ([]byte, error) {
				password, err := d.UserSecret.Reveal()
				return []byte(password), err
			}
		}
		store, err := keystore.Open(c)
		if err != nil {
			return nil, nil, err
		}
		if d.RateLimit <= 0 {
			return store, nil, nil
		}
		quota := key.NewQuota(d.RateLimit)
		return key.Limit(store, quota), quota, nil
	}
	return nil, nil, fmt.Errorf("provider %s is not built in this version", d.Provider)
}
