// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/storetest"
)

func TestPostgresWithTwoReplicas(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) (a, b *store.DB) {
		url := newDatabase(t)
		return openURL(t, store.Config{URL: url}), openURL(t, store.Config{URL: url})
	})
}
