// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// NewAccountKey makes a key of a service account, lets it in, and returns its id
// and the JSON that Google would hand out (https://google.aip.dev/auth/4112).
func (s *Server) NewAccountKey(account string) (id, text string, err error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", fmt.Errorf("gcpkmsfake: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("gcpkmsfake: %w", err)
	}
	var random [20]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	id = hex.EncodeToString(random[:])
	email := account + "@signer-test.iam.gserviceaccount.com"
	b, err := json.Marshal(map[string]string{ //nolint:gosec // G101: a key made a moment ago, for a fake
		"type": "service_account", "project_id": "signer-test", "private_key_id": id,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": email, "client_id": "1", "auth_uri": "https://accounts.google.com/o/oauth2/auth",
		"token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
	})
	if err != nil {
		return "", "", fmt.Errorf("gcpkmsfake: %w", err)
	}
	s.Authorise(email, id, &private.PublicKey)
	return id, string(b), nil
}

// certificate is that of a server on 127.0.0.1.
type certificate struct {
	pair tls.Certificate
	leaf *x509.Certificate
}

func newCertificate() (*certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &certificate{pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, leaf: leaf}, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.pair}, MinVersion: tls.VersionTLS12}
}

func (c *certificate) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	if c != nil {
		pool.AddCert(c.leaf)
	}
	return pool
}
