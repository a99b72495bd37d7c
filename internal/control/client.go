// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// maxAnswer bounds what a client reads.
const maxAnswer = 16 << 20

// Client asks the daemon of a data directory. It holds no connection between
// calls and is safe for concurrent use.
type Client struct{ dir string }

// NewClient is a client of the daemon that works on dir.
func NewClient(dir string) *Client { return &Client{dir: dir} }

// Repair asks the daemon to examine or mend a sender. [ErrNotRunning] if there
// is no daemon; [ErrNotFound] if it does not know the sender.
func (c *Client) Repair(ctx context.Context, sender string, action RepairAction) (Report, error) {
	var report Report
	err := c.call(ctx, "/v1/senders/"+url.PathEscape(sender)+"/repair", action, &report)
	return report, err
}

// Refresh asks the daemon to look for a wallet's keys now. Errors as [Client.Repair].
func (c *Client) Refresh(ctx context.Context, wallet string) error {
	return c.call(ctx, "/v1/wallets/"+url.PathEscape(wallet)+"/refresh", struct{}{}, &struct{}{})
}

func (c *Client) call(ctx context.Context, path string, request, result any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if errors.Is(err, ErrNotRunning) {
		return fmt.Errorf("%w: %s", ErrNotRunning, c.dir)
	}
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, result); err != nil {
			return fmt.Errorf("ask the daemon: answer: %w", err)
		}
		return nil
	}
	var f failure
	if json.Unmarshal(data, &f) != nil || f.Error == "" {
		f.Error = "the daemon answered " + response.Status
	}
	switch response.StatusCode {
	case http.StatusNotFound:
		return &remoteError{f.Error, ErrNotFound}
	case http.StatusConflict:
		return &remoteError{f.Error, ErrRefused}
	}
	return &remoteError{f.Error, nil}
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	path, release, err := address(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer release()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	// A socket that nobody listens on was left behind by a killed daemon.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	return conn, err
}

// remoteError is the daemon's own wording of an error.
type remoteError struct {
	message string
	kind    error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }
