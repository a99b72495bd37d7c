// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var caller = auth.Principal{Name: "app:test"}

// vault plays a key service, which knows who may come in.
type vault struct {
	keys   []*ecdsa.PrivateKey
	oldest atomic.Int64 // credential that is still taken
	newest atomic.Int64
	hang   atomic.Bool

	opened, open, listed, signed, waiting atomic.Int64
}

func newVault(n int, from int) *vault {
	v := &vault{}
	for i := range n {
		k, _ := nodetest.Key(from + i)
		v.keys = append(v.keys, k)
	}
	return v
}

func (v *vault) address(i int) common.Address { return crypto.PubkeyToAddress(v.keys[i].PublicKey) }

// session is a vault as somebody with a credential sees it.
type session struct {
	*vault
	credential int64
	closed     atomic.Bool
}

func (s *session) ask(ctx context.Context) error {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for s.hang.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	switch {
	case s.closed.Load():
		return fmt.Errorf("closed: %w", key.ErrUnavailable)
	case s.credential < s.oldest.Load() || s.credential > s.newest.Load():
		return fmt.Errorf("credential %d: %w", s.credential, key.ErrDenied)
	}
	return nil
}

func (s *session) Keys(ctx context.Context, _ string) (key.Page, error) {
	if err := s.ask(ctx); err != nil {
		return key.Page{}, err
	}
	s.listed.Add(1)
	var p key.Page
	for _, k := range s.keys {
		addr := crypto.PubkeyToAddress(k.PublicKey)
		p.Keys = append(p.Keys, key.Key{Ref: key.Ref(addr.Hex()), Name: addr.Hex(), Address: addr, Protection: key.HSM, State: key.Enabled})
	}
	return p, nil
}

func (s *session) PublicKey(context.Context, key.Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, key.ErrNotFound
}

func (s *session) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	if err := s.ask(ctx); err != nil {
		return key.Signature{}, err
	}
	for _, k := range s.keys {
		if crypto.PubkeyToAddress(k.PublicKey).Hex() != string(ref) {
			continue
		}
		sig, err := crypto.Sign(digest[:], k)
		s.signed.Add(1)
		return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64])}, err
	}
	return key.Signature{}, key.ErrNotFound
}

func (s *session) Health(ctx context.Context) error { return s.ask(ctx) }

func (s *session) Close() error {
	if !s.closed.Swap(true) {
		s.open.Add(-1)
	}
	return nil
}

// Create makes a key, for whoever comes as the admin.
func (s *session) Create(_ context.Context, _ string, _ map[string]string) (key.Key, error) {
	k, err := crypto.GenerateKey()
	if err != nil {
		return key.Key{}, err
	}
	s.keys = append(s.vault.keys[:len(s.vault.keys):len(s.vault.keys)], k)
	s.vault.keys = s.keys
	addr := crypto.PubkeyToAddress(k.PublicKey)
	return key.Key{Ref: key.Ref(addr.Hex()), Name: addr.Hex(), Address: addr, State: key.Enabled}, nil
}

// rig is a process with a fleet, on a real store, and the world around it.
type rig struct {
	t      *testing.T
	dir    string
	chain  *nodetest.Chain
	vaults map[string]*vault // by address
	policy policy.Policy     // nil: everything is allowed

	freeze  *freeze.Switch
	db      *store.DB
	manager *txmgr.Manager
	fleet   *fleet.Fleet
	door    *door
}

// door notes which wallets are served.
type door struct {
	mu     sync.Mutex
	served map[string]int
}

func (d *door) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served[name]
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, nil)
}

func newRigWith(t *testing.T, rules policy.Policy) *rig {
	t.Helper()
	r := &rig{
		t: t, dir: t.TempDir(), vaults: map[string]*vault{}, policy: rules,
		chain: nodetest.New(t, nodetest.Options{Automine: true, DefaultBalance: nodetest.Ether(1000)}),
	}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FLEET_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	r.db, err = store.OpenSQLite(context.Background(), store.Config{Dir: r.dir, Exclusive: true})
	r.must(err)
	r.freeze = freeze.New(freeze.Config{Store: r.db})
	r.must(r.freeze.Load(context.Background()))
	r.manager = txmgr.New(txmgr.Config{Store: r.db, Logger: log, Freeze: r.freeze})
	r.fleet = fleet.New(fleet.Config{
		Store: r.db, Manager: r.manager, Open: r.open, Operator: "h0member00", SendTimeout: 20 * time.Second, Logger: log,
		Policy: r.policy, Freeze: r.freeze,
	})
	r.door = &door{served: map[string]int{}}
	d := r.door
	r.must(r.fleet.Serving(func(w *fleet.Wallet) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.served[w.Name()]++
		return nil
	}, func(w *fleet.Wallet) <-chan struct{} {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.served, w.Name())
		return nil
	}))
	r.manager.Start()
}

