// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

func TestWhatDependsOnTheNodeIsToldFromWhatTheBytesProve(t *testing.T) {
	for message, want := range map[string]bool{
		"transaction type not supported":                                true,
		"invalid sender: invalid chain id for signer: have 1337 want 5": true,
		"tx fee (2.00 ether) exceeds the configured cap (1.00 ether)":   true,
		"fork supporting this transaction type is not activated yet":    true,
		"intrinsic gas too low: gas 20000, minimum needed 21000":        false,
		"max priority fee per gas higher than max fee per gas":          false,
		"oversized data: transaction size 131073, limit 131072":         false,
		"invalid sender": false,
	} {
		if got := node.DependsOnNode(&node.Error{Code: -32000, Message: message}); got != want {
			t.Errorf("%s: %t", message, got)
		}
	}
}
