// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// collection is a kind of resource and where it stands.
type collection struct {
	kind     platform.Kind
	path     string
	id       string // name of its id in paths
	tag      string
	one      string // with its article
	shown    *schema.Schema
	create   *schema.Schema
	update   *schema.Schema
	lingers  bool // a deleted one may be there until it has finished
	doc      string
	makeDoc  string
	dropDoc  string
	patchDoc string
}

const inEnvironment = "/consortia/{consortium_id}/environments/{environment_id}"

// collections are the resources in the order in which a user makes them.
func collections() []collection {
	return []collection{
		{
			kind: platform.Consortia, path: "/consortia", id: "consortium_id", tag: "Consortia", one: "a consortium",
			shown: shape[platform.Consortium](), create: newConsortium(), update: change("ConsortiumChange", newConsortium()), lingers: true,
			doc: "A group of organizations. One is there from the start: " + platform.DefaultConsortium + ".",
		},
		{
			kind: platform.Memberships, path: "/consortia/{consortium_id}/memberships", id: "membership_id", tag: "Memberships", one: "a membership",
			shown: shape[platform.Membership](), create: newMembership(), update: change("MembershipChange", newMembership()),
			doc: "An organization in a consortium: a tenant. Nothing of one is ever seen or used by another.",
		},
		{
			kind: platform.Environments, path: "/consortia/{consortium_id}/environments", id: "environment_id", tag: "Environments", one: "an environment",
			shown: shape[platform.Environment](), create: newEnvironment(), update: change("EnvironmentChange", newEnvironment()), lingers: true,
			doc: "A place in a consortium where memberships have nodes, configurations and services.",
		},
		{
			kind: platform.Nodes, path: inEnvironment + "/nodes", id: "node_id", tag: "Nodes", one: "a node",
			shown: shape[platform.Node](), create: newNode(), update: change("NodeChange", newNode(), "membership_id", "chain_id"), lingers: true,
			doc: "An Ethereum node that exists already: its address and the chain it must be on.",
		},
		{
			kind: platform.Configurations, path: inEnvironment + "/configurations", id: "configuration_id", tag: "Configurations", one: "a configuration",
			shown: shape[platform.Configuration](), create: newConfiguration(), update: change("ConfigurationChange", newConfiguration(), "membership_id", "type"), lingers: true,
			doc:      "Provider and credentials of a key backend. Secrets are sealed before they are stored, and never shown.",
			patchDoc: "details are merged key by key, so that a secret can be changed alone. The services that use it change over without failing a request.",
			dropDoc:  "409 while a service uses it.",
		},
		{
			kind: platform.Services, path: inEnvironment + "/services", id: "service_id", tag: "Services", one: "a service",
			shown: shape[platform.Service](), create: newService(), update: change("ServiceChange", newService(), "membership_id", "service"), lingers: true,
			doc:     "A wallet: one configuration bound to one node. It is there at once in the state provisioning, and then started, or failed with a reason.",
			dropDoc: "202 while transactions of it are under way: it takes no new ones, and goes when the last is final. Else 204.",
		},
		{
			kind: platform.AppCreds, path: inEnvironment + "/appcreds", id: "appcred_id", tag: "App credentials", one: "an app credential",
			shown: shape[platform.AppCred](), create: newAppCred(), update: change("AppCredChange", newAppCred(), "membership_id", "auth_type", "username"),
			doc:     "What a program proves itself with at the URLs of services: HTTP Basic, or a client certificate.",
			makeDoc: "The answer has the password, which is shown this once.",
			dropDoc: "What it was opens nothing any more, at once on this replica and within two seconds on others; open sockets are closed.",
		},
		{
			kind: platform.APIKeys, path: "/apikeys", id: "apikey_id", tag: "API keys", one: "an API key",
			shown: shape[platform.APIKey](), create: newAPIKey(), update: change("APIKeyChange", newAPIKey(), "grants"),
			doc:     "What a program or a person proves itself with here.",
			makeDoc: "The answer has the key, which is shown this once.",
			dropDoc: "It opens nothing any more, at once on this replica and within two seconds on others.",
		},
	}
}

