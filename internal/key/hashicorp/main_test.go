// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// server is one real Vault for all tests of this package. A test that seals it
// has no parallel ones beside it.
var server *vaulttest.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if server, err = vaulttest.Start(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

var serial atomic.Int64

// unique makes a name that no other test has.
func unique(prefix string) string { return fmt.Sprintf("%s%d", prefix, serial.Add(1)) }

// newMount mounts the engine for one test.
func newMount(t *testing.T, exportable bool) string {
	t.Helper()
	mount := unique("mount-")
	if err := server.MountEngine(t.Context(), mount, exportable); err != nil {
		t.Fatal(err)
	}
	return mount
}

func newKey(t *testing.T, mount string) common.Address {
	t.Helper()
	address, err := server.CreateKey(t.Context(), mount, unique("key-"))
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// withAppRole is a configuration that logs in as a role with shipped policies.
func withAppRole(t *testing.T, mount string, more map[string]any, policies ...string) (hashicorp.Config, vaulttest.Role, string) {
	t.Helper()
	for i, p := range policies {
		policies[i] = vaulttest.PolicyName(mount, p)
	}
	role, err := server.AppRole(t.Context(), unique("role-"), policies, more)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := server.SecretID(t.Context(), role)
	if err != nil {
		t.Fatal(err)
	}
	return hashicorp.Config{
		Address: server.URL(), Mount: mount, RoleID: role.RoleID, Secret: func() (string, error) { return secret, nil },
	}, role, secret
}

func open(t *testing.T, c hashicorp.Config) key.Backend {
	t.Helper()
	b, err := hashicorp.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func refOf(mount string, address common.Address) key.Ref {
	return key.Ref(mount + "/" + strings.ToLower(address.Hex()))
}

func first(c hashicorp.Config, _ vaulttest.Role, _ string) hashicorp.Config { return c }

// must opens a backend that the test closes itself.
func must(t *testing.T, c hashicorp.Config) key.Backend {
	t.Helper()
	b, err := hashicorp.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
