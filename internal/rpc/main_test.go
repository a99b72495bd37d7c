// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test leaves running is a leak of the server's.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
