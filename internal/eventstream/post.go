// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
)

// maxAnswer bounds how much of an answer is read, and thrown away, to use the
// connection again.
const maxAnswer = 64 << 10

// poster posts the batches of one stream.
type poster struct {
	url     string
	headers map[string]string
	client  *http.Client
	agent   string
	stream  string
}

// newPoster makes what dials one receiver: by the rules, and only what they allow
// by name if it speaks plain http.
func (s *Streams) newPoster(stream string, w *Webhook, headers map[string]string) *poster {
	dialer := s.dialer
	if strings.HasPrefix(strings.ToLower(w.URL), "http:") {
		dialer = s.plain
	}
	transport := dialer.Transport()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if w.CACert != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(w.CACert))
	}
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = 2, 1
	transport.DisableCompression = true // nobody reads the answer
	return &poster{
		url: w.URL, headers: headers, agent: s.cfg.UserAgent, stream: stream,
		client: &http.Client{Transport: transport, CheckRedirect: dialrule.NoRedirect, Timeout: seconds(w.RequestTimeout)},
	}
}

// post makes one try. Its errors show neither the URL nor the address.
func (p *poster) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's URL cannot be used")
	}
	r.Header.Set("User-Agent", p.agent)
	for name, value := range p.headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-HSMSigner-Stream", p.stream)
	answer, err := p.client.Do(r)
	if err != nil {
		return postFault(err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	switch answer.StatusCode / 100 {
	case 2:
		return nil
	case 3:
		return fmt.Errorf("the webhook answered with status %d: redirects are not followed", answer.StatusCode)
	}
	return fmt.Errorf("the webhook answered with status %d", answer.StatusCode)
}

func postFault(err error) error {
	var timeout interface{ Timeout() bool }
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.Is(err, dialrule.ErrRefused):
		return errors.New("the webhook's address is one that this deployment does not connect to")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the webhook did not answer within requestTimeoutSec")
	case errors.As(err, &unknown), errors.As(err, &name):
		return errors.New("the webhook's certificate is not trusted")
	}
	return errors.New("the webhook cannot be reached")
}
