// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"os"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

func binaries(t *testing.T) harness.Binaries {
	t.Helper()
	return built.Of(t)
}
