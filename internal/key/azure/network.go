// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// explainNetwork says what is wrong on the way to what, and which setting would
// mend it. What is no error of the network is an answer that was not understood.
func explainNetwork(err error, what, setting string) (why string, kind error) {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var wrapped *url.Error
	var rule interface{ Refused() bool }
	switch {
	case errors.As(err, &rule) && rule.Refused(): // Config.DialContext's; which address it was is not for everybody to know
		return what + " has an address that this deployment does not connect to: check " + setting + ", and egress.allow in the operator's config", key.ErrUnavailable
	case errors.Is(err, errTooLong):
		return what + " answered with more than 4 MiB", key.ErrBadResponse
	case errors.As(err, &dns) && dns.IsNotFound:
		return what + " does not exist by that name: check " + setting + ", and with a private endpoint the private DNS zone", key.ErrUnavailable
	case errors.As(err, &dns):
		return "the name of " + what + " could not be looked up: check this machine's DNS", key.ErrUnavailable
	case errors.As(err, &unknown):
		return "the certificate of " + what + " is from an authority that is not trusted here: check for a proxy that opens TLS, or trust its authority with ca_cert", key.ErrUnavailable
	case errors.As(err, &host):
		return "the certificate of " + what + " is for another name: check " + setting, key.ErrUnavailable
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "the certificate of " + what + " is not valid: check this machine's clock, and ca_cert", key.ErrUnavailable
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return what + " does not speak TLS: check the port in " + setting, key.ErrUnavailable
	case errors.Is(err, syscall.ECONNREFUSED):
		return what + " refuses connections: check " + setting + " and the port", key.ErrUnavailable
	case errors.As(err, &op) && op.Op == "dial":
		return what + " cannot be reached: check the network, the firewall and the proxy", key.ErrUnavailable
	case errors.As(err, &wrapped) && wrapped.Timeout():
		return what + " did not answer in time", key.ErrUnavailable
	case errors.As(err, &wrapped), errors.As(err, &op), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "http2:"):
		return "the connection to " + what + " broke", key.ErrUnavailable
	}
	return "the answer of " + what + " is not what a key vault answers", key.ErrBadResponse
}
