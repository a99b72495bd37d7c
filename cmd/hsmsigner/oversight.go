// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// oversight is what every signature has to pass beside its wallet: the rules and
// their limits, the people whom rules want asked, and the stop switch.
type oversight struct {
	sealer   *seal.Sealer   // nil without a management API
	verifier *auth.Verifier // vouches for rows; nil likewise
	limits   *allowance.Ledger
	judge    *judge.Judge
	people   *approval.Book // nil: nobody can be asked, since nobody could answer
	stop     *freeze.Switch

	// What stands above it, set once that is there, before anything is served.
	wallets   *fleet.Fleet
	directory *auth.Directory
}

// openOversight opens it. deployment names this installation where people sign
// what they approve.
func openOversight(ctx context.Context, c *config.Config, db *store.DB, deployment string, log *slog.Logger) (*oversight, error) {
	declared, err := declaredRules(c)
	if err != nil {
		return nil, err
	}
	o := &oversight{
		limits: allowance.New(allowance.Config{Store: db, Alone: db.Alone(), Logger: log}),
		stop:   freeze.New(freeze.Config{Store: db, Shared: c.Database.Set(), Logger: log}),
	}
	if err := o.stop.Load(ctx); err != nil {
		return nil, fmt.Errorf("what is frozen: %w", err)
	}
	rules := judge.Config{Declared: declared, Limits: o.limits, Logger: log}
	if managed(c) {
		if o.sealer, err = openSealer(ctx, c, db); err != nil {
			return nil, fmt.Errorf("management: %w", err)
		}
		if o.verifier, err = waitForVerifier(ctx, o.sealer, log); err != nil {
			return nil, fmt.Errorf("management: %w", err)
		}
		o.people, err = approval.New(approval.Config{
			Store: db, MAC: platform.ApprovalMAC(o.verifier), Deployment: deployment,
			Wallet: o.wallet, Owns: o.owns, May: o.stillMay(c.RPC),
			Expires: c.Approvals.Expires, MaxPending: c.Approvals.MaxPending, Keep: c.Approvals.Keep, Logger: log,
		})
		if err != nil {
			return nil, err
		}
		rules.Rows, rules.MAC, rules.Approvals = db, platform.PolicyMAC(o.verifier), o.people
	}
	o.judge = judge.New(rules)
	return o, nil
}

// stillMay reports whether what somebody asked for may still be done: not if the
// credential was revoked since, or has lost the role. Whom the config file lets in
// is none of the directory's: those that it lets in now still may.
func (o *oversight) stillMay(c config.RPC) func(context.Context, auth.Principal, approval.Owner) error {
	return func(ctx context.Context, who auth.Principal, of approval.Owner) error {
		if letIn(c, who, of) {
			return nil
		}
		standing, err := o.directory.Standing(ctx, who, auth.Admin, of.Consortium, of.Membership)
		switch {
		case err != nil:
			return err
		case standing == auth.Gone:
			return approval.ErrRevoked
		case standing == auth.Absent:
			return approval.ErrAbsent
		}
		return nil
	}
}

// letIn reports whether the config file lets a principal in: one of its
// credentials, or, to its own wallets, whoever has a certificate of its authorities.
func letIn(c config.RPC, who auth.Principal, of approval.Owner) bool {
	if who.Membership != platform.DefaultMembership || who.Environment != platform.DefaultEnvironment {
		return false
	}
	switch c.Auth {
	case config.AuthBasic:
		return slices.ContainsFunc(c.Credentials, func(c config.Credential) bool { return who.Name == "app:"+c.Username })
	case config.AuthMTLS:
		return of.Service == platform.DeclaredID(of.Wallet) && strings.HasPrefix(who.Name, "cert:")
	}
	return false
}

// wallet is one that runs here, by its name.
func (o *oversight) wallet(name string) approval.Wallet {
	if w := o.wallets.Wallet(name); w != nil {
		return w
	}
	return nil
}

func (o *oversight) owns(name string, address common.Address) bool {
	w := o.wallets.Wallet(name)
	return w != nil && w.Owns(address)
}

// waiting is what callers of the RPC door ask what has become of their requests.
func (o *oversight) waiting() rpc.Approvals {
	if o.people == nil {
		return nil
	}
	return o.people
}

// run keeps it up to date until ctx ends.
func (o *oversight) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { o.stop.Run(ctx) })
	all.Go(func() { o.judge.Run(ctx) })
	all.Go(func() { o.limits.Run(ctx) })
	if o.people != nil {
		all.Go(func() { o.people.Run(ctx) })
	}
	all.Wait()
}
