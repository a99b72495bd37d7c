// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"fmt"
	"math/big"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// ships is the real fleet as the platform wants it.
type ships struct{ *fleet.Fleet }

func (s ships) Open(ctx context.Context, spec platform.ServiceSpec) error {
	return s.Fleet.Open(ctx, fleet.Spec{
		Wallet: spec.Wallet, ID: spec.Wallet.Name, Membership: spec.Membership, Environment: spec.Environment,
		Backend: fleet.Version(spec.Backend), Node: fleet.Version(spec.Node), Resets: spec.Resets, Draining: spec.Draining,
	})
}

func (s ships) Try(ctx context.Context, membership string, details config.Details, keys int) (key.Page, error) {
	return s.Fleet.Try(ctx, fleet.Opening{Details: details, Membership: membership}, keys)
}

func (s ships) Status(name string) (platform.RunStatus, bool) {
	is, ok := s.Fleet.Status(name)
	return platform.RunStatus{
		Accounts: is.Accounts, Usable: is.Usable, Ready: is.Ready, Listed: is.Listed, Verified: is.Verified,
		Backend: platform.Dependency(is.Backend), Node: platform.Dependency(is.Node),
	}, ok
}

// sails makes a platform over a real fleet with key files that are granted to the
// default membership. The key, of address, has its password beside it, so that
// every user_secret is right, and each opens another backend.
func sails(t *testing.T, automine bool) (r *rig, f *fleet.Fleet, chain *nodetest.Chain, address common.Address) {
	t.Helper()
	folder := t.TempDir()
	private, _ := nodetest.Key(0)
	path, address, err := keystore.Import(folder, crypto.FromECDSA(private), []byte("its own"), keystore.ScryptParams{N: 2, R: 8, P: 1})
	if err == nil {
		err = os.WriteFile(path+".password", []byte("its own"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	chain = nodetest.New(t, nodetest.Options{Automine: automine, DefaultBalance: nodetest.Ether(1000)})
	r = newRig(t)
	r.operator.Grants = []config.Grant{{Membership: platform.DefaultMembership, Keystore: folder}}
	manager := txmgr.New(txmgr.Config{Store: r.db})
	f = fleet.New(fleet.Config{
		Store: r.db, Manager: manager, Operator: platform.DefaultMembership, SendTimeout: 20 * time.Second,
		Open: func(_ context.Context, o fleet.Opening) (fleet.Backend, error) {
			k, err := keystore.Open(keystore.Config{Path: o.Details.Keystore.Path, Password: func() ([]byte, error) {
				password, err := o.Details.Keystore.Password.Reveal()
				return []byte(password), err
			}})
			return fleet.Backend{Backend: k}, err
		},
	})
	manager.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		manager.Stop(ctx)
		if err := f.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	r.p, _ = r.replica(func(c *platform.Config) { c.Runtime = ships{f} })
	r.start(r.p)
	return r, f, chain, address
}

func send(ctx context.Context, f *fleet.Fleet, service string, from common.Address) (common.Hash, error) {
	to, gas := common.HexToAddress("0x00000000000000000000000000000000000000aa"), uint64(21_000)
	w := f.Wallet(service)
	if w == nil {
		return common.Hash{}, fleet.ErrNotRunning
	}
	return w.Begin(ctx, auth.Principal{Name: "app:test"}, txmgr.SendRequest{Args: tx.Args{
		From: from, To: &to, Gas: &gas, Value: big.NewInt(1),
		MaxFeePerGas: big.NewInt(3_000_000_000), MaxPriorityFeePerGas: big.NewInt(1_000_000_000),
	}})(ctx)
}

// TestCredentialsRotateByPatchWithoutOneFailedRequest takes a service from its
// creation to its end over the real fleet, the real manager and a chain.
func TestCredentialsRotateByPatchWithoutOneFailedRequest(t *testing.T) {
	r, f, chain, address := sails(t, true)
	c := must[*platform.Configuration](r, platform.Configurations, home(), `{"type":"cloudhsm","name":"keys",`+member+`,"details":{"provider":"keystore","path":".","user_secret":"0"}}`)
	must[*platform.Node](r, platform.Nodes, home(), fmt.Sprintf(`{"name":"n",%s,"chain_id":1337,"urls":{"rpc":%q}}`, member, chain.URL()))
	s := r.serviceOf(c.ID)
	there := at(home(), s.ID)
	until(t, 20*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	until(t, 5*time.Second, "ready", func() bool {
		status, err := r.p.Status(t.Context(), root(), there)
		return err == nil && status.Ready && status.Accounts == 1
	})

	stop := make(chan struct{})
	sent := make(chan error, 1)
	var count atomic.Int32
	go func() {
		for {
			select {
			case <-stop:
				sent <- nil
				return
			default:
			}
			if _, err := send(t.Context(), f, s.ID, address); err != nil {
				sent <- fmt.Errorf("transaction %d: %w", count.Load(), err)
				return
			}
			count.Add(1)
		}
	}()
	for i := range 6 {
		before := count.Load()
		patched[*platform.Configuration](r, platform.Configurations, at(home(), c.ID), fmt.Sprintf(`{"details":{"user_secret":"%d"}}`, i+1))
		until(t, 20*time.Second, "started with the new credential", func() bool {
			select {
			case err := <-sent:
				t.Fatal(err)
			default:
			}
			state, _ := r.stateOf(s.ID)
			return state == platform.Started && count.Load() > before+2
		})
	}
	close(stop)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	t.Logf("%d transactions while the credentials changed six times", count.Load())

	all, err := r.p.Transactions(t.Context(), root(), there, platform.TransactionQuery{Address: address, Limit: 1000})
	if err != nil || len(all) != int(count.Load()) {
		t.Errorf("%d transactions are listed, of %d: %v", len(all), count.Load(), err)
	}
	a, err := r.p.Account(t.Context(), root(), there, address, platform.AccountQuery{Balance: true, Nonce: true})
	if err != nil || a.Nonce == nil || *a.Nonce != uint64(count.Load()) || a.Balance == "" {
		t.Error(text(a), err)
	}
	if _, err := r.p.RefreshAccounts(t.Context(), root(), there); err != nil {
		t.Error(err)
	}
	if _, err := r.p.Delete(t.Context(), root(), platform.Services, there); err != nil {
		t.Fatal(err)
	}
	until(t, 30*time.Second, "gone, when the last is deep enough", func() bool {
		chain.Mine()
		time.Sleep(100 * time.Millisecond) // a chain that outruns every look at it confirms nothing
		_, err := r.p.Get(t.Context(), root(), platform.Services, there)
		return err != nil
	})
	if f.Wallet(s.ID) != nil {
		t.Error("it still runs")
	}
}

func TestDeletedServiceTakesNothingNewAndFinishes(t *testing.T) {
	r, f, chain, address := sails(t, false)
	c := must[*platform.Configuration](r, platform.Configurations, home(), `{"type":"cloudhsm","name":"keys",`+member+`,"details":{"provider":"keystore","path":".","user_secret":"0"}}`)
	must[*platform.Node](r, platform.Nodes, home(), fmt.Sprintf(`{"name":"n",%s,"chain_id":1337,"urls":{"rpc":%q}}`, member, chain.URL()))
	s := r.serviceOf(c.ID)
	until(t, 20*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	if _, err := send(t.Context(), f, s.ID, address); err != nil {
		t.Fatal(err)
	}
	gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID))
	if err != nil || gone {
		t.Fatal(gone, err)
	}
	if _, err := send(t.Context(), f, s.ID, address); err == nil {
		t.Error("it takes another transaction")
	}
	until(t, 30*time.Second, "gone", func() bool {
		chain.Mine()
		time.Sleep(100 * time.Millisecond) // a chain that outruns every look at it confirms nothing
		_, err := r.p.Get(t.Context(), root(), platform.Services, at(home(), s.ID))
		return err != nil
	})
}
