// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
)

// apiText is the description of the whole, for readers.
const apiText = `Configurations of key backends, signer services made from them, their accounts and transactions, and the credentials that open them.

**Paths** have a long and a short form, which may be mixed: /consortia/{c}/environments/{e}/nodes/{n} is /c/{c}/e/{e}/n/{n}. The short forms are c, m (memberships), e, n and s (services).

**Lists** are bare arrays. ?fields=_id,name leaves only these fields; ?sort=name,-created_at sorts, falling where a - stands before it; ?limit and ?skip choose a part. Every field is also a filter: =v equal, =!v not equal, = is there, =! is not there, =^v begins with, =$v ends with, =~v contains (these three without regard to capitals), [] =a and [] =b (name[]=a&name[]=b) one of, with ! before all of them none of. Fields in objects are named with a dot: details.provider=azure. For numbers and times, =<v, =<=v, =>v and =>=v mean what the signs say: ?chain_id=>10 is more than 10. (A page of Kaleido's has < and > the other way round. The query library whose operators these are has them as here, and the other way would surprise everybody.) Several filters hold together. A parameter that means nothing on its route is an error, since a filter that is silently ignored gives more than was asked for.

**Errors** are objects with errorMessage, for people, and error, for programs. What does not exist and what is not the caller's get the same 404, byte for byte; 403 is only for what the caller may see but not change.

**Credentials** are API keys (Authorization: Bearer), or the session of a person who has signed in; the latter sends X-CSRF-Token with everything but GET.`

