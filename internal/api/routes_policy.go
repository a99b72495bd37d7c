// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// policies are what the routes of policies need of a Platform. No kind is the
// whole deployment.
type policies interface {
	Policy(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) (platform.Policy, error)
	SetPolicy(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, n platform.NewPolicy) (platform.PolicyVersion, error)
	PolicyVersions(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) ([]platform.PolicyVersion, error)
	PolicyVersion(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, version int64) (platform.PolicyVersion, error)
	ApprovePolicy(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, version int64) (platform.PolicyVersion, error)
	RejectPolicy(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path, version int64) (platform.PolicyVersion, error)
	PolicyUsage(ctx context.Context, who auth.Access, kind platform.Kind, at platform.Path) ([]platform.LimitUsage, error)
	TestPolicy(ctx context.Context, who auth.Access, at platform.Path, t platform.PolicyTest) (platform.PolicyVerdict, error)
	PolicySchema() []byte
}

// scope is where rules hold, or something is frozen.
type scope struct {
	kind platform.Kind
	path string
	noun string // in the names of operations
	of   string // in titles
}

func policyScopes() []scope {
	return []scope{
		{"", "", "Deployment", "the whole deployment"},
		{platform.Consortia, "/consortia/{consortium_id}", "Consortium", "a consortium"},
		{platform.Memberships, "/consortia/{consortium_id}/memberships/{membership_id}", "Membership", "a membership"},
		{platform.Services, aService, "Service", "a service"},
		{platform.AppCreds, inEnvironment + "/appcreds/{appcred_id}", "AppCred", "an app credential"},
	}
}

const versionPattern = `^[1-9][0-9]{0,17}$`

func policyRoutes() []route {
	var table []route
	for _, s := range policyScopes() {
		table = append(table, s.policyRoutes()...)
	}
	return append(table, of("Policies", platform.Services, []route{
		{
			method: http.MethodPost, path: aService + "/policy/test", name: "testPolicy", title: "Ask what would become of a request, and why",
			doc: "Nothing is signed, sent or stored, nobody is asked, and no limit is used up. Fees and gas that are left out count as the least that there is: " +
				"give them to have caps on them judged. With document, these rules stand in the place of the service's own.",
			body: newPolicyTest(), answers: []answers{{http.StatusOK, shape[platform.PolicyVerdict](), "The verdict, and what each policy says."}}, serve: testPolicy,
		},
		{
			method: http.MethodGet, path: "/policy-schema", name: "getPolicySchema", title: "Show the JSON Schema of policy documents",
			answers: []answers{{http.StatusOK, &schema.Schema{Type: schema.Object, Description: "JSON Schema 2020-12."}, "The schema."}}, serve: policySchema,
		},
	})...)
}

func (s scope) policyRoutes() []route {
	base := s.path + "/policy"
	version := base + "/versions/{version}"
	shown := shape[platform.PolicyVersion]()
	one := []answers{{http.StatusOK, shown, "The version."}}
	clash := []int{http.StatusConflict}
	return of("Policies", s.kind, []route{
		{
			method: http.MethodGet, path: base, name: "get" + s.noun + "Policy", title: "Show the rules of " + s.of,
			answers: []answers{{http.StatusOK, shape[platform.Policy](), "What counts, what is proposed, and which wider scopes have rules."}}, serve: getPolicy,
		},
		{
			method: http.MethodPut, path: base, name: "set" + s.noun + "Policy", title: "Set the rules of " + s.of,
			doc: "As a new version. It counts on all replicas within a second; where the consortium has policy_approvals, it is proposed until another admin approves. " +
				"An empty document ends the rules. Setting what counts already changes nothing.",
			body: newPolicy(), errors: clash, serve: setPolicy,
			answers: []answers{
				{http.StatusOK, shown, "It counts, or has ended what did."},
				{http.StatusAccepted, shown, "It is proposed, and waits for another admin."},
			},
		},
		{
			method: http.MethodGet, path: base + "/versions", name: "list" + s.noun + "PolicyVersions", title: "List the versions of the rules of " + s.of,
			filtered: shown, serve: listPolicyVersions,
			answers: []answers{{http.StatusOK, listOf(shown), "The newest first, without the documents."}},
		},
		{
			method: http.MethodGet, path: version, name: "get" + s.noun + "PolicyVersion", title: "Show a version of the rules of " + s.of,
			answers: one, serve: getPolicyVersion,
		},
		{
			method: http.MethodPost, path: version + "/approve", name: "approve" + s.noun + "Policy", title: "Have a proposed version of the rules of " + s.of + " count",
			doc: "For an admin who is not its author, nor has made the author's key, nor got his from the author. No body is needed.", answers: one, errors: clash, serve: approvePolicy,
		},
		{
			method: http.MethodPost, path: version + "/reject", name: "reject" + s.noun + "Policy", title: "Drop a proposed version of the rules of " + s.of,
			doc: "For any admin, its author too. No body is needed.", answers: one, errors: clash, serve: rejectPolicy,
		},
		{
			method: http.MethodGet, path: base + "/usage", name: "get" + s.noun + "PolicyUsage", title: "Show how much is used of the limits of " + s.of,
			doc: "Of each limit of which something was ever used. Limits of wider scopes are shown with those.", answers: []answers{{http.StatusOK, &schema.Schema{Type: schema.Array, Items: shape[platform.LimitUsage]()}, "The limits."}}, serve: policyUsage,
		},
	})
}

func newPolicy() *schema.Schema {
	return object("NewPolicy", map[string]*schema.Schema{
		"document": {Type: schema.String, Or: []string{schema.Object}, Description: "The rules: text, as YAML or JSON, or the object itself. GET /policy-schema has their schema."},
		"comment":  textOf("For people.", 1024),
		"replaces": wholeOf("The version that counts now, to the knowledge of the caller; 0 if none does. If another counts, nothing is changed (409). Left out: whichever.", 0, 1<<53),
	}, "document")
}

func newPolicyTest() *schema.Schema {
	return object("PolicyTest", map[string]*schema.Schema{
		"principal": textOf("Whose request it would be, like app:u0abcdefgh. Left out: the caller's.", 300),
		"method":    {Type: schema.String, Enum: platform.PolicyTestMethods(), Description: "Of JSON-RPC, or document for a signature on one."},
		"params":    {Type: schema.Array, MinItems: 1, MaxItems: 3, Description: "As the method takes them; for document, an object with account, sha256, size, name and media_type."},
		"document":  {Type: schema.String, Or: []string{schema.Object}, Description: "Rules to try in the place of the service's own."},
	}, "method", "params")
}
