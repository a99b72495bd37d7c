// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func listResources(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	q, err := query.Parse(c.query, rt.filtered)
	if err != nil {
		return reply{}, err
	}
	all, err := p.List(ctx, c.who, rt.kind, c.at)
	if err != nil {
		return reply{}, err
	}
	return list(q, all)
}

func list(q query.Query, all []any) (reply, error) {
	wanted, err := q.Apply(all)
	return ok(wanted), err
}

func createResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	made, err := p.Create(ctx, c.who, rt.kind, c.at, c.written())
	return reply{http.StatusCreated, made}, err
}

func getResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	r, err := p.Get(ctx, c.who, rt.kind, c.at)
	return ok(r), err
}

func updateResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	r, err := p.Update(ctx, c.who, rt.kind, c.at, c.written())
	return ok(r), err
}

// dropResource deletes what is gone at once. Kaleido's Terraform provider wants
// exactly 204 of an app credential.
func dropResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	_, err := p.Delete(ctx, c.who, rt.kind, c.at)
	return reply{code: http.StatusNoContent}, err
}

// drainResource deletes what may have to finish first, and shows it if so.
func drainResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	gone, err := p.Delete(ctx, c.who, rt.kind, c.at)
	if err != nil || gone {
		return reply{code: http.StatusNoContent}, err
	}
	left, err := p.Get(ctx, c.who, rt.kind, c.at)
	var missing *platform.Error
	if errors.As(err, &missing) && missing.Reason == platform.NotFound {
		return reply{code: http.StatusNoContent}, nil // it has finished meanwhile
	}
	return reply{http.StatusAccepted, left}, err
}

func resetResource(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	r, err := p.Reset(ctx, c.who, rt.kind, c.at)
	return ok(r), err
}

func regenerate(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	r, err := p.Regenerate(ctx, c.who, c.at)
	return ok(r), err
}

func serviceStatus(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	s, err := p.Status(ctx, c.who, c.at)
	return ok(s), err
}

func whoami(_ context.Context, _ Platform, _ *route, c *call) (reply, error) {
	return ok(caller(c.who)), nil
}
