// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// held makes the clock of a book stand later.
func (b *Book) later(d time.Duration) { b.now = func() time.Time { return time.Now().Add(d) } }

func isConflict(err error) bool {
	_, ok := as[*ConflictError](err)
	return ok
}

func TestDeploymentGetsItsNameWhenItIsMined(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{})
		a := r.upload()
		s, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
		if err != nil || s.Pending || s.Hash == (common.Hash{}) || s.ID != "d1" {
			t.Fatalf("%+v, %v", s, err)
		}
		c, err := r.find("box")
		if err != nil || c.Address != nil || c.Settled || c.Reply != "d1" || c.ID != s.Contract || c.ABI != a.ID {
			t.Errorf("before it is mined: %+v, %v", c, err)
		}
		if reply := r.reply("d1"); reply.State != StatePending || reply.Origin.Contract != c.ID || reply.Origin.Kind != OriginDeploy || reply.Origin.Name != "box" {
			t.Errorf("%+v", reply)
		}
		if !isConflict(r.book.Forget(t.Context(), caller, here, big.NewInt(1337), "box")) {
			t.Error("forgotten while it is deployed")
		}
		r.mine(1)
		want := crypto.CreateAddress(addr(0), 0)
		r.waitFor("it is mined", func() bool { c, _ := r.find("box"); return c.Address != nil && *c.Address == want })
		if c, err = r.find(want.Hex()); err != nil || c.Name != "box" || c.Settled {
			t.Errorf("by its address: %+v, %v", c, err)
		}
		if reply := r.reply("d1"); reply.State != StateSucceeded || *reply.Contract != want || reply.Receipt == nil || reply.Receipt.Hash != s.Hash {
			t.Errorf("%+v", reply)
		}
		r.must(r.book.Settle(t.Context()))
		if c, _ = r.find("box"); c.Settled {
			t.Error("settled before it is final")
		}
		r.mine(4)
		r.waitFor("it is settled", func() bool {
			r.must(r.book.Settle(t.Context()))
			c, _ = r.find("box")
			return c.Settled
		})
		if *c.Address != want || noteOf(second2(r.db.Contract(t.Context(), c.ID))).Attempts != nil {
			t.Errorf("%+v", c)
		}
		r.wantEvents("contract-deploy", "abi-upload")
		if again, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box")); err != nil || again.Hash != s.Hash {
			t.Errorf("again: %+v, %v", again, err)
		}
		r.must(r.book.Forget(t.Context(), caller, here, big.NewInt(1337), "box"))
		if again, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box")); err != nil || again.Hash != s.Hash {
			t.Errorf("again, forgotten: %+v, %v", again, err)
		}
		if _, err := r.find("box"); !isMissing(err) {
			t.Errorf("forgotten, and there again: %v", err)
		}
		if r.mined(0) != 1 || len(r.chain.Pool(addr(0))) != 0 {
			t.Error("more than one was sent")
		}
	})
}

func second2[T any](v T, _ error) T { return v }

func TestOfManyDeploymentsOneHasTheName(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 2, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		const n = 12
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				p := r.all[i%2]
				_, errs[i] = p.desk.Deploy(t.Context(), p.target(), r.deployment(a, fmt.Sprint("d", i), "box"))
			})
		}
		wg.Wait()
		won := 0
		for i, err := range errs {
			if err == nil {
				won++
			} else if !isConflict(err) {
				t.Errorf("%d: %v", i, err)
			}
		}
		r.waitFor("it is mined", func() bool { return r.mined(0) == 1 })
		if won != 1 {
			t.Errorf("%d deployments have the name", won)
		}
	})
}