// routes is the table of all routes under Base.
func routes() []route {
	var table []route
	for _, c := range collections() {
		table = append(table, c.routes()...)
	}
	table = append(table, trialRoutes()...)
	table = append(table, serviceRoutes()...)
	table = append(table, accountRoutes()...)
	table = append(table, signRoutes()...)
	table = append(table, transactionRoutes()...)
	table = append(table, policyRoutes()...)
	table = append(table, freezeRoutes()...)
	table = append(table, approvalRoutes()...)
	table = append(table, auditRoutes()...)
	table = append(table, documentRoutes()...)
	table = append(table, gatewayRoutes()...)
	return append(table, route{
		method: http.MethodGet, path: "/whoami", name: "whoami", tag: "API keys", title: "Who is asking, and what they may do",
		answers: []answers{{http.StatusOK, shape[Caller](), "The caller."}}, serve: whoami,
	})
}

// routes are the five verbs on a kind of resource.
func (c collection) routes() []route {
	one, noun := c.path+"/{"+c.id+"}", c.shown.Name
	clash := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	drop := route{
		method: http.MethodDelete, path: one, name: "delete" + noun, title: "Delete " + c.one, doc: c.dropDoc,
		answers: []answers{{http.StatusNoContent, nil, "It is gone."}}, errors: clash[:1], serve: dropResource,
	}
	if c.lingers {
		drop.answers = append(drop.answers, answers{http.StatusAccepted, c.shown, "It goes when it has finished what it has; its state is deleting."})
		drop.serve = drainResource
	}
	return of(c.tag, c.kind, []route{
		{
			method: http.MethodGet, path: c.path, name: "list" + plural(noun), title: "List " + c.plural(), doc: c.doc, filtered: c.shown,
			answers: []answers{{http.StatusOK, listOf(c.shown), "What the caller may see, in the order in which it was made if no other is asked for."}}, serve: listResources,
		},
		{
			method: http.MethodPost, path: c.path, name: "create" + noun, title: "Make " + c.one, doc: c.makeDoc, body: c.create,
			answers: []answers{{http.StatusCreated, c.shown, "It is made."}}, errors: clash, serve: createResource,
		},
		{
			method: http.MethodGet, path: one, name: "get" + noun, title: "Show " + c.one,
			answers: []answers{{http.StatusOK, c.shown, "As it is now."}}, serve: getResource,
		},
		{
			method: http.MethodPatch, path: one, name: "update" + noun, title: "Change " + c.one, doc: c.patchDoc, body: c.update,
			answers: []answers{{http.StatusOK, c.shown, "As it is after the change."}}, errors: clash, serve: updateResource,
		},
		drop,
	})
}

// of says of all routes what they are about.
func of(tag string, kind platform.Kind, table []route) []route {
	for i := range table {
		table[i].tag, table[i].kind = tag, kind
	}
	return table
}

// listOf is a list of which ?fields may leave out all but the id.
func listOf(s *schema.Schema) *schema.Schema {
	item := s.Partial(s.Name+"Item", "All of it, or what ?fields leaves.")
	if _, ok := s.Properties["_id"]; ok {
		item.Required = []string{"_id"}
	}
	return &schema.Schema{Type: schema.Array, Items: item}
}

// plural is how operations on collections are called.
func plural(noun string) string {
	switch noun {
	case "Consortium":
		return "Consortia"
	}
	return noun + "s"
}

func (c collection) plural() string {
	switch c.kind {
	case platform.AppCreds:
		return "app credentials"
	case platform.APIKeys:
		return "API keys"
	}
	return string(c.kind)
}

// caller is the answer about a caller.
func caller(who auth.Access) Caller {
	c := Caller{Name: who.Principal.Name, Grants: who.Grants}
	if c.Grants == nil {
		c.Grants = []auth.Grant{}
	}
	return c
}
