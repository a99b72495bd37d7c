// SPDX-License-Identifier: Apache-2.0

package main

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
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue signs a certificate; the first one signs itself.
func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(a.t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(a.t, err)
	cert, err := x509.ParseCertificate(der)
	check(a.t, err)
	return cert, key
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) client(dnsNames []string, commonName string) tls.Certificate {
	cert, key := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, DNSNames: dnsNames, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// server writes cert.pem and key.pem of a server called name into dir.
func (a *authority) server(dir, name string) {
	cert, key := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	der, err := x509.MarshalECPrivateKey(key)
	check(a.t, err)
	writePEM(a.t, filepath.Join(dir, "key.pem"), "EC PRIVATE KEY", der)
	writePEM(a.t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert.Raw)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// mtlsConfig is a whole config with mutual TLS, as an operator would write it.
func mtlsConfig(t *testing.T, a *authority) *config.Config {
	t.Helper()
	dir := t.TempDir()
	a.server(dir, "first")
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.cert.Raw)
	path := filepath.Join(dir, "config.yaml")
	check(t, os.WriteFile(path, []byte(`
rpc:
  listen: 127.0.0.1:0
  auth: mtls
  tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem}
wallets:
  - name: w
    node: {url: http://127.0.0.1:8546, chain_id: 1337}
    details: {provider: keystore, path: .}
`), 0o600))
	c, warnings, err := config.Load(path)
	check(t, err)
	if len(warnings) > 0 {
		t.Error(warnings)
	}
	return c
}

// whoami serves the authenticated name of each request.
func whoami(t *testing.T, c config.RPC) (address string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	listener, err := listen(t.Context(), c.Listen, c.TLS, log)
	check(t, err)
	who := authenticator(c, log)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			principal, err := who(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, principal.Name)
		}),
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// ask returns the body, and the name of the server's certificate.
func ask(t *testing.T, url string, c *tls.Config, name, password string) (status int, body, server string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	check(t, err)
	if name != "" {
		request.SetBasicAuth(name, password)
	}
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, "", "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(t, err)
	if response.TLS != nil {
		server = response.TLS.PeerCertificates[0].Subject.CommonName
	}
	return response.StatusCode, string(data), server, nil
}

func TestMutualTLSNamesTheCaller(t *testing.T) {
	a := newAuthority(t)
	url := "https://" + whoami(t, mtlsConfig(t, a).RPC)
	for _, c := range []struct {
		cert   tls.Certificate
		status int
		body   string
	}{
		{a.client([]string{"shop.example.org", "other"}, "cn"), 200, "cert:shop.example.org"},
		{a.client(nil, "batch job"), 200, "cert:batch job"},
		{a.client(nil, ""), 401, "the client certificate has neither a DNS name nor a common name\n"},
	} {
		status, body, _, err := ask(t, url, &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{c.cert}}, "", "")
		if err != nil || status != c.status || body != c.body {
			t.Errorf("got %d %q %v, want %d %q", status, body, err, c.status, c.body)
		}
	}
}

func TestMutualTLSRefusesStrangers(t *testing.T) {
	a := newAuthority(t)
	url := "https://" + whoami(t, mtlsConfig(t, a).RPC)
	for name, certs := range map[string][]tls.Certificate{
		"no certificate":          nil,
		"of another authority":    {newAuthority(t).client([]string{"shop.example.org"}, "")},
		"the authority's own key": {{Certificate: [][]byte{a.cert.Raw}, PrivateKey: newAuthority(t).key}},
	} {
		if status, body, _, err := ask(t, url, &tls.Config{RootCAs: a.pool(), Certificates: certs}, "", ""); err == nil {
			t.Errorf("%s: got %d %q, want no connection", name, status, body)
		}
	}
	if status, _, _, err := ask(t, "http"+url[len("https"):], nil, "", ""); err == nil && status == 200 {
		t.Error("answered plain HTTP")
	}
}

func TestRenewedCertificateTakesEffectWithoutRestart(t *testing.T) {
	a := newAuthority(t)
	c := mtlsConfig(t, a)
	url := "https://" + whoami(t, c.RPC)
	client := &tls.Config{RootCAs: a.pool(), Certificates: []tls.Certificate{a.client(nil, "x")}}
	serverName := func() string {
		t.Helper()
		_, _, name, err := ask(t, url, client, "", "")
		check(t, err)
		return name
	}
	if got := serverName(); got != "first" {
		t.Fatalf("serves %q", got)
	}
	check(t, os.WriteFile(c.RPC.TLS.Cert, []byte("half a fi"), 0o600))
	if got := serverName(); got != "first" {
		t.Errorf("while the file is broken, serves %q", got)
	}
	a.server(filepath.Dir(c.RPC.TLS.Cert), "second")
	if got := serverName(); got != "second" {
		t.Errorf("after the renewal, serves %q", got)
	}
}

func TestBasicAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pw")
	check(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	url := "http://" + whoami(t, config.RPC{
		Listen: "127.0.0.1:0", Auth: config.AuthBasic, Credentials: []config.Credential{
			{Username: "shop", Password: config.NewSecret("correct horse")},
			{Username: "job", Password: config.SecretFile(file)},
			{Username: "broken", Password: config.SecretFile(file + "x")},
		},
	})
	for _, c := range []struct {
		name, password string
		status         int
		body           string
	}{
		{"shop", "correct horse", 200, "app:shop"},
		{"job", "from a file", 200, "app:job"},
		{"shop", "from a file", 401, "no valid credentials\n"},
		{"shop", "", 401, "no valid credentials\n"},
		{"nobody", "correct horse", 401, "no valid credentials\n"},
		{"broken", "", 401, "no valid credentials\n"},
		{"", "", 401, "no valid credentials\n"},
	} {
		status, body, _, err := ask(t, url, nil, c.name, c.password)
		if err != nil || status != c.status || body != c.body {
			t.Errorf("%s: got %d %q %v, want %d %q", c.name, status, body, err, c.status, c.body)
		}
	}
	check(t, os.WriteFile(file, []byte("changed"), 0o600))
	if _, body, _, _ := ask(t, url, nil, "job", "changed"); body != "app:job" {
		t.Errorf("after the file changed: %q", body)
	}
}

func TestAuthNoneIsAnonymous(t *testing.T) {
	url := "http://" + whoami(t, config.RPC{Listen: "127.0.0.1:0", Auth: config.AuthNone})
	if status, body, _, err := ask(t, url, nil, "", ""); err != nil || status != 200 || body != "anonymous" {
		t.Errorf("got %d %q %v", status, body, err)
	}
}

func TestUnknownAuthLetsNobodyIn(t *testing.T) {
	url := "http://" + whoami(t, config.RPC{Listen: "127.0.0.1:0"})
	if status, _, _, err := ask(t, url, nil, "", ""); err != nil || status != 401 {
		t.Errorf("got %d %v", status, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