func TestOneIDIsOneDeploymentAtAllProcesses(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 2, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		const n = 12
		var wg sync.WaitGroup
		hashes := make([]common.Hash, n)
		for i := range n {
			wg.Go(func() {
				p := r.all[i%2]
				for { // as a client that is told to come again
					s, err := p.desk.Deploy(t.Context(), p.target(), r.deployment(a, "d1", "box"))
					if err == nil && !s.Pending {
						hashes[i] = s.Hash
						return
					}
					if _, busy := as[*txmgr.BusyError](err); err != nil && !busy {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		for _, h := range hashes {
			if h != hashes[0] || h == (common.Hash{}) {
				t.Errorf("two answers: %v", hashes)
				break
			}
		}
		r.waitFor("it has its name", func() bool { c, _ := r.find("box"); return c.Address != nil })
		if r.mined(0) != 1 {
			t.Errorf("%d were mined", r.mined(0))
		}
	})
}

func TestIDIsForOneDeploymentOnly(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{Automine: true})
	a := r.upload()
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
	r.must(err)
	for what, change := range map[string]func(*Deployment){
		"name":     func(d *Deployment) { d.Name = "other" },
		"no name":  func(d *Deployment) { d.Name = "" },
		"argument": func(d *Deployment) { d.Args = args("8") },
		"sender":   func(d *Deployment) { d.Terms = by(1) },
		"kind":     func(d *Deployment) { d.Kind = KindERC20 },
	} {
		d := r.deployment(a, "d1", "box")
		change(&d)
		if _, err := r.desk.Deploy(t.Context(), r.target(), d); !errors.Is(err, ErrIDUsed) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	if _, err := r.find("other"); !isMissing(err) {
		t.Errorf("a name was kept for what was refused: %v", err)
	}
	if r.mined(0)+r.mined(1) != 1 {
		t.Error("more than one was sent")
	}
}

func TestRefusedDeploymentGivesItsNameBack(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		var refusal error = &txmgr.RevertError{Reason: "no", Data: nil}
		r.w.refuse.Store(&refusal)
		if _, ok := as[*RevertedError](second(r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box")))); !ok {
			t.Error("not refused")
		}
		r.w.refuse.Store(nil)
		if _, err := r.find("box"); !isMissing(err) {
			t.Errorf("the name is kept: %v", err)
		}
		// The id may be used again, for something else too.
		d := r.deployment(a, "d1", "box")
		d.Args = args("8")
		if _, err := r.desk.Deploy(t.Context(), r.target(), d); err != nil {
			t.Error(err)
		}
		d = r.deployment(a, "d2", "other")
		d.From = ptr(addr(5))
		if _, ok := as[*AccountError](second(r.desk.Deploy(t.Context(), r.target(), d))); !ok {
			t.Error("sent by a stranger")
		}
		if begun := r.w.begun.Load(); begun != 2 {
			t.Errorf("%d begun", begun)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func TestDeploymentsAreCheckedFirst(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	for field, change := range map[string]func(*Deployment){
		"kind":     func(d *Deployment) { d.Kind = "erc1155" },
		"name":     func(d *Deployment) { d.Name = "a b" },
		"bytecode": func(d *Deployment) { d.ABI.Bytecode = nil },
		"from":     func(d *Deployment) { d.From = nil },
		"id":       func(d *Deployment) { d.ID = "a/b" },
		"detail":   func(d *Deployment) { d.Detail = []byte("{") },
	} {
		d := r.deployment(a, "d1", "box")
		change(&d)
		if _, err := r.desk.Deploy(t.Context(), r.target(), d); !isInput(err, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	d := r.deployment(a, "d1", "box")
	d.Args = args("x")
	if _, err := r.desk.Deploy(t.Context(), r.target(), d); err == nil {
		t.Error("deployed with a bad argument")
	}
	d = r.deployment(a, "d1", "box")
	d.ABI.ID = strings.Repeat("a", 32)
	if _, err := r.desk.Deploy(t.Context(), r.target(), d); !isMissing(err) {
		t.Errorf("deployed by an interface that is gone: %v", err)
	}
	r.book.cfg.MaxContracts = 1
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", ""))
	r.must(err)
	if _, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", "")); !isConflict(err) {
		t.Errorf("more contracts than there may be: %v", err)
	}
	if n := r.w.begun.Load(); n != 1 {
		t.Errorf("%d were begun", n)
	}
}

// begins is what a process does up to Begin, and would hand it.
func (r *rig) begins(p *process, d Deployment) (reservation, txmgr.SendRequest, error) {
	r.t.Helper()
	terms, err := d.args(nil, true, "")
	r.must(err)
	terms.Data = append(append([]byte{}, d.ABI.Bytecode...), make([]byte, 32)...)
	terms.Data[len(terms.Data)-1] = 7
	d.Kind = KindContract
	hash := deploymentHash(terms.RequestHash(), d)
	res, err := p.book.reserve(r.t.Context(), p.target(), d, d.ID, hash)
	return res, txmgr.SendRequest{Args: terms, IdempotencyKey: store.GatewayKey + d.ID, RequestHash: &hash}, err
}

// A process that dies between the row and the transaction takes no name with it.
func TestDeathBeforeTheTransactionLosesNoName(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 2, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		_, _, err := r.begins(r.all[0], r.deployment(a, "d1", "box")) // and dies
		r.must(err)
		next := r.all[1]
		if _, err := next.desk.Deploy(t.Context(), next.target(), r.deployment(a, "d2", "box")); !isConflict(err) {
			t.Errorf("another has the name: %v", err)
		}
		s, err := next.desk.Deploy(t.Context(), next.target(), r.deployment(a, "d1", "box"))
		r.must(err)
		r.waitFor("it has its name", func() bool { c, _ := r.find("box"); return c.Address != nil && c.Reply == "d1" })
		if r.mined(0) != 1 || r.chain.Mined(addr(0))[0].Hash() != s.Hash {
			t.Error("another was sent")
		}
	})
}

// A process that slept, and whose name was given to another meanwhile, sends
// nothing when it wakes.
func TestAttemptThatWakesLateSendsNothing(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 2, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		sleeper, other := r.all[0], r.all[1]
		_, request, err := r.begins(sleeper, r.deployment(a, "d1", "box"))
		r.must(err)
		other.book.later(attemptGrace + time.Second)
		_, err = other.desk.Deploy(t.Context(), other.target(), r.deployment(a, "d2", "box"))
		r.must(err)
		_, err = sleeper.w.Begin(t.Context(), caller, request)(t.Context())
		if refused, ok := as[*txmgr.RefusedError](err); !ok || !strings.Contains(refused.Msg, "given up") {
			t.Errorf("the sleeper was told %v", err)
		}
		if _, err := sleeper.desk.Deploy(t.Context(), sleeper.target(), r.deployment(a, "d1", "box")); err == nil {
			t.Error("an id that was given up was sent")
		}
		r.waitFor("the other is mined", func() bool { c, _ := r.find("box"); return c.Address != nil })
		if c, _ := r.find("box"); c.Reply != "d2" || r.mined(0) != 1 {
			t.Errorf("%+v, %d mined", c, r.mined(0))
		}
		if reply := r.reply("d1"); reply.State != StateFailed || !reply.Final {
			t.Errorf("%+v", reply)
		}
	})
}

// And the other way: what was accepted keeps its name, however old the attempt.
func TestNameOfWhatWasAcceptedIsNotGivenAway(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{})
		a := r.upload()
		_, request, err := r.begins(r.process, r.deployment(a, "d1", "box"))
		r.must(err)
		_, err = r.w.Begin(t.Context(), caller, request)(t.Context()) // and dies
		r.must(err)
		r.book.later(100 * abandoned)
		if _, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", "box")); !isConflict(err) {
			t.Errorf("another has the name: %v", err)
		}
		r.must(r.book.Settle(t.Context()))
		r.mine(1)
		r.waitFor("it has its name", func() bool { c, _ := r.find("box"); return c.Address != nil })
	})
}

