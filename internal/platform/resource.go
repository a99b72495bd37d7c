// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Kind is a kind of resource. Its value is the last part of the collection's
// path.
type Kind string

// The kinds, with the short form of their paths.
const (
	Consortia      Kind = "consortia"      // c
	Memberships    Kind = "memberships"    // m, in a consortium
	Environments   Kind = "environments"   // e, in a consortium
	Nodes          Kind = "nodes"          // n, in an environment
	Configurations Kind = "configurations" // in an environment
	Services       Kind = "services"       // s, in an environment
	AppCreds       Kind = "appcreds"       // in an environment
	APIKeys        Kind = "apikeys"        // of the deployment; grants say where they hold
)

// Path says where a resource stands, by ids. Its ID is empty for a collection.
type Path struct {
	Consortium  string
	Environment string
	ID          string
}

// The states of a resource.
const (
	Provisioning = "provisioning" // being opened; a service that cannot be opened yet says why in its reason
	Started      = "started"
	Failed       = "failed"   // will not work as it is; the reason says what to change
	Deleting     = "deleting" // takes nothing new, and goes when nothing of it is under way any more
)

// Meta is what every resource shows.
type Meta struct {
	ID       string    `json:"_id"`
	Revision string    `json:"_revision"`
	Created  time.Time `json:"created_at"`
	Updated  time.Time `json:"updated_at"`
	State    string    `json:"state"`
	Reason   string    `json:"state_reason,omitempty"` // for people
	ReadOnly bool      `json:"read_only,omitempty"`    // declared in the config file
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

// Membership is one organization in a consortium: a tenant.
type Membership struct {
	Meta
	ConsortiumID string `json:"consortium_id"`
	OrgName      string `json:"org_name"`
}

// Environment is a place in a consortium where memberships have nodes,
// configurations and services.
type Environment struct {
	Meta
	ConsortiumID string `json:"consortium_id"`
	Name         string `json:"name"`
	Description  string `json:"description,omitempty"`
	Provider     string `json:"provider,omitempty"`       // kept as given
	Consensus    string `json:"consensus_type,omitempty"` // kept as given
	ChainID      uint64 `json:"chain_id,omitempty"`       // if given, of all its nodes
	RequireHSM   bool   `json:"require_hsm,omitempty"`    // imposed on all its configurations
}

// Node is an Ethereum node that exists already.
type Node struct {
	Meta
	ConsortiumID  string            `json:"consortium_id"`
	EnvironmentID string            `json:"environment_id"`
	MembershipID  string            `json:"membership_id"`
	Name          string            `json:"name"`
	ChainID       uint64            `json:"chain_id"` // pinned
	URLs          map[string]string `json:"urls"`     // rpc, wss: without user, password, path and query, which may hold a key
}

// Configuration is the credentials of one key backend.
type Configuration struct {
	Meta
	ConsortiumID  string         `json:"consortium_id"`
	EnvironmentID string         `json:"environment_id"`
	MembershipID  string         `json:"membership_id"`
	Name          string         `json:"name"`
	Type          string         `json:"type"`    // cloudhsm
	Details       map[string]any `json:"details"` // without secrets; unknown keys are kept
}

// Service is a wallet: one configuration bound to one node.
type Service struct {
	Meta
	ConsortiumID  string            `json:"consortium_id"`
	EnvironmentID string            `json:"environment_id"`
	MembershipID  string            `json:"membership_id"`
	Name          string            `json:"name"`
	Service       string            `json:"service"`      // cloudhsm
	ServiceType   string            `json:"service_type"` // member
	Details       map[string]any    `json:"details"`      // cloudhsm_id, node_id; unknown keys are kept
	URLs          map[string]string `json:"urls"`         // http, ws, rpc, wss, rest, webui
}

// AppCred is what a program proves itself with at the RPC door.
type AppCred struct {
	Meta
	ConsortiumID  string `json:"consortium_id"`
	EnvironmentID string `json:"environment_id"`
	MembershipID  string `json:"membership_id"`
	Name          string `json:"name"`
	AuthType      string `json:"auth_type"`          // basic_auth or mtls
	Username      string `json:"username"`           // the id; for mtls the certificate's identity
	Password      string `json:"password,omitempty"` // in the answer to POST and regenerate only
}

// APIKey is what a program or person proves itself with at the management API.
type APIKey struct {
	Meta
	Name   string       `json:"name"`
	Grants []auth.Grant `json:"grants"`
	Key    string       `json:"key,omitempty"` // prefix-secret, in the answer to POST only
}

// ServiceStatus is the answer to GET …/services/:id/status.
type ServiceStatus struct {
	State    string            `json:"state"`
	Status   string            `json:"status"` // as state, for old clients
	Reason   string            `json:"reason,omitempty"`
	Release  string            `json:"release"` // of this program
	Accounts int               `json:"accounts"`
	Usable   int               `json:"usable_accounts"`
	Ready    bool              `json:"ready"` // would sign and send now
	Backend  Health            `json:"backend"`
	Node     Health            `json:"node"`
	Listing  Listing           `json:"listing"`
	URLs     map[string]string `json:"urls"`
}

// Listing is how far the listing of a backend's keys is, which a service begins
// with, and repeats by itself and on request. Listings of many keys take minutes.
type Listing struct {
	Running  bool      `json:"running"`
	Keys     int       `json:"keys"`     // found so far by the one that runs, else by the last; before filters
	Problems int       `json:"problems"` // of those, that cannot be used
	Started  time.Time `json:"started_at,omitzero"`
	Finished time.Time `json:"finished_at,omitzero"` // when one last succeeded
}

// Health is how something that a service depends on is.
type Health struct {
	OK      bool      `json:"ok"`
	Reason  string    `json:"reason,omitempty"` // the kind, never what a provider wrote
	Checked time.Time `json:"checked_at,omitzero"`
}

// Account is an account of a service, in the words of hsmsigner account list.
type Account struct {
	Address    string            `json:"address"` // checksummed, EIP-55
	KeyRef     string            `json:"key_ref"`
	Name       string            `json:"name"`
	Label      string            `json:"label"`
	Protection string            `json:"protection"`
	State      string            `json:"state"`
	Reason     string            `json:"state_reason,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Seen       time.Time         `json:"seen_at,omitzero"`
	Balance    string            `json:"balance,omitempty"` // wei, decimal; on request
	Nonce      *uint64           `json:"nonce,omitempty"`   // that the next transaction would get; on request
}
