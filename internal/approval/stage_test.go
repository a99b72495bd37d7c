// SPDX-License-Identifier: Apache-2.0

package approval_test

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

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// vault plays a key service.
type vault struct{ keys map[key.Ref]*ecdsa.PrivateKey }

func newVault(n int) *vault {
	v := &vault{map[key.Ref]*ecdsa.PrivateKey{}}
	for i := range n {
		k, a := nodetest.Key(i)
		v.keys[key.Ref(a.Hex())] = k
	}
	return v
}

func (v *vault) Keys(context.Context, string) (p key.Page, err error) {
	for ref, k := range v.keys {
		p.Keys = append(p.Keys, key.Key{Ref: ref, Name: string(ref), Address: crypto.PubkeyToAddress(k.PublicKey), Protection: key.HSM, State: key.Enabled})
	}
	return p, nil
}

func (v *vault) PublicKey(context.Context, key.Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, key.ErrNotFound
}

func (v *vault) SignDigest(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	sig, err := crypto.Sign(digest[:], v.keys[ref])
	if err != nil {
		return key.Signature{}, err
	}
	return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64])}, nil
}

func (v *vault) Health(context.Context) error { return nil }
func (v *vault) Close() error                 { return nil }

// rules are a policy whose rules the test changes: what asks, and what is
// forbidden.
type rules struct {
	mu     sync.Mutex
	asks   []policy.Ask
	forbid string
	full   string // why a limit has no room
}

func (s *rules) set(change func(*rules)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// judging is the rules with the book of one process: judged as package judge does,
// without limits.
type judging struct {
	*rules
	book func() *approval.Book
}

func (j judging) Judge(ctx context.Context, r policy.Request) (policy.Verdict, error) {
	j.mu.Lock()
	asks, forbid, full := j.asks, j.forbid, j.full
	j.mu.Unlock()
	switch {
	case forbid != "":
		return policy.Verdict{Rule: "service:u0service0/stop", Reason: forbid}, nil
	case full != "" && r.Approval != "":
		return policy.Verdict{Rule: "service:u0service0/daily", Reason: full, Limit: true}, nil
	case r.Clearance != "", r.Signing && len(asks) == 0:
		return policy.Verdict{Allow: true, Rule: "open", Clearance: r.Clearance}, nil
	case len(asks) == 0:
		grant, err := j.book().Waits(ctx, r)
		if err != nil || grant == nil {
			return policy.Verdict{Allow: err == nil, Rule: "open"}, err
		}
		used, err := j.book().Use(ctx, grant, r.ID)
		return policy.Verdict{Allow: used, Rule: "open", Uses: grant.Uses}, err
	}
	grant, pending, err := j.book().Find(ctx, r, asks)
	if pending != nil {
		return policy.Verdict{}, pending
	}
	if err != nil {
		return policy.Verdict{}, err
	}
	used, err := j.book().Use(ctx, grant, r.ID)
	if err != nil || !used {
		return policy.Verdict{Rule: asks[0].Rule, Reason: "the approval was used meanwhile"}, err
	}
	return policy.Verdict{Allow: true, Rule: asks[0].Rule, Clearance: grant.ID, Uses: grant.Uses}, nil
}

func (judging) Settle(string, string, policy.Use) {}

// stage is one chain and one store, with processes on them.
type stage struct {
	*testing.T
	chain *nodetest.Chain
	rules *rules
	open  func() *store.DB
	dir   string // of the database, on SQLite
	// judge makes the policy of a process; nil: rules, without limits.
	judge func(*process) policy.Policy
}

func newStage(t *testing.T) *stage {
	dir := t.TempDir()
	s := onStage(t, func() *store.DB {
		db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir, Exclusive: true})
		must(t, err)
		return db
	})
	s.dir = dir
	return s
}