// Of two attempts under one id the refusal of one takes no name from the other.
func TestRefusalOfOneAttemptKeepsTheNameOfTheOther(t *testing.T) {
	r := newRig(t, 2, false, nodetest.Options{Automine: true})
	a := r.upload()
	d := r.deployment(a, "d1", "box")
	_, request, err := r.begins(r.all[0], d)
	r.must(err)
	second, _, err := r.begins(r.all[1], d)
	r.must(err)
	r.must(r.all[1].book.refused(t.Context(), second, errors.New("busy")))
	if _, err := r.find("box"); err != nil {
		t.Errorf("the name was given back under the other attempt: %v", err)
	}
	_, err = r.all[0].w.Begin(t.Context(), caller, request)(t.Context())
	r.must(err)
	r.waitFor("it has its name", func() bool { c, _ := r.find("box"); return c.Address != nil })
	// The other way round: the later one is accepted.
	e := r.deployment(a, "d2", "second")
	first, _, err := r.begins(r.all[0], e)
	r.must(err)
	_, request, err = r.begins(r.all[1], e)
	r.must(err)
	r.must(r.all[0].book.refused(t.Context(), first, errors.New("busy")))
	_, err = r.all[1].w.Begin(t.Context(), caller, request)(t.Context())
	r.must(err)
	r.waitFor("the later has its name", func() bool { c, _ := r.find("second"); return c.Address != nil })
	other := d
	other.Name = "other"
	if _, _, err := r.begins(r.all[1], r.deployment(a, "d3", "third")); err != nil {
		t.Error(err)
	}
	other.ID = "d3"
	if _, _, err := r.begins(r.all[1], other); !errors.Is(err, ErrIDUsed) {
		t.Errorf("another request under an id whose outcome is open: %v", err)
	}
}

