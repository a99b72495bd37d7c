// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/seal/kms"
)

// openSealer opens the keys that the config names. It asks no key service yet:
// one that is away keeps nobody from starting.
func openSealer(ctx context.Context, c *config.Config, db seal.Store) (*seal.Sealer, error) {
	sc := seal.Config{Store: db}
	if !c.Database.Set() {
		sc.Dir = c.Data
	}
	for _, k := range c.Seal.Keys {
		source, err := sealSource(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("seal: %s: %w", k, err)
		}
		sc.Sources = append(sc.Sources, source)
	}
	return seal.Open(ctx, sc)
}

func sealSource(ctx context.Context, k config.SealKey) (seal.Source, error) {
	var key seal.KEK
	var err error
	switch {
	case k.File != "":
		return seal.File(k.File), nil
	case k.Env != "":
		return seal.Env(k.Env), nil
	case k.AWSKMS != nil:
		key, err = awsSealKey(ctx, k)
	case k.Azure != nil:
		key, err = azureSealKey(k)
	case k.GCPKMS != nil:
		key, err = gcpSealKey(k)
	case k.Hashicorp != nil:
		key, err = vaultSealKey(k)
	default:
		err = fmt.Errorf("has no source")
	}
	if err != nil {
		return nil, err
	}
	return seal.Remote(key), nil
}

func awsSealKey(ctx context.Context, k config.SealKey) (seal.KEK, error) {
	a := k.AWSKMS
	roots, err := moreRoots(a.CACert)
	if err != nil {
		return nil, err
	}
	return kms.OpenAWS(ctx, kms.AWS{
		KeyID: k.Key, Region: a.Region, AccessKeyID: a.Credential.AccessKeyID, Secret: revealer(a.Credential.SecretKey),
		Profile: a.Credential.Profile, RoleARN: a.Credential.RoleARN, ExternalID: a.Credential.ExternalID,
		Endpoint: a.TargetAddress, STSEndpoint: a.Credential.STSAddress, RootCAs: roots,
	})
}

func azureSealKey(k config.SealKey) (seal.KEK, error) {
	a := k.Azure
	roots, err := moreRoots(a.CACert)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.TargetAddress)
	if err != nil {
		return nil, err
	}
	return kms.OpenAzure(kms.Azure{
		VaultURL: a.TargetAddress, Key: k.Key, Symmetric: k.Symmetric,
		TenantID: a.Credential.Tenant, ClientID: a.Credential.Client, Secret: revealer(a.Credential.Secret),
		Certificate: revealer(a.Credential.Certificate), CertificatePassword: revealer(a.Credential.CertificatePassword),
		Managed: a.Credential.Identity == config.AzureManaged, Workload: a.Credential.Identity == config.AzureWorkload,
		TokenFile: a.Credential.TokenFile, Authority: a.Authority,
		Relaxed: slices.Contains(a.RelaxedHosts, u.Host) || slices.Contains(a.RelaxedHosts, u.Hostname()), RootCAs: roots,
	})
}

func gcpSealKey(k config.SealKey) (seal.KEK, error) {
	g := kms.GCP{Key: k.Key, Credentials: revealer(k.GCPKMS.Credential.ServiceAccount)}
	if k.GCPKMS.TargetAddress != "" {
		u, err := url.Parse(k.GCPKMS.TargetAddress) // config has judged it: http on loopback only
		if err != nil {
			return nil, err
		}
		g.Endpoint, g.Insecure = u.Host, u.Scheme == "http"
		if u.Port() == "" {
			g.Endpoint = net.JoinHostPort(u.Hostname(), map[bool]string{true: "80", false: "443"}[g.Insecure])
		}
	}
	return kms.OpenGCP(g)
}

func vaultSealKey(k config.SealKey) (seal.KEK, error) {
	h := k.Hashicorp
	roots, err := moreRoots(h.CACert)
	if err != nil {
		return nil, err
	}
	v := kms.Vault{
		Address: h.TargetAddress, Mount: h.Mount, Key: k.Key, Namespace: h.Namespace, RootCAs: roots,
		Token: revealer(h.Credential.Token), AuthMount: h.Credential.AuthMount, RoleID: h.Credential.RoleID, Secret: revealer(h.Credential.SecretID),
		ClientCert: revealer(h.ClientCert), ClientKey: revealer(h.ClientKey),
	}
	method := "approle"
	for name, l := range map[string]*config.VaultLogin{"kubernetes": h.Credential.Kubernetes, "jwt": h.Credential.JWT} {
		if l != nil {
			method, v.Role, v.TokenFile = name, l.Role, l.TokenFile
		}
	}
	if method == "kubernetes" && v.TokenFile == "" {
		v.TokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token" // #nosec G101 -- a path
	}
	if v.AuthMount == "" {
		v.AuthMount = method
	}
	return kms.OpenVault(v)
}
