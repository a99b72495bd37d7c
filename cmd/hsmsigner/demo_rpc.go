// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// demoPatience bounds each thing that the demo waits for.
const demoPatience = time.Minute

// demoReceipt is the part of a receipt that the demo shows.
type demoReceipt struct {
	Hash    string         `json:"transactionHash"`
	Block   hexutil.Uint64 `json:"blockNumber"`
	GasUsed hexutil.Uint64 `json:"gasUsed"`
	Status  hexutil.Uint64 `json:"status"`
}

func (r demoReceipt) outcome() string {
	if r.Status == 1 {
		return "succeeded"
	}
	return "reverted"
}

// sendAndWait sends one ether as any Ethereum program would, and waits for the
// receipt.
func sendAndWait(ctx context.Context, url, from, to string) (*demoReceipt, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	transaction := map[string]string{"from": from, "to": to, "value": "0xde0b6b3a7640000"}
	var hash string
	if err := call(ctx, url, &hash, "eth_sendTransaction", transaction); err != nil {
		return nil, err
	}
	var receipt *demoReceipt
	err := poll(ctx, func() error {
		if err := call(ctx, url, &receipt, "eth_getTransactionReceipt", hash); err != nil {
			return err
		}
		if receipt == nil {
			return fmt.Errorf("transaction %s is not mined yet", hash)
		}
		return nil
	})
	return receipt, err
}

// waitForChain waits until the node answers and returns its chain id.
func waitForChain(ctx context.Context, url string) (uint64, error) {
	var id hexutil.Uint64
	err := poll(ctx, func() error { return call(ctx, url, &id, "eth_chainId") })
	return uint64(id), err
}

// call makes one JSON-RPC call.
func call(ctx context.Context, url string, result any, method string, params ...any) error {
	if params == nil {
		params = []any{} // null is no list
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", method, response.Status, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", method, answer.Error.Message)
	}
	if answer.Result == nil {
		return errors.New(method + ": answered neither result nor error")
	}
	return json.Unmarshal(answer.Result, result)
}

// waitReady waits until url answers 200.
func waitReady(ctx context.Context, url string) error {
	return poll(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, response.Status)
		}
		return nil
	})
}

// poll calls try until it succeeds, ctx is done or the patience is over; then
// it returns the last error.
func poll(ctx context.Context, try func() error) error {
	end := time.Now().Add(demoPatience)
	for {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddress returns usual if it can be listened on, else another port of
// loopback.
func freeAddress(ctx context.Context, usual string) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", usual)
	if err != nil {
		if listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	return listener.Addr().String(), listener.Close()
}
