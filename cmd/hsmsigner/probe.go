// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// probeTimeout is how long config check waits for a backend.
const probeTimeout = 20 * time.Second

// probeAtOnce bounds the backends that are asked at the same time.
const probeAtOnce = 8

// probed is what config check found out about a wallet's backend.
type probed struct {
	Wallet   string   `json:"wallet"`
	Provider string   `json:"provider"`
	OK       bool     `json:"ok"`
	Error    string   `json:"error,omitempty"` // what is wrong and what would mend it
	Keys     int      `json:"keys"`            // on the first page of the listing
	More     bool     `json:"more"`            // there are more pages
	Problems []string `json:"problems"`        // keys that cannot be used
}

// probe asks the backends of all wallets whether they would work.
func probe(ctx context.Context, wallets []config.Wallet) []probed {
	results := make([]probed, len(wallets))
	slots := make(chan struct{}, probeAtOnce)
	shared := sharing{logins: pkcs11.NewLogins()}
	var wg sync.WaitGroup
	for i, w := range wallets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] = probeWallet(ctx, w, shared)
		})
	}
	wg.Wait()
	return results
}

func probeWallet(ctx context.Context, w config.Wallet, shared sharing) probed {
	result := probed{Wallet: w.Name, Provider: string(w.Details.Provider), Problems: []string{}}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	page, err := firstPage(ctx, w.Details, shared)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	result.OK, result.Keys, result.More = true, len(page.Keys), page.Next != ""
	for _, p := range page.Problems {
		result.Problems = append(result.Problems, p.Name+": "+p.Reason)
	}
	return result
}

// firstPage lists before it asks for the health, so that the message is the one
// that the daemon logs when its discovery fails.
func firstPage(ctx context.Context, d config.Details, shared sharing) (key.Page, error) {
	backend, err := openBackend(ctx, d, shared, slog.New(slog.DiscardHandler))
	if err != nil {
		return key.Page{}, err
	}
	defer backend.Close()
	page, err := backend.Keys(ctx, "")
	if err == nil {
		err = backend.Health(ctx)
	}
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return page, fmt.Errorf("no answer within %s: %w", probeTimeout, err)
	}
	return page, err
}

// String is what config check says of a backend that works.
func (p probed) String() string {
	keys := count(p.Keys, "key")
	if p.More {
		keys += " on the first page"
	}
	text := fmt.Sprintf("wallet %s: %s answers, %s", p.Wallet, p.Provider, keys)
	if len(p.Problems) > 0 {
		text += fmt.Sprintf(", and %d that cannot be used", len(p.Problems))
	}
	return text
}
