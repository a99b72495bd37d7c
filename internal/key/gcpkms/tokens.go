// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	tokenTimeout = 30 * time.Second
	// A token is renewed in the background before it ends. A metadata server
	// gives out the same token again until some four minutes before its end
	// (https://cloud.google.com/compute/docs/access/authenticate-workloads).
	renewBefore  = 3*time.Minute + 45*time.Second
	expiryMargin = 10 * time.Second // clocks differ, and a call takes time
)

// token is what one call is authorised by.
type token struct {
	value   string
	project string // billed for the quota, where the credential names one
	expiry  time.Time
}

// tokens keeps the current token. Callers wait for a new one no longer than
// their context lasts, and all for the same one.
type tokens struct {
	fetch func(context.Context) (token, error)

	mu      sync.Mutex
	current token
	flight  *flight // nil: nobody is fetching
	closed  bool
}

type flight struct {
	done chan struct{}
	err  error
}

func newTokens(fetch func(context.Context) (token, error)) *tokens { return &tokens{fetch: fetch} }

func (t *tokens) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.current = true, token{}
}

// get returns a token other than the one that the service has refused.
func (t *tokens) get(ctx context.Context, refused string) (token, error) {
	for {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return token{}, errClosed
		}
		left := time.Until(t.current.expiry)
		usable := t.current.value != "" && t.current.value != refused && left > expiryMargin
		if usable && left > renewBefore {
			defer t.mu.Unlock()
			return t.current, nil
		}
		f := t.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			t.flight = f
			// The token is for everybody, so no caller's end ends the fetching.
			go t.run(context.WithoutCancel(ctx), f)
		}
		if usable {
			defer t.mu.Unlock()
			return t.current, nil
		}
		t.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return token{}, ctx.Err()
		}
		if f.err != nil {
			return token{}, f.err
		}
		t.mu.Lock()
		current := t.current
		t.mu.Unlock()
		if current.value == refused || time.Until(current.expiry) <= expiryMargin {
			// The source has nothing better; the service decides about it.
			return current, nil
		}
	}
}

func (t *tokens) run(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	fetched, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && !t.closed {
		t.current = fetched
	}
	f.err = err
	t.flight = nil
	close(f.done)
}

// ambientToken asks for the application default credentials from the beginning,
// so that one which the service refused is not served from a cache.
// https://cloud.google.com/docs/authentication/application-default-credentials
func ambientToken(ctx context.Context) (token, error) {
	found, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return token{}, &key.CallError{
			Op: "find credentials", Kind: key.ErrDenied,
			Why: "no application default credentials: run on Google Cloud with a service account attached, or set GOOGLE_APPLICATION_CREDENTIALS",
		}
	}
	got, err := found.TokenSource.Token()
	if err != nil {
		return token{}, ambientError(ctx, err)
	}
	return token{value: got.AccessToken, project: quotaProject(found.JSON), expiry: got.Expiry}, nil
}

func ambientError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &key.CallError{Op: "fetch token", Kind: key.ErrUnavailable, Why: fmt.Sprintf("nobody gave a token within %s", tokenTimeout)}
	}
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode < 500 {
		return &key.CallError{
			Op: "fetch token", Kind: key.ErrDenied,
			Why: "the application default credentials were refused a token; log in again, or look at the service account that is attached",
		}
	}
	return &key.CallError{Op: "fetch token", Kind: key.ErrUnavailable, Why: "no token could be fetched for the application default credentials"}
}
