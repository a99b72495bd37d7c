// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Freeze is that something may sign nothing and send nothing.
type Freeze struct {
	Scope   string    `json:"scope"` // everything, membership:<id>, wallet:<name> or account:<wallet>:<address>
	Reason  string    `json:"reason"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
	Service string    `json:"service_id,omitempty"`
	Address string    `json:"address,omitempty"`
	Above   bool      `json:"above"` // somebody above the caller has frozen it, and alone can release it
}

// FreezeState is whether something is frozen, and by what.
type FreezeState struct {
	Frozen bool     `json:"frozen"`
	By     []Freeze `json:"freezes"`
	Known  bool     `json:"known"` // false while the store does not answer: then everything counts as frozen
}

// Freezes lists what is frozen.
func (c *Client) Freezes(ctx context.Context) ([]Freeze, error) {
	var all []Freeze
	_, err := c.Do(ctx, http.MethodGet, []string{"freezes"}, nil, nil, &all)
	return all, err
}

// FreezeState says whether a scope is frozen: the whole deployment, a membership, a
// service or an account.
func (c *Client) FreezeState(ctx context.Context, s Scope) (*FreezeState, error) {
	return one[FreezeState](ctx, c, http.MethodGet, s.at("freeze"), nil)
}

// Freeze stops a scope, on all replicas within two seconds.
func (c *Client) Freeze(ctx context.Context, s Scope, reason string) (*FreezeState, error) {
	return one[FreezeState](ctx, c, http.MethodPut, s.at("freeze"), map[string]string{"reason": reason})
}

// Release lets a scope go on. The reason is for the audit trail, and may be empty.
func (c *Client) Release(ctx context.Context, s Scope, reason string) (*FreezeState, error) {
	var query url.Values
	if reason != "" {
		query = url.Values{"reason": {reason}}
	}
	var state FreezeState
	if _, err := c.Do(ctx, http.MethodDelete, s.at("freeze"), query, nil, &state); err != nil {
		return nil, err
	}
	return &state, nil
}
