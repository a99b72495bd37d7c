// SPDX-License-Identifier: Apache-2.0

// Package kms has the key-encryption keys that stay in the operator's cloud:
// AWS KMS, Azure Key Vault, Google Cloud KMS, and the transit engine of HashiCorp
// Vault.
//
// A key is asked once by each process, to unwrap its deployment key of 32 bytes,
// and once more when a deployment key is made. So nothing is kept between calls
// but the client: Vault is logged in to each time, and the token given back. The
// daemon's own right is to encrypt and decrypt (wrap and unwrap) with this one
// key, and nothing else. Errors say of which sort a failure is, never what a
// provider wrote.
package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

const connectTimeout = 10 * time.Second

// httpClient follows no redirect: what is sent is for the host that was named.
func httpClient(roots *x509.CertPool, certificate func() (*tls.Certificate, error)) *http.Client {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if certificate != nil {
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSClientConfig:        settings,
			TLSHandshakeTimeout:    connectTimeout,
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // one call per process
			MaxResponseHeaderBytes: 64 << 10,
			ResponseHeaderTimeout:  20 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fault is an error of a call to a service.
func fault(service, call, code string, again bool, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %s: %w: no answer in time", service, call, seal.ErrUnavailable)
	case code == "":
		return fmt.Errorf("%s: %s: %w: it cannot be reached or gave no proper answer", service, call, seal.ErrUnavailable)
	case again:
		return fmt.Errorf("%s: %s: %w: it answered %s", service, call, seal.ErrUnavailable, code)
	}
	return fmt.Errorf("%s: %s: refused with %s", service, call, code)
}

// visible is a code as it may be shown.
func visible(code string) string {
	out := make([]byte, 0, len(code))
	for _, c := range []byte(code) {
		if c > ' ' && c <= '~' && len(out) < 64 {
			out = append(out, c)
		}
	}
	return string(out)
}
