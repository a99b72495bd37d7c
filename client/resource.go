// SPDX-License-Identifier: Apache-2.0

package client

import "time"

// The states of a resource.
const (
	Provisioning = "provisioning"
	Started      = "started"
	Failed       = "failed" // the reason says what to change
	Deleting     = "deleting"
)

// Meta is what every resource has.
type Meta struct {
	ID       string    `json:"_id"`
	Revision string    `json:"_revision"` // another one after every change
	Created  time.Time `json:"created_at"`
	Updated  time.Time `json:"updated_at"`
	State    string    `json:"state"`
	Reason   string    `json:"state_reason,omitempty"` // for people
	ReadOnly bool      `json:"read_only,omitempty"`    // declared in the daemon's config file
}

// Consortium is a group of organizations.
type Consortium struct {
	Meta
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// PolicyApprovals is how many admins beside its author a new version of a policy
	// in here needs: 0 or 1.
	PolicyApprovals int `json:"policy_approvals"`
}

// NewConsortium asks for a consortium.
type NewConsortium struct {
	Name            string `json:"name"`
	Description     string `json:"description,omitempty"`
	PolicyApprovals int    `json:"policy_approvals,omitempty"`
}

// Membership is one organization in a consortium.
type Membership struct {
	Meta
	ConsortiumID string `json:"consortium_id"`
	OrgName      string `json:"org_name"`
}

// NewMembership asks for a membership.
type NewMembership struct {
	OrgName string `json:"org_name"`
}

// Environment is a place in a consortium where memberships have nodes,
// configurations and services.
type Environment struct {
	Meta
	ConsortiumID string `json:"consortium_id"`
	Name         string `json:"name"`
	Description  string `json:"description,omitempty"`
	Provider     string `json:"provider,omitempty"`
	Consensus    string `json:"consensus_type,omitempty"`
	ChainID      uint64 `json:"chain_id,omitempty"`
	RequireHSM   bool   `json:"require_hsm,omitempty"`
}

// NewEnvironment asks for an environment.
type NewEnvironment struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Provider    string `json:"provider,omitempty"`
	Consensus   string `json:"consensus_type,omitempty"`
	ChainID     uint64 `json:"chain_id,omitempty"`
	RequireHSM  bool   `json:"require_hsm,omitempty"`
}

// Node is an Ethereum node.
type Node struct {
	Meta
	ConsortiumID  string            `json:"consortium_id"`
	EnvironmentID string            `json:"environment_id"`
	MembershipID  string            `json:"membership_id"`
	Name          string            `json:"name"`
	ChainID       uint64            `json:"chain_id"`
	URLs          map[string]string `json:"urls"` // rpc, wss: scheme and host only
}

// NewNode asks for a node.
type NewNode struct {
	Name         string            `json:"name"`
	MembershipID string            `json:"membership_id,omitempty"` // not needed if the caller sees one only
	ChainID      uint64            `json:"chain_id"`
	URLs         map[string]string `json:"urls"` // rpc and, for subscriptions, wss
}

// Configuration is the credentials of one key backend.
type Configuration struct {
	Meta
	ConsortiumID  string         `json:"consortium_id"`
	EnvironmentID string         `json:"environment_id"`
	MembershipID  string         `json:"membership_id"`
	Name          string         `json:"name"`
	Type          string         `json:"type"`
	Details       map[string]any `json:"details"` // without secrets
}

// NewConfiguration asks for a configuration.
type NewConfiguration struct {
	Name         string         `json:"name"`
	MembershipID string         `json:"membership_id,omitempty"`
	Type         string         `json:"type"` // cloudhsm
	Details      map[string]any `json:"details"`
}

// Service is a wallet: one configuration bound to one node.
type Service struct {
	Meta
	ConsortiumID  string            `json:"consortium_id"`
	EnvironmentID string            `json:"environment_id"`
	MembershipID  string            `json:"membership_id"`
	Name          string            `json:"name"`
	Service       string            `json:"service"`
	ServiceType   string            `json:"service_type"`
	Details       map[string]any    `json:"details"`
	URLs          map[string]string `json:"urls"`
}

// NewService asks for a service.
type NewService struct {
	Name         string         `json:"name"`
	MembershipID string         `json:"membership_id,omitempty"`
	Service      string         `json:"service"` // cloudhsm
	Details      map[string]any `json:"details"` // cloudhsm_id; node_id, unless the membership has one node only
}

// AppCred is what a program proves itself with at the URLs of services.
type AppCred struct {
	Meta
	ConsortiumID  string `json:"consortium_id"`
	EnvironmentID string `json:"environment_id"`
	MembershipID  string `json:"membership_id"`
	Name          string `json:"name"`
	AuthType      string `json:"auth_type"` // basic_auth or mtls
	Username      string `json:"username"`
	Password      string `json:"password,omitempty"` // after Create and Regenerate only
}

// NewAppCred asks for an app credential.
type NewAppCred struct {
	Name         string `json:"name,omitempty"`
	MembershipID string `json:"membership_id,omitempty"`
	AuthType     string `json:"auth_type,omitempty"` // empty: basic_auth
	Username     string `json:"username,omitempty"`  // for mtls: the identity in the certificate
}

// APIKey is what a program or a person proves itself with at the management API.
type APIKey struct {
	Meta
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`
	Key    string  `json:"key,omitempty"` // after Create only
}

// NewAPIKey asks for an API key.
type NewAPIKey struct {
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`
}

// Grant is a role in a scope: the whole deployment if Consortium is empty, a
// whole consortium if Membership is.
type Grant struct {
	Consortium string `json:"consortium_id,omitempty"`
	Membership string `json:"membership_id,omitempty"`
	Role       string `json:"role"` // auditor, operator or admin
}

// Caller is who asks.
type Caller struct {
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`
}
