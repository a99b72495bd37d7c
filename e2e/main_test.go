// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// build makes the programs under test once, when the first test wants them.
var build func() (harness.Binaries, error)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hsmsigner-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build = sync.OnceValues(func() (harness.Binaries, error) {
		return harness.Build(dir, os.Getenv("E2E_RACE") == "1")
	})
	return m.Run()
}

func binaries(t *testing.T) harness.Binaries {
	t.Helper()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
