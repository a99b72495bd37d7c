// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

type trials interface {
	TryConfiguration(ctx context.Context, who auth.Access, at platform.Path, body []byte) (platform.Trial, error)
}

const aConfiguration = inEnvironment + "/configurations/{configuration_id}"

// trialRoutes ask a key backend what it would show, before anything is stored.
func trialRoutes() []route {
	found := []answers{{http.StatusOK, shape[platform.Trial](), "What the backend answered: ok is false if it refused or did not answer."}}
	const doc = "Asks the key backend itself. Nothing is stored and nothing signed; services that run notice nothing."
	return of("Configurations", platform.Configurations, []route{
		{
			method: http.MethodPost, path: inEnvironment + "/configurations/test", name: "testNewConfiguration", title: "See what keys a configuration would find",
			doc: doc, body: newConfiguration(), answers: found, serve: tryConfiguration,
		},
		{
			method: http.MethodPost, path: aConfiguration + "/test", name: "testConfiguration", title: "See what keys a configuration finds, or would with other details",
			doc:  doc + " details are merged into those that are stored.",
			body: change("ConfigurationChange", newConfiguration(), "membership_id", "type"), optional: true, answers: found, serve: tryConfiguration,
		},
	})
}

func tryConfiguration(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	text := c.written()
	defer clear(text)
	if len(text) == 0 {
		text = []byte("{}")
	}
	t, err := p.TryConfiguration(ctx, c.who, c.at, text)
	return ok(t), err
}