func TestAbandonedDeploymentsAreRemoved(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	_, _, err := r.begins(r.process, r.deployment(a, "d1", "box"))
	r.must(err)
	r.book.later(abandoned - time.Minute)
	r.must(r.book.Settle(t.Context()))
	if _, err := r.find("box"); err != nil {
		t.Errorf("removed early: %v", err)
	}
	r.book.later(abandoned + time.Minute)
	r.must(r.book.Settle(t.Context()))
	if _, err := r.find("box"); !isMissing(err) {
		t.Errorf("not removed: %v", err)
	}
}

// A deployment that people are asked about keeps its name until they have decided.
func TestNameWaitsForPeople(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		approval := store.Approval{
			ID: store.NewID(), Wallet: "main", Principal: caller.Name, State: store.ApprovalPending, RequestHash: [32]byte{1},
			Created: time.Now(), Expires: time.Now().Add(time.Hour), MAC: []byte{1},
		}
		r.must(r.db.Write(t.Context(), func(w *store.Writer) error { _, err := w.InsertApproval(approval); return err }))
		var refusal error = &policy.PendingError{ID: approval.ID, Expires: approval.Expires}
		r.w.refuse.Store(&refusal)
		d := r.deployment(a, "d1", "box")
		for range 2 {
			if _, ok := as[*policy.PendingError](second(r.desk.Deploy(t.Context(), r.target(), d))); !ok {
				t.Fatal("people were not asked")
			}
		}
		r.w.refuse.Store(nil)
		r.book.later(attemptGrace + time.Minute)
		if _, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", "box")); !isConflict(err) {
			t.Errorf("another has the name: %v", err)
		}
		// The same request, refused for another reason, keeps it too.
		var busy error = &txmgr.BusyError{Reason: "x"}
		r.w.refuse.Store(&busy)
		if _, err := r.desk.Deploy(t.Context(), r.target(), d); err == nil {
			t.Error("not refused")
		}
		r.w.refuse.Store(nil)
		if _, err := r.find("box"); err != nil {
			t.Error(err)
		}
		rejected := approval
		rejected.State = store.ApprovalRejected
		r.must(r.db.Write(t.Context(), func(w *store.Writer) error {
			ok, err := w.SetApproval(rejected, store.ApprovalPending, approval.MAC)
			if !ok {
				t.Error("not rejected")
			}
			return err
		}))
		if _, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", "box")); err != nil {
			t.Errorf("rejected, and the name is kept: %v", err)
		}
		if s, err := r.desk.Deploy(t.Context(), r.target(), d); err == nil {
			t.Errorf("the id was given up: %+v", s)
		}
		r.waitFor("it is mined", func() bool { return r.mined(0) == 1 })
	})
}

// After a reorganisation in which the deployment was lost, its name is free, and
// nobody is told of a contract that is not there.
func TestReorganisationTakesTheContractAway(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{})
		a := r.upload()
		_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
		r.must(err)
		r.mine(1)
		r.waitFor("it is mined", func() bool { c, _ := r.find("box"); return c.Address != nil })
		r.must(r.chain.Reorg(1, true))
		if reply := r.reply("d1"); reply.State != StatePending || reply.Contract != nil || reply.Receipt != nil {
			t.Errorf("%+v", reply) // the row may not know yet
		}
		r.waitFor("the contract has no address", func() bool { c, err := r.find("box"); return err == nil && c.Address == nil })
		k, _ := nodetest.Key(0)
		foreign, err := types.SignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.LegacyTx{GasPrice: big.NewInt(5e9), Gas: 21000, To: ptr(addr(9))})
		r.must(err)
		r.must(r.chain.External(foreign))
		r.mine(4)
		r.waitFor("it is displaced", func() bool { return r.reply("d1").State == StateReplaced })
		if _, err := r.find("box"); !isMissing(err) {
			t.Errorf("it is found: %v", err)
		}
		if list, err := r.book.Contracts(t.Context(), here, big.NewInt(1337), "", "", 0); err != nil || len(list) != 0 {
			t.Errorf("it is listed: %+v, %v", list, err)
		}
		_, err = r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", "box"))
		r.must(err)
		r.mine(1)
		r.waitFor("the next has the name", func() bool { c, _ := r.find("box"); return c.Address != nil })
	})
}

