// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// overviewPage is the start page of an environment.
type overviewPage struct {
	Wallets        []walletRow
	Configurations int
	Nodes          int
	Accounts       int
	Ready          int // wallets
	Recent         []recentTransaction
	Pictures       *pictures
	Steps          []startStep // what is still to be done; empty if all is
}

// recentTransaction is one with the wallet that it came in by.
type recentTransaction struct {
	platform.Transaction
	Name string
	ID   string // of the service
	Tx   string
}

// startStep is one of the first steps.
type startStep struct {
	Done  bool
	Title string
	Text  string
	To    string
	Do    string
}

// overviewWallets bounds of how many wallets the last transactions are read.
const overviewWallets = 20

func overview(ctx context.Context, v *visit) (view, error) {
	var p overviewPage
	var err error
	if p.Wallets, err = v.walletRows(ctx); err != nil {
		return view{}, err
	}
	configurations, err := list[platform.Configuration](ctx, v, platform.Configurations)
	if err != nil {
		return view{}, err
	}
	nodes, err := list[platform.Node](ctx, v, platform.Nodes)
	if err != nil {
		return view{}, err
	}
	p.Configurations, p.Nodes = len(configurations), len(nodes)
	for i, w := range p.Wallets {
		p.Accounts += w.Status.Accounts
		if w.Status.Ready {
			p.Ready++
		}
		if i >= overviewWallets {
			continue
		}
		at := v.at
		at.ID = w.Service.ID
		recent, err := v.c.cfg.Platform.Transactions(ctx, v.who, at, platform.TransactionQuery{Limit: 8})
		if err != nil {
			return view{}, err
		}
		for _, t := range recent {
			p.Recent = append(p.Recent, recentTransaction{t, w.Name, w.Service.ID, t.ID})
		}
	}
	slices.SortFunc(p.Recent, func(a, b recentTransaction) int { return b.Created.Compare(a.Created) })
	p.Recent = p.Recent[:min(len(p.Recent), 8)]
	services := make([]*platform.Service, len(p.Wallets))
	for i, w := range p.Wallets {
		services[i] = w.Service
	}
	p.Pictures = v.pictures(services...)
	p.Steps = v.firstSteps(p)
	return view{page: "overview", title: "Overview", section: "overview", data: p, fragment: v.wantsFragment()}, nil
}

// firstSteps are what somebody does who has just come here, and may.
func (v *visit) firstSteps(p overviewPage) []startStep {
	if !v.canSomewhere(auth.Admin) {
		return nil
	}
	declared := slices.ContainsFunc(p.Wallets, func(w walletRow) bool { return w.ReadOnly })
	if len(p.Wallets) > 0 && (declared || len(p.Recent) > 0) {
		return nil
	}
	return []startStep{
		{p.Configurations > 0, "Describe a key backend", "Its provider and a credential that may list keys and sign. The keys stay where they are.", v.path("configurations", "new"), "New configuration"},
		{p.Nodes > 0, "Name an Ethereum node", "Its URL and the chain that it must be on.", v.path("nodes", "new"), "New node"},
		{len(p.Wallets) > 0, "Make a wallet", "One configuration bound to one node. Its accounts are found by themselves.", v.path("wallets", "new"), "New wallet"},
		{len(p.Recent) > 0, "Connect a program", "With an app credential made on the spot, and a piece of program to paste.", v.path("wallets"), "Choose a wallet"},
	}
}
