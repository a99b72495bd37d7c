// SPDX-License-Identifier: Apache-2.0

// Package replica lets the daemons that share one database know of each other.
//
// Each writes a row that says it is alive and where its peers reach it. A
// replica that took a request for a sender which another one runs asks that one
// for the outcome over HTTP, instead of reading the rows again and again; and
// an operator's order reaches the replica that can carry it out. It also sees
// what another one has changed, as the accounts of a wallet, within a second.
//
// Nothing depends on it: what peers say can be read from the rows too, and a
// replica that cannot be reached is only slower to answer. A question carries a
// proof that a replica on this database asks it (proof.go); its content is in the
// clear, as on the way to the node. It never carries a key or a digest to sign.
package replica

import (
	"context"
	"crypto/ecdh"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	beat  = time.Second     // between two signs of life
	alive = 5 * time.Second // how old the last one may be
)

// Store is what the package reads and writes; *store.DB.
type Store interface {
	PutReplica(ctx context.Context, r store.Replica) error
	Replicas(ctx context.Context, within time.Duration) ([]store.Replica, error)
	RemoveReplica(ctx context.Context, owner string) error
	SnapshotVersions(ctx context.Context) (map[string]int64, error)
}

// Config is what a [Registry] is made of.
type Config struct {
	Store    Store
	Owner    string // as in the leases of this process
	URL      string // where peers reach this one's [Handler]; empty if they cannot
	Version  string // of the program
	Settings string // fingerprint of what has to be the same everywhere
	Logger   *slog.Logger
	Tracer   trace.Tracer // of a span for what a traced peer asks; nil: none

	// Snapshot is told when another replica has stored other accounts for a
	// wallet; nil: nobody.
	Snapshot func(ctx context.Context, wallet string)
	// Live is told how many replicas there are whenever that changes; nil: nobody.
	Live func(n int)
}

// Registry knows who is alive. It is safe for concurrent use.
type Registry struct {
	cfg   Config
	key   *ecdh.PrivateKey
	token string // its public half, in hex
	begun time.Time

	mu       sync.Mutex
	peers    map[string]store.Replica // by owner, this process among them
	asked    time.Time                // when the rows were last read for a peer that was not known
	secrets  map[string][]byte        // by the peer's public key
	versions map[string]int64
	differs  map[string]bool // peers whose settings were complained about
}

// New makes a registry. Call [Registry.Run].
func New(cfg Config) *Registry {
	key := newKey()
	return &Registry{
		cfg: cfg, key: key, token: hex.EncodeToString(key.PublicKey().Bytes()), secrets: map[string][]byte{}, begun: time.Now(),
		peers: map[string]store.Replica{}, differs: map[string]bool{},
	}
}

// Run says that this process is alive, and looks who else is, until ctx ends.
// Then it takes its row away. It is called once.
func (r *Registry) Run(ctx context.Context) {
	live := 0
	for {
		r.look(ctx, &live)
		timer := time.NewTimer(beat)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
		}
		timer.Stop()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := r.cfg.Store.RemoveReplica(last, r.cfg.Owner); err != nil {
			r.cfg.Logger.Warn("cannot take this replica's row away; it counts as alive for some seconds", "err", err)
		}
		return
	}
}

// look writes our sign of life and reads the others'. Errors end nothing: who
// cannot be seen for a while is asked less, and the rows say the rest.
func (r *Registry) look(ctx context.Context, live *int) {
	ctx, cancel := context.WithTimeout(ctx, alive)
	defer cancel()
	err := r.cfg.Store.PutReplica(ctx, store.Replica{
		Owner: r.cfg.Owner, URL: r.cfg.URL, Token: r.token, Version: r.cfg.Version, Settings: r.cfg.Settings, Started: r.begun,
	})
	var rows []store.Replica
	if err == nil {
		rows, err = r.cfg.Store.Replicas(ctx, alive)
	}
	var versions map[string]int64
	if err == nil {
		versions, err = r.cfg.Store.SnapshotVersions(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Logger.Warn("cannot see the other replicas", "err", err)
		}
		return
	}
	peers := make(map[string]store.Replica, len(rows))
	for _, row := range rows {
		peers[row.Owner] = row
	}
	r.mu.Lock()
	old := r.versions
	r.peers, r.versions = peers, versions
	r.compare(rows)
	r.mu.Unlock()
	if n := max(1, len(rows)); n != *live {
		*live = n
		r.cfg.Logger.Info("replicas on this database", "alive", n)
		if r.cfg.Live != nil {
			r.cfg.Live(n)
		}
	}
	if old == nil || r.cfg.Snapshot == nil {
		return // whatever is stored was just read at the start
	}
	for wallet, version := range versions {
		if old[wallet] != version {
			r.cfg.Snapshot(ctx, wallet)
		}
	}
}

// compare complains, once for each peer, of settings that are not ours.
func (r *Registry) compare(rows []store.Replica) {
	for _, row := range rows {
		switch {
		case row.Settings == r.cfg.Settings:
			delete(r.differs, row.Owner)
		case !r.differs[row.Owner]:
			r.differs[row.Owner] = true
			r.cfg.Logger.Warn("another replica on this database has other settings for the same wallets: what a request gets depends on whom it reaches",
				"replica", row.Owner, "its_version", row.Version)
		}
	}
	for owner := range r.differs {
		if _, there := r.peers[owner]; !there {
			delete(r.differs, owner)
		}
	}
}

// Replicas lists who is alive, this process among them.
func (r *Registry) Replicas() []store.Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]store.Replica, 0, len(r.peers))
	for _, p := range r.peers {
		list = append(list, p)
	}
	return list
}

// peer finds a replica that can be asked.
func (r *Registry) peer(owner string) (store.Replica, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.peers[owner]
	return p, ok && p.URL != "" && owner != r.cfg.Owner
}
