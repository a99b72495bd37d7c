// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Scope is where rules hold, or what is frozen. The zero Scope is the whole
// deployment.
type Scope struct{ path []string }

// InConsortium is all of a consortium.
func InConsortium(id string) Scope { return Scope{[]string{"consortia", id}} }

// InMembership is all that is a membership's.
func InMembership(consortium, id string) Scope {
	return Scope{[]string{"consortia", consortium, "memberships", id}}
}

// Service is a service of the place.
func (p Place) Service(id string) Scope { return Scope{p.path("services", id)} }

// ServiceAccount is one account of a service, by its address. It can be frozen,
// and has no rules of its own.
func (p Place) ServiceAccount(service, address string) Scope {
	return Scope{p.path("services", service, "accounts", address)}
}

// AppCredScope is what comes by an app credential of the place.
func (p Place) AppCredScope(id string) Scope { return Scope{p.path("appcreds", id)} }

func (s Scope) at(more ...string) []string { return append(s.path[:len(s.path):len(s.path)], more...) }

// Policy is the rules of a scope.
type Policy struct {
	Scope     string          `json:"scope"` // deployment, consortium:<id>, membership:<id>, service:<id> or credential:<id>
	Active    *PolicyVersion  `json:"active,omitempty"`
	Proposed  *PolicyVersion  `json:"proposed,omitempty"` // waits for another admin
	Declared  *DeclaredPolicy `json:"declared,omitempty"` // has to allow, too
	Outer     []string        `json:"outer"`              // wider scopes with rules, which all have to allow, too
	Approvals int             `json:"policy_approvals"`   // how many other admins a new version needs
}

// DeclaredPolicy is rules of the daemon's config file.
type DeclaredPolicy struct {
	Document string `json:"document"`
	SHA256   string `json:"document_sha256"`
}

// The states of a [PolicyVersion].
const (
	PolicyProposed = "proposed"
	PolicyActive   = "active"
	PolicyPast     = "past"
	PolicyRejected = "rejected"
)

// PolicyVersion is one version of the rules of a scope.
type PolicyVersion struct {
	Scope    string `json:"scope"`
	Version  int64  `json:"version"`
	State    string `json:"state"`
	SHA256   string `json:"document_sha256"`
	Document string `json:"document,omitempty"` // not in lists
	Author   string `json:"author"`
	Approver string `json:"approver,omitempty"`
	// What people call the two.
	AuthorName   string     `json:"author_name,omitempty"`
	ApproverName string     `json:"approver_name,omitempty"`
	Comment      string     `json:"comment,omitempty"`
	Created      time.Time  `json:"created_at"`
	Decided      *time.Time `json:"decided_at,omitempty"`
	Problem      string     `json:"problem,omitempty"` // why nothing is signed in this scope
}

// NewPolicy asks for another version of the rules of a scope.
type NewPolicy struct {
	Document string `json:"document"` // YAML or JSON; empty: to end the rules
	Comment  string `json:"comment,omitempty"`
	// Replaces is the version that is to be replaced, 0 for none; if another counts,
	// it is a Conflict. Nil: whichever counts.
	Replaces *int64 `json:"replaces,omitempty"`
}

// PolicyTest is a JSON-RPC request that is not carried out.
type PolicyTest struct {
	Principal string          `json:"principal,omitempty"` // whose it would be; empty: the caller's
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params"`
	Document  string          `json:"document,omitempty"` // rules to try in the place of the service's own
}

// PolicyVerdict is what would become of a request, and why.
type PolicyVerdict struct {
	Effect   string          `json:"effect"` // allow, deny or ask
	Rule     string          `json:"rule"`
	Reason   string          `json:"reason,omitempty"`
	Policies []PolicyOpinion `json:"policies"`
	Limits   []LimitTake     `json:"limits"`
}