func (r *rig) stop() {
	if r.db == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	r.manager.Stop(ctx)
	r.must(r.fleet.Shutdown())
	r.must(r.db.Close())
	r.db = nil
	for name, v := range r.vaults {
		if n := v.open.Load(); n != 0 {
			r.t.Errorf("vault %s: %d backends were not closed", name, n)
		}
	}
}

// open opens a vault with the credential that the details have.
func (r *rig) open(_ context.Context, o fleet.Opening) (fleet.Backend, error) {
	v := r.vaults[o.Details.Azure.TargetAddress]
	if v == nil {
		return fleet.Backend{}, fmt.Errorf("vault_name: there is no vault %s", o.Details.Azure.TargetAddress)
	}
	secret, err := o.Details.Azure.Credential.Secret.Reveal()
	if err != nil {
		return fleet.Backend{}, err
	}
	s := &session{vault: v}
	if _, err := fmt.Sscan(secret, &s.credential); err != nil {
		return fleet.Backend{}, fmt.Errorf("user_secret: want a number: %w", err)
	}
	v.opened.Add(1)
	v.open.Add(1)
	return fleet.Backend{Backend: s}, nil
}

// vault adds a vault with n keys.
func (r *rig) vault(name string, n, from int) *vault {
	v := newVault(n, from)
	r.vaults[name] = v
	return v
}

// spec is a service on a vault, in version 0 of everything.
func (r *rig) spec(name, vault string) fleet.Spec {
	return fleet.Spec{
		ID: name, Membership: "m1", Environment: "e1",
		Backend: fleet.Version{ID: "conf-" + vault, Version: "0"}, Node: fleet.Version{ID: "node", Version: "0"},
		Wallet: config.Wallet{
			Name: name, Node: config.Node{URL: config.NewSecret(r.chain.URL()), ChainID: 1337, Poll: 10 * time.Millisecond, Timeout: 5 * time.Second},
			Details: config.Details{
				Provider: config.ProviderAzure, QuotaShare: 1,
				Azure: &config.Azure{TargetAddress: vault, Credential: config.AzureCredential{Secret: config.NewSecret("0")}},
			},
			Window: 64, Confirmations: 1, Expires: time.Minute, FeeCeiling: 3, Concurrency: 64, Refresh: time.Minute, BumpAfter: time.Minute,
		},
	}
}

// with is spec with another credential.
func with(spec fleet.Spec, credential int) fleet.Spec {
	a := *spec.Wallet.Details.Azure
	a.Credential.Secret = config.NewSecret(fmt.Sprint(credential))
	spec.Wallet.Details.Azure = &a
	spec.Backend.Version = fmt.Sprint(credential)
	return spec
}

// serve opens wallets and waits until they are ready.
func (r *rig) serve(specs ...fleet.Spec) {
	r.t.Helper()
	for _, s := range specs {
		r.must(r.fleet.Open(r.t.Context(), s))
	}
	for _, s := range specs {
		r.ready(s.Wallet.Name)
	}
}

func (r *rig) ready(name string) {
	r.t.Helper()
	r.waitFor(name+" is ready", func() bool {
		s, ok := r.fleet.Status(name)
		return ok && s.Ready
	})
}

func (r *rig) waitFor(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	r.t.Fatalf("not in time: %s", what)
}

// transfer is a plain transfer that needs nothing filled in but the nonce.
func transfer(from common.Address, wei int64) tx.Args {
	to, gas := common.HexToAddress("0x00000000000000000000000000000000000000aa"), uint64(21_000)
	return tx.Args{
		From: from, To: &to, Gas: &gas, Value: big.NewInt(wei),
		MaxFeePerGas: big.NewInt(3_000_000_000), MaxPriorityFeePerGas: big.NewInt(1_000_000_000),
	}
}

// send sends a transfer through a wallet.
func (r *rig) send(name string, from common.Address, wei int64) (common.Hash, error) {
	w := r.fleet.Wallet(name)
	if w == nil {
		return common.Hash{}, fleet.ErrNotRunning
	}
	return w.Begin(r.t.Context(), caller, txmgr.SendRequest{Args: transfer(from, wei)})(r.t.Context())
}
