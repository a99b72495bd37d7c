// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

func TestConfigFileIsValidWithoutWarnings(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hsmsigner.yaml")
	text := configFile(Options{NodeURL: "http://127.0.0.1:1", ChainID: 1337, Keys: NewKeys(t, 1), Window: 4096},
		"127.0.0.1:2", "127.0.0.1:3", dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := config.Load(path)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v %v\n%s", err, warnings, text)
	}
	if c.Wallets[0].Window != 4096 {
		t.Errorf("window %d, want 4096", c.Wallets[0].Window)
	}
}
