// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
)

func azureQuotas(a *config.Azure) quotas {
	switch {
	case strings.Contains(a.TargetAddress, ".managedhsm."):
		return quotas{sign: azure.ManagedHSMSignPerSecond, read: azure.ManagedHSMReadPerSecond}
	case a.Software:
		return quotas{sign: azure.SoftwarePerSecond, read: azure.SoftwarePerSecond, one: azure.OneBucket}
	}
	return quotas{sign: azure.SignPerSecond, read: azure.ReadPerSecond, one: azure.OneBucket}
}

func openAzure(ctx context.Context, a *config.Azure, reads *key.Quota, dial fleet.Dial, log *slog.Logger) (key.Backend, error) {
	roots, err := moreRoots(a.CACert)
	if err != nil {
		return nil, err
	}
	return azure.Open(ctx, azure.Config{
		VaultURL: a.TargetAddress, TenantID: a.Credential.Tenant, ClientID: a.Credential.Client,
		Secret: revealer(a.Credential.Secret), ClientCertificate: revealer(a.Credential.Certificate),
		CertificatePassword: revealer(a.Credential.CertificatePassword),
		ManagedIdentity:     a.Credential.Identity == config.AzureManaged,
		WorkloadIdentity:    a.Credential.Identity == config.AzureWorkload, TokenFile: a.Credential.TokenFile,
		AuthorityHost: a.Authority, RelaxedHosts: a.RelaxedHosts, RootCAs: roots,
		Software: a.Software, KEK: a.KEK, PlainImport: a.PlainImport,
		DialContext: dial, Reads: reads, Logger: log,
	})
}
