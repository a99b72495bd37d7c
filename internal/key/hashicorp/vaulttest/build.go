// SPDX-License-Identifier: Apache-2.0

//go:build unix

package vaulttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const pluginName = "vault-plugin-hsmsigner"

// buildCore returns the path of the program of e2e/vaultcore. Linking Vault
// takes minutes, so it is kept in the user's cache directory under a name that
// changes with its source, and built by one process at a time.
func buildCore(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "e2e", "vaultcore")
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("vaulttest: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
	}
	fmt.Fprint(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "vaultcore-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	release, err := lockFile(program + ".lock")
	if err != nil {
		return "", err
	}
	defer release()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := goBuild(ctx, source, program+".new", "."); err != nil {
		return "", fmt.Errorf("%w (the first build of Vault's core fetches its modules and takes minutes; do it by hand with `make vaultcore`)", err)
	}
	if err := os.Rename(program+".new", program); err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	return program, nil
}

// buildPlugin builds the secrets engine into dir. What was linked last is kept,
// so that it is linked again only if its source has changed.
func buildPlugin(ctx context.Context, dir string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(root))
	kept := filepath.Join(cache, pluginName+"-"+hex.EncodeToString(sum[:4]))
	release, err := lockFile(kept + ".lock")
	if err != nil {
		return err
	}
	defer release()
	if err := goBuild(ctx, root, kept, "./cmd/"+pluginName); err != nil {
		return err
	}
	binary, err := os.ReadFile(kept)
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, pluginName), binary, 0o700); err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	return nil
}

// cacheDir is where programs are kept from one run to the next.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	dir = filepath.Join(dir, "hsmsigner")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	return dir, nil
}

func goBuild(ctx context.Context, dir, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("vaulttest: go build %s in %s: %w: %s", pkg, dir, err, text)
	}
	return nil
}

// moduleRoot is the directory of the go.mod that the test belongs to.
func moduleRoot(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/hsmsigner/hsmsigner").Output()
	if err != nil {
		return "", fmt.Errorf("vaulttest: find the source of the module: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func lockFile(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("vaulttest: lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}
