// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// Five hundred payments at once over three replicas, of five accounts, at a limit
// that they share: what is mined never passes it by one wei, nothing of it is
// wasted, and the others are told which limit it was.
func TestParallelSendsOverThreeReplicasNeverPassALimit(t *testing.T) {
	const limit = 777
	r := newRig(t, built.Of(t), 5)
	rules := "policy: {version: hsmsigner-policy-v1, limits: [{name: burst, asset: native, per: wallet, max: 777 wei, window: 1h}]}\n"
	r.replicas(r.node.URL, rules, rules, rules)
	clients := make([]*rpc.Client, len(r.daemons))
	for i, d := range r.daemons {
		clients[i] = r.dial(d)
	}
	type outcome struct {
		hash common.Hash
		wei  int64
		err  error
	}
	outcomes := make([]outcome, 500)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range outcomes {
		o := &outcomes[i]
		o.wei = 1 + rand.Int64N(9)
		all.Go(func() {
			<-begin
			o.hash, o.err = r.pay(clients[i%3], r.keys.Addresses[rand.IntN(5)], harness.Fresh(), o.wei)
		})
	}
	close(begin)
	all.Wait()

	accepted, promised, least := 0, int64(0), int64(limit)
	for _, o := range outcomes {
		switch {
		case o.err == nil:
			accepted++
			promised += o.wei
		case !strings.Contains(denied(o.err), "declared/burst"):
			t.Fatalf("%d wei: want error -32003 that names the limit, got %v", o.wei, o.err)
		default:
			least = min(least, o.wei)
		}
	}
	on := r.settle(accepted, patience)
	total := r.sum(on)
	t.Logf("%d of %d accepted, %d wei promised, %s mined", accepted, len(outcomes), promised, total)
	if len(on) != accepted || total.Cmp(big.NewInt(promised)) != 0 || promised > limit {
		t.Errorf("%d transactions of %s wei are mined, %d of %d wei were answered, the limit is %d", len(on), total, accepted, promised, limit)
	}
	if promised+least <= limit {
		t.Errorf("%d wei were refused although %d were left", least, limit-promised)
	}
	for i, c := range clients {
		_, err := r.pay(c, r.keys.Addresses[i], harness.Fresh(), limit-promised+1)
		r.deniedBy(err, "declared/burst")
	}
	if records := r.audited(); len(records) < accepted*2 {
		t.Errorf("%d records of %d transactions", len(records), accepted)
	}
}

// What eth_signTransaction returns may be sent at any time, so it counts for good:
// asking again and again, for the same nonce too, sending some of it, and killing
// the daemon gives nothing back.
func TestSigningInALoopRegainsNoAllowance(t *testing.T) {
	r := newRig(t, built.Of(t), 1)
	d := r.start("policy: {version: hsmsigner-policy-v1, limits: [{name: ever, asset: native, per: account, max: 10 wei, window: total}]}\n")
	c, from := r.dial(d), r.keys.Addresses[0]
	type signature struct {
		Raw hexutil.Bytes `json:"raw"`
	}
	var signed []signature
	sign := func(nonce uint64) error {
		var s signature
		args := payment(from, harness.Fresh(), 1)
		args["nonce"] = hexutil.Uint64(nonce)
		err := c.CallContext(t.Context(), &s, "eth_signTransaction", args)
		if err == nil {
			signed = append(signed, s)
		}
		return err
	}
	for i := range 30 {
		switch err := sign(uint64(i / 3)); {
		case i == 4:
			d.Restart()
			c = r.dial(d)
		case i == 6:
			// One of three for nonce 0 is mined: the other two never will be.
			var hash common.Hash
			must(t, c.CallContext(t.Context(), &hash, "eth_sendRawTransaction", signed[0].Raw))
			harness.WaitNonce(t, r.node, from, 1, patience)
		case i >= 10:
			r.deniedBy(err, "declared/ever")
		}
	}
	if len(signed) != 10 {
		t.Errorf("%d transactions of 1 wei are signed, the limit is 10 wei", len(signed))
	}
	_, err := r.pay(c, from, harness.Fresh(), 1)
	r.deniedBy(err, "declared/ever")
	_, err = r.pay(c, from, harness.Fresh(), 0)
	if err != nil {
		t.Errorf("a transaction of nothing is within every limit: %v", err)
	}
	asked := 0
	for _, one := range r.audited() {
		if one.Kind == "outcome" && one.Digest != "" {
			asked++
		}
	}
	if asked != 11 {
		t.Errorf("%d signatures are on record, want 11", asked)
	}
}
