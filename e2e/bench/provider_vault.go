// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// hashicorpVault starts a real Vault with the project's secrets engine. Its audit
// log counts the calls, and the adapter's dialer the connections.
func (b *bench) hashicorpVault(ctx context.Context) (*provider, error) {
	fmt.Fprintln(b.h.log, "starting Vault; its first build takes minutes …")
	server, err := vaulttest.Start(ctx, vaulttest.WithTLS())
	if err != nil {
		return nil, err
	}
	b.h.Cleanup(func() {
		if err := server.Close(); err != nil {
			b.h.Logf("bench: %v", err)
		}
	})
	address, err := server.CreateKey(ctx, vaulttest.Mount, "signer")
	if err != nil {
		return nil, err
	}
	token, err := server.Token(ctx, []string{vaulttest.DigestSigner}, nil)
	if err != nil {
		return nil, err
	}
	give := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	known, links := server.TLS(), new(dialer)
	backend, err := hashicorp.Open(ctx, hashicorp.Config{
		Address: server.URL(), Mount: vaulttest.Mount, Token: give(token), DialContext: links.DialContext,
		CACert: []byte(known.CA), ClientCert: give(known.ClientCert), ClientKey: give(known.ClientKey),
	})
	if err != nil {
		return nil, err
	}
	b.closes(backend)
	bare, err := b.bareVault(server.URL(), token, known)
	if err != nil {
		return nil, err
	}
	low := strings.ToLower(address.Hex())
	path := vaulttest.Mount + "/sign/" + low
	return &provider{
		name: "vault", call: "Logical().WriteWithContext", backend: backend, ref: key.Ref(vaulttest.Mount + "/" + low), address: address,
		bare: func(ctx context.Context, digest [32]byte) error {
			_, err := bare.Logical().WriteWithContext(ctx, path, map[string]any{"digest": hex.EncodeToString(digest[:])})
			return err
		},
		calls:       always(func() int { return strings.Count(server.AuditLog(), `"type":"request"`) }),
		links:       always(func() int { return int(links.opened.Load()) }),
		countedCall: "calls", countedLink: "new connections",
	}, nil
}

// bareVault is the SDK's client with the settings of the adapter's.
func (b *bench) bareVault(url, token string, known *vaulttest.Certificates) (*api.Client, error) {
	pair, err := tls.X509KeyPair([]byte(known.ClientCert), []byte(known.ClientKey))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(known.CA))
	client, err := api.NewClient(&api.Config{
		Address: url, DisableRedirects: true,
		HttpClient: b.bareClient(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}),
	})
	if err != nil {
		return nil, err
	}
	client.ClearNamespace()
	client.SetToken(token)
	return client, nil
}
