// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	applicationID = "hsmsigner"

	// tokenTimeout bounds one token request. It is not the caller's deadline:
	// what one caller asks for serves all.
	tokenTimeout = 15 * time.Second
	// refusalHolds is for how long a failed token request answers for all
	// callers, so that a burst of them does not become a burst of failed logins.
	refusalHolds = time.Second
	// rebuildPause bounds how often a token that the vault refuses is thrown away.
	rebuildPause = 2 * time.Second
)

// credential gives tokens, and makes its token client anew when the secret has
// changed or the vault refused a token before its time.
type credential struct {
	cfg    Config
	vault  vault
	client policy.ClientOptions

	mu       sync.Mutex
	inner    azcore.TokenCredential
	print    [sha256.Size]byte // of the secret that inner was made with
	built    time.Time
	token    string // the last one given
	rejected string // the last one that the vault refused

	// freshUntil is until when (Unix, s) the library will ask for no token.
	freshUntil atomic.Int64

	failure      error // of the last token request, if it failed
	failureUntil time.Time
	failurePrint [sha256.Size]byte
}

func newCredential(c Config, v vault, client *http.Client) *credential {
	return &credential{cfg: c, vault: v, client: policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.AuthorityHost + "/"},
		Transport: tokenTransport{client},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // as for the vault: see Open
		Telemetry: policy.TelemetryOptions{ApplicationID: applicationID},
	}}
}

// refreshMargin is how long before its end the library renews a token that does
// not say when to (azcore, policy_bearer_token.go), and a little more.
const refreshMargin = 5*time.Minute + 10*time.Second

func fresh(token azcore.AccessToken) time.Time {
	until := token.ExpiresOn.Add(-refreshMargin)
	if at := token.RefreshOn.Add(-10 * time.Second); !token.RefreshOn.IsZero() && at.Before(until) {
		return at
	}
	return until
}

// warm reports that a call made now will find its token at hand.
func (c *credential) warm() bool { return time.Now().Unix() < c.freshUntil.Load() }

// forget drops what the credential holds.
func (c *credential) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inner, c.token, c.rejected = nil, "", ""
	c.freshUntil.Store(0)
	c.cfg.Secret, c.cfg.ClientCertificate, c.cfg.CertificatePassword = nil, nil, nil
}

// reject notes that the vault refused a token. The next GetToken gives another.
func (c *credential) reject(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if token == c.token {
		c.rejected = token
		c.freshUntil.Store(0)
	}
}

// GetToken implements azcore.TokenCredential. Every error is a *tokenError or
// the context's.
func (c *credential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if err := c.checkTenant(&options); err != nil {
		return azcore.AccessToken{}, err
	}
	inner, print, err := c.current(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	token, err := c.ask(ctx, inner, options)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.token, c.failure = token.Token, nil
		c.freshUntil.Store(fresh(token).Unix())
	case ctx.Err() == nil:
		c.failure, c.failureUntil, c.failurePrint = err, time.Now().Add(refusalHolds), print
	}
	return token, err
}

// checkTenant compares the directory that the vault's challenge names with the
// configured one. A token of the one is worthless in the other.
func (c *credential) checkTenant(options *policy.TokenRequestOptions) error {
	named := options.TenantID
	options.TenantID = "" // the configured one
	if c.vault.relaxed || c.cfg.ManagedIdentity || named == "" || !guid.MatchString(c.cfg.TenantID) || strings.EqualFold(named, c.cfg.TenantID) {
		return nil
	}
	if !guid.MatchString(named) {
		return &tokenError{kind: key.ErrBadResponse, why: "the vault's challenge names no directory; check target_address"}
	}
	return &tokenError{kind: key.ErrDenied, why: fmt.Sprintf("the vault belongs to the directory %s, but tenant_id is %s", named, c.cfg.TenantID)}
}

