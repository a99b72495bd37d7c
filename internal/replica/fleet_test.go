// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	gethkeys "github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// process is one daemon's transaction manager with its door for the others.
type process struct {
	manager  *txmgr.Manager
	wallet   *txmgr.Wallet
	registry *Registry
	server   *httptest.Server
	client   *Client

	mu    sync.Mutex
	asked map[string]int // questions of others, by path
}

// Requests that a replica takes for another one's account cross the wire, and
// when that breaks they go by the rows.
func TestRequestsCrossTheWireToTheHolder(t *testing.T) {
	ctx := context.Background()
	db, err := store.OpenSQLite(ctx, store.Config{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	keys := filepath.Join(t.TempDir(), "keys")
	account, err := gethkeys.StoreKey(keys, "password", 2, 1)
	must(t, err)
	chain := nodetest.New(t, nodetest.Options{Interval: 20 * time.Millisecond, DefaultBalance: nodetest.Ether(1000)})
	holder, other := start(t, db, keys, chain, "holder"), start(t, db, keys, chain, "other")
	live := 0
	holder.registry.look(ctx, &live)
	other.registry.look(ctx, &live)

	send := func(p *process, wei int64, key string) common.Hash {
		to, gas := common.Address{1}, uint64(21_000)
		hash, err := p.wallet.Send(ctx, auth.Principal{Name: "app:test"}, txmgr.SendRequest{IdempotencyKey: key, Args: tx.Args{
			From: account.Address, To: &to, Gas: &gas, Value: big.NewInt(wei),
			MaxFeePerGas: big.NewInt(3e9), MaxPriorityFeePerGas: big.NewInt(1e9),
		}})
		if err != nil {
			t.Error(err)
		}
		return hash
	}
	var mu sync.Mutex
	hashes := map[common.Hash]bool{send(holder, 1, ""): true}
	many := func(from, n int) {
		var sending sync.WaitGroup
		for i := range n {
			sending.Go(func() {
				key := ""
				if i%2 == 0 {
					key = store.NewID()
				}
				hash := send(other, int64(from+i), key)
				mu.Lock()
				hashes[hash] = true
				mu.Unlock()
			})
		}
		sending.Wait()
	}
	many(100, 30)
	holder.mu.Lock()
	if holder.asked["/replica/v1/submit"] == 0 || holder.asked["/replica/v1/await"] != 0 {
		t.Errorf("the holder was asked %v: requests did not come to it, or their outcome not back", holder.asked)
	}
	holder.mu.Unlock()
	rows, err := db.List(ctx, store.TxFilter{Limit: 100})
	must(t, err)
	sender := rows[0].Sender
	report, err := other.manager.Operate(ctx, sender, txmgr.Operation{Action: txmgr.Explain})
	must(t, err)
	if report.Sender != sender {
		t.Errorf("report %+v", report)
	}
	if owner, _, err := db.LeaseOf(ctx, sender); err != nil || owner != "holder" {
		t.Errorf("the lease is held by %s, %v", owner, err)
	}
	holder.server.Close() // nobody answers there any more; the holder itself goes on
	many(200, 10)
	for end := time.Now().Add(time.Minute); len(chain.Mined(account.Address)) < 41 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	mined := chain.Mined(account.Address)
	if len(mined) != 41 || len(hashes) != 41 {
		t.Fatalf("%d mined, %d hashes, want 41", len(mined), len(hashes))
	}
	for i, m := range mined {
		if m.Nonce() != uint64(i) || !hashes[m.Hash()] {
			t.Errorf("nonce %d at %d, hash %s", m.Nonce(), i, m.Hash())
		}
	}
}

func start(t *testing.T, db *store.DB, keys string, chain *nodetest.Chain, owner string) *process {
	t.Helper()
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	backend, err := keystore.Open(keystore.Config{Path: keys, Password: func() ([]byte, error) { return []byte("password"), nil }})
	must(t, err)
	client, err := node.New(node.Config{URL: chain.URL(), ChainID: 1337})
	must(t, err)
	w, err := wallet.Open(ctx, wallet.Config{
		Name: "main", ChainID: big.NewInt(1337), Backend: backend, Policy: policy.AllowAll{}, Log: db, Snapshots: db,
	})
	must(t, err)
	_, err = w.Refresh(ctx)
	must(t, err)
	p := &process{asked: map[string]int{}}
	var door http.Handler // it needs the manager, which needs the door's address
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		p.mu.Unlock()
		door.ServeHTTP(w, r)
	}))
	p.registry = New(Config{Store: db, Owner: owner, URL: p.server.URL, Logger: log})
	p.client = NewClient(p.registry)
	p.manager = txmgr.New(txmgr.Config{Store: db, Shared: true, Owner: owner, Peers: p.client, LeaseTTL: time.Minute})
	door = p.registry.Handler(p.manager)
	p.wallet = p.manager.Bind(txmgr.Binding{Name: "main", Keys: w, Node: client, ChainID: 1337, Settings: txmgr.Settings{Poll: 10 * time.Millisecond}})
	p.manager.Start()
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		p.manager.Stop(end)
		p.server.Close()
		p.client.Close()
		must(t, w.Close())
		client.Close()
	})
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