func TestDeploymentThatRevertsGivesItsNameBack(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	r.chain.OnMine(func(*types.Transaction) bool { return true })
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
	r.must(err)
	r.mine(1)
	r.waitFor("it is mined", func() bool { return r.reply("d1").State == StateReverted })
	if c, err := r.find("box"); err != nil || c.Address != nil {
		t.Errorf("before it is final: %+v, %v", c, err)
	}
	r.mine(4)
	r.waitFor("it is final", func() bool { return r.reply("d1").Final })
	r.must(r.book.Settle(t.Context()))
	if _, err := r.find("box"); !isMissing(err) {
		t.Errorf("%v", err)
	}
	if reply := r.reply("d1"); reply.Contract != nil || reply.Receipt == nil {
		t.Errorf("%+v", reply)
	}
}

// What was pruned before anybody settled it is asked of the node.
func TestPrunedDeploymentIsSettledByTheNode(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{Automine: true})
	a := r.upload()
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
	r.must(err)
	_, err = r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d2", ""))
	r.must(err)
	r.waitFor("it is mined", func() bool { return r.mined(0) == 2 })
	r.mine(4)
	r.waitFor("it is final", func() bool { return r.reply("d2").Final })
	_, err = r.db.Prune(t.Context(), time.Now().Add(time.Hour), time.Now().Add(-time.Hour))
	r.must(err)
	r.must(r.book.Settle(t.Context()))
	if c, err := r.find("box"); err != nil || c.Settled {
		t.Errorf("without a node: %+v, %v", c, err)
	}
	if reply := r.reply("d1"); reply.State != StateSucceeded || reply.Receipt == nil || reply.From != addr(0) || *reply.Contract != crypto.CreateAddress(addr(0), 0) {
		t.Errorf("%+v", reply)
	}
	r.book.cfg.Node = func(string) Wallet { return r.w }
	r.must(r.book.Settle(t.Context()))
	if c, err := r.find("box"); err != nil || !c.Settled || *c.Address != crypto.CreateAddress(addr(0), 0) {
		t.Errorf("%+v, %v", c, err)
	}
}

// A contract that is being deployed is not registered beside its row.
func TestWhatIsBeingDeployedIsNotRegistered(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "d1", "box"))
	r.must(err)
	at := crypto.CreateAddress(addr(0), 0)
	r.chain.SetCode(at, []byte{1}) // mined, and not noticed yet
	register := func(name string) (Contract, bool, error) {
		return r.desk.Register(t.Context(), r.target(), Registration{ABI: a.ID, Address: at, Name: name})
	}
	if c, created, err := register("box"); err != nil || created || c.Reply != "d1" {
		t.Errorf("%+v, %t, %v", c, created, err)
	}
	if err := third(register("other")); !isConflict(err) {
		t.Errorf("another name: %v", err)
	}
}

func TestRunSettlesUntilItIsEnded(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{Automine: true})
	a := r.upload()
	r.book.cfg.Settle = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.book.Run(ctx); close(done) }()
	_, err := r.desk.Deploy(t.Context(), r.target(), r.deployment(a, "", "box"))
	r.must(err)
	r.waitFor("it is mined", func() bool { return r.mined(0) == 1 })
	r.mine(4)
	r.waitFor("it is settled", func() bool { c, _ := r.find("box"); return c.Settled })
	cancel()
	<-done
}

func TestDeploymentIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, parts := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"", "ab", "c"}, {"a", "b", "d"}} {
		id := deploymentID(parts[0], parts[1], parts[2])
		if seen[id] || !isRowID(id) {
			t.Errorf("%v: %s", parts, id)
		}
		seen[id] = true
	}
	if _, err := hex.DecodeString(deploymentID("a", "b", "c")); err != nil {
		t.Error(err)
	}
}
