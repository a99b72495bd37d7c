// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/freeport"
)

// freeAddress is a loopback address nobody listened on a moment ago.
func freeAddress() (string, error) { return freeport.Address(context.Background()) }
