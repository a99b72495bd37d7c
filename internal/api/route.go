// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Base is where all routes of the management API begin.
const Base = "/api/v1"

// route is one method at one path. The table of them makes the multiplexer, the
// OpenAPI document and the tests.
type route struct {
	method string
	path   string // under Base, in its long form, as http.ServeMux writes it
	name   string // operationId
	tag    string
	title  string
	doc    string // what the title does not say
	kind   platform.Kind

	parameters []parameter    // of the query; any other is refused
	filtered   *schema.Schema // of a list: one element, whose fields are parameters too
	body       *schema.Schema // nil: a body is not read
	optional   bool           // of the body
	stream     string         // other media than JSON that are taken, like */*: they are handed to serve unread; empty: none
	apps       bool           // app credentials may call it, too
	answers    []answers
	errors     []int // beside those that every route has

	serve func(ctx context.Context, p Platform, rt *route, c *call) (reply, error)
}

// answers is one way in which a route succeeds.
type answers struct {
	code int
	body *schema.Schema // nil: none
	doc  string
}

// parameter is one of the query that is no filter.
type parameter struct {
	name string
	doc  string
	is   *schema.Schema
	flag bool // ?name is the same as ?name=true
}

// call is one request, after all that is the same for every route.
type call struct {
	who   auth.Access
	at    platform.Path
	leaf  string // the address or transaction in the path
	query url.Values
	body  strictjson.Value

	stream *stream // in place of the body; nil: there is a body, or none is read
	// again says anew who is asking: what takes long to read may come from somebody
	// whose credential was revoked meanwhile.
	again func() (auth.Access, error)
}

// written is the body, written anew.
func (c *call) written() []byte { return c.body.AppendTo(nil) }

// flag reports whether a parameter is given and not false.
func (c *call) flag(name string) bool {
	return c.query.Has(name) && c.query.Get(name) != "false"
}

// reply is a success.
type reply struct {
	code int
	body any // nil: none
}

func ok(body any) reply { return reply{http.StatusOK, body} }

// short gives the short forms of path segments, by their place in the path.
func short() []map[string]string {
	return []map[string]string{
		0: {"c": "consortia"},
		2: {"m": "memberships", "e": "environments"},
		4: {"n": "nodes", "s": "services"},
	}
}

// long writes a path under Base in its long form. Both may be mixed, as in
// /c/:c/environments/:e/n/:n.
func long(escaped string) string {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	changed := false
	for i, forms := range short() {
		if i < len(segments) && forms[segments[i]] != "" && (i == 0 || segments[0] == "consortia") {
			segments[i], changed = forms[segments[i]], true
		}
	}
	if !changed {
		return escaped
	}
	return "/" + strings.Join(segments, "/")
}

// place reads the ids out of the path of a request. Whatever does not look like
// an id is that of nothing.
func (rt *route) place(r *http.Request) (at platform.Path, leaf string, err error) {
	for _, name := range parametersOf(rt.path) {
		v := r.PathValue(name)
		switch {
		case name == "address" || name == "transaction_id" || name == "version" || name == "record_id" || name == "approval_id":
			leaf = v
			continue
		case !isID(v):
			return at, "", notFound()
		case name == "consortium_id" && rt.kind != platform.Consortia:
			at.Consortium = v
		case name == "environment_id" && rt.kind != platform.Environments:
			at.Environment = v
		default:
			at.ID = v
		}
	}
	return at, leaf, nil
}

// parametersOf are the names in braces, in their order.
func parametersOf(path string) (names []string) {
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// isID reports whether text has the form of a resource's id.
func isID(text string) bool {
	if len(text) != 10 {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
