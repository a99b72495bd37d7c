// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	maxReply     = 16 << 20 // bytes; a page of 500 keys with tags is below one MiB
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

func newVault(c Config) (*vault, error) {
	v := &vault{cfg: c}
	transport, err := v.transport()
	if err != nil {
		return nil, err
	}
	v.idle = transport.CloseIdleConnections
	for _, client := range []**api.Client{&v.http, &v.anon, &v.root} {
		if *client, err = newClient(c, transport, client != &v.root); err != nil {
			return nil, err
		}
	}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	v.auth = &session{vault: v}
	return v, nil
}

// newClient makes a client of the SDK that takes nothing from the environment,
// follows no redirects and tries nothing twice: the wallet does that, within the
// deadline of its caller.
func newClient(c Config, transport *http.Transport, namespaced bool) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: c.Address, HttpClient: &http.Client{Transport: transport, CheckRedirect: noRedirect},
		MaxRetries: 0, DisableRedirects: true,
	})
	if err != nil {
		return nil, errors.New("the Vault client: a VAULT_ variable of the environment is malformed; unset it")
	}
	client.ClearToken()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	if namespaced && c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	return client, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// transport keeps enough connections for everybody who may sign at a time.
func (v *vault) transport() (*http.Transport, error) {
	c := v.cfg
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CACert) > 0 {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(c.CACert) {
			return nil, errors.New("ca_cert: holds no certificate in PEM")
		}
	}
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		v.asked.Store(true)
		if c.ClientCert == nil {
			return &tls.Certificate{}, nil // we have none
		}
		return v.clientCertificate()
	}
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext: dial, TLSClientConfig: settings, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns: c.Concurrency, MaxIdleConnsPerHost: c.Concurrency, IdleConnTimeout: 90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// pairError is what is wrong with the client certificate, told apart from what
// the network does.
type pairError struct{ why string }

func (e *pairError) Error() string { return "client certificate: " + e.why }

func (v *vault) clientCertificate() (*tls.Certificate, error) {
	cert, err := v.cfg.ClientCert()
	if err != nil {
		return nil, &pairError{"client_cert cannot be read"}
	}
	secret, err := v.cfg.ClientKey()
	if err != nil {
		return nil, &pairError{"client_key cannot be read"}
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(secret))
	if err != nil {
		return nil, &pairError{"client_cert and client_key do not belong together, or are no PEM"}
	}
	return &pair, nil
}

// call is one request to Vault.
type call struct {
	op     string  // as in key.CallError
	ref    key.Ref // empty if no key is concerned
	path   string
	query  map[string][]string // of a read
	right  string              // the capability that the policy needs
	lookup bool                // it asks about the token itself
}

// reply is what Vault answers with a status below 300.
type reply struct {
	RequestID string          `json:"request_id"`
	Data      json.RawMessage `json:"data"`
	Auth      json.RawMessage `json:"auth"`
}

// usable refuses calls of a closed backend, and of callers who have gone.
func (v *vault) usable(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("hashicorp: %s: %w", op, err)
	}
	if v.closed() {
		return &key.CallError{Op: op, Kind: key.ErrUnavailable, Why: "the backend is closed"}
	}
	return nil
}

// read makes a call that signs nothing: it waits for its turn, and is made
// again while Vault throttles it.
func (v *vault) read(ctx context.Context, c call, into any) (id string, err error) {
	send := func(ctx context.Context, client *api.Client) (*api.Response, error) {
		return client.Logical().ReadRawWithDataWithContext(ctx, c.path, c.query)
	}
	return v.patiently(ctx, c, send, into)
}

// write is read for calls that change something.
func (v *vault) write(ctx context.Context, c call, data map[string]any, into any) (id string, err error) {
	body, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("hashicorp: %s: %w", c.op, err)
	}
	defer clear(body)
	send := func(ctx context.Context, client *api.Client) (*api.Response, error) {
		return client.Logical().WriteRawWithContext(ctx, c.path, body)
	}
	return v.patiently(ctx, c, send, into)
}

type sender func(ctx context.Context, client *api.Client) (*api.Response, error)

func (v *vault) patiently(ctx context.Context, c call, send sender, into any) (string, error) {
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		if err := v.cfg.Reads.Wait(ctx); err != nil {
			return "", fmt.Errorf("hashicorp: %s: %w", c.op, err)
		}
		id, err := v.do(ctx, c, send, into)
		v.cfg.Reads.Answered(err)
		var throttled *key.ThrottledError
		if !errors.As(err, &throttled) {
			return id, err
		}
		delay := throttled.RetryAfter + backoff/2 + rand.N(backoff/2)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return id, err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return id, err
		}
	}
}

// do makes one call with the token in use. If Vault says that the token has
// ended, it gets another and makes the call once more.
func (v *vault) do(ctx context.Context, c call, send sender, into any) (string, error) {
	if err := v.usable(ctx, c.op); err != nil {
		return "", err
	}
	for again := false; ; again = true {
		token, err := v.auth.use(ctx, c.op)
		if err != nil {
			return "", err
		}
		r, response, err := v.exchange(ctx, send, v.http)
		if err == nil {
			return r.RequestID, decode(c, r, into)
		}
		if !again && v.auth.ended(ctx, token, c, err) {
			continue
		}
		return "", v.explain(ctx, c, response, err)
	}
}

// exchange sends one request and reads its answer.
func (v *vault) exchange(ctx context.Context, send sender, client *api.Client) (reply, *api.Response, error) {
	response, err := send(ctx, client)
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return reply{}, response, err
	}
	if response.StatusCode >= 300 {
		return reply{}, response, &api.ResponseError{StatusCode: response.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	switch {
	case err != nil:
		return reply{}, response, err
	case len(body) > maxReply:
		return reply{}, response, errTooLong
	case len(body) == 0:
		return reply{}, response, nil // 204
	}
	var r reply
	if json.Unmarshal(body, &r) != nil {
		return reply{}, response, errNotVault
	}
	return r, response, nil
}

const whyNoData = "Vault answered without data"

// noContent reports an answer without data.
func noContent(err error) bool {
	var e *key.CallError
	return errors.As(err, &e) && e.Why == whyNoData
}

// decode reads the data of an answer.
func decode(c call, r reply, into any) error {
	if into == nil {
		return nil
	}
	if len(r.Data) == 0 || string(r.Data) == "null" {
		return &key.CallError{Op: c.op, Ref: c.ref, Kind: key.ErrBadResponse, Why: whyNoData, RequestID: r.RequestID}
	}
	if json.Unmarshal(r.Data, into) != nil {
		return &key.CallError{Op: c.op, Ref: c.ref, Kind: key.ErrBadResponse, Why: "the engine's answer does not have the expected form", RequestID: r.RequestID}
	}
	return nil
}
