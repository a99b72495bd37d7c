// SPDX-License-Identifier: Apache-2.0

// Package txmgr is the transaction manager: accept → assign a nonce → sign →
// store → send in order → track to the receipt.
//
// It guarantees, for any number of concurrent callers of one address and
// across kill -9 at any instant, that nothing is sent twice, nothing accepted
// is lost and no nonce is left out. The rows of package store are the truth;
// what is held in memory can be read from them again at any time.
//
// Each sender, an address on one chain, is run by one goroutine (type sender):
// only it assigns nonces, moves transactions and decides what is sent, so
// none of that needs a lock. Signing, sending and reading from the node
// happen beside it and come back to it as events. Events that arrive while a
// commit is under way are taken together afterwards, which makes one commit
// serve many callers.
//
// Where to read what: accept.go and raw.go (the way in), idempotency.go, submission.go (a
// caller, from the queue to the answer), round.go (one commit), assign.go
// and queue.go (nonces), sign.go, send.go, presence.go (what a node's pool has
// lost), freeze.go (what holds all of these back), holes.go, track.go and counts.go (blocks, counts, who was mined), reorg.go,
// moved.go (another node), care.go (fees of what is stuck), load.go (start,
// reload, park), operate.go and repair.go (operators), bind.go and leave.go
// (wallets that come and go), resume.go, stop.go. Where several
// processes share the store: peers.go, guest.go (a sender that another one
// runs), handover.go and offered.go (requests on their way to the holder).
//
// It never calls a key backend (package wallet does), never signs twice for a
// nonce without recording why, and never gives a hash that was shown to
// anybody another nonce.
package txmgr

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// Settings are a wallet's choices about its transactions. The zero value of a
// field means its default, unless the field says otherwise.
type Settings struct {
	Window        int           // nonces at or above the node's count that may be in use at once; default 64
	Confirmations uint64        // blocks on top of a transaction's block before it is final; zero means the block itself is final
	Limits        tx.Limits     // what a transaction may cost
	Expires       time.Duration // how long a transaction may wait unsent; default 10 minutes
	SendTimeout   time.Duration // how long a caller waits for an outcome; default 30 s
	RefuseRaw     bool          // refuse eth_sendRawTransaction of our own accounts instead of taking it in
	Poll          time.Duration // how often the node is asked for its head while anything is under way; default 500 ms
	QueueLimit    int           // transactions of one sender that may wait for a nonce; default 10,000
	BumpAfter     time.Duration // a transaction that was sent this long ago and that blocks pass over gets higher fees; default 5 minutes, negative: never
	FeeCeiling    int           // a replacement's fee per gas may reach this multiple of the first, where the caller gave none; default 3
}

func (s Settings) withDefaults() Settings {
	if s.Window <= 0 {
		s.Window = 64
	}
	if s.Expires <= 0 {
		s.Expires = 10 * time.Minute
	}
	if s.SendTimeout <= 0 {
		s.SendTimeout = 30 * time.Second
	}
	if s.Poll <= 0 {
		s.Poll = 500 * time.Millisecond
	}
	if s.QueueLimit <= 0 {
		s.QueueLimit = 10_000
	}
	if s.BumpAfter == 0 {
		s.BumpAfter = 5 * time.Minute
	}
	if s.FeeCeiling <= 0 {
		s.FeeCeiling = 3
	}
	return s
}

// Config is what a [Manager] is made of.
type Config struct {
	Store    *store.DB
	Logger   *slog.Logger
	Observer Observer // nil: nobody is told
	Owner    string   // unique per process start; default a fresh id
	// Shared says that other processes work on the same store. A sender is then
	// run by the process that holds its lease, and the others hand their
	// requests to it.
	Shared   bool
	Hooks    Hooks         // who is told of state changes; nil: nobody
	Peers    Peers         // how to reach them; nil: by the rows alone
	LeaseTTL time.Duration // default 10 s if shared, else one hour
	Tracer   trace.Tracer  // of the spans of trace.go; nil: none are made
	// Freeze tells when something may have been frozen or released. It is the one
	// that the wallets ask. Nil: nothing is ever frozen.
	Freeze *freeze.Switch
}

