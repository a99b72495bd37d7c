// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/devnet"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// server is shared by all tests; TestMain ends it.
var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = server.Close()
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("github.com/hsmsigner/hsmsigner/internal/store/pgtest.begin.func1"),
		goleak.IgnoreAnyFunction("github.com/ethereum/go-ethereum/core.(*txSenderCacher).cache"),
		goleak.IgnoreAnyFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain")) // a second longer than its database
}

// backend is a key service with the test's keys.
type backend struct{ keys []*ecdsa.PrivateKey }

func (b backend) Keys(context.Context, string) (key.Page, error) {
	var p key.Page
	for _, k := range b.keys {
		addr := crypto.PubkeyToAddress(k.PublicKey)
		p.Keys = append(p.Keys, key.Key{Ref: key.Ref(addr.Hex()), Name: addr.Hex(), Address: addr, Protection: key.Software, State: key.Enabled})
	}
	return p, nil
}

func (b backend) PublicKey(context.Context, key.Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, key.ErrNotFound
}

func (b backend) SignDigest(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	for _, k := range b.keys {
		if crypto.PubkeyToAddress(k.PublicKey).Hex() == string(ref) {
			sig, err := crypto.Sign(digest[:], k)
			return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64])}, err
		}
	}
	return key.Signature{}, key.ErrNotFound
}

func (b backend) Health(context.Context) error { return nil }
func (b backend) Close() error                 { return nil }

var (
	caller = auth.Principal{Name: "app:test", Membership: "m", Environment: "e"}
	here   = Place{Environment: "e", Membership: "m"}
)

func addr(n int) common.Address {
	_, a := nodetest.Key(n)
	return a
}

// service is the wallet of one process, as the gateway sees it.
type service struct {
	*txmgr.Wallet
	keys *keywallet.Wallet
	node *node.Client

	begun  atomic.Int64
	refuse atomic.Pointer[error] // Begin gives this, and nothing is stored
}

func (s *service) Name() string      { return "main" }
func (s *service) ChainID() *big.Int { return big.NewInt(1337) }

func (s *service) Has(a common.Address) bool {
	_, ok := s.keys.Account(a)
	return ok
}

func (s *service) Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) func(context.Context) (common.Hash, error) {
	s.begun.Add(1)
	if err := s.refuse.Load(); err != nil {
		return func(context.Context) (common.Hash, error) { return common.Hash{}, *err }
	}
	return s.Wallet.Begin(ctx, p, r)
}

func (s *service) Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error) {
	return s.node.Forward(ctx, method, params, header)
}

// process is one daemon.
type process struct {
	db   *store.DB
	mgr  *txmgr.Manager
	w    *service
	book *Book
	desk *Desk
}

func (p *process) target() Target { return Target{Principal: caller, Place: here, Wallet: p.w} }

// rig is daemons on one store, in front of one chain.
type rig struct {
	t        *testing.T
	chain    *nodetest.Chain // nil: a devnet
	url      string
	all      []*process
	*process // the first
}

// stores are the databases that a test is run on.
func stores(t *testing.T, test func(t *testing.T, postgres bool)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, false) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, true) })
}

func newRig(t *testing.T, n int, postgres bool, opts nodetest.Options) *rig {
	t.Helper()
	if opts.DefaultBalance == nil {
		opts.DefaultBalance = nodetest.Ether(1000)
	}
	chain := nodetest.New(t, opts)
	r := &rig{t: t, chain: chain, url: chain.URL()}
	r.start(n, postgres)
	return r
}

