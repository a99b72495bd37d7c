// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
)

// Collection is the resources of one kind in one place: T as they are shown, N
// as they are asked for. Errors of its methods are an [*Error] if the server
// refused.
type Collection[T, N any] struct {
	client *Client
	path   []string
}

func (c Collection[T, N]) at(more ...string) []string {
	return append(slices.Clone(c.path), more...)
}

// List returns what the caller may see. The query may filter and sort, as the
// API's own page says; nil wants all, in the order in which it was made.
func (c Collection[T, N]) List(ctx context.Context, query url.Values) ([]T, error) {
	var all []T
	_, err := c.client.Do(ctx, http.MethodGet, c.path, query, nil, &all)
	return all, err
}

// Get returns one resource.
func (c Collection[T, N]) Get(ctx context.Context, id string) (*T, error) {
	return one[T](ctx, c.client, http.MethodGet, c.at(id), nil)
}

// Create makes a resource.
func (c Collection[T, N]) Create(ctx context.Context, wanted N) (*T, error) {
	return one[T](ctx, c.client, http.MethodPost, c.path, wanted)
}

// Update changes what change has, like map[string]any{"name": "another"};
// details are merged key by key. With "_revision" in it, nothing is changed if
// the resource has another one by now.
func (c Collection[T, N]) Update(ctx context.Context, id string, change any) (*T, error) {
	return one[T](ctx, c.client, http.MethodPatch, c.at(id), change)
}

// Delete deletes a resource. Without an error it is gone, or will be when it has
// finished what it has.
func (c Collection[T, N]) Delete(ctx context.Context, id string) (gone bool, err error) {
	status, err := c.client.Do(ctx, http.MethodDelete, c.at(id), nil, nil, nil)
	return status == http.StatusNoContent, err
}

func one[T any](ctx context.Context, c *Client, method string, path []string, body any) (*T, error) {
	var got T
	if _, err := c.Do(ctx, method, path, nil, body, &got); err != nil {
		return nil, err
	}
	return &got, nil
}

// Consortia are those that the caller may see.
func (c *Client) Consortia() Collection[Consortium, NewConsortium] {
	return Collection[Consortium, NewConsortium]{c, []string{"consortia"}}
}

// Memberships are those of a consortium.
func (c *Client) Memberships(consortium string) Collection[Membership, NewMembership] {
	return Collection[Membership, NewMembership]{c, []string{"consortia", consortium, "memberships"}}
}

// Environments are those of a consortium.
func (c *Client) Environments(consortium string) Collection[Environment, NewEnvironment] {
	return Collection[Environment, NewEnvironment]{c, []string{"consortia", consortium, "environments"}}
}

// APIKeys are those of the deployment.
func (c *Client) APIKeys() Collection[APIKey, NewAPIKey] {
	return Collection[APIKey, NewAPIKey]{c, []string{"apikeys"}}
}

// WhoAmI says whose the key is and what it may do.
func (c *Client) WhoAmI(ctx context.Context) (*Caller, error) {
	return one[Caller](ctx, c, http.MethodGet, []string{"whoami"}, nil)
}

// Place is an environment of a consortium.
type Place struct {
	client                  *Client
	consortium, environment string
}

// In is an environment of a consortium, by ids.
func (c *Client) In(consortium, environment string) Place { return Place{c, consortium, environment} }

func (p Place) path(more ...string) []string {
	return append([]string{"consortia", p.consortium, "environments", p.environment}, more...)
}

// Nodes are the Ethereum nodes.
func (p Place) Nodes() Collection[Node, NewNode] {
	return Collection[Node, NewNode]{p.client, p.path("nodes")}
}

// Configurations are the credentials of key backends.
func (p Place) Configurations() Collection[Configuration, NewConfiguration] {
	return Collection[Configuration, NewConfiguration]{p.client, p.path("configurations")}
}

// Services are the wallets.
func (p Place) Services() Collection[Service, NewService] {
	return Collection[Service, NewService]{p.client, p.path("services")}
}

// AppCreds are what programs prove themselves with.
func (p Place) AppCreds() Collection[AppCred, NewAppCred] {
	return Collection[AppCred, NewAppCred]{p.client, p.path("appcreds")}
}
