// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed requirements.txt
var requirements []byte

// installed makes a virtual environment with schemathesis in it, unless it is
// there, and returns the path of the program.
func installed(t *testing.T) string {
	t.Helper()
	base := os.Getenv("HSMSIGNER_SCHEMATHESIS")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("no folder for schemathesis: set HSMSIGNER_SCHEMATHESIS: %v", err)
		}
		base = filepath.Join(cache, "hsmsigner-tests")
	}
	base, err := filepath.Abs(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(requirements) // other versions have another folder
	dir := filepath.Join(base, "schemathesis-"+hex.EncodeToString(hash[:6]))
	program, finished := filepath.Join(dir, "bin", "st"), filepath.Join(dir, "finished") // written last
	if _, err := os.Stat(finished); err == nil {
		return program
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the test of the OpenAPI document runs schemathesis, which needs Python 3.11 or newer: apt-get install python3 python3-venv")
	}
	list := filepath.Join(base, "schemathesis.txt")
	if err := os.WriteFile(list, requirements, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{python, "-m", "venv", "--clear", dir},
		{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "-r", list},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: a Python package index is needed the first time: %s", args, err, out)
		}
	}
	if err := os.WriteFile(finished, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return program
}