// Manager runs the senders of all wallets of this process.
type Manager struct {
	db     *store.DB
	log    *slog.Logger
	obs    Observer
	owner  string
	ttl    time.Duration
	shared bool
	peers  Peers
	hooks  Hooks
	freeze *freeze.Switch
	tracer trace.Tracer // nil: nothing is traced

	ctx    context.Context // ends when Stop has answered everybody
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	started  bool
	stopping bool
	wallets  map[string]*Wallet              // by name, the newest of each
	bound    map[string]map[*Wallet]struct{} // by membership
	chains   map[*node.Client]*chain         // of the bound wallets
	senders  map[senderKey]*sender
	keys     map[idempotencyKey]chan struct{} // keys whose first request is not yet stored or refused

	served chan struct{} // a wallet was bound, or a chain is known: unfinished work may find whom it waits for
}

// senderKey tells a sender that is at work from what another membership tries
// to make of the same address: which of them may have it, the store decides.
type senderKey struct{ id, membership string }

type idempotencyKey struct{ wallet, credential, key string }

// Wallet is a wallet bound to its node: the place where every transaction
// enters, whichever front end it came through.
type Wallet struct {
	m          *Manager
	name       string
	keys       *wallet.Wallet
	node       *node.Client
	chain      *chain
	chainID    *big.Int
	membership string
	set        Settings

	ctx    context.Context // ends when nobody may work through it any more
	cancel context.CancelCauseFunc

	// Guarded by Manager.mu.
	unbinding bool          // takes nothing new
	callers   int           // that are under way
	quiet     chan struct{} // closed when unbinding and no caller is left
}

