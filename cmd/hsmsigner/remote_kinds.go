// SPDX-License-Identifier: Apache-2.0

package main

import "net/http"

// remoteKind is a kind of resource of the management API, from which all its
// commands are made.
type remoteKind struct {
	noun, plural string // the command, and the last part of the path
	about        string
	place        int    // 0: of the deployment; 1: in a consortium; 2: in an environment, of a membership
	title        string // the field with its name
	columns      []string
	flags        []remoteFlag
	fixed        map[string]any // fields that are always the same
	details      bool           // takes --set
	verbs        []remoteVerb   // beside the five
	shownOnce    string         // field of a secret that only the answer to create has
	example      string
}

// remoteFlag is a field that a flag gives.
type remoteFlag struct {
	name, field string // the field with dots
	usage       string
	kind        flagKind
	of          string // for references: the noun of what is referred to
	required    bool   // to create
	createOnly  bool
}

type flagKind int

const (
	flagText      flagKind = iota
	flagNumber             // a whole number
	flagYes                // true or false
	flagReference          // a name or id
	flagURL                // text without a password
	flagFile               // a file with a secret
)

// remoteVerb is a command that sends one request about one resource.
type remoteVerb struct {
	name, short string
	method      string
	last        string // part of the path
	body        any
}

// remoteKinds is the table of all of them.
func remoteKinds() []*remoteKind {
	reset := remoteVerb{"reset", "Connect anew", http.MethodPut, "reset", struct{}{}}
	owner := remoteFlag{name: "membership", field: "membership_id", kind: flagReference, of: "membership", createOnly: true, usage: "whose it is; not needed if the key sees one membership only"}
	common := []string{"_id", "name", "membership_id", "state", "state_reason"}
	return []*remoteKind{
		{
			noun: "consortium", plural: "consortia", about: "consortia", title: "name", columns: []string{"_id", "name", "state"},
			flags: []remoteFlag{
				{name: "description", field: "description", usage: "for people"},
				{name: "policy-approvals", field: "policy_approvals", kind: flagNumber, usage: "how many admins beside its author a new version of a policy needs: 0 or 1"},
			},
			example: "hsmsigner consortium create acme",
		},
		{
			noun: "membership", plural: "memberships", about: "memberships: the organizations of a consortium", place: 1, title: "org_name", columns: []string{"_id", "org_name", "state"},
			example: "hsmsigner membership create ops --consortium acme",
		},
		{
			noun: "environment", plural: "environments", about: "environments of a consortium", place: 1, title: "name", columns: []string{"_id", "name", "chain_id", "state"},
			flags: []remoteFlag{
				{name: "description", field: "description", usage: "for people"},
				{name: "chain-id", field: "chain_id", kind: flagNumber, usage: "that all its nodes must have"},
				{name: "require-hsm", field: "require_hsm", kind: flagYes, usage: "only keys in hardware"},
			},
			example: "hsmsigner environment create prod --consortium acme --chain-id 1",
		},
		{
			noun: "node", plural: "nodes", about: "Ethereum nodes", place: 2, title: "name", columns: []string{"_id", "name", "membership_id", "chain_id", "urls", "state", "state_reason"},
			flags: []remoteFlag{
				owner,
				{name: "chain-id", field: "chain_id", kind: flagNumber, usage: "that the node must be on", required: true, createOnly: true},
				{name: "rpc", field: "urls.rpc", kind: flagURL, usage: "http or https `URL` of the node"},
				{name: "rpc-file", field: "urls.rpc", kind: flagFile, usage: "`file` with the same, if there is a key in it"},
				{name: "wss", field: "urls.wss", kind: flagURL, usage: "ws or wss `URL` of the node"},
				{name: "wss-file", field: "urls.wss", kind: flagFile, usage: "`file` with the same"},
			},
			verbs:   []remoteVerb{reset},
			example: "hsmsigner node create mainnet --chain-id 1 --rpc-file ./node-url",
		},
		{
			noun: "configuration", plural: "configurations", about: "configurations: credentials of key backends", place: 2, title: "name", columns: common,
			flags: []remoteFlag{
				owner,
				{name: "provider", field: "details.provider", usage: "kind of backend", required: true},
			},
			fixed: map[string]any{"type": "cloudhsm"}, details: true,
			example: "hsmsigner configuration create vault --provider aws_kms --set target_region=eu-central-1 --set user_id=AKIA… --set user_secret.file=./secret",
		},
		{
			noun: "service", plural: "services", about: "services: wallets, each of one configuration and one node", place: 2, title: "name", columns: common,
			flags: []remoteFlag{
				owner,
				{name: "configuration", field: "details.cloudhsm_id", kind: flagReference, of: "configuration", usage: "whose keys it has", required: true},
				{name: "node", field: "details.node_id", kind: flagReference, of: "node", usage: "that it sends to; not needed if the membership has one only"},
			},
			fixed: map[string]any{"service": "cloudhsm"}, details: true,
			verbs: []remoteVerb{
				{"status", "Show accounts found, health and URLs", http.MethodGet, "status", nil},
				reset,
			},
			example: "hsmsigner service create treasury --configuration vault --node mainnet\n  hsmsigner service status treasury",
		},
		{
			noun: "appcred", plural: "appcreds", about: "app credentials, which open the URLs of services", place: 2, title: "name", columns: []string{"_id", "name", "membership_id", "auth_type", "username"},
			flags: []remoteFlag{
				owner,
				{name: "auth-type", field: "auth_type", usage: "basic_auth (default) or mtls", createOnly: true},
				{name: "username", field: "username", usage: "for mtls: the identity in the client certificate", createOnly: true},
			},
			verbs:     []remoteVerb{{"regenerate", "Make another password", http.MethodPost, "regenerate", nil}},
			shownOnce: "password",
			example:   "hsmsigner appcred create shop",
		},
		{
			noun: "apikey", plural: "apikeys", about: "API keys, which open the management API", title: "name", columns: []string{"_id", "name", "grants"},
			flags: []remoteFlag{
				{name: "role", field: "role", usage: "auditor, operator or admin", required: true, createOnly: true},
				{name: "consortium", field: "consortium_id", kind: flagReference, of: "consortium", usage: "where the role holds; without it, everywhere", createOnly: true},
				{name: "membership", field: "membership_id", kind: flagReference, of: "membership", usage: "whose resources the role is for; without it, all of the consortium's", createOnly: true},
			},
			shownOnce: "key",
			example:   "hsmsigner apikey create ci --role operator --consortium acme",
		},
	}
}

func kindCalled(noun string) *remoteKind {
	for _, k := range remoteKinds() {
		if k.noun == noun {
			return k
		}
	}
	return nil
}
