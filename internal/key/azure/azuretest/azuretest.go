// SPDX-License-Identifier: Apache-2.0

// Package azuretest starts a key vault for tests that only want one, and gives
// the configuration that goes with it. It is package azurefake: no emulator of
// Azure Key Vault that signs on secp256k1 can be installed from the registries
// that the tests use.
package azuretest

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
)

// Rights are those that are enough for a signer: the vault's Get, List, Sign.
func Rights() []string { return []string{"get", "list", "sign", "verify"} }

// Server is a running vault with its token service.
type Server struct {
	*azurefake.Service
}

// Start starts a vault on 127.0.0.1. The caller closes it.
func Start() (*Server, error) {
	s, err := azurefake.Start(azurefake.Options{})
	if err != nil {
		return nil, fmt.Errorf("azuretest: %w", err)
	}
	return &Server{Service: s}, nil
}

// Config is the configuration of a client: a secret, the vault's certificate,
// and the vault's host among the relaxed ones.
func (s *Server) Config() azure.Config {
	return azure.Config{
		VaultURL: s.Vault.URL(), TenantID: s.Entra.Tenant, ClientID: s.Entra.ClientID,
		Secret:        func() (string, error) { return s.Entra.Secret(), nil },
		AuthorityHost: s.Entra.URL(), RelaxedHosts: []string{s.Vault.Host()}, RootCAs: s.RootCAs(),
	}
}

// NewKey makes a P-256K key in the vault, as an administrator would.
func (s *Server) NewKey(name string) (key.Ref, common.Address, error) {
	k, err := s.Vault.Add(name, azurefake.Spec{})
	if err != nil {
		return "", common.Address{}, fmt.Errorf("azuretest: %w", err)
	}
	return key.Ref(k.KID), k.Address, nil
}
