// SPDX-License-Identifier: Apache-2.0

package swaggerui_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hsmsigner/hsmsigner/internal/swaggerui"
)

func get(h http.HandlerFunc, encoding string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	h(w, r)
	return w
}

func TestFilesAreServedPackedToWhoCanUnpackThem(t *testing.T) {
	for name, serve := range swaggerui.Assets() {
		plain, packed := get(serve, ""), get(serve, "br, gzip")
		if plain.Code != http.StatusOK || plain.Header().Get("Content-Encoding") != "" || plain.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, plain.Code, plain.Header())
		}
		if strings.Contains(plain.Header().Get("Content-Type"), "text/") && (packed.Header().Get("Content-Encoding") != "gzip" ||
			packed.Header().Get("Vary") != "Accept-Encoding" || packed.Body.Len()*2 > plain.Body.Len()) {
			t.Errorf("%s packed: %v, %d of %d bytes", name, packed.Header(), packed.Body.Len(), plain.Body.Len())
		}
		if plain.Header().Get("Content-Security-Policy") != swaggerui.Policy {
			t.Errorf("%s has another policy", name)
		}
	}
}

func TestFileThatIsNotThereIsAnError(t *testing.T) {
	broken := fstest.MapFS{"x.gz": {Data: []byte("no gzip")}}
	for _, name := range []string{"x.gz", "y"} {
		if w := get(swaggerui.File(broken, name, "text/plain"), ""); w.Code != http.StatusInternalServerError {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}
