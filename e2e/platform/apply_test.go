// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const applied = `
- {kind: service, name: pay, configuration: keys, node: devnet}
- {kind: node, name: devnet, chain_id: %d, urls: {rpc: {env: APPLY_NODE}}}
- {kind: configuration, name: keys, details: {provider: keystore, path: keys, user_secret: {file: ./password}}}
- {kind: appcred, name: shop, secret_to: ./shop.password}
- {kind: apikey, name: ci, grants: [{role: auditor, consortium: default}], secret_to: ./ci.key}
`

// TestAppliedFileGivesAServiceThatSends: from a file in git to a mined
// transaction, and the keys that seal what it holds changed while it runs.
func TestAppliedFileGivesAServiceThatSends(t *testing.T) {
	m := &managed{t: t, keys: harness.NewKeys(t, 1)}
	declared := harness.NewKeys(t, 1)
	devnet := harness.StartDevnet(t, binaries(t), 50*time.Millisecond, m.keys.Addresses...)
	o := devnet.Options(declared)
	o.Extra = fmt.Sprintf("egress: {allow: [127.0.0.1/32]}\ngrants: [{membership: %s, keystore: %q}]\n", membership, filepath.Dir(m.keys.Dir))
	m.Daemon = harness.StartDaemon(t, binaries(t), o)
	m.root = m.bootstrap()

	dir := t.TempDir()
	file := filepath.Join(dir, "platform.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("platform.yaml", fmt.Sprintf(applied, o.ChainID))
	write("password", "only for tests\n")
	run := func(args ...string) string { return m.cli(o.NodeURL, args...) }

	plan := run("apply", "-f", file, "--dry-run")
	if !strings.Contains(plan, "to create 5") || strings.Contains(plan, "only for tests") || strings.Contains(plan, o.NodeURL) {
		t.Fatalf("the plan is %s", plan)
	}
	run("apply", "-f", file, "--yes")
	m.service = m.called("service", "pay", "_id")
	m.started(m.service)
	m.cred = m.called("appcred", "shop", "username")
	password, err := os.ReadFile(filepath.Join(dir, "shop.password"))
	if err != nil {
		t.Fatal(err)
	}
	m.password = strings.TrimSpace(string(password))
	m.send()
	harness.WaitNonce(t, devnet, m.keys.Addresses[0], 1, patience)

	before := run("service", "show", "pay", "--output", "json")
	for line := range strings.Lines(run("apply", "-f", file, "--yes")) {
		if !strings.Contains(line, "  unchanged ") {
			t.Errorf("the second time: %s", line)
		}
	}
	if after := run("service", "show", "pay", "--output", "json"); after != before {
		t.Errorf("%s became %s", before, after)
	}

	// Rotation, with the daemon at work.
	var uses []struct {
		Key    string
		Seals  bool
		Values int
	}
	run("seal", "rotate", "--new-key", "--config", m.Config())
	m.send()
	if err := json.Unmarshal([]byte(run("seal", "status", "--config", m.Config(), "--output", "json")), &uses); err != nil {
		t.Fatal(err)
	}
	if len(uses) != 2 || !uses[0].Seals || uses[0].Values < 3 || uses[1].Values != 0 {
		t.Fatalf("%+v", uses)
	}
	path, err := filepath.Glob(filepath.Join(filepath.Dir(m.Config()), "*", "seal.key"))
	if err != nil || len(path) != 1 {
		t.Fatal(path, err)
	}
	keys, err := os.ReadFile(path[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path[0], append(bytes.Fields(keys)[0], '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Restart()
	m.started(m.service)
	m.send()
	harness.WaitNonce(t, devnet, m.keys.Addresses[0], 3, patience)
}

// cli runs a command of the command line and returns what it printed.
func (m *managed) cli(node string, args ...string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), binaries(m.t).Hsmsigner, args...)
	cmd.Env = append(os.Environ(), "HSMSIGNER_URL="+m.AdminURL, "HSMSIGNER_API_KEY="+m.root, "APPLY_NODE="+node)
	var diagnosis strings.Builder
	cmd.Stderr = &diagnosis
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("%v: %v: %s%s", args, err, out, diagnosis.String())
	}
	return string(out)
}

// called is a field of a resource by its name.
func (m *managed) called(kind, name, field string) string {
	m.t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(m.cli("", kind, "show", name, "--output", "json")), &got); err != nil {
		m.t.Fatal(err)
	}
	text, _ := got[field].(string)
	return text
}

// TestEveryKindHasItsCommands makes, lists, changes and deletes one of each kind
// by the command line.
func TestEveryKindHasItsCommands(t *testing.T) {
	m := startManaged(t)
	secret := secretFile(t, "canary-of-forty-characters-0123456789abcd")
	at := []string{"--consortium", "acme", "--environment", "prod"}
	run := func(args ...string) string { return m.cli("", args...) }
	for _, step := range []struct {
		kind   string
		create []string
		in     []string
		update []string
	}{
		{"consortium", []string{"acme"}, nil, []string{"--description", "another"}},
		{"membership", []string{"ops"}, at[:2], []string{"--name", "ops"}},
		{"environment", []string{"prod", "--require-hsm=false", "--chain-id", "1"}, at[:2], []string{"--description", "another"}},
		{"node", []string{"mainnet", "--chain-id", "1", "--rpc", "https://node.example.org"}, at, []string{"--wss", "wss://node.example.org"}},
		{"configuration", []string{"aws", "--provider", "aws_kms", "--set", "target_region=eu-central-1", "--set", "user_id=AKIAIOSFODNN7EXAMPLE", "--set", "user_secret.file=" + secret, "--set", "require_hsm:=true"}, at, []string{"--set", "target_region=eu-west-1"}},
		{"service", []string{"pay", "--configuration", "aws", "--node", "mainnet"}, at, []string{"--name", "pay"}},
		{"appcred", []string{"shop", "--membership", "ops"}, at, []string{"--name", "shop"}},
		{"apikey", []string{"ci", "--role", "auditor", "--consortium", "acme", "--membership", "ops"}, nil, []string{"--name", "ci"}},
	} {
		made := run(append(append([]string{step.kind, "create"}, step.create...), step.in...)...)
		name := step.create[0]
		run(append(append([]string{step.kind, "update", name}, step.update...), step.in...)...)
		listed := run(append([]string{step.kind, "list", "--where", "_id=^h0"}, step.in...)...)
		shown := run(append([]string{step.kind, "show", name}, step.in...)...)
		if !strings.Contains(listed, name) || !strings.Contains(shown, name) || strings.Contains(made+listed+shown, "canary") {
			t.Errorf("%s: made %s\nlisted %s\nshown %s", step.kind, made, listed, shown)
		}
	}
	run(append([]string{"service", "status", "pay"}, at...)...)
	run(append([]string{"service", "reset", "pay"}, at...)...)
	run(append([]string{"node", "reset", "mainnet"}, at...)...)
	if again := run(append([]string{"appcred", "regenerate", "shop"}, at...)...); !strings.Contains(again, "password") {
		t.Errorf("regenerated: %s", again)
	}
	for _, gone := range [][]string{
		append([]string{"service", "delete", "pay"}, at...), append([]string{"configuration", "delete", "aws"}, at...),
		append([]string{"node", "delete", "mainnet"}, at...), append([]string{"appcred", "delete", "shop"}, at...),
		{"apikey", "delete", "ci"},
		append([]string{"environment", "delete", "prod"}, at[:2]...), append([]string{"membership", "delete", "ops"}, at[:2]...),
		{"consortium", "delete", "acme"},
	} {
		if out := run(gone...); !strings.Contains(out, "is gone") {
			t.Errorf("%v: %s", gone, out)
		}
	}
	if strings.Contains(m.Output(), "canary") {
		t.Error("the daemon's log holds the secret")
	}
}
