// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
)

// On the real core, with the plugin as an external process and an AppRole token
// under the shipped policies.
func TestContractOnRealVault(t *testing.T) {
	mount := newMount(t, false)
	addresses := []common.Address{newKey(t, mount), newKey(t, mount), newKey(t, mount)}
	off := newKey(t, mount)
	admin := open(t, first(withAppRole(t, mount, nil, vaulttest.Administrator)))
	if err := admin.(key.Enabler).SetEnabled(t.Context(), refOf(mount, off), false); err != nil {
		t.Fatal(err)
	}
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		// The suite creates with the backend that it signs with: hence two policies.
		c := first(withAppRole(t, mount, nil, vaulttest.DigestSigner, vaulttest.Administrator))
		return keytest.Fixture{
			Backend: must(t, c), MinKeys: 3, Addresses: addresses, Disabled: []key.Ref{refOf(mount, off)},
			Unknown:    refOf(mount, common.HexToAddress("0x00000000000000000000000000000000000000ff")),
			Add:        func(t *testing.T) common.Address { return newKey(t, mount) },
			CreateName: unique("created-"),
			Remove: func(t *testing.T, address common.Address) {
				if _, err := admin.(key.Deleter).Delete(t.Context(), refOf(mount, address)); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
	if log := server.Log(); strings.Contains(strings.ToLower(log), "private") {
		t.Errorf("the server's log: %s", log)
	}
}
