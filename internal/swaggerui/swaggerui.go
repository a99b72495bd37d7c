// SPDX-License-Identifier: Apache-2.0

// Package swaggerui has the files of Swagger UI, and serves them and the pages that
// use them with a policy under which a browser loads nothing from anywhere else.
//
// All of it is in this program: no page of it needs another host. It asks nobody who
// is calling, and knows nothing of what is documented.
package swaggerui

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5/static"
)

// Policy lets a page load what is served beside it and nothing else. Swagger UI sets
// styles on elements, which no hash can allow; it runs no text as a program, and
// neither do the pages, so scripts come from files only.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Assets are the files of Swagger UI by the names that pages load them under.
func Assets() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"swagger-ui.css":       File(static.FS, "swagger-ui.css.gz", "text/css; charset=utf-8"),
		"swagger-ui-bundle.js": File(static.FS, "swagger-ui-bundle.js.gz", "text/javascript; charset=utf-8"),
		"favicon-32x32.png":    File(static.FS, "favicon-32x32.png", "image/png"),
	}
}

// File serves a file, under [Policy]. One whose name ends with .gz goes out as it is
// to callers that can unpack it.
func File(from fs.FS, name, media string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := fs.ReadFile(from, name)
		packed := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
		if err == nil && strings.HasSuffix(name, ".gz") && !packed {
			data, err = unzip(data)
		}
		if err != nil { // it is embedded in the program
			http.Error(w, "the page is not in this program as it should be", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Content-Security-Policy", Policy)
		if strings.HasSuffix(name, ".gz") {
			h.Set("Vary", "Accept-Encoding")
			if packed {
				h.Set("Content-Encoding", "gzip")
			}
		}
		_, _ = w.Write(data) // the client has gone
	}
}

func unzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
