// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/webhook"
)

// feesOpen is a transfer whose fees are left to us.
func feesOpen(from int, wei int64) tx.Args {
	args := transfer(from, wei)
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = nil, nil
	return args
}

func caring() Settings {
	set := fast()
	set.BumpAfter = 50 * time.Millisecond
	set.FeeCeiling = 10
	return set
}

// No. 17: what blocks pass over is signed again with higher fees, both hashes
// are watched, and the one that is mined is the transaction.
func TestStuckTransactionGetsHigherFees(t *testing.T) {
	r := newRig(t, nodetest.Options{}, caring())
	hash, err := r.send(feesOpen(0, 7))
	r.must(err)
	id := r.txID(hash)
	base := new(big.Int).Mul(r.fees(id), big.NewInt(2))
	r.chain.SetBaseFee(base) // too dear for it now
	r.waitFor("mined", func() bool { r.mineSlowly(1); return r.values(0)[7] == 1 })
	r.mineSlowly(3)
	r.waitFor("confirmed", func() bool { return r.row(id).State == store.Confirmed })
	row := r.row(id)
	if row.Hash == hash {
		t.Error("the first encoding was mined")
	}
	attempts, err := r.db.Attempts(context.Background(), id)
	r.must(err)
	if len(attempts) < 2 || attempts[1].Kind != store.BumpAttempt {
		t.Errorf("attempts %+v", attempts)
	}
	for _, a := range attempts {
		if want := map[bool]store.AttemptOutcome{true: store.Won, false: store.Lost}[a.Hash == row.Hash]; a.Outcome != want {
			t.Errorf("attempt %s is %s, want %s", a.Kind, a.Outcome, want)
		}
	}
	r.empty(0)
}

// Security scenario 8: fees never rise above the ceiling that was fixed at
// acceptance, and never where the caller gave them.
func TestFeesNeverRiseAboveTheCeiling(t *testing.T) {
	set := caring()
	set.FeeCeiling = 2
	r := newRig(t, nodetest.Options{}, set)
	given, err := r.send(transfer(0, 1))
	r.must(err)
	left, err := r.send(feesOpen(1, 2))
	r.must(err)
	ceiling := r.row(r.txID(left)).FeeCeiling
	r.chain.SetBaseFee(new(big.Int).Mul(r.fees(r.txID(left)), big.NewInt(50)))
	r.mineSlowly(25)
	for _, raw := range r.chain.Pool(addr(0)) {
		if raw.Hash() != given {
			t.Error("fees that the caller gave were raised")
		}
	}
	attempts, err := r.db.Attempts(context.Background(), r.txID(left))
	r.must(err)
	for _, a := range attempts[1:] {
		unsigned, err := tx.DecodeUnsigned(a.Payload)
		r.must(err)
		if unsigned.GasFeeCap().Cmp(ceiling) > 0 {
			t.Errorf("fee %s above the ceiling %s", unsigned.GasFeeCap(), ceiling)
		}
	}
	if n := len(r.chain.Mined(addr(0))) + len(r.chain.Mined(addr(1))); n != 0 {
		t.Errorf("%d mined", n)
	}
}

// Where no blocks come a higher fee helps nobody.
func TestNothingIsRaisedWhileNoBlocksCome(t *testing.T) {
	r := newRig(t, nodetest.Options{}, caring())
	hash, err := r.send(feesOpen(0, 1))
	r.must(err)
	time.Sleep(400 * time.Millisecond)
	attempts, err := r.db.Attempts(context.Background(), r.txID(hash))
	r.must(err)
	if len(attempts) != 1 {
		t.Errorf("%d attempts", len(attempts))
	}
}

// An operator's speed-up obeys the same ceiling, and says what may be paid.
func TestSpeedUpByAnOperator(t *testing.T) {
	set := fast()
	set.FeeCeiling = 3
	r := newRig(t, nodetest.Options{}, set)
	hash, err := r.send(feesOpen(0, 1))
	r.must(err)
	id := r.txID(hash)
	op := Operation{Action: SpeedUp, Tx: id, Fee: new(big.Int).Mul(r.fees(id), big.NewInt(100))}
	if _, err := r.mgr.Operate(context.Background(), "", op); err == nil || !strings.Contains(err.Error(), "more than may be paid") {
		t.Errorf("above the ceiling: %v", err)
	}
	op.Fee = new(big.Int).Mul(r.fees(id), big.NewInt(2))
	_, err = r.mgr.Operate(context.Background(), "", op)
	r.must(err)
	r.waitFor("replaced in the pool", func() bool {
		pool := r.chain.Pool(addr(0))
		return len(pool) == 1 && pool[0].Hash() != hash && pool[0].GasFeeCap().Cmp(op.Fee) == 0
	})
	r.mineSlowly(4)
	r.waitFor("confirmed", func() bool { return r.row(id).State == store.Confirmed })
	if _, err := r.mgr.Operate(context.Background(), "", op); err == nil || !strings.Contains(err.Error(), "nothing to do") {
		t.Errorf("final: %v", err)
	}
	r.checkChain(0, 1, nil)
}

