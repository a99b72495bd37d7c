// SPDX-License-Identifier: Apache-2.0

package api

import (
	"embed"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/swaggerui"
)

//go:embed docs/index.html docs/start.js
var pages embed.FS

// userInterface is the API's documentation for people, by path under Base. All
// of it is in this program.
func userInterface() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"/docs":          swaggerui.File(pages, "docs/index.html", "text/html; charset=utf-8"),
		"/docs/start.js": swaggerui.File(pages, "docs/start.js", "text/javascript; charset=utf-8"),
	}
	for name, serve := range swaggerui.Assets() {
		all["/docs/"+name] = serve
	}
	return all
}