// PolicyOpinion is what one policy says to a request.
type PolicyOpinion struct {
	Scope   string       `json:"scope"`
	Version int64        `json:"version"`
	Effect  string       `json:"effect"`
	Rule    string       `json:"rule"`
	Reason  string       `json:"reason,omitempty"`
	Steps   []PolicyStep `json:"steps"`
}

// PolicyStep is what became of one rule or limit.
type PolicyStep struct {
	Rule    string `json:"rule"`
	Effect  string `json:"effect,omitempty"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

// LimitTake is what a request would take off a limit.
type LimitTake struct {
	Limit  string `json:"limit"` // with its scope
	Asset  string `json:"asset"`
	Amount string `json:"amount"`
	Used   string `json:"used,omitempty"`
	Max    string `json:"max,omitempty"`
	Window string `json:"window,omitempty"`
	Holds  bool   `json:"holds"`
}

// LimitUsage is how much of a limit is used: wei, or a token's smallest unit.
type LimitUsage struct {
	Limit  string `json:"limit"` // with its scope
	Per    string `json:"per,omitempty"`
	Asset  string `json:"asset"`
	Max    string `json:"max"`
	Used   string `json:"used"`
	Left   string `json:"left"`
	Window string `json:"window,omitempty"`
}

// Policy shows the rules of a scope.
func (c *Client) Policy(ctx context.Context, s Scope) (*Policy, error) {
	return one[Policy](ctx, c, http.MethodGet, s.at("policy"), nil)
}

// SetPolicy sets the rules of a scope. They count at once, or are proposed, as the
// answer's state says.
func (c *Client) SetPolicy(ctx context.Context, s Scope, n NewPolicy) (*PolicyVersion, error) {
	return one[PolicyVersion](ctx, c, http.MethodPut, s.at("policy"), n)
}

// PolicyVersions lists the versions of the rules of a scope, the newest first.
func (c *Client) PolicyVersions(ctx context.Context, s Scope, filter url.Values) ([]PolicyVersion, error) {
	var all []PolicyVersion
	_, err := c.Do(ctx, http.MethodGet, s.at("policy", "versions"), filter, nil, &all)
	return all, err
}

// PolicyVersion shows one version of the rules of a scope.
func (c *Client) PolicyVersion(ctx context.Context, s Scope, version int64) (*PolicyVersion, error) {
	return one[PolicyVersion](ctx, c, http.MethodGet, s.at("policy", "versions", number(version)), nil)
}

// ApprovePolicy has a proposed version count, which somebody else has written.
func (c *Client) ApprovePolicy(ctx context.Context, s Scope, version int64) (*PolicyVersion, error) {
	return one[PolicyVersion](ctx, c, http.MethodPost, s.at("policy", "versions", number(version), "approve"), nil)
}

// RejectPolicy drops a proposed version.
func (c *Client) RejectPolicy(ctx context.Context, s Scope, version int64) (*PolicyVersion, error) {
	return one[PolicyVersion](ctx, c, http.MethodPost, s.at("policy", "versions", number(version), "reject"), nil)
}

// PolicyUsage shows how much is used of the limits of a scope.
func (c *Client) PolicyUsage(ctx context.Context, s Scope) ([]LimitUsage, error) {
	var all []LimitUsage
	_, err := c.Do(ctx, http.MethodGet, s.at("policy", "usage"), nil, nil, &all)
	return all, err
}

// TestPolicy says what would become of a request to a service. Nothing is signed,
// sent or stored.
func (c *Client) TestPolicy(ctx context.Context, service Scope, t PolicyTest) (*PolicyVerdict, error) {
	return one[PolicyVerdict](ctx, c, http.MethodPost, service.at("policy", "test"), t)
}

// PolicySchema is the JSON Schema of policy documents.
func (c *Client) PolicySchema(ctx context.Context) (json.RawMessage, error) {
	var schema json.RawMessage
	_, err := c.Do(ctx, http.MethodGet, []string{"policy-schema"}, nil, nil, &schema)
	return schema, err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
