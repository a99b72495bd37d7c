// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// A node with unlocked accounts of its own stands behind the door. Nobody reaches
// them through it, nor the node's own switches.
func TestTheNodesOwnAccountsAreOutOfReach(t *testing.T) {
	keys := harness.NewKeys(t, 1)
	node := harness.StartAnvil(t, 0, keys.Addresses...)
	var own []common.Address
	if err := node.RPC.CallContext(t.Context(), &own, "eth_accounts"); err != nil || len(own) == 0 {
		t.Fatalf("eth_accounts of anvil: %v %v", own, err)
	}
	d := harness.StartDaemon(t, binaries(t), node.Options(keys))
	door, err := rpc.Dial(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()

	var shown []common.Address
	if err := door.CallContext(t.Context(), &shown, "eth_accounts"); err != nil || len(shown) != 1 || shown[0] != keys.Addresses[0] {
		t.Errorf("eth_accounts: got %v %v, want only %s", shown, err, keys.Addresses[0])
	}
	send := map[string]any{"from": own[0], "to": own[0], "value": "0x1", "gas": "0x5208", "gasPrice": "0x77359400", "nonce": "0x0"}
	for _, c := range []struct {
		method string
		params []any
		code   int
	}{
		{"eth_sendTransaction", []any{send}, -32000},
		{"eth_signTransaction", []any{send}, -32000},
		{"eth_sign", []any{own[0], "0x00"}, -32000},
		{"personal_sign", []any{"0x00", own[0]}, -32000},
		{"personal_unlockAccount", []any{own[0], "", 0}, -32601},
		{"eth_sendUnsignedTransaction", []any{send}, -32601},
		{"anvil_impersonateAccount", []any{own[0]}, -32601},
		{"hardhat_setBalance", []any{own[0], "0x1"}, -32601},
		{"evm_mine", nil, -32601},
		{"debug_traceTransaction", []any{common.Hash{}}, -32601},
	} {
		var answered rpc.Error
		err := door.CallContext(t.Context(), nil, c.method, c.params...)
		if !errors.As(err, &answered) || answered.ErrorCode() != c.code {
			t.Errorf("%s: got %v, want error %d", c.method, err, c.code)
			continue
		}
		if strings.Contains(err.Error(), strings.TrimPrefix(node.URL, "http://")) {
			t.Errorf("%s: the error names the node: %v", c.method, err)
		}
	}
	if got := node.Nonce(t, own[0]); got != 0 {
		t.Errorf("the node's own account has sent %d transactions", got)
	}
}
