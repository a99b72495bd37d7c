// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// bootstrap runs the command on a config file.
func bootstrap(t *testing.T, path string, format outputFormat, args ...string) (out, said string, err error) {
	t.Helper()
	a := &app{output: format, configPath: path}
	cmd := a.adminBootstrapCommand()
	var stdout, stderr bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func bootstrapConfig(t *testing.T) (path string, c *config.Config) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	check(t, os.WriteFile(path, []byte("management: {region: q7}\n"), 0o600))
	c, _, err := config.Load(path)
	check(t, err)
	return path, c
}

// manager asks who an API key is, as the daemon would.
func manager(t *testing.T, c *config.Config, db *store.DB, key string) (auth.Access, error) {
	t.Helper()
	sealer, err := openSealer(t.Context(), c, db)
	check(t, err)
	verifier, err := auth.OpenVerifier(t.Context(), sealer)
	check(t, err)
	d, err := auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: verifier})
	check(t, err)
	return d.Manager(at("/api/v1/consortia", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }))
}

func TestBootstrapPrintsOneKeyThatMayDoEverything(t *testing.T) {
	path, c := bootstrapConfig(t)
	out, said, err := bootstrap(t, path, textOutput)
	check(t, err)
	key := strings.TrimSuffix(out, "\n")
	if len(key) != 54 || !strings.HasPrefix(key, "q7") || key[10] != '-' || strings.Contains(said, key[11:]) {
		t.Fatalf("printed %q, said %q", out, said)
	}
	again, _, err := bootstrap(t, path, textOutput)
	if !is[*platform.HaveRootKeyError](err) || again != "" || !strings.Contains(err.Error(), "--force-new") || !strings.Contains(err.Error(), key[:10]) {
		t.Errorf("a second time: %q, %v", again, err)
	}
	out, _, err = bootstrap(t, path, jsonOutput, "--force-new", "--name", "after the fire")
	check(t, err)
	var second platform.APIKey
	check(t, json.Unmarshal([]byte(out), &second))
	if second.Name != "after the fire" || second.Key == key || second.State != platform.Started {
		t.Errorf("printed %s", out)
	}
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data})
	check(t, err)
	defer db.Close()
	for _, k := range []string{key, second.Key} {
		if who, err := manager(t, c, db, k); err != nil || !who.Can(auth.Admin, "", "") {
			t.Errorf("got %+v, %v", who, err)
		}
	}
	content, err := os.ReadFile(filepath.Join(c.Data, "hsmsigner.db"))
	check(t, err)
	if bytes.Contains(content, []byte(key[11:])) {
		t.Error("the database holds the key")
	}
}

func TestBootstrapWorksBesideADaemon(t *testing.T) {
	path, c := bootstrapConfig(t)
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: c.Data, Exclusive: true})
	check(t, err)
	defer db.Close()
	out, _, err := bootstrap(t, path, textOutput)
	check(t, err)
	if who, err := manager(t, c, db, strings.TrimSpace(out)); err != nil || !who.Can(auth.Admin, "", "") {
		t.Errorf("got %+v, %v", who, err)
	}
	if _, _, err := bootstrap(t, path, textOutput); !is[*platform.HaveRootKeyError](err) {
		t.Errorf("a second time: %v", err)
	}
}

func TestBootstrapWantsAName(t *testing.T) {
	path, _ := bootstrapConfig(t)
	for _, name := range []string{"", strings.Repeat("x", 101)} {
		if out, _, err := bootstrap(t, path, textOutput, "--name", name); !is[*usageError](err) || out != "" {
			t.Errorf("%q: %q, %v", name, out, err)
		}
	}
}
