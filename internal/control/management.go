// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Managed is a [Daemon] with a management API for its operator. Whoever may open
// the socket is the operator, so the handler asks nobody who is there; it bounds
// what it reads by itself. A nil handler: there is none.
type Managed interface {
	Management() http.Handler
}

// managementPath is where the management API begins.
const managementPath = "/api/v1/"

// managed serves the management API of a daemon that has one.
func managed(daemon Daemon, rest http.Handler) http.Handler {
	m, ok := daemon.(Managed)
	if !ok || m.Management() == nil {
		return rest
	}
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.Handle(managementPath, m.Management())
	return mux
}

// Transport carries requests of the management API to the daemon, whatever host
// their URL names. Requests fail with [ErrNotRunning] if there is none.
func (c *Client) Transport() http.RoundTripper { return transport{c} }

type transport struct{ client *Client }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := (&http.Transport{DialContext: t.client.dial, DisableKeepAlives: true}).RoundTrip(r)
	if errors.Is(err, ErrNotRunning) {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, t.client.dir)
	}
	return answer, err
}

// Running reports whether a daemon answers on the data directory.
func (c *Client) Running(ctx context.Context) (bool, error) {
	conn, err := c.dial(ctx, "", "")
	if errors.Is(err, ErrNotRunning) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, conn.Close()
}
