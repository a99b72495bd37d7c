// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// The consortium, environment and membership that are there from the first
// start, and in which the wallets of the config file stand.
const (
	DefaultConsortium  = "h0consort0"
	DefaultEnvironment = "h0environ0"
	DefaultMembership  = "h0member00"
)

// What one membership may have, if nothing else is said.
const (
	DefaultMaxResources = 1_000
	DefaultMaxServices  = 10_000
)

// Sealer encrypts secrets for one place. *seal.Sealer is one.
type Sealer interface {
	Seal(ctx context.Context, at seal.Place, plain []byte) ([]byte, error)
	Open(ctx context.Context, at seal.Place, sealed []byte) ([]byte, error)
}

// Verifier makes what is stored of a credential's secret, for a purpose of
// package auth. *auth.Verifier is one.
type Verifier interface {
	Hash(purpose, id, secret string) []byte
}

// Config is what a Platform is made of.
type Config struct {
	Store    *store.DB
	Sealer   Sealer
	Verifier Verifier
	Runtime  Runtime
	// ParseDetails checks the details that a membership gives, as JSON with the
	// secrets in it, against what it may use: config.ParseTenantDetails. It passes
	// over keys that no provider has.
	ParseDetails func(membership string, details []byte) (config.Details, error)
	// ParseNode checks a node that a tenant gives, as JSON with url, ws_url and
	// chain_id: config.ParseTenantNode.
	ParseNode func(node []byte) (config.Node, error)
	// URLs are those of a service, by its id: http, ws, rpc, wss, rest, webui.
	URLs func(service string) map[string]string

	Declared   []config.Wallet // of the config file, shown read-only; the Runtime has opened them
	RequireHSM bool            // imposed on every configuration
	Shared     bool            // other replicas work on the same store
	Region     string          // first two characters of new ids; default h0
	Release    string          // of this program

	// MaxResources is how many resources of a kind one membership may have, and
	// MaxServices how many services; default [DefaultMaxResources] and
	// [DefaultMaxServices].
	MaxResources, MaxServices int

	// Audit is the log over the audit trail; nil: there is none.
	Audit AuditLog

	// Documents are what signatures on documents are made with; empty: none are made
	// here.
	Documents Documents
	// Hand signs messages and sends transactions for people; nil: nobody does.
	Hand Hand

	// Judge says what the policies would say; *judge.Judge is one. Nil: nobody can.
	Judge Judge
	// PolicyMAC vouches for the rows of policies: what [PolicyMAC] makes. Nil: rules
	// cannot be set here.
	PolicyMAC func(row []byte) []byte
	// DeclaredPolicy are the rules at the top of the config file, shown only.
	DeclaredPolicy config.Policy
	// Approvals are the requests that wait for people; *approval.Book has them. Nil:
	// there are none here.
	Approvals Approvals
	// Freeze is the stop switch; *freeze.Switch is one. Nil: nothing can be frozen
	// here.
	Freeze Freezer

	Changed func()                        // called when credentials or keys have changed; nil: nobody cares
	Record  func(context.Context, Change) // called for each change; nil: only logged
	Logger  *slog.Logger                  // nil discards
	// Poll is the time between looks at what other replicas have changed; default
	// 500 ms.
	Poll time.Duration
}

func (c *Config) complete() error {
	switch {
	case c.Store == nil:
		return errors.New("platform: a store is required")
	case c.Sealer == nil, c.Verifier == nil:
		return errors.New("platform: a sealer and a verifier are required")
	case c.Runtime == nil, c.ParseDetails == nil, c.ParseNode == nil:
		return errors.New("platform: a runtime and parsers of details and nodes are required")
	}
	if c.Region == "" {
		c.Region = "h0"
	}
	if c.MaxResources <= 0 {
		c.MaxResources = DefaultMaxResources
	}
	if c.MaxServices <= 0 {
		c.MaxServices = DefaultMaxServices
	}
	if c.URLs == nil {
		c.URLs = func(string) map[string]string { return nil }
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Record == nil {
		c.Record = func(context.Context, Change) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	return nil
}
