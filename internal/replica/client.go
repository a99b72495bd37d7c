// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// maxMessage bounds what one replica reads of another, in bytes.
const maxMessage = 1 << 20

// Client asks other replicas. It is a txmgr.Peers and safe for concurrent use.
type Client struct {
	registry *Registry
	http     *http.Client
	submits  *http.Client // of its own: requests never wait behind questions, which take long
}

var _ txmgr.Peers = (*Client)(nil)

// NewClient is a client of the replicas that registry knows. Close it.
func NewClient(registry *Registry) *Client {
	return &Client{registry: registry, http: newHTTP(), submits: newHTTP()}
}

func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, MaxIdleConnsPerHost: 64, MaxConnsPerHost: 512, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: 3 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close ends idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.submits.CloseIdleConnections()
}

// question is what one replica asks another.
type question struct {
	Sender string `json:"sender"`
	Tx     string `json:"tx,omitempty"`
	// MS is how long the caller waits, in milliseconds: the clocks of two
	// machines may differ.
	MS        int64            `json:"ms,omitempty"`
	Operation *txmgr.Operation `json:"operation,omitempty"`
}

// reply is the answer.
type reply struct {
	Hash    common.Hash   `json:"hash,omitzero"`
	Report  *txmgr.Report `json:"report,omitempty"`
	Failure string        `json:"failure,omitempty"` // txmgr.EncodeFailure
	Pending bool          `json:"pending,omitempty"` // the outcome is not known yet
	Unknown bool          `json:"unknown,omitempty"` // the asked one does not run the sender
	Missing bool          `json:"missing,omitempty"` // there is no such transaction
	// Busy refuses a request for load; nothing was stored.
	Busy *txmgr.BusyError `json:"busy,omitempty"`
}

// Await asks the holder of a lease for the outcome of a transaction.
func (c *Client) Await(ctx context.Context, owner, sender, tx string, deadline time.Time) (common.Hash, error) {
	a, err := c.ask(ctx, owner, "/replica/v1/await", question{Sender: sender, Tx: tx, MS: time.Until(deadline).Milliseconds()})
	if err != nil {
		return common.Hash{}, err
	}
	return a.Hash, a.err(tx)
}

// Mend has the holder of a lease do what an operator asks.
func (c *Client) Mend(ctx context.Context, owner, sender string, op txmgr.Operation) (txmgr.Report, error) {
	a, err := c.ask(ctx, owner, "/replica/v1/operate", question{Sender: sender, Operation: &op})
	if err != nil {
		return txmgr.Report{}, err
	}
	if err := a.err(op.Tx); err != nil || a.Report == nil {
		return txmgr.Report{}, err
	}
	return *a.Report, nil
}

func (a reply) err(tx string) error {
	switch {
	case a.Unknown:
		return txmgr.ErrNoSender
	case a.Missing:
		return fmt.Errorf("%w: transaction %s", store.ErrNotFound, tx)
	case a.Busy != nil:
		return a.Busy
	case a.Pending:
		return &txmgr.PendingError{TxID: tx}
	case a.Failure != "":
		return txmgr.ParseFailure(a.Failure)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, owner, path string, q question) (reply, error) {
	peer, ok := c.registry.peer(owner)
	if !ok {
		return reply{}, txmgr.ErrPeer
	}
	body, err := json.Marshal(q)
	if err != nil {
		return reply{}, fmt.Errorf("replica: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, peer.URL+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	if err := c.registry.sign(peer, r, body); err != nil {
		return reply{}, fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	r.Header.Set("Content-Type", "application/json")
	carry(ctx, r.Header)
	answer, err := c.http.Do(r)
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	if answer.StatusCode != http.StatusOK {
		return reply{}, fmt.Errorf("%w: status %d", txmgr.ErrPeer, answer.StatusCode)
	}
	var a reply
	if err := json.Unmarshal(data, &a); err != nil {
		return reply{}, errors.Join(txmgr.ErrPeer, err)
	}
	return a, nil
}
