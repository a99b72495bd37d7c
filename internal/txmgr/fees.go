// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// feeAge is how long an answer about fees may serve other requests. It is
// well under a block on any chain, so nobody gets a worse price by it.
const feeAge = time.Second

// cachedFees holds the node's answers that many concurrent requests share.
type cachedFees struct {
	head       memo[tx.Head]
	tip, price memo[*big.Int]
	blob       memo[*big.Int]
}

// memo keeps one answer for feeAge; callers that come while it is fetched
// share the fetch and its outcome, and wait no longer than their own contexts.
type memo[T any] struct {
	mu      sync.Mutex
	at      time.Time
	v       T
	running *fetch[T]
}

type fetch[T any] struct {
	done chan struct{}
	v    T
	err  error
}

// get asks under work, which outlives a caller that gives up.
func (m *memo[T]) get(ctx, work context.Context, ask func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	if time.Since(m.at) < feeAge {
		defer m.mu.Unlock()
		return m.v, nil
	}
	f := m.running
	if f == nil {
		f = &fetch[T]{done: make(chan struct{})}
		m.running = f
		go func() {
			f.v, f.err = ask(work)
			m.mu.Lock()
			if m.running = nil; f.err == nil {
				m.v, m.at = f.v, time.Now()
			}
			m.mu.Unlock()
			close(f.done)
		}()
	}
	m.mu.Unlock()
	select {
	case <-f.done:
		return f.v, f.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// The methods below are tx.Chain: what the filling of missing fields asks.

// Head is the node's latest block.
func (c *chain) Head(ctx context.Context) (tx.Head, error) {
	return c.fees.head.get(ctx, c.ctx, func(ctx context.Context) (tx.Head, error) {
		h, err := c.node.HeadAt(ctx, "latest")
		return tx.Head{Number: h.Number, BaseFee: h.BaseFee, GasLimit: h.GasLimit}, err
	})
}

// SuggestTip is the node's eth_maxPriorityFeePerGas, wei per gas.
func (c *chain) SuggestTip(ctx context.Context) (*big.Int, error) {
	return c.fees.tip.get(ctx, c.ctx, func(ctx context.Context) (*big.Int, error) {
		tip, err := c.node.SuggestTip(ctx)
		if node.IsMissingMethod(err) {
			err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
		return tip, err
	})
}

// GasPrice is the node's eth_gasPrice, wei per gas.
func (c *chain) GasPrice(ctx context.Context) (*big.Int, error) {
	return c.fees.price.get(ctx, c.ctx, c.node.GasPrice)
}

// BlobBaseFee is the node's eth_blobBaseFee, wei per blob gas.
func (c *chain) BlobBaseFee(ctx context.Context) (*big.Int, error) {
	return c.fees.blob.get(ctx, c.ctx, c.node.BlobBaseFee)
}

// CodeAt is the code at an address in the pending block.
func (c *chain) CodeAt(ctx context.Context, addr common.Address) ([]byte, error) {
	return c.node.CodeAt(ctx, addr, "pending")
}

// EstimateGas is the node's eth_estimateGas in the pending block.
func (c *chain) EstimateGas(ctx context.Context, args tx.Args) (uint64, error) {
	return c.node.EstimateGas(ctx, args.CallJSON(), "pending")
}
