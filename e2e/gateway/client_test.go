// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// A client that a generator has made of the documents deploys a contract, calls it,
// sends to it, and understands what it is answered. The generator, oapi-codegen,
// checks the documents before.
func TestGeneratedClientDeploysAndCallsAContract(t *testing.T) {
	t.Parallel()
	_, w := shop(t)
	dir := filepath.Join(t.TempDir(), "client")
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "client"))))
	id := w.upload()
	for name, path := range map[string]string{"orders": "/abis/" + id + "?openapi", "gateway": "/?openapi"} {
		document := w.want(http.StatusOK, "GET", path, nil)
		if version := document.say("openapi"); !strings.HasPrefix(version, "3.1.") {
			t.Errorf("%s: the version is %s", path, version)
		}
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		file := filepath.Join(dir, name, "openapi.json")
		must(t, os.WriteFile(file, []byte(document.text), 0o600))
		run(t, dir, nil, "tool", "oapi-codegen", "-generate", "types,client", "-package", name, "-o", filepath.Join(dir, name, "client.go"), file)
	}
	out := run(t, dir, []string{"GATEWAY=" + w.gate, "NAME=" + w.user, "PASSWORD=" + w.password, "FROM=" + w.from(0)}, "run", ".")
	t.Log(out)
	if got := strings.Count("\n"+out, "\nok - "); got != 7 {
		t.Errorf("%d things hold, want 7", got)
	}
}

// run runs the go command in a module of its own.
func run(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.SysProcAttr = dir, harness.DieWithParent()
	cmd.Env = append(append(cmd.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The document of a contract is in the three forms in which it is asked for, and its
// page loads nothing from elsewhere.
func TestDocumentsOfAContractAreThere(t *testing.T) {
	t.Parallel()
	_, w := shop(t)
	w.deploy("shop")
	document := w.want(http.StatusOK, "GET", "/contracts/shop?openapi", nil)
	w.expect(document, "[map[url:"+document.say("servers", 0, "url")+"]]", "servers")
	if !strings.HasSuffix(document.say("servers", 0, "url"), "/contracts/"+w.want(http.StatusOK, "GET", "/contracts/shop", nil).say("address")) &&
		!strings.HasSuffix(document.say("servers", 0, "url"), "/contracts/shop") {
		t.Errorf("the server is %v", document.at("servers"))
	}
	for _, said := range []string{"Places an order.", "what is ordered, and by whom", "More was asked for than there is."} {
		if !strings.Contains(document.text, said) {
			t.Errorf("the document leaves out what the author wrote: %s", said)
		}
	}
	w.want(http.StatusOK, "GET", "/contracts/shop?swagger", nil)
	var abi []map[string]any
	if text := w.want(http.StatusOK, "GET", "/contracts/shop?abi", nil).text; json.Unmarshal([]byte(text), &abi) != nil || len(abi) != 15 {
		t.Errorf("the ABI: %s", text)
	}
	page := w.asAdmin(http.StatusOK, "GET", "/contracts/shop?ui", nil)
	if !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || strings.Contains(page.text, "https://") {
		t.Errorf("the page: %v %s", page.header, page.text)
	}
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script-src 'self' 'unsafe") {
		t.Errorf("the page may do too much: %s", policy)
	}
}
