// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The examples of the pages about tenants are valid, and the pages name every key.
func TestPagesAboutTenantsAreTrue(t *testing.T) {
	for name, probe := range map[string]string{
		"egress.md": "egress: {x: 1, proxy: {x: 1}, azure: {x: 1}}",
		"grants.md": "grants: [{x: 1, pkcs11: [{x: 1}]}]",
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
			if err != nil {
				t.Fatal(err)
			}
			dir := folder(t)
			for _, sub := range []string{"secrets", "keys/payments"} {
				if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(dir, "secrets"), "proxy", "correct horse", 0o600)
			blocks := strings.Split(string(text), "```yaml\n")[1:]
			for _, block := range blocks {
				block, _, _ = strings.Cut(block, "```")
				if _, _, err := Load(write(t, dir, "config.yaml", "management: {}\n"+block, 0o600)); err != nil {
					t.Errorf("%v\n%s", err, block)
				}
			}
			if len(blocks) == 0 {
				t.Error("the page has no example")
			}
			_, _, err = Parse("config.yaml", []byte(probe))
			for line := range strings.Lines(err.Error()) {
				_, keys, ok := strings.Cut(strings.TrimSpace(line), "unknown key, want one of: ")
				if !ok {
					continue
				}
				for _, key := range strings.Split(keys, ", ") {
					if !strings.Contains(string(text), "`"+key+"`") {
						t.Errorf("the page does not name %s", key)
					}
				}
			}
		})
	}
}
