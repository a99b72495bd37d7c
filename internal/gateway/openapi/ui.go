// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/swaggerui"
)

//go:embed page
var page embed.FS

// AssetPath is where, under a gateway's base, the files of pages are: each is at
// AssetPath/NAME, for the names of [Assets].
const AssetPath = "/ui"

// Page is where people read a document and make calls, with the credentials that
// their browser has: the cookie of the session, with its token, or those of HTTP's
// basic authentication. The accounts among which they choose are asked of the
// service by the page itself.
type Page struct {
	Title    string // of the contract
	Document string // URL of the OpenAPI document, or its path
	Base     string // path of the gateway, without a slash at the end
}

var pageTemplate = template.Must(template.ParseFS(page, "page/index.html"))

// Serve writes the page.
func (p Page) Serve(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	p.Title = plain(p.Title)
	if err := pageTemplate.Execute(&b, struct {
		Page
		Assets, Service string
	}{p, p.Base + AssetPath, strings.TrimSuffix(p.Base, "/gateway")}); err != nil {
		http.Error(w, "the page is not in this program as it should be", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", swaggerui.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}

// Assets are the files that the page loads, by name.
func Assets() map[string]http.HandlerFunc {
	all := swaggerui.Assets()
	all["start.js"] = swaggerui.File(page, "page/start.js", "text/javascript; charset=utf-8")
	all["page.css"] = swaggerui.File(page, "page/page.css", "text/css; charset=utf-8")
	return all
}
