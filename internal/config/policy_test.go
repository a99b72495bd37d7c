// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// withPolicy is a config file whose wallet has rules of its own.
const withPolicy = `policy:
  version: hsmsigner-policy-v1
  # of everything
  rules:
  - name: top
    effect: deny
wallets:
  - name: treasury
    node: {url: "http://127.0.0.1:8545", chain_id: 1337}
    details: {provider: aws_kms, user_id: AKIA0000000000000000, user_secret: {file: SECRET}, target_region: eu-central-1}
    policy:
      version: hsmsigner-policy-v1
      rules:
        - name: |
            own

        # less indented
      # still inside
        - {name: b, effect: allow}
    window: 3
`

func parsePolicy(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"secret": "x", "rules.yaml": "version: hsmsigner-policy-v1\n", "empty.yaml": " \n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.ReplaceAll(text, "SECRET", filepath.Join(dir, "secret"))
	c, _, err := config.Parse(filepath.Join(dir, "config.yaml"), []byte(text))
	return c, err
}

func TestRulesInTheConfigKeepTheirLines(t *testing.T) {
	c, err := parsePolicy(t, withPolicy)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.Split(withPolicy, "\n")
	for name, p := range map[string]config.Policy{"top": c.Policy, "wallet": c.Wallets[0].Policy} {
		lines := strings.Split(strings.TrimRight(string(p.Text), "\n"), "\n")
		found := 0
		for i, line := range lines {
			if line == "" || strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			if strings.TrimSpace(line) != strings.TrimSpace(whole[i]) {
				t.Errorf("%s, line %d: %q, not %q", name, i+1, line, whole[i])
			}
			found++
		}
		if want := map[string]int{"top": 4, "wallet": 5}[name]; found != want || !strings.HasSuffix(p.File, "config.yaml") {
			t.Errorf("%s: %d lines of %s:\n%s", name, found, p.File, p.Text)
		}
	}
	if text := string(c.Wallets[0].Policy.Text); strings.Contains(text, "window") || !strings.Contains(text, "\nversion: ") {
		t.Errorf("%s", text)
	}
}

func TestRulesInAnotherFile(t *testing.T) {
	wallets := withPolicy[strings.Index(withPolicy, "wallets:"):strings.Index(withPolicy, "    policy:")]
	c, err := parsePolicy(t, "policy: {file: rules.yaml}\n"+wallets)
	if err != nil || string(c.Policy.Text) != "version: hsmsigner-policy-v1\n" || !filepath.IsAbs(c.Policy.File) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = parsePolicy(t, "policy: {version: hsmsigner-policy-v1, rules: [{name: a, effect: deny}]}\n"+wallets)
	if err != nil || !strings.Contains(string(c.Policy.Text), "effect: deny") {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"policy: {file: nothing.yaml}\n": "nothing.yaml: no such file",
		"policy: {file: empty.yaml}\n":   "is empty: want rules",
		"policy: [1]\n":                  "not a list",
		"policy:\n":                      "is empty",
	} {
		if _, err := parsePolicy(t, text+wallets); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
