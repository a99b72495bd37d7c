// SPDX-License-Identifier: Apache-2.0

package document_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

const place = "/consortia/h0consort0/environments/h0environ0"

// rig is a daemon with one declared wallet, in front of a chain.
type rig struct {
	t       *testing.T
	daemon  *harness.Daemon
	node    *harness.Node
	keys    harness.Keys
	dir     string // for files
	root    string // API key of an admin of the deployment
	service string // path of the wallet
	logKey  string // of the audit log
}

func start(t *testing.T) *rig {
	t.Helper()
	bin := built.Of(t)
	r := &rig{t: t, keys: harness.NewCheapKeys(t, 1), dir: t.TempDir()}
	r.node = harness.StartDevnet(t, bin, 50*time.Millisecond, r.keys.Addresses...)
	key, err := logbook.NewKey("test.example.org/audit")
	must(t, err)
	file := filepath.Join(r.dir, "audit.key")
	must(t, os.WriteFile(file, []byte(key.Text()+"\n"), 0o600))
	r.logKey = key.Verifier().String()
	o := r.node.Options(r.keys)
	o.Extra = fmt.Sprintf("audit: {key: {file: %q}}\n", file)
	r.daemon = harness.StartDaemon(t, bin, o)
	r.root = strings.TrimSpace(r.run(0, "admin", "bootstrap", "--config", r.daemon.Config()))
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // the daemon takes it within a second
		if code, _ := r.ask(r.bearer(r.root), "GET", "/whoami", "", nil); code == http.StatusOK {
			break
		}
	}
	code, text := r.ask(r.bearer(r.root), "GET", place+"/services", "", nil)
	var all []struct {
		ID string `json:"_id"`
	}
	if must(t, json.Unmarshal(text, &all)); code != 200 || len(all) != 1 {
		t.Fatalf("%d %s", code, text)
	}
	r.service = place + "/services/" + all[0].ID
	return r
}

// run runs the command line and ends the test unless it exits with the code.
func (r *rig) run(code int, args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.Of(r.t).Hsmsigner, args...)
	cmd.Env = append(cmd.Environ(), "HSMSIGNER_API_KEY="+r.root)
	if r.daemon != nil {
		cmd.Env = append(cmd.Env, "HSMSIGNER_URL="+r.daemon.AdminURL)
	}
	var diagnosis strings.Builder
	cmd.Stderr = &diagnosis
	out, _ := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("hsmsigner %s: exit code %d, want %d\n%s%s", args, got, code, out, diagnosis.String())
	}
	return string(out)
}

func (r *rig) bearer(key string) func(*http.Request) {
	return func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+key) }
}

func (r *rig) ask(prove func(*http.Request), method, path, media string, body io.Reader) (int, []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.daemon.AdminURL+"/api/v1"+path, body)
	must(r.t, err)
	prove(req)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(req)
	must(r.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(r.t, err)
	return res.StatusCode, text
}

// sign has a document signed as it is, and returns the file with its bundle.
func (r *rig) sign(prove func(*http.Request), name, media string, document io.Reader) string {
	r.t.Helper()
	query := url.Values{"account": {r.keys.Addresses[0].Hex()}, "name": {name}}
	code, text := r.ask(prove, "POST", r.service+"/signatures?"+query.Encode(), media, document)
	if code != http.StatusCreated {
		r.t.Fatalf("%d %s", code, text)
	}
	return r.file(name+".signature.json", text)
}

func (r *rig) file(name string, data []byte) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	must(r.t, os.WriteFile(path, data, 0o600))
	return path
}

// independent has jose and ethers check a bundle.
func (r *rig) independent(document, bundle string) {
	r.t.Helper()
	root, err := harness.Root()
	must(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "document.mjs", document, bundle)
	cmd.Dir = filepath.Join(root, "e2e", "clients")
	out, err := cmd.CombinedOutput()
	r.t.Logf("%s", out)
	if got := strings.Count("\n"+string(out), "\nok - "); err != nil || got != 6 {
		r.t.Errorf("%d checks hold, want 6: %v", got, err)
	}
}

// verify has the command line check a bundle, which needs no daemon.
func (r *rig) verify(code int, document, bundle string) string {
	r.t.Helper()
	return r.run(code, "document", "verify", "--key", r.logKey, "--address", r.keys.Addresses[0].Hex(), document, bundle)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
