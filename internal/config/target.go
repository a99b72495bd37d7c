// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// targetURL reads the base URL of a provider's service. Credentials go there,
// so it is https, or http on this machine.
func targetURL(v value) (string, error) {
	const want = "want https://host, or http:// with a loopback address"
	s, err := text(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, want)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return "", errors.New("is not a URL: " + want)
	case u.User != nil:
		return "", errors.New("carries a user or password, which belong in fields of their own: " + want)
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has a query or a fragment: " + want)
	case v.r.scope == tenant && v.r.egress.refuses(u.Hostname()) != "":
		return "", errors.New(v.r.egress.refuses(u.Hostname()))
	case u.Scheme == "https":
	case u.Scheme != "http":
		return "", fmt.Errorf("has the scheme %q: %s", u.Scheme, want)
	case !loopback(u.Hostname()):
		return "", fmt.Errorf("is http, and %s is not this machine: a credential would cross the network in clear; %s", u.Hostname(), want)
	}
	return strings.TrimRight(s, "/"), nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// certificates reads PEM certificates, as text or {file: path}.
func certificates(v value) (Secret, error) {
	inline := v.r.inlineSecrets
	s, err := secret(v)
	v.r.inlineSecrets = inline // a certificate is no secret
	if err != nil || !s.Set() {
		return s, err
	}
	plain, err := s.Reveal()
	if err != nil {
		return s, nil //nolint:nilerr // secret has reported it, with the file
	}
	found := 0
	for rest := []byte(plain); ; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return s, fmt.Errorf("holds a certificate that cannot be read: %w", err)
			}
		}
	}
	if found == 0 {
		return s, errors.New("holds no certificate: want PEM, -----BEGIN CERTIFICATE-----")
	}
	return s, nil
}

// checkPair reports a certificate that does not go with its key.
func checkPair(o *object, cert, key Secret) {
	if !cert.Set() || !key.Set() {
		return
	}
	certificate, err := cert.Reveal()
	if err != nil {
		return // reported already
	}
	private, err := key.Reveal()
	if err != nil {
		return
	}
	if _, err := tls.X509KeyPair([]byte(certificate), []byte(private)); err != nil {
		o.at("client_key").fail("does not go with client_cert: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
}