// newDevRig is one daemon in front of the real thing.
func newDevRig(t *testing.T) *rig {
	t.Helper()
	chain, err := devnet.Start(devnet.Options{Alloc: map[common.Address]*big.Int{addr(0): nodetest.Ether(1000), addr(1): nodetest.Ether(1000)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chain.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, url: chain.URL()}
	r.start(1, false)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(n int, postgres bool) {
	r.t.Helper()
	cfg := store.Config{Dir: r.t.TempDir()}
	if postgres {
		url, err := server.NewDatabase(r.t.Context())
		r.must(err)
		cfg = store.Config{URL: url}
	}
	var shared *store.DB
	for range n {
		db := shared
		if db == nil || postgres {
			var err error
			db, err = store.OpenDB(context.Background(), cfg)
			r.must(err)
			r.t.Cleanup(func() {
				if err := db.Close(); err != nil {
					r.t.Error(err)
				}
			})
			shared = db
		}
		r.all = append(r.all, r.process1(db, n > 1))
	}
	r.process = r.all[0]
}

func (r *rig) process1(db *store.DB, shared bool) *process {
	r.t.Helper()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	if os.Getenv("CONTRACT_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	p := &process{db: db, w: &service{}}
	var err error
	p.w.node, err = node.New(node.Config{URL: r.url, ChainID: 1337, Timeout: 10 * time.Second, Logger: log})
	r.must(err)
	frozen := freeze.New(freeze.Config{Store: db, Logger: log})
	r.must(frozen.Load(ctx))
	var keys backend
	for i := range 2 {
		k, _ := nodetest.Key(i)
		keys.keys = append(keys.keys, k)
	}
	p.w.keys, err = keywallet.Open(ctx, keywallet.Config{
		Name: "main", ChainID: big.NewInt(1337), Backend: keys, Policy: policy.AllowAll{}, Freeze: frozen, Log: db, Snapshots: db,
		Logger: log, SignTimeout: 5 * time.Second,
	})
	r.must(err)
	_, err = p.w.keys.Refresh(ctx)
	r.must(err)
	p.mgr = txmgr.New(txmgr.Config{Store: db, Logger: log, Freeze: frozen, Shared: shared, LeaseTTL: 1500 * time.Millisecond})
	p.w.Wallet = p.mgr.Bind(txmgr.Binding{Name: "main", Keys: p.w.keys, Node: p.w.node, ChainID: 1337, Settings: txmgr.Settings{
		Poll: 10 * time.Millisecond, SendTimeout: 10 * time.Second, Confirmations: 2,
	}})
	p.book = NewBook(Config{Store: db, Logger: log, Poll: 10 * time.Millisecond, Consortium: func(Place) string { return "c" }})
	p.desk = NewDesk(p.book)
	p.mgr.Start()
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		p.mgr.Stop(ctx)
		if err := p.w.keys.Close(); err != nil {
			r.t.Error(err)
		}
		p.w.node.Close()
	})
	return p
}

// waitFor polls until ok, at most for a minute.
func (r *rig) waitFor(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	r.t.Fatalf("not in time: %s", what)
}

func boxArtifact(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/box.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// upload keeps the box.
func (r *rig) upload() ABI {
	r.t.Helper()
	u, err := ParseArtifact(boxArtifact(r.t))
	r.must(err)
	a, err := r.book.Upload(r.t.Context(), caller, here, u)
	r.must(err)
	return a
}

func (r *rig) method(a ABI, name string) *abi.Method {
	r.t.Helper()
	m, err := a.Contract.Method(name)
	r.must(err)
	return m
}

// args are arguments in order, each as a string.
func args(values ...string) abi.Args {
	a := abi.Args{List: []strictjson.Value{}}
	for _, v := range values {
		a.List = append(a.List, strictjson.StringValue(v))
	}
	return a
}

func by(n int) Terms {
	a, gas := addr(n), uint64(900_000)
	return Terms{From: &a, Gas: &gas}
}

func (r *rig) deployment(a ABI, id, name string) Deployment {
	return Deployment{Terms: by(0), ID: id, ABI: a, Args: args("7"), Name: name}
}

func (r *rig) find(ref string) (Contract, error) {
	return r.book.Contract(r.t.Context(), here, big.NewInt(1337), ref)
}

// reply is the reply with that id.
func (r *rig) reply(id string) Reply {
	r.t.Helper()
	reply, err := r.desk.Reply(r.t.Context(), r.target(), id)
	r.must(err)
	return reply
}

// mined is how many transactions of the account are mined.
func (r *rig) mined(n int) int { return len(r.chain.Mined(addr(n))) }

// mine makes blocks.
func (r *rig) mine(n int) {
	for range n {
		r.chain.Mine()
	}
}