// openAPI writes the table as an OpenAPI 3.1 document.
func openAPI(table []route, cfg ManagementConfig) map[string]any {
	components := map[string]*schema.Schema{}
	failureShape().Components(components)
	paths := map[string]map[string]any{}
	for i := range table {
		rt := &table[i]
		if paths[rt.path] == nil {
			paths[rt.path] = map[string]any{}
		}
		paths[rt.path][strings.ToLower(rt.method)] = rt.operation(cfg, table)
		rt.body.Components(components)
		for _, a := range rt.answers {
			a.body.Components(components)
		}
	}
	schemas := map[string]any{}
	for name, s := range components {
		schemas[name] = s.Definition()
	}
	schemes := map[string]any{"key": map[string]any{"type": "http", "scheme": "bearer", "description": "An API key, or an ID token of the identity provider."}}
	if slices.ContainsFunc(table, func(rt route) bool { return rt.apps }) {
		schemes["app"] = map[string]any{"type": "http", "scheme": "basic", "description": "Id and password of an app credential."}
	}
	if cfg.Cookie != "" {
		schemes["session"] = map[string]any{"type": "apiKey", "in": "cookie", "name": cfg.Cookie, "description": "The session of a person who has signed in at /auth/login."}
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "HSM Signer management API", "version": cfg.Release, "description": apiText,
			"license": map[string]string{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":    []any{map[string]string{"url": Base}},
		"tags":       groups(table),
		"paths":      paths,
		"components": map[string]any{"schemas": schemas, "responses": failures(), "securitySchemes": schemes},
	}
}

// groups are the tags in the order of the table.
func groups(table []route) []any {
	var seen []string
	var list []any
	for _, rt := range table {
		if !slices.Contains(seen, rt.tag) {
			seen = append(seen, rt.tag)
			list = append(list, map[string]string{"name": rt.tag})
		}
	}
	return list
}

// examples are bodies that a reader can begin with.
func examples() map[string]string {
	return map[string]string{ //nolint:gosec // none of these is a credential
		"createConsortium":  `{"name": "trade"}`,
		"createMembership":  `{"org_name": "acme"}`,
		"createEnvironment": `{"name": "production", "chain_id": 1}`,
		"createNode":        `{"name": "node", "chain_id": 1, "urls": {"rpc": "https://node.example.org:8545"}}`,
		"createConfiguration": `{"name": "vault", "type": "cloudhsm", "details": {"provider": "azure", "vault_name": "name-of-vault",
			"user_id": "11111111-2222-3333-4444-555555555555", "user_secret": "…",
			"tenant_id": "11111111-2222-3333-4444-555555555555", "subscription_id": "11111111-2222-3333-4444-555555555555"}}`,
		"updateConfiguration": `{"details": {"user_secret": "…"}}`,
		"createService":       `{"name": "pay", "service": "cloudhsm", "details": {"cloudhsm_id": "u0j6rld2ka"}}`,
		"createAppCred":       `{"name": "shop"}`,
		"createAPIKey":        `{"name": "ci", "grants": [{"role": "auditor"}]}`,
		"labelAccount":        `{"label": "pay roll"}`,
	}
}

func (rt *route) operation(cfg ManagementConfig, table []route) map[string]any {
	security := []any{map[string]any{"key": []string{}}}
	if rt.apps {
		security = append(security, map[string]any{"app": []string{}})
	}
	if cfg.Cookie != "" {
		security = append(security, map[string]any{"session": []string{}})
	}
	op := map[string]any{
		"operationId": rt.name, "summary": rt.title, "tags": []string{rt.tag}, "security": security,
		"responses": rt.responses(table),
	}
	if rt.doc != "" {
		op["description"] = rt.doc
	}
	if p := rt.described(); len(p) > 0 {
		op["parameters"] = p
	}
	if rt.body != nil {
		media := map[string]any{"schema": rt.body}
		if text := examples()[rt.name]; text != "" {
			media["example"] = json.RawMessage(text)
		}
		content := map[string]any{"application/json": media}
		if rt.stream != "" {
			content[rt.stream] = map[string]any{}
		}
		op["requestBody"] = map[string]any{"required": !rt.optional, "content": content}
	}
	return op
}

// described are the parameters of the path and the query.
func (rt *route) described() (list []any) {
	add := func(name, in, doc string, is *schema.Schema, more map[string]any) {
		p := map[string]any{"name": name, "in": in, "required": in == "path", "schema": is}
		if doc != "" {
			p["description"] = doc
		}
		for k, v := range more {
			p[k] = v
		}
		list = append(list, p)
	}
	for _, name := range parametersOf(rt.path) {
		is := idOf("")
		switch name {
		case "address":
			is.Pattern = addressPattern
		case "transaction_id":
			is.Pattern = transactionPattern
		case "version":
			is.Pattern = versionPattern
		case "record_id":
			is.Pattern = recordPattern
		case "approval_id":
			is.Pattern = approvalPattern
		}
		add(name, "path", "", is, nil)
	}
	comma := map[string]any{"style": "form", "explode": false}
	for _, p := range rt.parameters {
		var more map[string]any
		if p.name == query.Fields {
			more = comma
		}
		add(p.name, "query", p.doc, p.is, more)
	}
	if rt.filtered == nil {
		return list
	}
	zero, one, most := int64(0), int64(1), int64(query.MaxLimit)
	add(query.Fields, "query", "Only these fields.", query.Choice(rt.filtered), comma)
	add(query.Sort, "query", "By these fields; - before one that falls.", query.Order(rt.filtered), comma)
	add(query.Limit, "query", "At most so many.", &schema.Schema{Type: schema.Integer, Minimum: &one, Maximum: &most}, nil)
	large := int64(1<<31 - 1)
	add(query.Skip, "query", "Without so many from the beginning.", &schema.Schema{Type: schema.Integer, Minimum: &zero, Maximum: &large}, nil)
	for _, name := range rt.filtered.Names() {
		if !slices.ContainsFunc(rt.parameters, func(p parameter) bool { return p.name == name }) {
			add(name, "query", "Filter.", query.Filter(rt.filtered.Properties[name]), nil)
		}
	}
	return list
}

// responses are the successes of the route and every error that it may answer
// with.
func (rt *route) responses(table []route) map[string]any {
	all := map[string]any{}
	for _, a := range rt.answers {
		r := map[string]any{"description": a.doc}
		if a.body != nil {
			r["content"] = content(a.body)
		}
		if a.code == http.StatusCreated && a.body.Properties["_id"] != nil {
			r["links"] = rt.links(table)
		}
		all[strconv.Itoa(a.code)] = r
	}
	for _, code := range rt.failing() {
		all[strconv.Itoa(code)] = map[string]string{"$ref": "#/components/responses/" + failureNames()[code]}
	}
	return all
}

// links say what can be done with a resource that this route has made.
func (rt *route) links(table []route) map[string]any {
	all := map[string]any{}
	for _, other := range table {
		rest, under := strings.CutPrefix(other.path, rt.path+"/{")
		if !under || strings.Contains(rest, "{") {
			continue
		}
		ids := map[string]string{}
		for _, name := range parametersOf(rt.path) {
			ids[name] = "$request.path." + name
		}
		own, _, _ := strings.Cut(rest, "}")
		ids[own] = "$response.body#/_id"
		all[other.name] = map[string]any{"operationId": other.name, "parameters": ids}
	}
	return all
}

// failing are the codes of errors of a route.
func (rt *route) failing() []int {
	list := append([]int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusServiceUnavailable,
	}, rt.errors...)
	if rt.body != nil {
		list = append(list, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if rt.stream != "" {
		list = append(list, http.StatusRequestTimeout)
	}
	return list
}

func failureNames() map[int]string {
	return map[int]string{
		http.StatusBadRequest:            "Invalid",
		http.StatusUnauthorized:          "Unauthenticated",
		http.StatusForbidden:             "Forbidden",
		http.StatusNotFound:              "NotFound",
		http.StatusConflict:              "Conflict",
		http.StatusRequestTimeout:        "TooSlow",
		http.StatusRequestEntityTooLarge: "TooLarge",
		http.StatusUnsupportedMediaType:  "MediaType",
		http.StatusUnprocessableEntity:   "Unsupported",
		http.StatusTooManyRequests:       "RateLimited",
		http.StatusInternalServerError:   "Internal",
		http.StatusServiceUnavailable:    "Unavailable",
	}
}

func failures() map[string]any {
	text := schema.Schema{Type: schema.String}
	header := func(name, doc string) map[string]any {
		return map[string]any{name: map[string]any{"description": doc, "schema": &text}}
	}
	all := map[string]any{}
	for code, f := range map[int]struct {
		doc     string
		headers map[string]any
	}{
		http.StatusBadRequest:            {"The request is not as described here, or asks for what cannot be. Nothing was changed.", nil},
		http.StatusUnauthorized:          {"No API key, or one that is wrong or revoked.", header("WWW-Authenticate", "Bearer")},
		http.StatusForbidden:             {"The caller may see this but not do that with it.", nil},
		http.StatusNotFound:              {"There is nothing here, or nothing that the caller may see.", nil},
		http.StatusConflict:              {"It is in use, was changed meanwhile, or is read-only. Nothing was changed.", nil},
		http.StatusRequestTimeout:        {"The body came too slowly. Nothing was changed.", nil},
		http.StatusRequestEntityTooLarge: {"The body is larger than 1 MiB, or than the route takes if it takes more.", nil},
		http.StatusUnsupportedMediaType:  {"The body is not said to be application/json.", nil},
		http.StatusUnprocessableEntity:   {"This key backend never does that, or not with the credentials of this configuration.", nil},
		http.StatusTooManyRequests:       {"Too many requests, or too many wrong credentials.", header("Retry-After", "Seconds.")},
		http.StatusInternalServerError:   {"A mistake in this program. The log has the cause under the request_id.", nil},
		http.StatusServiceUnavailable:    {"Something that is needed does not answer: a node, a key backend, the database. Try again.", header("Retry-After", "Seconds.")},
	} {
		r := map[string]any{"description": f.doc, "content": content(failureShape())}
		if f.headers != nil {
			r["headers"] = f.headers
		}
		all[failureNames()[code]] = r
	}
	return all
}

func content(s *schema.Schema) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": s}}
}

func serveDocument(document []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document) // the client has gone
	}
}