// New makes a manager. [Manager.Bind] wallets to it before [Manager.Start] or
// at any time afterwards.
func New(cfg Config) *Manager {
	m := &Manager{
		db: cfg.Store, log: cfg.Logger, obs: cfg.Observer, owner: cfg.Owner, ttl: cfg.LeaseTTL,
		shared: cfg.Shared, peers: cfg.Peers, hooks: cfg.Hooks, freeze: cfg.Freeze, tracer: cfg.Tracer,
		wallets: map[string]*Wallet{},
		bound:   map[string]map[*Wallet]struct{}{},
		chains:  map[*node.Client]*chain{},
		senders: map[senderKey]*sender{},
		keys:    map[idempotencyKey]chan struct{}{},
		served:  make(chan struct{}, 1),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.obs == nil {
		m.obs = noObserver{}
	}
	if m.owner == "" {
		m.owner = store.NewID()
	}
	if m.peers == nil {
		m.peers = noPeers{}
	}
	switch {
	case m.ttl > 0:
	case m.shared:
		m.ttl = 10 * time.Second
	default:
		m.ttl = time.Hour
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.freeze.OnChange(m.thaw)
	return m
}

// Start follows the nodes' heads and takes up the work that the store holds
// from before. It returns at once: a node that cannot be reached is tried
// again until it can.
func (m *Manager) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = true
	for _, c := range m.chains {
		m.wg.Go(c.follow)
	}
	m.wg.Go(m.renewLeases)
	if m.shared {
		m.wg.Go(m.watchShared)
	} else {
		m.wg.Go(m.resume)
	}
}

// Stop refuses new requests, waits until every caller has an answer or ctx is
// done, and then stops all work. What is stored and unfinished goes on at the
// next start; its callers get its hash if it is signed, else a *PendingError.
func (m *Manager) Stop(ctx context.Context) {
	m.mu.Lock()
	m.stopping = true
	senders := make([]*sender, 0, len(m.senders))
	for _, s := range m.senders {
		senders = append(senders, s)
	}
	m.mu.Unlock()
	var quiet sync.WaitGroup
	for _, s := range senders {
		quiet.Go(func() { s.quiesce(ctx) })
	}
	quiet.Wait()
	m.cancel()
	m.wg.Wait()
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if len(senders) > 0 {
		if err := m.db.ReleaseLeases(release, m.owner); err != nil {
			m.log.Warn("cannot release the nonce leases", "err", err)
		}
	}
}

// renewLeases keeps the leases of all senders alive, at a quarter of their time
// so that a failure or two cost none. A sender whose lease turns out to be gone
// is told; what it would write is fenced anyway.
func (m *Manager) renewLeases() {
	for sleep(m.ctx, m.ttl/4) {
		m.mu.Lock()
		fences := map[*sender]store.Fence{}
		for _, s := range m.senders {
			if f := s.held.Load(); f != nil {
				fences[s] = *f
			}
		}
		m.mu.Unlock()
		if len(fences) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(m.ctx, m.ttl/2)
		held, err := m.db.RenewLeases(ctx, m.owner, m.ttl)
		cancel()
		if err != nil {
			if m.ctx.Err() == nil {
				m.log.Warn("cannot renew the nonce leases", "err", err)
			}
			continue
		}
		for s, f := range fences {
			if !held[s.id] {
				s.post(func() { s.leaseLost(f) })
			}
		}
	}
}

var errStopping = &BusyError{Reason: "the signer is stopping", RetryAfter: 5 * time.Second, Status: http.StatusServiceUnavailable}

// senderOf finds or starts the sender of an address on the wallet's chain.
func (w *Wallet) senderOf(ctx context.Context, addr common.Address) (*sender, error) {
	id, err := w.node.Identity(ctx)
	if err != nil {
		return nil, err
	}
	w.chain.learn(id)
	return w.m.sender(w, store.Sender{
		ID:      SenderID(id, w.node.Instance(), addr),
		ChainID: id.ID, Genesis: id.Genesis, Instance: w.node.Instance(),
		Address: addr, Membership: w.membership,
	})
}

// SenderID names the sender of an address on a chain: chain id, the first
// four bytes of the genesis hash, the instance label if there is one, and the
// address, all in lower case.
func SenderID(c node.Chain, instance string, addr common.Address) string {
	parts := []string{new(big.Int).SetUint64(c.ID).String(), common.Bytes2Hex(c.Genesis[:4])}
	if instance != "" {
		parts = append(parts, instance)
	}
	return strings.Join(append(parts, hexutil.Encode(addr[:])), "-")
}

// sender finds or starts a sender for a wallet. It is the one place that makes
// senders, and what is another membership's is never run through this wallet's
// keys and node, whoever names it (TXMGR.md no. 23).
func (m *Manager) sender(w *Wallet, row store.Sender) (*sender, error) {
	if row.Membership != w.membership {
		return nil, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("account %s is not available to this wallet", row.Address)}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.ctx.Err() != nil {
		return nil, w.over()
	}
	k := senderKey{row.ID, w.membership}
	if s := m.senders[k]; s != nil {
		return s, nil
	}
	if m.stopping {
		return nil, errStopping
	}
	s := newSender(m, w, row)
	m.senders[k] = s
	m.wg.Go(s.run)
	return s, nil
}

// drop forgets a sender whose goroutine ends.
func (m *Manager) drop(s *sender) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := (senderKey{s.id, s.membership}); m.senders[k] == s {
		delete(m.senders, k)
	}
}

// loaded returns the running sender with that id that a membership may use,
// or nil.
func (m *Manager) loaded(id, membership string) *sender {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.senders[senderKey{id, membership}]
}

// at returns the running sender with that id, for an operator, or nil.
func (m *Manager) at(ctx context.Context, id string) *sender {
	row, err := m.db.Sender(ctx, id)
	if err != nil {
		return nil
	}
	return m.loaded(id, row.Membership)
}

// sendersOf lists the senders that are at work on a chain.
func (m *Manager) sendersOf(c *chain) []*sender {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*sender
	for _, s := range m.senders {
		if s.chain == c {
			list = append(list, s)
		}
	}
	return list
}

// sleep waits for d and reports whether ctx was still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
