// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const someID = "u0zzzzzzz0"

// filled is a path of the table with ids that nothing has.
func filled(path string) string {
	for _, name := range parametersOf(path) {
		v := someID
		switch name {
		case "address":
			v = address.Hex()
		case "version":
			v = "1"
		case "transaction_id", "record_id", "approval_id":
			v = strings.Repeat("0", 32)
		}
		path = strings.Replace(path, "{"+name+"}", v, 1)
	}
	return path
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	r := newRig(t)
	a := r.send("", http.MethodGet, "/openapi.json", "")
	var document struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas, Responses map[string]json.RawMessage
		} `json:"components"`
	}
	must(t, json.Unmarshal([]byte(a.text), &document))
	if a.code != 200 || !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Fatalf("%d %s", a.code, document.OpenAPI)
	}
	for _, rt := range routes() {
		operation, ok := document.Paths[rt.path][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s %s is served and not in the document", rt.method, rt.path)
		}
		delete(document.Paths[rt.path], strings.ToLower(rt.method))
		for part := range strings.SplitSeq(string(operation), `"$ref": "#/components/`) {
			kind, rest, found := strings.Cut(part, "/")
			name, _, _ := strings.Cut(rest, `"`)
			if there := document.Components.Schemas[name] != nil || document.Components.Responses[name] != nil; found && (kind == "schemas" || kind == "responses") && !there {
				t.Errorf("%s: nothing is called %s", rt.name, name)
			}
		}
	}
	for path, left := range document.Paths {
		for method := range left {
			t.Errorf("%s %s is in the document and not served", method, path)
		}
	}
}

func TestEveryRouteIsServedAndAsksWhoIsThere(t *testing.T) {
	r := newRig(t)
	names := map[string]bool{}
	for _, rt := range routes() {
		if names[rt.name] {
			t.Errorf("two routes are called %s", rt.name)
		}
		names[rt.name] = true
		r.unknown("", rt.method, filled(rt.path))
	}
	for _, token := range []string{"u0zzzzzzz0-wrong", "nonsense", strings.Repeat("x", 4000)} { // few: guessing is slowed down
		r.unknown(token, http.MethodGet, "/consortia")
	}
}

func (r *rig) unknown(token, method, path string) {
	r.t.Helper()
	a := r.call(token, method, path, "")
	if a.code != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		r.t.Errorf("%s %s with %.20q: %d %s", method, path, token, a.code, a.text)
	}
}

// Each of the two to four forms of a path, of which each part may be short or
// long.
func TestShortFormsOfPathsAreTheSameRoutes(t *testing.T) {
	r := newRig(t)
	for _, rt := range routes() {
		for _, path := range forms(filled(rt.path)) {
			if a := r.send("", rt.method, path, ""); a.code != http.StatusUnauthorized {
				t.Errorf("%s %s: %d", rt.method, path, a.code)
			}
		}
	}
	for _, path := range []string{"/consortia/c/e", "/n", "/c/" + someID + "/x", "/c/" + someID + "/n"} {
		if a := r.send(r.root, http.MethodGet, path, ""); a.code != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.code)
		}
	}
}

func forms(path string) []string {
	all := []string{path}
	for i, words := range short() {
		for brief, whole := range words {
			for _, p := range slices.Clone(all) {
				segments := strings.Split(p, "/")
				if i+1 < len(segments) && segments[i+1] == whole {
					segments[i+1] = brief
					all = append(all, strings.Join(segments, "/"))
				}
			}
		}
	}
	return all
}

func TestOtherMethodsGet405WithThoseThatThereAre(t *testing.T) {
	r := newRig(t)
	paths := map[string][]string{}
	for _, rt := range routes() {
		paths[rt.path] = append(paths[rt.path], rt.method)
	}
	for path, methods := range paths {
		if slices.Contains(methods, http.MethodGet) {
			methods = append(methods, http.MethodHead)
		}
		slices.Sort(methods)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} {
			if slices.Contains(methods, method) {
				continue
			}
			a := r.send(r.root, method, filled(path), "")
			if a.code != http.StatusMethodNotAllowed || a.header.Get("Allow") != strings.Join(methods, ", ") || method != "HEAD" && a.get("error") != methodWrong {
				t.Errorf("%s %s: %d, Allow: %s %s", method, path, a.code, a.header.Get("Allow"), a.text)
			}
		}
	}
}

// A path that is not clean, or leads nowhere, is not found: no redirect, nothing
// but JSON.
func TestStrangePathsAreNotFound(t *testing.T) {
	r := newRig(t)
	want := notFound().body.Message
	for _, path := range []string{
		"/", "/nothing", "//consortia", "/consortia/", "/consortia/../whoami", "/./whoami", "/consortia/%2e%2e", "/consortia/a%2Fb", "/consortia/%00",
		"/consortia/..%2f..%2fwhoami", "/consortia/" + strings.Repeat("a", 5000), "/consortia/UPPERCASE0", "/consortia/h0consort0/environments/h0environ0/services/%F0%9F%94%91",
	} {
		if a := r.send(r.root, http.MethodGet, path, ""); a.code != http.StatusNotFound || a.get("errorMessage") != want {
			t.Errorf("%.60s: %d %.100s", path, a.code, a.text)
		}
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/consortia", "/consortia/h0consort0", "/whoami", "/openapi.json", "/docs", "/consortia/u0nothing0"} {
		get, head := r.send(r.root, http.MethodGet, path, ""), r.send(r.root, http.MethodHead, path, "")
		if head.code != get.code || head.text != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("%s: %d %q, GET: %d", path, head.code, head.text, get.code)
		}
	}
}
