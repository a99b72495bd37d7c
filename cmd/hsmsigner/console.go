// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/console"
	"github.com/hsmsigner/hsmsigner/internal/history"
)

// openConsole is the web console on the admin listener. It is a face of what the
// management API is a face of.
func openConsole(m *management, gates *contracts, past *history.Recorder, log *slog.Logger) (http.Handler, error) {
	cfg := console.Config{Platform: m.platform, Sessions: m.directory, Past: past, Contracts: gates.pages(), Release: version, Logger: log}
	if m.signIn != nil {
		cfg.SignIn = "/auth/login"
	}
	return console.New(cfg)
}
