// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/apply"
)

// whole declares one of each kind, out of order, in several documents.
const whole = `
- kind: service
  name: treasury
  consortium: acme
  environment: prod
  membership: ops
  configuration: vault
  node: mainnet
- {kind: appcred, name: shop, consortium: acme, environment: prod, membership: ops, secret_to: ./shop.password}
---
kind: consortium
name: acme
description: a test
---
- {kind: membership, name: ops, consortium: acme}
- {kind: environment, name: prod, consortium: acme, chain_id: 1337, require_hsm: false}
- kind: node
  name: mainnet
  consortium: acme
  environment: prod
  membership: ops
  chain_id: 1337
  urls: {rpc: {file: ./node-url}, wss: "wss://node.example.org"}
- kind: configuration
  name: vault
  consortium: acme
  environment: prod
  membership: ops
  details:
    provider: aws_kms
    user_id: AKIAIOSFODNN7EXAMPLE
    user_secret: {env: APPLY_TEST_SECRET}
    target_region: eu-central-1
    note: kept
- {kind: apikey, name: ci, grants: [{role: operator, consortium: acme, membership: ops}], secret_to: ./ci.key}
`

func prepared(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.write(t, "node-url", "https://node.example.org/v3/canary-project-key\n")
	t.Setenv("APPLY_TEST_SECRET", "canary-user-secret-of-forty-characters00")
	return r
}

func verbs(lines []string) string {
	var out []string
	for _, l := range lines {
		words := strings.Fields(l)
		out = append(out, words[0]+" "+words[1])
	}
	return strings.Join(out, ", ")
}

