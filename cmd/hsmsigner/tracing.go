// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/tracing"
)

// flushTimeout is how long the last spans may take at the end. The collector is
// nobody whom a restart should wait for.
const flushTimeout = 2 * time.Second

// openTracing makes the place where spans go. The function that it returns ends
// it and is never nil.
func openTracing(c config.Tracing, instance string, log *slog.Logger) (*tracing.Provider, func(), error) {
	spans, err := tracing.Open(tracing.Config{
		Endpoint: c.Endpoint, Sample: c.Sample, Version: version, Instance: instance, Logger: log,
		Headers: func() (map[string]string, error) {
			headers := make(map[string]string, len(c.Headers))
			for name, value := range c.Headers {
				var err error
				if headers[name], err = value.Reveal(); err != nil {
					return nil, fmt.Errorf("tracing.headers.%s: %w", name, err)
				}
			}
			return headers, nil
		},
	})
	if err != nil {
		return nil, func() {}, err
	}
	return spans, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := spans.Close(ctx); err != nil {
			log.Warn("the last spans are lost", "err", err)
		}
	}, nil
}
