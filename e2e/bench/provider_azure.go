// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
)

// azureFake starts a stand-in for a key vault and its token service. The caller
// has the rights of a signer only.
func (b *bench) azureFake() (*azuretest.Server, error) {
	fake, err := azuretest.Start()
	if err != nil {
		return nil, err
	}
	b.h.Cleanup(func() { _ = fake.Close() })
	fake.Vault.SetRights(azuretest.Rights()...)
	return fake, nil
}

func (b *bench) azureVault(ctx context.Context) (*provider, error) {
	fake, err := b.azureFake()
	if err != nil {
		return nil, err
	}
	ref, address, err := fake.NewKey("signer")
	if err != nil {
		return nil, err
	}
	backend, err := azure.Open(ctx, fake.Config())
	if err != nil {
		return nil, err
	}
	b.closes(backend)
	options := azcore.ClientOptions{
		Transport: b.bareClient(&tls.Config{RootCAs: fake.RootCAs()}),
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: fake.Entra.URL() + "/"},
	}
	credential, err := azidentity.NewClientSecretCredential(fake.Entra.Tenant, fake.Entra.ClientID, fake.Entra.Secret(),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		return nil, err
	}
	client, err := azkeys.NewClient(fake.Vault.URL(), credential, &azkeys.ClientOptions{ClientOptions: options, DisableChallengeResourceVerification: true})
	if err != nil {
		return nil, err
	}
	parts := strings.Split(string(ref), "/") // https://VAULT/keys/NAME/VERSION
	name, version := parts[len(parts)-2], parts[len(parts)-1]
	algorithm := azkeys.SignatureAlgorithmES256K
	return &provider{
		name: "azure", call: "azkeys.Client.Sign", backend: backend, ref: ref, address: address,
		bare: func(ctx context.Context, digest [32]byte) error {
			_, err := client.Sign(ctx, name, version, azkeys.SignParameters{Algorithm: &algorithm, Value: digest[:]}, nil)
			return err
		},
		calls: always(fake.Vault.Calls), links: always(fake.Vault.Connections), countedCall: "calls", countedLink: "new connections",
	}, nil
}
