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
// Where to read what: accept.go and raw.go (the way in), submission.go (a
// caller, from the queue to the answer), round.go (one commit), assign.go
// (nonces), sign.go, send.go, presence.go (what a node's pool has lost),
// holes.go, track.go and counts.go (blocks, counts, who was mined), reorg.go,
// moved.go (another node), care.go (fees of what is stuck), load.go (start,
// reload, park), operate.go and repair.go (operators), stop.go. Where several
// processes share the store: peers.go, guest.go (a sender that another one
// runs), handover.go and offered.go (requests on their way to the holder).
//
// It never calls a key backend (package wallet does), never signs twice for a
// nonce without recording why, and never gives a hash that was shown to
// anybody another nonce.
package txmgr

import (
	"context"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"go.opentelemetry.io/otel/trace"

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
	tracer trace.Tracer // nil: nothing is traced

	ctx    context.Context // ends when Stop has answered everybody
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	wallets  map[string]*Wallet
	chains   map[*node.Client]*chain
	senders  map[senderKey]*sender
	keys     map[idempotencyKey]chan struct{} // keys whose first request is not yet stored or refused
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
}

// New makes a manager. Call [Manager.Bind] for each wallet, then
// [Manager.Start].
func New(cfg Config) *Manager {
	m := &Manager{
		db: cfg.Store, log: cfg.Logger, obs: cfg.Observer, owner: cfg.Owner, ttl: cfg.LeaseTTL,
		shared: cfg.Shared, peers: cfg.Peers, hooks: cfg.Hooks, tracer: cfg.Tracer,
		wallets: map[string]*Wallet{},
		chains:  map[*node.Client]*chain{},
		senders: map[senderKey]*sender{},
		keys:    map[idempotencyKey]chan struct{}{},
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
	return m
}

// Binding names what [Manager.Bind] binds.
type Binding struct {
	Name       string
	Keys       *wallet.Wallet
	Node       *node.Client
	ChainID    uint64 // pinned
	Membership string // default "default"
	Settings   Settings
}

// Bind makes a wallet known. It is called before Start.
func (m *Manager) Bind(b Binding) *Wallet {
	if b.Membership == "" {
		b.Membership = "default"
	}
	w := &Wallet{
		m: m, name: b.Name, keys: b.Keys, node: b.Node, membership: b.Membership,
		chainID: new(big.Int).SetUint64(b.ChainID), set: b.Settings.withDefaults(),
	}
	// What is filled in, self-transfers too, has to be something that can be signed.
	w.set.Limits.Legacy = b.Keys.LegacyOnly()
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.chains[b.Node]
	if c == nil {
		c = newChain(m, b.Node, w.set)
		m.chains[b.Node] = c
	}
	w.chain = c
	m.wallets[b.Name] = w
	return w
}

// Start follows the nodes' heads and takes up the work that the store holds
// from before. It returns at once: a node that cannot be reached is tried
// again until it can.
func (m *Manager) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
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

// resume takes up every sender that has unfinished rows.
func (m *Manager) resume() {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		ids, err := m.db.SendersWithWork(m.ctx)
		if err == nil && m.resumeAll(ids) {
			return
		}
		if err != nil && m.ctx.Err() == nil {
			m.log.Error("cannot list unfinished transactions", "err", err)
		}
		if !sleep(m.ctx, wait) {
			return
		}
	}
}

// resumeAll reports whether every sender named has found its wallet and node.
func (m *Manager) resumeAll(ids []string) bool {
	all := true
	for _, id := range ids {
		row, err := m.db.Sender(m.ctx, id)
		if err != nil {
			all = false
			continue
		}
		w, known := m.walletOf(row)
		switch {
		case w != nil:
			if _, err := m.sender(w, row); err != nil {
				m.log.Warn("unfinished transactions cannot be taken up", "sender", id, "err", err)
			}
		case !known:
			// No wallet of this configuration has its chain any more (a
			// development chain that was reset, a wallet taken out of the
			// file): the rows stay as they are.
			m.log.Warn("unfinished transactions of a sender that no wallet serves", "sender", id)
		default:
			all = false
		}
	}
	return all
}

// walletOf finds a wallet that serves the sender's chain and has its account.
// known is false if every node has said which chain it is and none fits.
func (m *Manager) walletOf(row store.Sender) (w *Wallet, known bool) {
	m.mu.Lock()
	wallets := make([]*Wallet, 0, len(m.wallets))
	for _, w := range m.wallets {
		wallets = append(wallets, w)
	}
	m.mu.Unlock()
	for _, w := range wallets {
		if w.chainID.Uint64() != row.ChainID || w.node.Instance() != row.Instance || w.membership != row.Membership {
			continue
		}
		id, err := w.node.Identity(m.ctx)
		if err != nil {
			known = true // perhaps
			continue
		}
		if id.Genesis == row.Genesis {
			if _, ok := w.keys.Account(row.Address); ok {
				return w, true
			}
			known = true // its keys may not be discovered yet
		}
	}
	return nil, known
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

func (m *Manager) sender(w *Wallet, row store.Sender) (*sender, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
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

// enter counts a piece of work that Stop waits for, unless it is too late.
func (m *Manager) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return false
	}
	m.wg.Add(1)
	return true
}

// Owns reports whether an account of any wallet of this manager has this
// address.
func (w *Wallet) Owns(addr common.Address) bool { return w.m.owns(addr) }

// owns reports whether an account of any wallet of ours has this address.
func (m *Manager) owns(addr common.Address) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.wallets {
		if _, ok := w.keys.Account(addr); ok {
			return true
		}
	}
	return false
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
