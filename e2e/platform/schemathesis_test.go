// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// One run has every operation many times, with good and bad values of all that
// the document describes; the seed is fixed, so that a failure comes again.
const (
	examples = 10 // of random requests for each operation
	maxTime  = 15 * time.Minute
)

// Schemathesis reads the document, makes requests of it that are as it says and
// that are not, and compares the answers with it: no answer is an error of the
// server, each has a status code, a media type, headers and a body that the
// document foresees, and what is forbidden is refused.
//
// Two checks are left out. positive_data_acceptance, that what the document allows
// is accepted: no document can say which ids exist, which URL leads somewhere and
// which credentials are those of a vault. And ignored_auth, that a wrong key gets
// 401: so many wrong keys from one address get 429 after a while, as they should;
// package api tests every route without a key.
func TestNothingThatTheDocumentAllowsOrForbidsSurprisesTheServer(t *testing.T) {
	m := startManaged(t)
	hash := m.send()
	dir := t.TempDir()
	fixed := filepath.Join(dir, "fixed.toml")
	if err := os.WriteFile(fixed, []byte(m.parameters(hash)), 0o600); err != nil {
		t.Fatal(err)
	}
	m.allTested(m.schemathesis(dir, "--config-file", fixed, "--phases", "examples,coverage,fuzzing"))
	// Chains of requests, each with what an answer before it has given.
	m.schemathesis(dir, "", "", "--phases", "stateful", "--max-examples", fmt.Sprint(5*examples))
	if log := m.Output(); strings.Contains(log, "management request failed") || strings.Contains(log, "panic") {
		t.Errorf("the log has errors of the server:\n%s", log)
	}
}

// schemathesis runs it on the whole document, and returns what it says.
func (m *managed) schemathesis(dir, option, value string, more ...string) string {
	m.t.Helper()
	args := []string{"--no-color"}
	if option != "" {
		args = append(args, option, value)
	}
	args = append(args, "run", m.AdminURL+"/api/v1/openapi.json", "--header", "Authorization: Bearer "+m.root,
		"--exclude-checks", "positive_data_acceptance,ignored_auth", "--max-examples", fmt.Sprint(examples), "--seed", "1",
		"--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all")
	ctx, cancel := context.WithTimeout(m.t.Context(), maxTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, installed(m.t), append(args, more...)...)
	cmd.Dir, cmd.WaitDelay, cmd.SysProcAttr = dir, time.Minute, harness.DieWithParent()
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), m.root, "…")
	if err != nil {
		m.t.Errorf("schemathesis: %v\n%s", err, text)
	}
	m.t.Log(strings.TrimSpace(cases.FindString(text)))
	return text
}

// parameters are ids that the requests are to have, without which nearly all
// would be about nothing. What is deleted must not be what others are about.
func (m *managed) parameters(transaction string) string {
	ids := map[string]string{
		"consortium_id": consortium, "environment_id": environment, "membership_id": membership, "node_id": m.node,
		"configuration_id": m.configuration, "service_id": m.service, "appcred_id": m.cred, "apikey_id": m.root[:10],
		"address": m.keys.Addresses[0].Hex(), "transaction_id": transaction,
	}
	var b strings.Builder
	b.WriteString("[parameters]\n")
	for name, id := range ids {
		fmt.Fprintf(&b, "\"path.%s\" = %q\n", name, id)
	}
	b.WriteString("\n[[operations]]\ninclude-method = \"DELETE\"\n[operations.parameters]\n")
	for name := range ids {
		if strings.HasSuffix(name, "_id") && name != "consortium_id" && name != "environment_id" {
			fmt.Fprintf(&b, "\"path.%s\" = \"u0zzzzzzz0\"\n", name)
		}
	}
	// A keystore makes a key whenever it is asked to, which costs a second of work
	// each time: a service that has no admin credential is asked instead.
	fmt.Fprintf(&b, "\n[[operations]]\ninclude-operation-id = \"createAccount\"\n[operations.parameters]\n\"path.service_id\" = %q\n", m.keyless())
	return b.String()
}

// keyless makes a service whose key vault is not there.
func (m *managed) keyless() string {
	m.t.Helper()
	c := m.want(201, "POST", place+"/configurations", `{"name":"away","type":"cloudhsm","details":{"provider":"aws_kms",
		"user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":"only for tests","target_region":"us-east-1","target_address":"https://127.0.0.1:1"}}`)
	s := m.want(201, "POST", place+"/services", fmt.Sprintf(`{"name":"away","service":"cloudhsm","details":{"cloudhsm_id":%q}}`, c["_id"]))
	return s["_id"].(string)
}

var tested = regexp.MustCompile(`(?m)^\s+Tested: ([0-9]+)$`)

var cases = regexp.MustCompile(`(?m)^.*[0-9]+ generated, .*$`)

// allTested fails unless every operation of the document was.
func (m *managed) allTested(output string) {
	m.t.Helper()
	_, document := m.ask("", "GET", "/openapi.json", "")
	var d struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(document, &d); err != nil {
		m.t.Fatal(err)
	}
	operations := 0
	for _, p := range d.Paths {
		operations += len(p)
	}
	found := tested.FindStringSubmatch(output)
	if found == nil || found[1] != fmt.Sprint(operations) || operations < 50 {
		m.t.Errorf("the document has %d operations, and schemathesis tested %v:\n%s", operations, found, output)
	}
}