// onPostgres opens one database as several replicas do.
func onPostgres(t *testing.T) func() *store.DB {
	t.Helper()
	server, err := pgtest.Start(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	url, err := server.NewDatabase(t.Context())
	must(t, err)
	return func() *store.DB {
		db, err := store.OpenDB(context.Background(), store.Config{URL: url})
		must(t, err)
		return db
	}
}

func onStage(t *testing.T, open func() *store.DB) *stage {
	return &stage{
		T: t, open: open, rules: &rules{asks: twoOf()},
		chain: nodetest.New(t, nodetest.Options{Automine: true, DefaultBalance: nodetest.Ether(1000)}),
	}
}

// process is a signer with all that belongs to approvals.
type process struct {
	*stage
	db   *store.DB
	node *node.Client
	keys *wallet.Wallet
	mgr  *txmgr.Manager
	w    *txmgr.Wallet
	book *approval.Book
	may  func(context.Context, auth.Principal, approval.Owner) error
	now  func() time.Time // nil: the clock's
	// between stands between the book and the wallet; nil: nothing does.
	between func(approval.Wallet) approval.Wallet

	stop func()
}

func (s *stage) start(shared bool, change ...func(*process)) *process {
	s.Helper()
	p := &process{stage: s, db: s.open()}
	for _, f := range change {
		f(p)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("APPROVAL_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	ctx := context.Background()
	var judge policy.Policy = judging{s.rules, func() *approval.Book { return p.book }}
	if s.judge != nil {
		judge = s.judge(p)
	}
	var err error
	p.node, err = node.New(node.Config{URL: s.chain.URL(), ChainID: 1337, Timeout: 10 * time.Second})
	must(s.T, err)
	p.keys, err = wallet.Open(ctx, wallet.Config{
		Name: "main", ChainID: big.NewInt(1337), Backend: newVault(2), Owner: owner, Log: p.db, Snapshots: p.db,
		Policy: judge, Logger: log,
	})
	must(s.T, err)
	_, err = p.keys.Refresh(ctx)
	must(s.T, err)
	p.mgr = txmgr.New(txmgr.Config{Store: p.db, Shared: shared, LeaseTTL: 2 * time.Second, Logger: log})
	p.w = p.mgr.Bind(txmgr.Binding{Name: "main", Keys: p.keys, Node: p.node, ChainID: 1337, Settings: txmgr.Settings{
		Poll: 10 * time.Millisecond, SendTimeout: 20 * time.Second, Confirmations: 1, Window: 64,
	}})
	p.book, err = approval.New(approval.Config{
		Store: p.db, MAC: mac, Deployment: "test", May: p.may, Now: p.now, Poll: 20 * time.Millisecond, Logger: log,
		Wallet: func(name string) approval.Wallet {
			switch {
			case name != "main":
				return nil
			case p.between != nil:
				return p.between(p.w)
			}
			return p.w
		},
	})
	must(s.T, err)
	p.mgr.Start()
	p.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		p.mgr.Stop(ctx)
		must(s.T, p.keys.Close())
		p.node.Close()
		must(s.T, p.db.Close())
	})
	s.Cleanup(p.stop)
	return p
}

// run has the book work until the returned function is called.
func (p *process) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.book.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	p.Cleanup(stop)
	return stop
}

// transfer is what a caller asks for: he leaves gas and fees to the signer.
func transfer(wei int64) tx.Args {
	to := common.HexToAddress("0x00000000000000000000000000000000000000aa")
	return tx.Args{From: signerAddress(0), To: &to, Value: big.NewInt(wei)}
}

// sendArgs asks as a caller does.
func (p *process) sendArgs(args tx.Args, idempotency string) (common.Hash, error) {
	return p.w.Send(context.Background(), app, txmgr.SendRequest{Args: args, IdempotencyKey: idempotency})
}

// asks sends and expects that it waits for people.
func (p *process) asks(args tx.Args, idempotency string) string {
	p.Helper()
	_, err := p.sendArgs(args, idempotency)
	pending := pendingOf(err)
	if pending == nil {
		p.Fatalf("got %v; want that it waits for people", err)
	}
	return pending.ID
}

func (p *process) approve(id string) {
	p.Helper()
	for _, who := range []auth.Principal{alice, bob} {
		_, err := p.book.Vote(p.Context(), approval.Ballot{Approval: id, Who: who, Verdict: approval.Approve})
		must(p.T, err)
	}
}

// until waits for a request to have a state.
func (p *process) until(id string, want store.ApprovalState) store.Approval {
	p.Helper()
	var a store.Approval
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		a, err = p.db.Approval(p.Context(), id)
		must(p.T, err)
		if a.State == want {
			return a
		}
	}
	p.Fatalf("the request is %s (%s), want %s", a.State, a.Result, want)
	return a
}

// mined waits until the account has n transactions on the chain, and makes sure
// that there come no more.
func (s *stage) mined(n int) {
	s.Helper()
	for end := time.Now().Add(time.Minute); len(s.chain.Mined(signerAddress(0))) < n && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if got := len(s.chain.Mined(signerAddress(0))) + len(s.chain.Pool(signerAddress(0))); got != n {
		s.Fatalf("%d transactions are on the chain, want %d", got, n)
	}
}

func (p *process) result(id string) string {
	p.Helper()
	a, err := p.db.Approval(p.Context(), id)
	must(p.T, err)
	return fmt.Sprintf("%s: %s", a.State, a.Result)
}
