// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	maxIdlePerHost = 128     // of connections kept for the next burst
	maxBody        = 4 << 20 // bytes of an answer; a page of keys has some 10 kB
	// All calls share one connection of HTTP/2. If that is dead without a word (a
	// firewall forgot it), every one of them would hang until the kernel gives up.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
)

// newHTTPClient makes the one client that both the vault and the token service
// are asked with. It follows no redirect: the token is for the configured host.
func newHTTPClient(c Config) *http.Client {
	dial, proxy := c.DialContext, (func(*http.Request) (*url.URL, error))(nil)
	if dial == nil {
		// A proxy would dial for us, past the rules of a DialContext.
		dial, proxy = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext, http.ProxyFromEnvironment
	}
	return &http.Client{
		Transport: limited{&http.Transport{
			Proxy:                 proxy,
			DialContext:           dial,
			ForceAttemptHTTP2:     true,
			HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			MaxIdleConns:          2 * maxIdlePerHost,
			MaxIdleConnsPerHost:   maxIdlePerHost,
			IdleConnTimeout:       3 * time.Minute, // Azure's own end closes after four
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			TLSClientConfig:       &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var errTooLong = errors.New("answer of more than 4 MiB")

// limited bounds the answers, which the libraries read whole.
type limited struct{ *http.Transport }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxBody}
	}
	return resp, err
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// tokenTrace holds what went wrong on the wire, which the token client turns
// into text.
type tokenTrace struct{ err error }

type tokenTraceKey struct{}

// tokenTransport is the token client's transport.
type tokenTransport struct{ client *http.Client }

func (t tokenTransport) Do(r *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(r) // #nosec G704 -- to the authority host that the operator set
	if trace, ok := r.Context().Value(tokenTraceKey{}).(*tokenTrace); ok && err != nil {
		trace.err = err
	}
	return resp, err
}

// challengeGuard looks at each answer before the library does: it notes tokens
// that were refused, and refuses challenges that are none (some of which the
// library would not survive).
type challengeGuard struct{ cred *credential }

var challengeParameter = regexp.MustCompile(`([A-Za-z_]+)="?([^",\s]*)"?`)

// errChallenge: what answers is no vault.
var errChallenge = errors.New("the answer 401 has no challenge of a key vault")

func (g challengeGuard) Do(r *policy.Request) (*http.Response, error) {
	resp, err := r.Next()
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if token, ok := strings.CutPrefix(r.Raw().Header.Get("Authorization"), "Bearer "); ok {
		g.cred.reject(token)
	}
	if err := checkChallenge(resp.Header.Get("WWW-Authenticate")); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// checkChallenge wants Bearer, a resource or scope, and, if there is one, an
// authorization address with a tenant. Source:
// learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses.
func checkChallenge(header string) error {
	rest, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return errChallenge
	}
	values := map[string]string{}
	for _, m := range challengeParameter.FindAllStringSubmatch(rest, -1) {
		values[m[1]] = m[2]
	}
	authorization, named := values["authorization"]
	switch {
	case values["claims"] != "" && !named: // continuous access evaluation: the library knows what to do
		return nil
	case values["resource"] == "" && values["scope"] == "" && values["claims"] == "":
		return errChallenge
	}
	authority, err := url.Parse(authorization)
	if err != nil || authority.Scheme != "https" || authority.Host == "" || strings.Trim(authority.Path, "/") == "" {
		return errChallenge
	}
	return nil
}

// sleep waits for d unless ctx is done before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
