// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// ErrNotRunning says that no service of that name runs in this process.
var ErrNotRunning = errors.New("the service does not run in this process")

// Runtime is what runs services in this process. Names are those of wallets in
// store, txmgr and audit: a service's id, or for a wallet of the config file the
// name it has there. All methods are safe for concurrent use; those that know no
// such name return ErrNotRunning.
type Runtime interface {
	// Open starts a service, or changes the one that runs under spec.Wallet.Name
	// to be as spec says; then not one request fails for it. It returns as soon
	// as spec is checked and never waits for a backend or a node; Status tells
	// what becomes of it. An error is a mistake in spec, for people to see, and
	// leaves what ran as it was. Opening what runs as spec says does nothing.
	Open(ctx context.Context, spec ServiceSpec) error
	// Close ends a service. It is for one that has nothing under way.
	Close(ctx context.Context, name string) error
	// Try opens a backend for a membership, lists at most so many of its keys, and
	// closes it; Next says that there are more. Nothing that runs notices it. The
	// error is the backend's, or a mistake in details.
	Try(ctx context.Context, membership string, details config.Details, keys int) (key.Page, error)
	// Status makes no call to anything.
	Status(name string) (RunStatus, bool)

	// Accounts returns the last snapshot, by address.
	Accounts(ctx context.Context, name string) ([]wallet.Account, error)
	// Refresh lists the backend's keys now.
	Refresh(ctx context.Context, name string) (wallet.Report, error)
	// Create and Import use the admin credential of the configuration, and put who
	// on record. An error
	// that wraps key.ErrUnsupported says that there is none, or that this kind of
	// backend never does it. The caller wipes private.
	Create(ctx context.Context, who auth.Principal, name, keyName string, tags map[string]string) (key.Key, error)
	Import(ctx context.Context, who auth.Principal, name, keyName string, private []byte, tags map[string]string) (key.Key, error)
	// Balance is in wei, at the latest block. Nonce is what the next transaction
	// of the account would get.
	Balance(ctx context.Context, name string, address common.Address) (*big.Int, error)
	Nonce(ctx context.Context, name string, address common.Address) (uint64, error)

	// Live counts the transactions of the service that are not final, whichever
	// process has them. Once Open with spec.Draining has returned, the count of
	// this process's no longer rises.
	Live(ctx context.Context, name string) (int, error)
	// Cancel and SpeedUp act on a transaction of the service, whichever process
	// has it. Fees are wei per gas; nil leaves them to the signer.
	Cancel(ctx context.Context, name, tx string) error
	SpeedUp(ctx context.Context, name, tx string, maxFee, tip *big.Int) error
}

// ServiceSpec is all that a service needs to run.
type ServiceSpec struct {
	Consortium  string // ids of where it stands
	Environment string
	Membership  string
	// Wallet is the node, the backend and the settings; its Name is the id of the
	// service.
	Wallet config.Wallet
	// Backend and Node say which configuration and which node that is. Services
	// share what is equal.
	Backend, Node Version
	// Resets counts how often somebody wanted this service to connect anew.
	Resets uint64
	// Draining services take nothing new and finish what they have.
	Draining bool
}

// Version names a configuration or a node by its id, and tells whether what
// connections are made with has changed since.
type Version struct{ ID, Version string }

// RunStatus is how a service does in this process. All of it is about the spec
// that was opened last.
type RunStatus struct {
	Accounts int // known
	Usable   int // of those, that would sign
	Ready    bool
	Listed   bool // the backend's keys were listed once, with the credentials of the spec
	Verified bool // the node has shown once that it is on the pinned chain
	Backend  Dependency
	Node     Dependency
	// Discovery is how far the listing of the backend's keys is.
	Discovery wallet.Progress
}

// Dependency is how something outside of this process is.
type Dependency struct {
	OK      bool
	Err     error     // why not; nil while nothing is known. As package wallet or node returned it
	Checked time.Time // zero: not yet
}
