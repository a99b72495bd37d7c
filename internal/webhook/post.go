// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxAnswer bounds how much of an answer is read, and thrown away, to use the
// connection again.
const maxAnswer = 64 << 10

// tryError is why a try failed. It shows no URL.
type tryError struct {
	kind       string // as Observer.Failed
	status     int
	retryAfter time.Duration
	err        error
}

func (e *tryError) Error() string { return e.err.Error() }
func (e *tryError) Unwrap() error { return e.err }

// newClient is what dials one receiver: by the rules, and only what they allow
// by name if it speaks plain http.
func newClient(cfg Config, hook Hook, plain bool) *http.Client {
	rules := cfg.Rules
	rules.Only = rules.Only || plain
	transport := rules.Transport()
	transport.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12}
	transport.MaxConnsPerHost = cfg.Concurrency
	transport.MaxIdleConnsPerHost = cfg.Concurrency
	transport.DisableCompression = true // nobody reads the answer
	return &http.Client{Transport: transport, CheckRedirect: dialrule.NoRedirect, Timeout: hook.Timeout}
}

// post makes one try. It returns nil if the receiver has taken the event, else
// a *tryError.
func (p *pump) post(ctx context.Context, e store.Event) error {
	secrets, err := p.hook.Secrets()
	if err != nil {
		return &tryError{kind: "secret", err: err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.hook.URL, bytes.NewReader(e.Body))
	if err != nil {
		return &tryError{kind: "connect", err: withoutURL(err)}
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", p.h.cfg.UserAgent)
	r.Header.Set("X-HSMSigner-Event", e.ID)
	r.Header.Set("X-HSMSigner-Delivery", strconv.Itoa(e.Tries+1))
	r.Header.Set("X-HSMSigner-Timestamp", timestamp)
	r.Header.Set("X-HSMSigner-Signature", sign(secrets, timestamp, e.Body))
	answer, err := p.client.Do(r)
	if err != nil {
		return asTryError(err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	if answer.StatusCode/100 == 2 {
		return nil
	}
	return &tryError{
		kind: "status", status: answer.StatusCode, err: fmt.Errorf("answered with status %d", answer.StatusCode),
		retryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
	}
}

// sign is the value of X-HSMSigner-Signature.
func sign(secrets []string, timestamp string, body []byte) string {
	values := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(timestamp))
		mac.Write([]byte("."))
		mac.Write(body)
		values[i] = "v1=" + hex.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(values, ", ")
}

func asTryError(err error) *tryError {
	kind := "connect"
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, dialrule.ErrRefused):
		kind = "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return &tryError{kind: "timeout", err: errors.New("no answer within the timeout")}
	}
	return &tryError{kind: kind, err: withoutURL(err)}
}

// withoutURL takes the URL off an error of package net/http: it may carry a
// token.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// retryAfter reads the header (RFC 9110 §10.2.3): seconds, or a date. Zero if
// it is neither.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
