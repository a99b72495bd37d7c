// SPDX-License-Identifier: Apache-2.0

// Package azurefake answers as an Azure Key Vault and as the token service of
// Microsoft Entra ID do, over TLS on 127.0.0.1, for tests and measurements. Keys
// live in memory and sign for real. Its replies are written down from the
// provider's documentation (learn.microsoft.com/rest/api/keyvault/keys and
// learn.microsoft.com/entra/identity-platform), not made by the client library.
//
// It can be made to answer late, not at all, with errors, and with answers that
// are wrong. It protects nothing.
package azurefake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Service is a vault and its token service.
type Service struct {
	Vault *Vault
	Entra *Entra

	roots   *x509.CertPool
	der     []byte
	servers []*http.Server
	wg      sync.WaitGroup
}

// Options of a new Service. The zero value has the rights of an administrator,
// no quota and no latency.
type Options struct {
	Tenant   string // default: 11111111-…
	ClientID string // default: 22222222-…
	Secret   string // default: "first secret"
	Managed  bool   // a Managed HSM: EC-HSM keys only
	Standard bool   // a standard vault: no EC-HSM keys

	EntraListener, VaultListener net.Listener // nil: free ports of 127.0.0.1
}

// Start begins to listen. The caller closes the service.
func Start(o Options) (*Service, error) {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Tenant, "11111111-1111-1111-1111-111111111111"},
		{&o.ClientID, "22222222-2222-2222-2222-222222222222"},
		{&o.Secret, "first secret"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	cert, roots, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("azurefake: certificate: %w", err)
	}
	s := &Service{roots: roots, der: cert.Certificate[0]}
	s.Entra = newEntra(o)
	s.Vault = newVault(o, s.Entra)
	for _, part := range []struct {
		handler http.Handler
		base    *string
		opened  *atomic.Int64
		on      net.Listener
	}{{s.Entra, &s.Entra.base, &s.Entra.connections, o.EntraListener}, {s.Vault, &s.Vault.base, &s.Vault.connections, o.VaultListener}} {
		if err := s.serve(cert, part.handler, part.base, part.opened, part.on); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("azurefake: %w", err)
		}
	}
	return s, nil
}

func (s *Service) serve(cert tls.Certificate, handler http.Handler, base *string, opened *atomic.Int64, l net.Listener) error {
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // it is closed by Close
			return err
		}
	}
	*base = "https://" + l.Addr().String()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // refused handshakes are what tests want
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		},
	}
	s.servers = append(s.servers, server)
	s.wg.Go(func() { _ = server.ServeTLS(l, "", "") }) // ends with ErrServerClosed
	return nil
}

// Close ends both servers and all their connections.
func (s *Service) Close() error {
	s.Vault.Hang(false)
	s.Entra.Hang(false)
	for _, server := range s.servers {
		_ = server.Close()
	}
	s.wg.Wait()
	return nil
}

// RootCAs trusts the certificate of both servers and nothing else.
func (s *Service) RootCAs() *x509.CertPool { return s.roots }

// CertificatePEM is the certificate of both servers.
func (s *Service) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der})
}

// selfSigned makes a certificate for 127.0.0.1, and for the names that a vault
// and the token service have, so that a test may dial those.
func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "azurefake"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:    []string{"*.vault.azure.net", "*.managedhsm.azure.net", "login.microsoftonline.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, roots, nil
}
