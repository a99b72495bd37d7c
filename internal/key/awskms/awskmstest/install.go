// SPDX-License-Identifier: Apache-2.0

package awskmstest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// FolderVariable names the environment variable with the folder that the
// virtual environment is made in.
const FolderVariable = "HSMSIGNER_MOTO"

const installTimeout = 10 * time.Minute

// Install makes the virtual environment unless it is there, and returns the path
// of its Python. Processes that come at the same time wait for each other.
func Install(ctx context.Context) (python string, err error) {
	base := os.Getenv(FolderVariable)
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("awskmstest: no folder for moto: set %s: %w", FolderVariable, err)
		}
		base = filepath.Join(cache, "hsmsigner-tests")
	}
	if base, err = filepath.Abs(base); err != nil {
		return "", fmt.Errorf("awskmstest: %w", err)
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("awskmstest: %w", err)
	}
	// Other versions have another folder.
	hash := sha256.Sum256(requirements)
	dir := filepath.Join(base, "moto-"+hex.EncodeToString(hash[:6]))
	python = filepath.Join(dir, "bin", "python")
	finished := filepath.Join(dir, "finished") // written last
	if _, err := os.Stat(finished); err == nil {
		return python, nil
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(finished); err == nil {
		return python, nil
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	python3, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("awskmstest: the tests of AWS KMS run moto, which needs Python 3: apt-get install python3 python3-venv")
	}
	if out, err := exec.CommandContext(ctx, python3, "-m", "venv", "--clear", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("awskmstest: python3 -m venv: %w: apt-get install python3-venv: %s", err, out)
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o600); err != nil {
		return "", fmt.Errorf("awskmstest: %w", err)
	}
	pip := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "-r", list)
	if out, err := pip.CombinedOutput(); err != nil {
		return "", fmt.Errorf("awskmstest: install moto: %w: a Python package index is needed the first time: %s", err, out)
	}
	if err := os.WriteFile(finished, nil, 0o600); err != nil {
		return "", fmt.Errorf("awskmstest: %w", err)
	}
	return python, nil
}
