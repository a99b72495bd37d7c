// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"os"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
)

var (
	built  programs.Programs
	chrome driver
)

func TestMain(m *testing.M) {
	code := built.Main(m)
	chrome.stop()
	os.Exit(code)
}