func TestAppliedTwiceChangesNothing(t *testing.T) {
	r := prepared(t)
	done, _ := r.apply(t, whole, false)
	if got, want := verbs(done), "create consortium, create membership, create environment, create node, create configuration, create service, create appcred, create apikey"; got != want {
		t.Fatalf("%s\nwant %s", got, want)
	}
	before := r.everything(t)
	done, sent := r.apply(t, whole, false)
	for _, line := range done {
		if !strings.HasPrefix(line, "unchanged ") {
			t.Errorf("the second time: %s", line)
		}
	}
	if after := r.everything(t); !bytes.Equal(before, after) {
		t.Errorf("the server has\n%s\nand had\n%s", after, before)
	}
	for _, line := range sent { // the node's URL and the configuration have secrets that cannot be compared
		if !strings.HasPrefix(line, "PATCH ") || !strings.Contains(line, "/nodes/") && !strings.Contains(line, "/configurations/") {
			t.Errorf("the second time it sent %s", line)
		}
	}
	if len(sent) != 2 {
		t.Errorf("sent %q", sent)
	}
	// What it made works.
	password, err := os.ReadFile(filepath.Join(r.dir, "shop.password"))
	if err != nil || len(strings.TrimSpace(string(password))) < 40 {
		t.Errorf("the password's file: %d bytes, %v", len(password), err)
	}
	info, err := os.Stat(filepath.Join(r.dir, "ci.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	root := r.key
	key, err := client.KeyFile(filepath.Join(r.dir, "ci.key"))()
	if err != nil {
		t.Fatal(err)
	}
	r.key = key
	who, err := r.client.WhoAmI(t.Context())
	if err != nil || len(who.Grants) != 1 || who.Grants[0].Role != "operator" || who.Grants[0].Membership == "" {
		t.Errorf("%+v, %v", who, err)
	}
	r.key = root
}

// everything is all resources that the server shows.
func (r *rig) everything(t *testing.T) []byte {
	t.Helper()
	var all []any
	add := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	consortia, err := r.client.Consortia().List(t.Context(), nil)
	add(consortia, err)
	for _, c := range consortia {
		environments, err := r.client.Environments(c.ID).List(t.Context(), nil)
		add(environments, err)
		for _, e := range environments {
			in := r.client.In(c.ID, e.ID)
			nodes, err := in.Nodes().List(t.Context(), nil)
			add(nodes, err)
			configurations, err := in.Configurations().List(t.Context(), nil)
			add(configurations, err)
			creds, err := in.AppCreds().List(t.Context(), nil)
			add(creds, err)
			services, err := in.Services().List(t.Context(), nil)
			for i := range services { // it starts meanwhile
				services[i].State, services[i].Reason = "", ""
			}
			add(services, err)
		}
	}
	text, err := json.MarshalIndent(all, "", " ")
	add(nil, err)
	return text
}

func TestOnlyWhatDiffersIsChanged(t *testing.T) {
	r := prepared(t)
	r.apply(t, whole, false)
	for _, c := range []struct{ from, to, want string }{
		{"description: a test", "description: another", "update consortium acme: description"},
		{"target_region: eu-central-1", "target_region: eu-west-1", "update configuration vault in acme/prod/ops: details.target_region"},
		{"note: kept", "note: null", "update configuration vault in acme/prod/ops: details.note"},
		{"wss://node.example.org", "wss://other.example.org", "update node mainnet in acme/prod/ops: urls.wss"},
		{"    note: kept", "    note: kept\n    label: 7", "update configuration vault in acme/prod/ops: details.label"},
	} {
		p := r.plan(t, strings.Replace(whole, c.from, c.to, 1), false)
		var lines []string
		for _, s := range p.Steps {
			if s.Action != apply.Unchanged && s.Action != apply.Check {
				lines = append(lines, s.String())
			}
		}
		if len(lines) != 1 || lines[0] != c.want {
			t.Errorf("%s: %q, want %q", c.to, lines, c.want)
		}
	}
	changed := strings.Replace(whole, "target_region: eu-central-1", "target_region: eu-west-1", 1)
	if done, _ := r.apply(t, changed, false); !slices.ContainsFunc(done, func(l string) bool { return strings.HasPrefix(l, "update configuration") }) {
		t.Errorf("%q", done)
	}
	if done, _ := r.apply(t, changed, false); slices.ContainsFunc(done, func(l string) bool { return !strings.HasPrefix(l, "unchanged") }) {
		t.Errorf("the second time: %q", done)
	}
}

func TestChangedSecretIsSentAndToldWithoutItsValue(t *testing.T) {
	r := prepared(t)
	r.apply(t, whole, false)
	t.Setenv("APPLY_TEST_SECRET", "canary-user-secret-of-forty-characters11")
	p := r.plan(t, whole, false)
	if n := p.Count(apply.Check); n != 2 {
		t.Errorf("%d to check, want 2", n)
	}
	done, _ := r.apply(t, whole, false)
	var changed []string
	for _, l := range done {
		if !strings.HasPrefix(l, "unchanged") {
			changed = append(changed, l)
		}
	}
	if len(changed) != 1 || changed[0] != "update configuration vault in acme/prod/ops: secrets" {
		t.Errorf("%q", changed)
	}
}

func TestSecretsAreInNoPlanAndNoFileButTheirOwn(t *testing.T) {
	r := prepared(t)
	items := r.parse(t, whole)
	p, err := apply.Make(t.Context(), r.client, items, true)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(p.Steps)
	if err != nil {
		t.Fatal(err)
	}
	text := string(asJSON)
	for _, s := range p.Steps {
		text += s.String() + fmt.Sprintf("%+v", *s)
	}
	for _, i := range items {
		text += fmt.Sprintf("%+v %#v", *i, i.Fields)
	}
	if strings.Contains(text, "canary") {
		t.Errorf("a secret is shown in %s", text)
	}
	r.apply(t, whole, false)
	if strings.Contains(string(r.everything(t)), "canary") {
		t.Error("the server shows a secret")
	}
	err = filepath.WalkDir(r.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("canary")) {
			t.Errorf("%s holds a secret", d.Name())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPruneDeletesOnlyWhatIsInTheFilesPlacesAndNotInTheFile(t *testing.T) {
	r := prepared(t)
	r.apply(t, whole, false)
	r.apply(t, `
- {kind: membership, name: strangers, consortium: acme}
- kind: configuration
  name: theirs
  consortium: acme
  environment: prod
  membership: strangers
  details: {provider: aws_kms, user_id: AKIAIOSFODNN7EXAMPLE, user_secret: {env: APPLY_TEST_SECRET}, target_region: eu-central-1}
`, false)
	borrowed := strings.Replace(whole, "configuration: vault", "configuration: theirs", 1)
	if _, err := apply.Make(t.Context(), r.client, r.parse(t, borrowed), false); err == nil || !strings.Contains(err.Error(), `there is no "theirs"`) {
		t.Errorf("another membership's configuration: %v", err)
	}
	less := whole[:strings.Index(whole, "- kind: service")] + whole[strings.Index(whole, "- {kind: appcred"):]
	if p := r.plan(t, less, false); p.Count(apply.Delete) != 0 {
		t.Errorf("%d deletes without prune", p.Count(apply.Delete))
	}
	done, _ := r.apply(t, less, true)
	var gone []string
	for _, l := range done {
		if strings.HasPrefix(l, "delete") {
			gone = append(gone, l)
		}
	}
	if len(gone) != 1 || gone[0] != "delete service treasury in acme/prod/ops" {
		t.Errorf("%q", gone)
	}
	if p := r.plan(t, less, true); p.Count(apply.Delete) != 0 {
		t.Errorf("%d deletes the second time", p.Count(apply.Delete))
	}
}

func TestAmbiguousNamesAreAnError(t *testing.T) {
	r := prepared(t)
	for range 2 {
		if _, err := r.client.Consortia().Create(t.Context(), client.NewConsortium{Name: "twin"}); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"{kind: consortium, name: twin}":                      "2 have this name",
		"{kind: membership, name: m, consortium: twin}":       `2 are called "twin"`,
		"{kind: membership, name: m}":                         "name one",
		"{kind: membership, name: m, consortium: nowhere}":    `there is no "nowhere"`,
		"{kind: apikey, name: k, secret_to: x, grants: [{}]}": "",
	} {
		_, err := apply.Make(t.Context(), r.client, r.parse(t, text), false)
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestWhatCannotBeChangedIsRefusedBeforeAnythingIsDone(t *testing.T) {
	r := prepared(t)
	r.apply(t, whole, false)
	for from, to := range map[string]string{"  chain_id: 1337\n": "  chain_id: 1\n", "role: operator": "role: admin"} {
		_, err := apply.Make(t.Context(), r.client, r.parse(t, strings.Replace(whole, from, to, 1)), false)
		var errs apply.Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), "cannot be changed") || !strings.Contains(err.Error(), "apply.yaml:") {
			t.Errorf("%s: %v", to, err)
		}
	}
	_, err := apply.Make(t.Context(), r.client, r.parse(t, "{kind: service, name: of-the-file, consortium: default, environment: default, membership: default, configuration: x}"), false)
	if err == nil {
		t.Error("a wallet of the config file was planned to be changed")
	}
}

func TestSecretFileOfAnotherIsNotOverwritten(t *testing.T) {
	r := prepared(t)
	r.write(t, "shop.password", "precious\n")
	err := r.plan(t, whole, false).Run(t.Context(), r.client, func(*apply.Step) {})
	if err == nil || !strings.Contains(err.Error(), "shop.password") {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(r.dir, "shop.password")); string(text) != "precious\n" {
		t.Errorf("%q", text)
	}
	// What was done stays, and the next time goes on from there.
	if err := os.Remove(filepath.Join(r.dir, "shop.password")); err != nil {
		t.Fatal(err)
	}
	done, _ := r.apply(t, whole, false)
	if verbs(done[6:]) != "create appcred, create apikey" {
		t.Errorf("%q", done)
	}
}
