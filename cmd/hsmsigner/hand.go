// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/console"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

var _ platform.Hand = services{}

// SignMessage implements platform.Hand.
func (s services) SignMessage(ctx context.Context, who auth.Principal, name string, account common.Address, msg []byte) ([]byte, error) {
	w := s.fleet.Wallet(name)
	if w == nil {
		return nil, platform.ErrNotRunning
	}
	return w.SignMessage(ctx, who, account, msg)
}

// Send implements platform.Hand.
func (s services) Send(ctx context.Context, who auth.Principal, name string, r txmgr.SendRequest) (common.Hash, error) {
	w := s.fleet.Wallet(name)
	if w == nil {
		return common.Hash{}, platform.ErrNotRunning
	}
	return w.Begin(ctx, who, r)(ctx)
}

// pages are the same contracts for the console.
func (g *contracts) pages() console.Contracts {
	return console.Contracts{Book: g.desk.Book(), Desk: g.desk, Wallet: g.wallet, Streams: g.streams}
}
