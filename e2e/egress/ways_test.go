// SPDX-License-Identifier: Apache-2.0

package egress_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

const (
	application = "11111111-2222-3333-4444-555555555555"
	directory   = "66666666-7777-8888-9999-000000000000"
)

// dial is what adapters and nodes are given.
type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// way is one way in which a tenant's address comes to be connected to.
type way struct {
	name   string
	scheme string // of what is asked
	// ask makes everything that a tenant's wallet makes, and asks address
	// (host:port). roots are those of a server that is asked by https.
	ask func(ctx context.Context, address string, d dial, roots *x509.CertPool) error
}

func ways(t *testing.T) []way {
	t.Helper()
	backend := func(b key.Backend, err error) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			if err != nil {
				return err
			}
			defer func() { _ = b.Close() }()
			return b.Health(ctx)
		}
	}
	nodeAt := func(use func(ctx context.Context, c *node.Client) error, scheme string) func(context.Context, string, dial, *x509.CertPool) error {
		return func(ctx context.Context, address string, d dial, _ *x509.CertPool) error {
			c, err := node.New(node.Config{URL: scheme + "://" + address, DialContext: d})
			if err != nil {
				return err
			}
			defer c.Close()
			return use(ctx, c)
		}
	}
	call := func(ctx context.Context, c *node.Client) error { return c.Call(ctx, nil, "eth_chainId") }
	large := func(ctx context.Context, c *node.Client) error {
		return c.Call(ctx, nil, "eth_call", strings.Repeat("x", 100<<10))
	}
	subscribe := func(ctx context.Context, c *node.Client) error {
		_, err := c.Subscribe(ctx, []byte(`["newHeads"]`), func(json.RawMessage) {})
		return err
	}
	secret := func() (string, error) { return "wJalrXUtnFEMI", nil }
	aws := func(ctx context.Context, c awskms.Config, d dial, roots *x509.CertPool) error {
		c.Region, c.AccessKeyID, c.Secret, c.DialContext, c.RootCAs = "eu-central-1", "AKIAIOSFODNN7EXAMPLE", secret, d, roots
		b, err := awskms.Open(ctx, c)
		if err != nil {
			return err
		}
		defer func() { _ = b.Close() }()
		_, err = b.Keys(ctx, "")
		return err
	}
	vault := func(ctx context.Context, c hashicorp.Config, d dial) error {
		c.DialContext = d
		b, err := hashicorp.Open(ctx, c)
		return backend(b, err)(ctx)
	}
	keyVault, vaultRoots := challenging(t, "https://login.microsoftonline.com/"+directory)
	account, ring := serviceAccount(t)
	return []way{
		{"node", "http", nodeAt(call, "http")},
		{"node by TLS", "https", nodeAt(call, "https")},
		{"node, large request", "http", nodeAt(large, "http")},
		{"node's socket", "http", nodeAt(subscribe, "http")},
		{"node's socket by TLS", "https", nodeAt(subscribe, "https")},
		{"Azure's vault", "https", func(ctx context.Context, address string, d dial, roots *x509.CertPool) error {
			b, err := azure.Open(ctx, azure.Config{VaultURL: "https://" + address, TenantID: directory, ClientID: application, Secret: secret, DialContext: d, RootCAs: roots})
			return backend(b, err)(ctx)
		}},
		{"Azure's token service", "https", func(ctx context.Context, address string, d dial, roots *x509.CertPool) error {
			b, err := azure.Open(ctx, azure.Config{
				VaultURL: "https://" + keyVault, RelaxedHosts: []string{keyVault}, AuthorityHost: "https://" + address,
				TenantID: directory, ClientID: application, Secret: secret, RootCAs: together(vaultRoots, roots), DialContext: past(keyVault, d),
			})
			return backend(b, err)(ctx)
		}},
		{"AWS KMS", "http", func(ctx context.Context, address string, d dial, roots *x509.CertPool) error {
			return aws(ctx, awskms.Config{Endpoint: "http://" + address}, d, roots)
		}},
		{"AWS STS", "https", func(ctx context.Context, address string, d dial, roots *x509.CertPool) error {
			return aws(ctx, awskms.Config{STSEndpoint: "https://" + address, RoleARN: "arn:aws:iam::111122223333:role/signer"}, d, roots)
		}},
		{"AWS tagging", "https", func(ctx context.Context, address string, d dial, roots *x509.CertPool) error {
			return aws(ctx, awskms.Config{TaggingEndpoint: "https://" + address, Discovery: awskms.Discovery{TagKey: "app"}}, d, roots)
		}},
		{"Vault by token", "http", func(ctx context.Context, address string, d dial, _ *x509.CertPool) error {
			return vault(ctx, hashicorp.Config{Address: "http://" + address, Token: secret}, d)
		}},
		{"Vault by AppRole", "http", func(ctx context.Context, address string, d dial, _ *x509.CertPool) error {
			return vault(ctx, hashicorp.Config{Address: "http://" + address, RoleID: "r", Secret: secret}, d)
		}},
		{"Google's KMS", "grpc", func(ctx context.Context, address string, d dial, _ *x509.CertPool) error {
			b, err := gcpkms.Open(ctx, gcpkms.Config{KeyRing: ring, Endpoint: address, Credentials: account, DialContext: d})
			return backend(b, err)(ctx)
		}},
	}
}

// past lets one address be dialled past the rules.
func past(address string, d dial) dial {
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		if to == address {
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}
		return d(ctx, network, to)
	}
}

// challenging is a key vault that asks for a token, as Azure's do.
func challenging(t *testing.T, authority string) (host string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="`+authority+`", resource="https://vault.azure.net"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.Listener.Addr().String(), roots
}

// together are the roots of both; roots may be nil.
func together(roots, more *x509.CertPool) *x509.CertPool {
	if more == nil {
		return roots
	}
	return more // httptest has one certificate for all its servers
}

// serviceAccount is a key as Google gives it out.
func serviceAccount(t *testing.T) (load func() (string, error), ring string) {
	t.Helper()
	s, err := gcpkmsfake.Start(gcpkmsfake.Options{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, error) { return text, nil }, s.Ring()
}

// answering counts requests and answers each with handler.
func answering(t *testing.T, scheme string, handler http.HandlerFunc) (address string, roots *x509.CertPool, requests *atomic.Int32) {
	t.Helper()
	requests = &atomic.Int32{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler(w, r)
	}))
	if scheme == "http" {
		s.Start()
	} else {
		s.StartTLS()
		roots = x509.NewCertPool()
		roots.AddCert(s.Certificate())
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), roots, requests
}
