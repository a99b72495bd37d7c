// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// What `make demo ONCE=1` runs once it has built: chain, daemon, wallet and one
// transfer, then a clean end.
func TestDemoOnce(t *testing.T) {
	t.Parallel()
	harness.Turn(t, "demo")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binaries(t).Hsmsigner, "demo", "--once")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hsmsigner demo --once: %v\n%s", err, out)
	}
	for _, want := range []string{
		`0x[0-9a-f]{64}`,       // the hash
		`0x[0-9a-fA-F]{40}\b`,  // the account
		`http://127\.0\.0\.1:`, // the door
		`curl`, `cast`, `viem`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the demo does not show %s:\n%s", want, out)
		}
	}
}
