// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The control: the same programs against anvil alone, with an account of anvil's
// own. What fails here is the program's or the node's doing, not ours.
func TestClientsAgainstANodeWithItsOwnAccounts(t *testing.T) {
	t.Setenv("PLAIN_NODE", "1")
	node := harness.StartAnvil(t, 0)
	var all []common.Address
	if err := node.RPC.CallContext(t.Context(), &all, "eth_accounts"); err != nil || len(all) == 0 {
		t.Fatalf("eth_accounts of anvil: %v %v", all, err)
	}
	for _, p := range clientPrograms {
		t.Run(p.name, func(t *testing.T) { p.run(t, door{node.URL, node.WSURL, node.ChainID}, all[0]) })
	}
}

// The control of the load and of the checks on the chain: one program at a time,
// which is what a node with its own accounts can do.
func TestOneProgramAtATimeIsMinedByANodeWithItsOwnAccounts(t *testing.T) {
	node := harness.StartAnvil(t, 0)
	var all []common.Address
	if err := node.RPC.CallContext(t.Context(), &all, "eth_accounts"); err != nil || len(all) == 0 {
		t.Fatalf("eth_accounts of anvil: %v %v", all, err)
	}
	for _, c := range []harness.Client{
		dial(t, harness.NewHTTPClient, node.URL),
		dial(t, func(url string) (harness.Client, error) { return harness.NewWSClient(t.Context(), url) }, node.WSURL),
	} {
		allMined(t, node, []harness.Client{c}, [][]harness.Transfer{transfers(all[:1], 20)})
	}
}
