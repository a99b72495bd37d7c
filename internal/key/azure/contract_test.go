// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
)

func start(t *testing.T, o azurefake.Options) *azuretest.Server {
	t.Helper()
	s, err := azurefake.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &azuretest.Server{Service: s}
}

func open(t *testing.T, s *azuretest.Server, change ...func(*azure.Config)) *azure.Backend {
	t.Helper()
	c := s.Config()
	for _, f := range change {
		f(&c)
	}
	b, err := azure.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func add(t *testing.T, s *azuretest.Server, name string, spec azurefake.Spec) azurefake.Key {
	t.Helper()
	k, err := s.Vault.Add(name, spec)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// list pages through the whole listing.
func list(t *testing.T, b *azure.Backend) (keys []key.Key, problems []key.Problem) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		keys, problems = append(keys, page.Keys...), append(problems, page.Problems...)
		if cursor = page.Next; cursor == "" {
			return keys, problems
		}
	}
}

// fixture is a vault of several of its own pages, with keys of every kind.
func fixture(t *testing.T, s *azuretest.Server) keytest.Fixture {
	t.Helper()
	f := keytest.Fixture{
		Backend: open(t, s), MinKeys: 60, CreateName: "made-by-the-suite",
		Unknown: key.Ref(s.Vault.URL() + "/keys/nothing/" + strings.Repeat("0", 32)),
	}
	for i := range 60 {
		spec := azurefake.Spec{Tags: map[string]string{"number": fmt.Sprint(i)}}
		if i%5 == 0 {
			spec.Kty = "EC"
		}
		if i%7 == 0 {
			spec.Crv = "SECP256K1"
		}
		f.Addresses = append(f.Addresses, add(t, s, fmt.Sprintf("key-%03d", i), spec).Address)
	}
	f.Addresses = append(f.Addresses, add(t, s, "key-007", azurefake.Spec{}).Address) // a second version
	add(t, s, "other-curve", azurefake.Spec{Crv: "P-256"})
	add(t, s, "no-curve", azurefake.Spec{Kty: "RSA"})
	for name, spec := range map[string]azurefake.Spec{
		"off":   {Disabled: true},
		"late":  {Expires: time.Now().Add(-time.Hour)},
		"early": {NotBefore: time.Now().Add(time.Hour)},
		"mute":  {Ops: []string{"verify"}},
	} {
		f.Disabled = append(f.Disabled, key.Ref(add(t, s, name, spec).KID))
	}
	add(t, s, "hidden", azurefake.Spec{Disabled: true, Hidden: true})
	names := map[common.Address]string{}
	f.Add = func(t *testing.T) common.Address {
		k := add(t, s, "added-later", azurefake.Spec{})
		names[k.Address] = "added-later"
		return k.Address
	}
	f.Remove = func(_ *testing.T, address common.Address) { s.Vault.Remove(names[address]) }
	return f
}

func TestContract(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		return fixture(t, start(t, azurefake.Options{}))
	})
}

// With the vault's and the token service's real names: the token's resource is
// checked against the vault's host, and no host is relaxed.
func TestContractUnderTheRealNames(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		s := start(t, azurefake.Options{})
		f := fixture(t, s)
		f.Disabled, f.Unknown = nil, "" // their references have the fake's own address
		f.Backend = open(t, s, realNames(s))
		return f
	})
}

// realNames dials the fakes under the names of Azure.
func realNames(s *azuretest.Server) func(*azure.Config) {
	return func(c *azure.Config) {
		c.VaultURL, c.RelaxedHosts = "https://treasury.vault.azure.net", nil
		c.AuthorityHost, c.DisableInstanceDiscovery = "", true
		c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			to := s.Vault.URL()
			if strings.HasPrefix(address, "login.microsoftonline.com:") {
				to = s.Entra.URL()
			}
			return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(to, "https://"))
		}
	}
}
