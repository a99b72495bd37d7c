// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// Every connection that a busy moment opened is kept: a handshake costs more
	// than a signature.
	idleConnections = 256
	idleTimeout     = 5 * time.Minute // KMS itself closes after a shorter time at its choice
	connectTimeout  = 5 * time.Second
	// All calls share one connection of HTTP/2. If that is dead without a word (a
	// firewall forgot it), every one of them would hang until the kernel gives up.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
)

func (c *Config) transport() *http.Transport {
	t := &http.Transport{
		DialContext:           c.DialContext,
		MaxIdleConns:          idleConnections,
		MaxIdleConnsPerHost:   idleConnections,
		IdleConnTimeout:       idleTimeout,
		TLSHandshakeTimeout:   connectTimeout,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs,
			ClientSessionCache: tls.NewLRUClientSessionCache(idleConnections),
		},
	}
	if t.DialContext == nil {
		t.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// noRedirect hands a redirect over as the answer: a signed request is for the
// host that it was signed for.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func fips(on bool) aws.FIPSEndpointState {
	if on {
		return aws.FIPSEndpointStateEnabled
	}
	return aws.FIPSEndpointStateDisabled
}
