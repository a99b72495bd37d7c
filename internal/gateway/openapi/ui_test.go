// SPDX-License-Identifier: Apache-2.0

package openapi_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/gateway/openapi"
	"github.com/hsmsigner/hsmsigner/internal/swaggerui"
)

func TestPageLoadsOnlyWhatIsServedBesideIt(t *testing.T) {
	w := httptest.NewRecorder()
	openapi.Page{
		Title: `</title><script>alert(1)</script>`, Document: `/pay/gateway/contracts/x?openapi`, Base: "/pay/gateway",
	}.Serve(w, httptest.NewRequest(http.MethodGet, "/", nil))
	text := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Content-Security-Policy") != swaggerui.Policy || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if strings.Contains(text, "<script>") || strings.Contains(text, "<style") || strings.Contains(text, " on") && regexp.MustCompile(`\son\w+=`).MatchString(text) {
		t.Errorf("the page has a program in it:\n%s", text)
	}
	for _, want := range []string{`data-document="/pay/gateway/contracts/x?openapi"`, `data-base="/pay/gateway"`, `data-service="/pay"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in it", want)
		}
	}
	files := regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(files) < 5 {
		t.Errorf("it loads %v", files)
	}
	assets := openapi.Assets()
	for _, f := range files {
		name, is := strings.CutPrefix(f[1], "/pay/gateway"+openapi.AssetPath+"/")
		if !is {
			if f[1] != "/pay/gateway/contracts/x?openapi" {
				t.Errorf("it leads to %s", f[1])
			}
			continue
		}
		w := httptest.NewRecorder()
		if assets[name] == nil {
			t.Errorf("there is no file %s", name)
			continue
		}
		assets[name](w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}
