// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are those of docs/backends, by provider.
func pages() map[Provider]string {
	return map[Provider]string{
		ProviderKeystore: "keystore", ProviderAzure: "azure", ProviderAWSKMS: "aws-kms", ProviderCloudHSM: "aws-cloudhsm",
		ProviderHashicorp: "hashicorp", ProviderGCPKMS: "gcp-kms", ProviderPKCS11: "pkcs11",
	}
}

func page(t *testing.T, provider Provider) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "backends", pages()[provider]+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var secretPath = regexp.MustCompile(`\{file: (\./[^}]+)\}`)

// Every example of a page is a valid wallet.
func TestExamplesOfTheBackendPagesAreValid(t *testing.T) {
	for _, provider := range Providers() {
		t.Run(string(provider), func(t *testing.T) {
			dir, found := folder(t), 0
			for _, block := range strings.Split(page(t, provider), "```yaml\n")[1:] {
				block, _, _ = strings.Cut(block, "```")
				for _, m := range secretPath.FindAllStringSubmatch(block, -1) {
					from := "pw"
					switch {
					case strings.HasSuffix(m[1], ".json"):
						from = "sa.json"
					case strings.HasSuffix(m[1], ".pem"):
						from = "cert.pem"
					case strings.HasSuffix(m[1], ".key"):
						from = "key.pem"
					}
					content, err := os.ReadFile(filepath.Join(dir, from))
					if err != nil {
						t.Fatal(err)
					}
					path := filepath.Join(dir, m[1])
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
					write(t, filepath.Dir(path), filepath.Base(path), string(content), 0o600)
				}
				top, details, ok := strings.Cut(block, "details:")
				if !ok {
					continue
				}
				found++
				body := top + "wallets:\n  - name: a\n    node: {url: http://127.0.0.1:8546, chain_id: 1337}\n    details:" + strings.ReplaceAll(details, "\n", "\n    ") + "\n"
				if _, _, err := Load(write(t, dir, "config.yaml", body, 0o600)); err != nil {
					t.Errorf("%v\n%s", err, body)
				}
			}
			if found == 0 {
				t.Error("the page shows no details")
			}
		})
	}
}

// Every field of a provider is in the table of its page, and no field that it
// does not have.
func TestBackendPagesNameEveryKey(t *testing.T) {
	common := []string{"provider", "include", "exclude", "require_hsm", "rate_limit", "quota_share"}
	for _, provider := range Providers() {
		_, _, err := Parse("config.yaml", fmt.Appendf(nil, "wallets: [{details: {provider: %s, x: 1}}]", provider))
		_, list, ok := strings.Cut(err.Error(), "details.x: unknown key, want one of: ")
		if !ok {
			t.Fatal(err)
		}
		list, _, _ = strings.Cut(list, "\n")
		keys := strings.Split(list, ", ")
		_, section, ok := strings.Cut(page(t, provider), "\n## Config\n")
		if !ok {
			t.Errorf("%s: the page has no section Config", provider)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, key := range keys {
			if !slices.Contains(common, key) && !strings.Contains(section, "`"+key+"`") {
				t.Errorf("%s: the page does not name %s", provider, key)
			}
		}
		for line := range strings.Lines(section) {
			if !strings.HasPrefix(line, "| `") {
				continue
			}
			cell, _, _ := strings.Cut(line[2:], "|")
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
				if !slices.Contains(keys, m[1]) {
					t.Errorf("%s: the page names %s, which is no key", provider, m[1])
				}
			}
		}
	}
}