// current returns the token client for the secret as it is now.
func (c *credential) current(ctx context.Context) (azcore.TokenCredential, [sha256.Size]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.cfg.material()
	if err != nil {
		if c.inner == nil || c.rejected != "" {
			return nil, c.print, err
		}
		// A file that is being replaced must not stop what still works.
		c.cfg.Logger.WarnContext(ctx, "the credential of the key vault cannot be read; the last one is used", "err", err)
		return c.inner, c.print, nil
	}
	print := m.print()
	stale := c.rejected != "" && c.rejected == c.token && time.Since(c.built) > rebuildPause
	if c.inner != nil && print == c.print && !stale {
		return c.inner, print, c.recentFailure(print)
	}
	if err := c.recentFailure(print); err != nil && !stale {
		return nil, print, err
	}
	inner, err := c.build(m)
	if err != nil {
		return nil, print, err
	}
	if c.inner != nil && print != c.print {
		c.cfg.Logger.InfoContext(ctx, "the credential of the key vault has changed; the new one is used")
	}
	c.inner, c.print, c.built, c.rejected = inner, print, time.Now(), ""
	return inner, print, nil
}

// recentFailure returns the failure of a moment ago with the same secret.
func (c *credential) recentFailure(print [sha256.Size]byte) error {
	if c.failure != nil && c.failurePrint == print && time.Now().Before(c.failureUntil) {
		return c.failure
	}
	return nil
}

// ask requests a token. The request outlives an impatient caller, so that the
// next finds the token in the client's cache.
func (c *credential) ask(ctx context.Context, inner azcore.TokenCredential, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	type answer struct {
		token azcore.AccessToken
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		trace := &tokenTrace{}
		ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), tokenTraceKey{}, trace), tokenTimeout)
		defer cancel()
		token, err := inner.GetToken(ctx, options)
		if err != nil {
			err = c.explain(ctx, err, trace)
		}
		answers <- answer{token, err}
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
		return azcore.AccessToken{}, ctx.Err()
	}
}

func (c *credential) build(m material) (inner azcore.TokenCredential, err error) {
	switch {
	case c.cfg.ManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.client}
		// The machine's own endpoint is plain HTTP on a link-local address, and
		// its answer comes slowly at times: the client's own transport knows it.
		o.Transport, o.Retry = nil, policy.RetryOptions{}
		if c.cfg.ClientID != "" {
			o.ID = azidentity.ClientID(c.cfg.ClientID)
		}
		inner, err = azidentity.NewManagedIdentityCredential(o)
	case c.cfg.WorkloadIdentity:
		inner, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: c.client, ClientID: c.cfg.ClientID, TenantID: c.cfg.TenantID,
			TokenFilePath: c.cfg.TokenFile, DisableInstanceDiscovery: c.cfg.DisableInstanceDiscovery,
		})
	case c.cfg.ClientCertificate != nil:
		certs, private, parseErr := azidentity.ParseCertificates([]byte(m.certificate), []byte(m.password))
		if parseErr != nil {
			return nil, &tokenError{kind: key.ErrDenied, why: "client_cert cannot be used: want PEM with a certificate and its unencrypted RSA key, or PKCS#12 with the right client_cert_password"}
		}
		inner, err = azidentity.NewClientCertificateCredential(c.cfg.TenantID, c.cfg.ClientID, certs, private, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: c.client, DisableInstanceDiscovery: c.cfg.DisableInstanceDiscovery, SendCertificateChain: true,
		})
	default:
		inner, err = azidentity.NewClientSecretCredential(c.cfg.TenantID, c.cfg.ClientID, m.secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: c.client, DisableInstanceDiscovery: c.cfg.DisableInstanceDiscovery,
		})
	}
	if err != nil {
		// What the library says could quote what it was given.
		return nil, &tokenError{kind: key.ErrDenied, why: "the token client refuses the credential: check tenant_id, user_id and the secret or certificate"}
	}
	return inner, nil
}
