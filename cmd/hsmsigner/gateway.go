// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/gateway"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// contracts are the gateways of all services of this daemon, and what they work
// with.
type contracts struct {
	handler *gateway.Handler
	desk    *contract.Desk
	streams *eventstream.Streams
	part    *gateway.Streams
	wallets *fleet.Fleet
}

// openContracts makes them. Nothing runs yet.
func openContracts(c *config.Config, db *store.DB, owner string, watch *oversight, wallets *fleet.Fleet, log *slog.Logger) (*contracts, error) {
	rules, err := tenantsRules(c.Egress)
	if err != nil {
		return nil, err
	}
	g := &contracts{wallets: wallets}
	book := contract.NewBook(contract.Config{Store: db, Node: g.wallet, Consortium: g.consortium, Logger: log})
	g.desk = contract.NewDesk(book)
	streams := eventstream.Config{
		Store: db, Owner: owner, Egress: rules, LeaseTTL: c.Replica.Lease, UserAgent: "hsmsigner/" + version, Logger: log,
		Consortium: func(at eventstream.Place) string {
			return g.consortium(contract.Place{Environment: at.Environment, Membership: at.Membership})
		},
		Node: func(wallet string) eventstream.Node {
			if w := wallets.Wallet(wallet); w != nil {
				return w
			}
			return nil
		},
	}
	if watch.sealer != nil {
		streams.Sealer = watch.sealer
	}
	if g.streams, err = eventstream.New(streams); err != nil {
		return nil, err
	}
	if g.part, err = gateway.NewStreams(gateway.StreamsConfig{Streams: g.streams, Desk: g.desk, Logger: log}); err != nil {
		return nil, err
	}
	g.handler, err = gateway.New(gateway.Config{
		Book: book, Desk: g.desk, Streams: g.part,
		Body: c.RPC.Limits.Body, SendTimeout: sendTimeout(c), Release: version, Logger: log,
	})
	return g, err
}

// wallet finds a wallet that runs here; nil: there is none of that name.
func (g *contracts) wallet(name string) contract.Wallet {
	if w := g.wallets.Wallet(name); w != nil {
		return w
	}
	return nil
}

// consortium is that of a place, of which some wallet runs here.
func (g *contracts) consortium(at contract.Place) string {
	for _, w := range g.wallets.Wallets() {
		if spec := w.Spec(); spec.Environment == at.Environment && spec.Membership == at.Membership {
			return spec.Consortium
		}
	}
	return ""
}

// visit serves who comes by the RPC listener: the credentials of the service.
func (g *contracts) visit(w http.ResponseWriter, r *http.Request, v rpc.Visit) {
	at := contract.Place{Environment: v.Service.Environment, Membership: v.Service.Membership}
	g.handler.Serve(w, r, gateway.Caller{Principal: v.Who, Place: at, Wallet: g.wallet(v.Service.Name), Base: v.Base, MayChange: true}, v.Path)
}

// manage serves who comes by the management API: people and API keys.
func (g *contracts) manage(w http.ResponseWriter, r *http.Request, who auth.Principal, to platform.Gateway, base, path string) {
	g.handler.Serve(w, r, gateway.Caller{
		Principal: who, Place: contract.Place{Environment: to.Environment, Membership: to.Membership},
		Wallet: g.wallet(to.Wallet), Base: base, MayChange: to.MayChange, Page: true,
	}, path)
}

// stop ends what waits: for receipts, and for events over WebSockets.
func (g *contracts) stop() {
	g.handler.Stop()
	g.part.Close()
}

// run settles deployments and delivers events until ctx ends.
func (g *contracts) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { g.desk.Book().Run(ctx) })
	both.Go(func() { g.streams.Run(ctx) })
	both.Wait()
}
