// SPDX-License-Identifier: Apache-2.0

//go:build unix

package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates are an authority and what it has certified, in PEM.
type Certificates struct {
	CA         string
	ClientCert string
	ClientKey  string

	dir string
}

func newCertificates(dir string) (*Certificates, error) {
	c := &Certificates{dir: dir}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vaulttest"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	c.CA = text("CERTIFICATE", der)
	serverCert, serverKey, err := certify(ca, caKey, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	c.ClientCert, c.ClientKey, err = certify(ca, caKey, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"ca.pem": c.CA, "server.pem": serverCert, "server.key": serverKey} {
		if err := os.WriteFile(c.file(name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("vaulttest: %w", err)
		}
	}
	return c, nil
}

func certify(ca *x509.Certificate, caKey *ecdsa.PrivateKey, usage x509.ExtKeyUsage) (cert, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("vaulttest: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "vaulttest"}, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &k.PublicKey, caKey)
	if err != nil {
		return "", "", fmt.Errorf("vaulttest: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", fmt.Errorf("vaulttest: %w", err)
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", keyDER), nil
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (c *Certificates) file(name string) string { return filepath.Join(c.dir, name) }

func (c *Certificates) clientConfig() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.CA))
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if pair, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey)); err == nil {
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}
