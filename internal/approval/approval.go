// SPDX-License-Identifier: Apache-2.0

// Package approval has people asked before something is signed. What a rule of
// effect ask lets through only with approvals is stored with all its fields, and
// waits until as many approvers as the rules want have approved it, one has
// rejected it, or its time is over.
//
// It guarantees that an approval holds for exactly what the approvers were shown,
// and for one use: gas is fixed and fees have a ceiling; nobody, the requester
// least of all, can exchange a field between approval and use. Nobody approves his
// own request, and nobody counts twice. A signature by a listed address is made
// over every field (EIP-712), so that one over any other request counts for
// nothing. A row that was changed by somebody who does not know the key of the
// rows' macs counts for nothing either.
//
// An approved transaction is sent by the daemon itself ([Book.Run]), as the
// principal who asked for it, under the idempotency key that he gave or
// "approval:<id>": that key is what makes it exactly one, whichever replicas try
// and however they end. Everything else is signed when its caller asks again.
//
// It decides nothing about what needs approval, and an approval overrules no
// rule: package judge asks here last, and judges again at every use.
package approval

import (
	"context"
	"crypto/hmac"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// What Config leaves open.
const (
	DefaultExpires    = 24 * time.Hour
	DefaultMaxPending = 100
	DefaultKeep       = 90 * 24 * time.Hour
	defaultPoll       = 500 * time.Millisecond
)

const (
	// maxRequest is how many bytes one stored request may have, and maxBytes those
	// of all that a principal has waiting at a wallet.
	maxRequest = 4 << 20
	maxBytes   = 32 << 20
	// tellFor is how long after the end of a request its caller, asking again
	// without an idempotency key, is given the outcome instead of being taken to
	// ask for the same thing once more.
	tellFor = time.Hour
)

// Wallet is what transactions are sent by. *fleet.Wallet and *txmgr.Wallet are.
type Wallet interface {
	Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) (wait func(ctx context.Context) (common.Hash, error))
	// Fill returns the unsigned transaction that Begin would make now.
	Fill(ctx context.Context, args tx.Args) (*types.Transaction, error)
}

// Config is what a [Book] is made of.
type Config struct {
	Store *store.DB           // required
	MAC   func([]byte) []byte // keyed hash of rows; required
	// Deployment names this installation in what approvers sign, so that a
	// signature counts in no other; required.
	Deployment string

	// Wallet finds a wallet that runs here by its name; nil: none. Without it
	// nothing is sent.
	Wallet func(name string) Wallet
	// May reports whether who asked for a transaction of a wallet still may, just
	// before it is sent: [ErrRevoked] if not, [ErrAbsent] if that is not known of a
	// person who is signed in nowhere; after any other error it is tried again. Nil:
	// everybody may.
	May func(ctx context.Context, who auth.Principal, of Owner) error
	// Owns reports whether an account of the wallet has the address: such an address
	// approves nothing of that wallet, since whoever may sign with it may ask for
	// it. Nil: only the account of the request itself is refused.
	Owns func(wallet string, a common.Address) bool

	Expires    time.Duration // of what a rule sets no time for; default [DefaultExpires]
	MaxPending int           // open requests of one principal at one wallet; default [DefaultMaxPending]
	Keep       time.Duration // how long ended requests are kept; default [DefaultKeep]
	Poll       time.Duration // between two looks at what is approved; default 500 ms
	Now        func() time.Time
	Logger     *slog.Logger // nil discards
}

// Book is the requests that wait for people. It is safe for concurrent use, and
// any number of processes may have one over the same store.
type Book struct {
	cfg  Config
	kick chan struct{} // something was approved here

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something changes here
	here    map[visitor]time.Time
	held    map[string]string // why what is approved is not sent yet, by id
}

var _ judge.Approvals = (*Book)(nil)

// New makes a book.
func New(cfg Config) (*Book, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("approval: a store is required")
	case cfg.MAC == nil:
		return nil, errors.New("approval: a key for the rows' macs is required")
	case cfg.Deployment == "":
		return nil, errors.New("approval: the name of the deployment is required")
	}
	if cfg.Expires <= 0 {
		cfg.Expires = DefaultExpires
	}
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = DefaultMaxPending
	}
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Book{
		cfg: cfg, kick: make(chan struct{}, 1), changed: make(chan struct{}),
		here: make(map[visitor]time.Time), held: make(map[string]string),
	}, nil
}

// now is the time to the microsecond, as the rows have it.
func (b *Book) now() time.Time { return b.cfg.Now().UTC().Truncate(time.Microsecond) }

// seal gives a row its mac.
func (b *Book) seal(a *store.Approval) { a.MAC = b.cfg.MAC(a.Bytes()) }

// genuine reports whether a row is as this deployment wrote it.
func (b *Book) genuine(a store.Approval) bool { return hmac.Equal(a.MAC, b.cfg.MAC(a.Bytes())) }

// notify wakes those who wait for a change, and the executor.
func (b *Book) notify() {
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// event is an audit event about a request.
func event(who, kind string, a store.Approval, detail string, at time.Time) audit.Event {
	return audit.Event{
		ID: store.NewID(), At: at, Principal: who, Kind: kind, Consortium: a.Consortium, Environment: a.Environment,
		Membership: a.Membership, Wallet: a.Wallet, Subject: a.ID, Detail: detail,
	}
}
