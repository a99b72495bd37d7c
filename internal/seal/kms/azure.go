// SPDX-License-Identifier: Apache-2.0

package kms

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// Azure is a key of an Azure Key Vault (RSA) or a Managed HSM (RSA or AES).
type Azure struct {
	VaultURL  string // https://host
	Key       string
	Symmetric bool // an AES key of a Managed HSM: A256KW; else RSA-OAEP-256

	TenantID            string
	ClientID            string
	Secret              func() (string, error) // client secret
	Certificate         func() (string, error) // PEM or PKCS#12, in place of Secret
	CertificatePassword func() (string, error)
	Managed, Workload   bool // identities of the daemon
	TokenFile           string

	Authority string         // token service; default the public cloud's
	Relaxed   bool           // the vault's challenge may name another resource
	RootCAs   *x509.CertPool // nil: the system's
}

type azureKey struct {
	cfg    Azure
	host   string
	client *azkeys.Client
}

// OpenAzure makes the client of a key. It asks nobody.
func OpenAzure(c Azure) (seal.KEK, error) {
	u, err := url.Parse(c.VaultURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || c.Key == "" {
		return nil, errors.New("azure: want the vault's address, https://host, and the name of a key")
	}
	options := policy.ClientOptions{Transport: httpClient(c.RootCAs, nil)}
	if c.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority + "/"}
	}
	identity, err := c.identity(options)
	if err != nil {
		return nil, err
	}
	client, err := azkeys.NewClient(c.VaultURL, identity, &azkeys.ClientOptions{ClientOptions: options, DisableChallengeResourceVerification: c.Relaxed})
	if err != nil {
		return nil, errors.New("azure: the vault's client cannot be made: check the address")
	}
	return &azureKey{cfg: c, host: strings.ToLower(u.Host), client: client}, nil
}

func (c Azure) identity(options policy.ClientOptions) (azcore.TokenCredential, error) {
	other := c.Authority != "" && !strings.HasPrefix(c.Authority, "https://login.microsoftonline.")
	switch {
	case c.Managed:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case c.Workload:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: c.ClientID, TenantID: c.TenantID, TokenFilePath: c.TokenFile, DisableInstanceDiscovery: other,
		})
	}
	return &azureLogin{cfg: c, options: options, other: other}, nil
}

// azureLogin reads the secret anew at each login.
type azureLogin struct {
	cfg     Azure
	options policy.ClientOptions
	other   bool
}

// GetToken implements azcore.TokenCredential.
func (l *azureLogin) GetToken(ctx context.Context, want policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c := l.cfg
	if c.Certificate == nil {
		secret, err := c.Secret()
		if err != nil {
			return azcore.AccessToken{}, err
		}
		with, err := azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: l.options, DisableInstanceDiscovery: l.other,
		})
		if err != nil {
			return azcore.AccessToken{}, err
		}
		return with.GetToken(ctx, want)
	}
	text, err := c.Certificate()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	var password []byte
	if c.CertificatePassword != nil {
		p, err := c.CertificatePassword()
		if err != nil {
			return azcore.AccessToken{}, err
		}
		password = []byte(p)
	}
	certs, key, err := azidentity.ParseCertificates([]byte(text), password)
	if err != nil {
		return azcore.AccessToken{}, errors.New("azure: client_cert: want PEM or PKCS#12 with certificate and key")
	}
	with, err := azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: l.options, DisableInstanceDiscovery: l.other, SendCertificateChain: true,
	})
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return with.GetToken(ctx, want)
}

// ID implements [seal.KEK].
func (k *azureKey) ID() string { return "azure:" + k.host + "/" + k.cfg.Key }

func (k *azureKey) parameters(value []byte) azkeys.KeyOperationParameters {
	algorithm := azkeys.EncryptionAlgorithmRSAOAEP256
	if k.cfg.Symmetric {
		algorithm = azkeys.EncryptionAlgorithmA256KW
	}
	return azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: value}
}

// Wrap implements [seal.KEK]. Before what Azure returns stands the version of
// the key, and a slash: a rotated key opens only what each version has wrapped.
// Azure binds nothing to it.
func (k *azureKey) Wrap(ctx context.Context, key []byte, _ string) ([]byte, error) {
	answer, err := k.client.WrapKey(ctx, k.cfg.Key, "", k.parameters(key), nil)
	if err != nil {
		return nil, azureFault("wrapKey", err)
	}
	if answer.KID == nil || answer.KID.Version() == "" || len(answer.Result) == 0 {
		return nil, fault("azure", "wrapKey", "", false, nil)
	}
	return append([]byte(answer.KID.Version()+"/"), answer.Result...), nil
}

// Unwrap implements [seal.KEK].
func (k *azureKey) Unwrap(ctx context.Context, wrapped []byte, _ string) ([]byte, error) {
	version, value, ok := bytes.Cut(wrapped, []byte("/"))
	if !ok || visible(string(version)) != string(version) || strings.ContainsAny(string(version), "?#%") {
		return nil, seal.ErrDamaged
	}
	answer, err := k.client.UnwrapKey(ctx, k.cfg.Key, string(version), k.parameters(value), nil)
	if err != nil {
		return nil, azureFault("unwrapKey", err)
	}
	return answer.Result, nil
}

func azureFault(call string, err error) error {
	var answer *azcore.ResponseError
	var login *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &answer):
		if call == "unwrapKey" && answer.StatusCode == http.StatusBadRequest {
			return fmt.Errorf("azure: unwrapKey: refused with %s: %w", visible(answer.ErrorCode), seal.ErrDamaged)
		}
		code := visible(answer.ErrorCode)
		if code == "" {
			code = strconv.Itoa(answer.StatusCode)
		}
		return fault("azure", call, code, answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests, err)
	case errors.As(err, &login) && login.RawResponse != nil:
		return fault("azure", "log in", strconv.Itoa(login.RawResponse.StatusCode), login.RawResponse.StatusCode >= 500, err)
	}
	return fault("azure", call, "", false, err)
}
