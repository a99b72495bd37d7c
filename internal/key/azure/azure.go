// SPDX-License-Identifier: Apache-2.0

// Package azure signs with keys of an Azure Key Vault or a Managed HSM.
//
// One version of a key is one account, since each version is another key pair
// and so another address. A [key.Ref] is the key identifier with its version,
// as the portal and the vault's log show it:
// https://VAULT/keys/NAME/VERSION. It is never the identifier without a
// version, which means another key after a rotation. A reference into another
// vault is [key.ErrNotFound], and nobody is asked.
//
// The rights Get, List, Sign and Verify (the role Key Vault Crypto User has
// them) are enough for all but Create, Import, SetEnabled and Delete. Only
// digests are sent, and no private key is ever read. A signature costs one call
// once the first token is there.
package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// The documented quotas in calls a second. A vault's are counted per vault,
// region and ten seconds, in one bucket for signing and reading: 2,000 where
// the keys are HSM-protected and 4,000 where they are software-protected. All
// vaults of a subscription together get five times that. A Managed HSM is not
// throttled by a rule; its figures are what one instance with one partition
// manages, signing and reading apart.
//
// Sources: learn.microsoft.com/azure/key-vault/general/service-limits and
// /azure/key-vault/managed-hsm/scaling-guidance.
const (
	SignPerSecond = 200 // of a vault with HSM-protected keys; reading counts too
	ReadPerSecond = 200 // of the same bucket as SignPerSecond

	SoftwarePerSecond = 400 // in place of both, where all keys are software-protected

	ManagedHSMSignPerSecond = 330
	ManagedHSMReadPerSecond = 1100 // of a bucket of its own

	// OneBucket says that SignPerSecond and ReadPerSecond are one allowance.
	// It does not hold for a Managed HSM.
	OneBucket = true
)

// PublicAuthority is the token service of Azure's public cloud.
const PublicAuthority = "https://login.microsoftonline.com"

// Config says which vault and who asks it. Exactly one of Secret,
// ClientCertificate, ManagedIdentity and WorkloadIdentity is set.
//
// The functions are called whenever the value is needed: for the first token,
// for each later one (about hourly) and after the provider refused one. So a
// secret that was rotated is picked up without a restart.
type Config struct {
	VaultURL string // https://NAME.vault.azure.net or https://NAME.managedhsm.azure.net; see VaultAddress
	TenantID string // directory of the application: GUID or domain; not for a managed identity
	ClientID string // of the application, or of the user-assigned identity

	Secret              func() (string, error) // client secret
	ClientCertificate   func() (string, error) // PEM: certificate, its chain, and the private key
	CertificatePassword func() (string, error) // of a PKCS#12 file given as ClientCertificate; nil: none

	// For the operator's wallets only: identities that the machine or the pod
	// has, not ones that a tenant brought.
	ManagedIdentity  bool   // ClientID empty: the system-assigned one
	WorkloadIdentity bool   // ClientID and TenantID empty: as the pod's environment says
	TokenFile        string // of the workload identity; empty: as the pod's environment says

	AuthorityHost string // token service; empty: PublicAuthority
	// DisableInstanceDiscovery keeps the token client from asking the public
	// cloud about AuthorityHost. It is implied where AuthorityHost is not one of
	// Azure's own: there nobody would know it.
	DisableInstanceDiscovery bool

	// RelaxedHosts are the hosts (host or host:port) that may ask for tokens of
	// a resource that is not their own domain: Azure Stack, emulators. To every
	// other host a token is sent only if the vault's challenge names a resource
	// that the host belongs to.
	RelaxedHosts []string
	RootCAs      *x509.CertPool // in place of the system's, so begin with a copy of those; nil: the system's
	// DialContext opens connections; nil: a net.Dialer. The proxy of the
	// environment is used only where it is nil.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	Software    bool   // Create and Import make EC keys; otherwise EC-HSM, which a standard vault refuses
	KEK         string // name of the vault's key-exchange key, under which Import wraps
	PlainImport bool   // without KEK: Import sends the key inside TLS only

	Concurrency int        // calls at once of one listing; 0: 16
	Reads       *key.Quota // waited for before each call that only reads; nil: none
	Logger      *slog.Logger
}

// Backend is one vault. See [Open].
type Backend struct {
	cfg    Config
	log    *slog.Logger
	vault  vault
	client *azkeys.Client
	cred   *credential
	http   *http.Client
	known  catalogue
	watch  rotationWatch
	slots  chan struct{} // of calls that a listing makes at once

	closed   chan struct{}
	closing  sync.Once
	switched atomic.Bool // closed, for those who do not select
}

var (
	_ key.Backend  = (*Backend)(nil)
	_ key.Creator  = (*Backend)(nil)
	_ key.Importer = (*Backend)(nil)
	_ key.Enabler  = (*Backend)(nil)
	_ key.Deleter  = (*Backend)(nil)
)

// Open checks the configuration. It makes no call, so it does not fail because
// the vault or the token service is away, nor because a secret is wrong.
func Open(_ context.Context, c Config) (*Backend, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 16
	}
	if c.AuthorityHost == "" {
		c.AuthorityHost = PublicAuthority
	}
	v, err := c.check()
	if err != nil {
		return nil, err
	}
	b := &Backend{
		cfg: c, log: c.Logger, vault: v,
		http:   newHTTPClient(c),
		slots:  make(chan struct{}, c.Concurrency),
		closed: make(chan struct{}),
	}
	b.known.init()
	b.watch.init()
	b.cred = newCredential(c, v, b.http)
	// The wallet retries a signature within its caller's deadline, and read
	// retries what only reads: neither wants a third hand in it.
	noRetries := policy.RetryOptions{MaxRetries: -1}
	b.client, err = azkeys.NewClient(v.base, b.cred, &azkeys.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport:        b.http,
			Retry:            noRetries,
			Telemetry:        policy.TelemetryOptions{ApplicationID: applicationID},
			PerRetryPolicies: []policy.Policy{challengeGuard{b.cred}},
		},
		DisableChallengeResourceVerification: v.relaxed,
	})
	if err != nil {
		return nil, errors.New("azure: the vault's client cannot be made")
	}
	return b, nil
}

// Health asks for the first page of the listing, which costs one call and needs
// the right List.
func (b *Backend) Health(ctx context.Context) error {
	return b.read(ctx, "health", "", func(ctx context.Context) error {
		_, err := b.client.NewListKeyPropertiesPager(nil).NextPage(ctx)
		return err
	})
}

// Close ends the idle connections and forgets tokens and credential. Later
// calls return an error. Go has no way to wipe the secret from memory, since the
// token client keeps it as a string.
func (b *Backend) Close() error {
	b.closing.Do(func() {
		b.switched.Store(true)
		close(b.closed)
		b.cred.forget()
		b.http.CloseIdleConnections()
	})
	return nil
}
