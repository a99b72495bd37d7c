// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// hsm plays the outside world's key backend: software keys, and faults that
// no real one can be made to have at will.
type hsm struct {
	mu    sync.Mutex
	keys  map[key.Ref]*ecdsa.PrivateKey
	calls int
	delay func(call int) time.Duration
	fail  func(call int, digest [32]byte) error
	gate  chan struct{} // when set, a signature waits for one receive
}

func newHSM(n int) *hsm {
	h := &hsm{keys: map[key.Ref]*ecdsa.PrivateKey{}}
	for i := range n {
		k, addr := nodetest.Key(i)
		h.keys[key.Ref(addr.Hex())] = k
	}
	return h
}

func (h *hsm) Keys(context.Context, string) (key.Page, error) {
	var p key.Page
	for ref, k := range h.keys {
		p.Keys = append(p.Keys, key.Key{
			Ref: ref, Name: string(ref), Address: crypto.PubkeyToAddress(k.PublicKey), Protection: key.Software, State: key.Enabled,
		})
	}
	return p, nil
}

func (h *hsm) PublicKey(_ context.Context, ref key.Ref) (secp.PublicKey, error) {
	k := h.keys[ref]
	if k == nil {
		return secp.PublicKey{}, key.ErrNotFound
	}
	return secp.PublicKey(crypto.FromECDSAPub(&k.PublicKey)[1:]), nil
}

func (h *hsm) set(change func(*hsm)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// count is how many signatures were asked for.
func (h *hsm) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

func (h *hsm) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	h.mu.Lock()
	h.calls++
	call, delay, fail, gate, k := h.calls, h.delay, h.fail, h.gate, h.keys[ref]
	h.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return key.Signature{}, ctx.Err()
		}
	}
	if delay != nil {
		if !sleep(ctx, delay(call)) {
			return key.Signature{}, ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(call, digest); err != nil {
			return key.Signature{}, err
		}
	}
	sig, err := crypto.Sign(digest[:], k)
	if err != nil {
		return key.Signature{}, err
	}
	return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64]), RequestID: fmt.Sprint(call)}, nil
}

func (h *hsm) Health(context.Context) error { return nil }
func (h *hsm) Close() error                 { return nil }

// rig is one signer in front of one fake chain, on a real store.
type rig struct {
	t         *testing.T
	dir       string
	chain     *nodetest.Chain
	hsm       *hsm
	set       Settings
	endpoints []node.Endpoint    // nil: the chain's first
	backend   func() key.Backend // nil: hsm
	policy    policy.Policy      // nil: everything is allowed

	db     *store.DB
	freeze *freeze.Switch
	node   *node.Client
	wallet *wallet.Wallet
	mgr    *Manager
	w      *Wallet
}

var caller = auth.Principal{Name: "app:test"}

func addr(n int) common.Address {
	_, a := nodetest.Key(n)
	return a
}

// fast are settings that let a test see things happen.
func fast() Settings {
	return Settings{Poll: 10 * time.Millisecond, SendTimeout: 20 * time.Second, Confirmations: 2, Window: 64}
}

func newRig(t *testing.T, opts nodetest.Options, set Settings) *rig {
	t.Helper()
	if opts.Alloc == nil && opts.DefaultBalance == nil {
		opts.DefaultBalance = nodetest.Ether(1000)
	}
	r := &rig{t: t, dir: t.TempDir(), chain: nodetest.New(t, opts), hsm: newHSM(3), set: set}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) logger() *slog.Logger {
	if os.Getenv("TXMGR_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// start opens everything on the rig's directory, as a process start does.
func (r *rig) start() {
	r.t.Helper()
	ctx := context.Background()
	var err error
	r.db, err = store.OpenSQLite(ctx, store.Config{Dir: r.dir, Logger: r.logger(), Exclusive: true})
	r.must(err)
	cfg := node.Config{URL: r.chain.URL(), ChainID: 1337, Timeout: 10 * time.Second, Logger: r.logger()}
	if r.endpoints != nil {
		cfg.URL, cfg.Endpoints = "", r.endpoints
		cfg.Check, cfg.DownAfter = 50*time.Millisecond, 200*time.Millisecond
	}
	r.node, err = node.New(cfg)
	r.must(err)
	var backend key.Backend = r.hsm
	if r.backend != nil {
		backend = r.backend()
	}
	if r.policy == nil {
		r.policy = policy.AllowAll{}
	}
	r.freeze = freeze.New(freeze.Config{Store: r.db, Logger: r.logger()})
	r.must(r.freeze.Load(ctx))
	r.wallet, err = wallet.Open(ctx, wallet.Config{
		Name: "main", ChainID: big.NewInt(1337), Backend: backend, Policy: r.policy, Freeze: r.freeze, Log: r.db,
		Snapshots: r.db, Logger: r.logger(), SignTimeout: 5 * time.Second,
	})
	r.must(err)
	_, err = r.wallet.Refresh(ctx)
	r.must(err)
	r.mgr = New(Config{Store: r.db, Logger: r.logger(), Freeze: r.freeze})
	r.w = r.mgr.Bind(Binding{Name: "main", Keys: r.wallet, Node: r.node, ChainID: 1337, Settings: r.set})
	r.mgr.Start()
}

// stop ends the process in an orderly way.
func (r *rig) stop() {
	if r.mgr == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r.mgr.Stop(ctx)
	r.must(r.wallet.Close())
	r.node.Close()
	r.must(r.db.Close())
	r.mgr = nil
}

// restart is an orderly stop and a new start on the same rows.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// transfer is a plain transfer that needs nothing filled but the nonce.
func transfer(from int, wei int64) tx.Args {
	to, gas := common.HexToAddress("0x00000000000000000000000000000000000000aa"), uint64(21_000)
	return tx.Args{
		From: addr(from), To: &to, Gas: &gas, Value: big.NewInt(wei),
		MaxFeePerGas: big.NewInt(3_000_000_000), MaxPriorityFeePerGas: big.NewInt(1_000_000_000),
	}
}

func (r *rig) send(args tx.Args) (common.Hash, error) {
	return r.w.Send(context.Background(), caller, SendRequest{Args: args})
}

// cancel ends a transaction as an operator would.
func (r *rig) cancel(txID string) error {
	_, err := r.mgr.Operate(context.Background(), "", Operation{Action: Cancel, Tx: txID})
	return err
}

// waitFor polls until ok, at most for a minute.
func (r *rig) waitFor(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.t.Fatalf("not in time: %s", what)
}

// state reads a transaction's row by hash.
func (r *rig) state(hash common.Hash) store.TxState {
	r.t.Helper()
	row, err := r.db.TxByHash(context.Background(), hash)
	r.must(err)
	return row.State
}

// checkChain asserts that an account's mined nonces are contiguous from zero
// and n in number, and that each hash given is among them exactly once.
func (r *rig) checkChain(from int, n int, hashes []common.Hash) {
	r.t.Helper()
	mined := r.chain.Mined(addr(from))
	if len(mined) != n {
		r.t.Fatalf("%d transactions mined, want %d", len(mined), n)
	}
	at := map[common.Hash]int{}
	for i, m := range mined {
		if m.Nonce() != uint64(i) {
			r.t.Fatalf("transaction %d has nonce %d", i, m.Nonce())
		}
		at[m.Hash()]++
	}
	for _, h := range hashes {
		if at[h] != 1 {
			r.t.Errorf("returned hash %s mined %d times", h, at[h])
		}
	}
}
