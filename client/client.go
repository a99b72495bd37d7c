// SPDX-License-Identifier: Apache-2.0

// Package client is a client of HSM Signer's management API.
//
//	c, err := client.New(client.Config{URL: "https://signer.example.org:8080", Key: client.KeyFile("signer.key")})
//	…
//	in := c.In("u0c3ddm2yz", "u0zm1bbhpk") // a consortium and an environment of it
//	service, err := in.Services().Create(ctx, client.NewService{
//		Name: "treasury", Service: "cloudhsm", Details: map[string]any{"cloudhsm_id": configuration.ID},
//	})
//	status, err := in.Status(ctx, service.ID)
//
// It guarantees that a request which changes something is sent at most once:
// only reading is tried again. It follows no redirect, and sends the key over
// TLS or within this machine only. What the server refuses is an [*Error]. It
// depends on nothing but the standard library.
//
// What the API means by all this, the daemon's own page says, at /api/v1/docs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer      = 64 << 20 // bytes
	defaultTimeout = 60 * time.Second
	attempts       = 4 // of a request that only reads
	firstPause     = 200 * time.Millisecond
	longestPause   = 10 * time.Second
)

// Config says which server, and how to prove who is asking.
type Config struct {
	// URL is where the admin listener is, like https://signer.example.org:8080.
	// Plain http is for this machine only.
	URL string
	// Key gives the API key. It is called for every request, so that a replaced
	// key is taken up.
	Key func() (string, error)
	// HTTP sends the requests; nil: one of its own with a timeout of 60 seconds.
	// Its redirects are not followed either way.
	HTTP *http.Client
	// UserAgent is sent if it is not empty.
	UserAgent string
}

// KeyFile is a Config.Key that reads the first line of a file.
func KeyFile(path string) func() (string, error) {
	return func() (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(data), "\n")
		if line = strings.TrimSpace(line); line == "" {
			return "", fmt.Errorf("%s is empty: want an API key", path)
		}
		return line, nil
	}
}

// KeyEnv is a Config.Key that reads an environment variable.
func KeyEnv(name string) func() (string, error) {
	return func() (string, error) {
		if key := strings.TrimSpace(os.Getenv(name)); key != "" {
			return key, nil
		}
		return "", fmt.Errorf("%s is not set: want an API key", name)
	}
}

// Client is safe for concurrent use.
type Client struct {
	base string // ends with /api/v1
	key  func() (string, error)
	http *http.Client
	name string
}

// New makes a client. It asks nobody.
func New(c Config) (*Client, error) {
	const want = "want https://host:port, or http:// with an address of this machine"
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("client: the server is no URL: " + want)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("client: the server's URL has a user, a query or a fragment: " + want)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("client: %s is not this machine, and the key would cross the network in clear: %s", u.Hostname(), want)
	case c.Key == nil:
		return nil, errors.New("client: no API key")
	}
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api/v1")
	client := &http.Client{Timeout: defaultTimeout}
	if c.HTTP != nil {
		own := *c.HTTP
		client = &own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: u.Scheme + "://" + u.Host + path + "/api/v1", key: c.Key, http: client, name: c.UserAgent}, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

// Do sends one request of which there is no method here. path begins after
// /api/v1, in its parts, which are escaped. body and result are JSON and may be
// nil. It returns the status of an answer that is a success.
func (c *Client) Do(ctx context.Context, method string, path []string, query url.Values, body, result any) (status int, err error) {
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return 0, fmt.Errorf("client: %w", err)
		}
	}
	target, err := c.target(path, query)
	if err != nil {
		return 0, err
	}
	for n := 1; ; n++ {
		status, pause, err := c.once(ctx, method, target, data, result)
		if err == nil || method != http.MethodGet || n == attempts || pause < 0 {
			return status, err
		}
		if pause == 0 {
			pause = firstPause << (n - 1)
			pause += rand.N(pause)
		}
		timer := time.NewTimer(min(pause, longestPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, err
		}
	}
}

// target is the URL of a path in its parts.
func (c *Client) target(path []string, query url.Values) (string, error) {
	target := c.base
	for _, part := range path {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("client: %s: an id is empty", strings.Join(path, "/"))
		}
		target += "/" + url.PathEscape(part)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return target, nil
}

// once sends a request. pause is how long the server wants to be left alone, 0
// if it does not say, and below 0 if there is no sense in asking again.
func (c *Client) once(ctx context.Context, method, target string, body []byte, result any) (status int, pause time.Duration, err error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := c.request(ctx, method, target, reader)
	if err != nil {
		return 0, -1, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return send(c.http, r, result)
}

// request makes a request that says who is asking.
func (c *Client) request(ctx context.Context, method, target string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	key, err := c.key()
	if err != nil {
		return nil, fmt.Errorf("client: API key: %w", err)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("client: API key: has characters that none has")
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Accept", "application/json")
	if c.name != "" {
		r.Header.Set("User-Agent", c.name)
	}
	if method != http.MethodGet {
		r.GetBody = nil // or the transport would send it again by itself
	}
	return r, nil
}

// send sends a request and reads the answer; see once.
func send(by *http.Client, r *http.Request, result any) (status int, pause time.Duration, err error) {
	answer, err := by.Do(r)
	if err != nil {
		return 0, temporary(r.Context(), err), fmt.Errorf("client: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return 0, temporary(r.Context(), err), fmt.Errorf("client: read the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return 0, -1, fmt.Errorf("client: the answer has more than %d bytes", maxAnswer)
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		failed := failure(answer, data)
		return 0, failed.pause(), failed
	}
	if result == nil || len(bytes.TrimSpace(data)) == 0 {
		return answer.StatusCode, 0, nil
	}
	if err := json.Unmarshal(data, result); err != nil {
		return 0, -1, fmt.Errorf("client: the answer is not what was expected: %w", err)
	}
	return answer.StatusCode, 0, nil
}

// temporary is the pause after an error of the network.
func temporary(ctx context.Context, err error) time.Duration {
	var network *net.OpError
	if ctx.Err() != nil || !errors.As(err, &network) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return -1
	}
	return 0
}

// seconds reads a header Retry-After.
func seconds(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}
