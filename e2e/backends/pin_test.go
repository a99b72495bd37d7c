// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// Three wallets on one token are one PIN to the token, which locks after a few
// wrong ones: a command tries it once, however many backends it opens.
func TestWrongPINOfThreeWalletsIsTriedOnceByACommand(t *testing.T) {
	token, err := softhsm.New(t.Context(), "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() })
	shim, calls := filepath.Join(t.TempDir(), "shim.so"), filepath.Join(t.TempDir(), "calls")
	out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-O1", "-o", shim,
		"../../internal/key/pkcs11/testdata/shim.c", "-ldl", "-lpthread").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	name, value, _ := strings.Cut(token.Env()[0], "=")
	details := fmt.Sprintf("{provider: pkcs11, module: counting, token_label: signer, user_secret: {file: %q}}", secretFile(t, "pin", secret))
	more := ""
	for _, wallet := range []string{"second", "third"} {
		more += fmt.Sprintf("  - name: %s\n    node: {url: \"http://127.0.0.1:1\", chain_id: 1337}\n    details: %s\n", wallet, details)
	}
	cli := newCommand(t, backend{details: details, secrets: []string{secret}, extra: more + fmt.Sprintf(
		"pkcs11_modules: {counting: {path: %q, environment: {%s: %q, SHIM_MODULE: %q, SHIM_CONTROL: /nonexistent, SHIM_LOG: %q}}}\n",
		shim, name, value, token.Module, calls)})
	for _, args := range [][]string{{"config", "check"}, {"key", "conformance", "--wallet", "second"}} {
		_ = os.Remove(calls)
		if out, code := cli.run("", args...); code == 0 || !strings.Contains(out, "refused the PIN") {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
		log, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		logins := 0
		for line := range strings.Lines(string(log)) {
			if line == "C_Login\n" {
				logins++
			}
		}
		if logins != 1 {
			t.Errorf("%v: %d logins with the wrong PIN, want 1", args, logins)
		}
	}
	cli.showsNoSecret()
}
