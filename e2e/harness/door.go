// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// Transfer is one eth_sendTransaction without nonce, gas or fees, as most programs
// send it.
type Transfer struct {
	From common.Address
	To   common.Address
	Key  string // idempotency key; empty sends none
}

// Outcome is the answer to one Transfer.
type Outcome struct {
	Transfer
	Hash common.Hash
	Err  error
}

type transferArgs struct {
	From  common.Address `json:"from"`
	To    common.Address `json:"to"`
	Value *hexutil.Big   `json:"value"`
}

// How the door takes an idempotency key: a header for a single HTTP request, a
// second parameter for batch items and WebSocket messages.
const idempotencyHeader = "Idempotency-Key"

type idempotencyParam struct {
	Key string `json:"idempotencyKey"`
}

func (x Transfer) args() transferArgs {
	return transferArgs{From: x.From, To: x.To, Value: (*hexutil.Big)(common.Big1)}
}

func (x Transfer) params() []any {
	if x.Key == "" {
		return []any{x.args()}
	}
	return []any{x.args(), idempotencyParam{x.Key}}
}

// Client is one stranger's program with a connection of its own.
type Client interface {
	// Send sends the transfers in the way of the client, and returns one outcome
	// for each, in order.
	Send(ctx context.Context, transfers []Transfer) []Outcome
	Close()
}

// NewHTTPClient sends one transfer after another over a connection of its own.
func NewHTTPClient(url string) (Client, error) { return newHTTP(url, false) }

// NewBatchClient sends all transfers as one JSON-RPC batch.
func NewBatchClient(url string) (Client, error) { return newHTTP(url, true) }

func newHTTP(url string, batch bool) (Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1}
	c, err := rpc.DialOptions(context.Background(), url, rpc.WithHTTPClient(&http.Client{Transport: transport, Timeout: 2 * time.Minute}))
	if err != nil {
		return nil, fmt.Errorf("harness: dial %s: %w", url, err)
	}
	return &client{rpc: c, batch: batch, header: !batch, idle: transport.CloseIdleConnections}, nil
}

// NewWSClient sends one transfer after another over a WebSocket.
func NewWSClient(ctx context.Context, url string) (Client, error) {
	c, err := rpc.DialOptions(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("harness: dial %s: %w", url, err)
	}
	return &client{rpc: c, idle: func() {}}, nil
}

type client struct {
	rpc    *rpc.Client
	batch  bool // all transfers in one request
	header bool // idempotency key by header, not by parameter
	idle   func()
}

func (c *client) Close() {
	c.rpc.Close()
	c.idle()
}

func (c *client) Send(ctx context.Context, transfers []Transfer) []Outcome {
	if c.batch {
		return c.sendBatch(ctx, transfers)
	}
	outcomes := make([]Outcome, len(transfers))
	for i, x := range transfers {
		params, ctx := x.params(), ctx
		if c.header {
			params = params[:1]
			if x.Key != "" {
				ctx = rpc.NewContextWithHeaders(ctx, http.Header{idempotencyHeader: {x.Key}})
			}
		}
		outcomes[i].Transfer = x
		outcomes[i].Err = c.rpc.CallContext(ctx, &outcomes[i].Hash, "eth_sendTransaction", params...)
	}
	return outcomes
}

func (c *client) sendBatch(ctx context.Context, transfers []Transfer) []Outcome {
	outcomes := make([]Outcome, len(transfers))
	batch := make([]rpc.BatchElem, len(transfers))
	for i, x := range transfers {
		outcomes[i].Transfer = x
		batch[i] = rpc.BatchElem{Method: "eth_sendTransaction", Args: x.params(), Result: &outcomes[i].Hash}
	}
	err := c.rpc.BatchCallContext(ctx, batch)
	for i := range batch {
		outcomes[i].Err = batch[i].Error
		if err != nil {
			outcomes[i].Err = err
		}
	}
	return outcomes
}

// DialWS opens a bare WebSocket, for tests that misbehave on it.
func DialWS(ctx context.Context, url string) (*websocket.Conn, error) {
	conn, reply, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		if reply != nil {
			return nil, fmt.Errorf("harness: WebSocket %s: status %d: %w", url, reply.StatusCode, err)
		}
		return nil, fmt.Errorf("harness: WebSocket %s: %w", url, err)
	}
	return conn, nil
}