// No. 5: what a raised fee may cost stays reserved over a restart.
func TestRaisedFeeIsReservedAfterARestart(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(feesOpen(0, 1))
	r.must(err)
	reserved := func() *big.Int {
		s := r.mgr.loaded(r.senderID(0), "default")
		if s == nil {
			return nil
		}
		n, err := ask(context.Background(), s, func() *big.Int { return new(big.Int).Set(s.reserved) })
		r.must(err)
		return n
	}
	before := reserved()
	_, err = r.mgr.Operate(context.Background(), "", Operation{Action: SpeedUp, Tx: r.txID(hash), Fee: new(big.Int).Mul(r.fees(r.txID(hash)), big.NewInt(2))})
	r.must(err)
	r.waitFor("replaced in the pool", func() bool { pool := r.chain.Pool(addr(0)); return len(pool) == 1 && pool[0].Hash() != hash })
	raised := reserved()
	if raised.Cmp(before) <= 0 {
		t.Fatalf("%s wei reserved before, %s after the fee was raised", before, raised)
	}
	r.restart()
	r.waitFor("reserved again", func() bool { n := reserved(); return n != nil && n.Cmp(raised) == 0 })
}

// row reads a transaction.
func (r *rig) row(id string) store.Tx {
	r.t.Helper()
	row, err := r.db.Tx(context.Background(), id)
	r.must(err)
	return row
}

// fees is what a transaction was accepted with, wei per gas.
func (r *rig) fees(id string) *big.Int {
	r.t.Helper()
	unsigned, err := tx.DecodeUnsigned(r.row(id).Payload)
	r.must(err)
	return unsigned.GasFeeCap()
}

// Every state change of a transaction is told once, in the commit that makes it,
// and the delivery is woken: its own poll would come too late.
func TestStateChangesReachTheReceiver(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	var mu sync.Mutex
	told := map[string]string{} // type by id, which rises
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var event struct{ ID, Type string }
		if err := json.NewDecoder(request.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		mu.Lock()
		told[event.ID] = event.Type
		mu.Unlock()
	}))
	defer receiver.Close()
	hooks, err := webhook.New(webhook.Config{
		Store: r.db, Poll: time.Hour, Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		Hooks: []webhook.Hook{{Wallet: "main", Name: "shop", URL: receiver.URL, Secrets: func() ([]string, error) { return []string{"secret"}, nil }}},
	})
	r.must(err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { hooks.Run(ctx) })
	defer running.Wait()
	defer stop()
	r.mgr.hooks = hooks

	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.mineSlowly(4)
	r.waitFor("confirmed", func() bool { return r.state(hash) == store.Confirmed })
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "intrinsic gas too low: have 1, want 2"}, nodetest.Forever)
	if _, err := r.send(transfer(0, 2)); err == nil {
		t.Error("an impossible transaction was sent")
	}
	want := "accepted sent mined confirmed accepted failed"
	r.waitFor("all delivered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == len(strings.Fields(want))
	})
	var types []string
	for _, id := range slices.Sorted(maps.Keys(told)) {
		types = append(types, told[id])
	}
	if got := strings.Join(types, " "); got != want {
		t.Errorf("told: %s", got)
	}
}

// Nos. 22 and 23: a node that takes over gets everything unmined, in order,
// before anything new.
func TestNodeThatTakesOverGetsEverythingUnminedFirst(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	second := r.chain.AddEndpoint(t)
	r.stop()
	r.endpoints = []node.Endpoint{{URL: r.chain.URL()}, {URL: second.URL()}}
	r.start()
	var hashes []common.Hash
	for i := range 5 {
		h, err := r.send(transfer(0, int64(i)))
		r.must(err)
		hashes = append(hashes, h)
	}
	r.chain.RefuseConn(true)
	r.chain.CutConnections()
	r.waitFor("another node is asked", func() bool { return r.node.Generation() > 1 })
	r.waitFor("it got everything", func() bool { return len(second.Sent()) >= 5 })
	h, err := r.send(transfer(0, 9))
	r.must(err)
	hashes = append(hashes, h)
	var order []common.Hash
	for _, raw := range second.Sent() {
		order = append(order, crypto.Keccak256Hash(raw))
	}
	last := -1
	for _, h := range hashes {
		at := slices.Index(order, h)
		if at <= last {
			t.Fatalf("order of sending: %v, want %v", order, hashes)
		}
		last = at
	}
}
