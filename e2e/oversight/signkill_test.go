// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// faulty is a deployment of one daemon that can be killed where a test says.
func faulty(t *testing.T, policy string) (r *rig, d *harness.Daemon, killed func(point string, ask func() error)) {
	t.Helper()
	bin, err := harness.BuildFaulty(t.TempDir())
	must(t, err)
	rules := filepath.Join(t.TempDir(), "faults")
	t.Setenv(faultpoint.EnvFile, rules)
	r = newRig(t, bin, 1)
	d = r.start(policy)
	return r, d, func(point string, ask func() error) {
		t.Helper()
		must(t, os.WriteFile(rules, []byte(point+":kill"), 0o600))
		time.Sleep(50 * time.Millisecond) // it is read again within 20 ms
		if ask() == nil {
			t.Errorf("%s: the daemon was not killed", point)
		}
		must(t, os.Remove(rules))
		d.Restart()
	}
}

// A daemon that counts alone keeps what it reserves in memory until the commit of what
// it is for, once it knows the limit, which it does after its first transaction. Killed
// then, it loses what nothing can be sent by, and nothing else: what is left of a limit
// for ever is what is not mined, to the wei and at once.
func TestAKillForgetsNoReservationInMemoryButWhatNothingCanSpend(t *testing.T) {
	r, d, killed := faulty(t, "policy: {version: hsmsigner-policy-v1, limits: [{name: ever, asset: native, per: account, max: 1000 wei, window: total}]}\n")
	c, from := r.dial(d), r.keys.Addresses[0]
	stored, sent := 0, 0
	for _, point := range []string{faultpoint.Accept, faultpoint.Nonce, faultpoint.Intent, faultpoint.Signed, faultpoint.Store, faultpoint.Send, faultpoint.Sent} {
		if _, err := r.pay(c, from, harness.Fresh(), 1); err != nil { // the limit is known from here on
			t.Fatalf("before %s: %v", point, err)
		}
		sent++
		killed(point, func() error { _, err := r.pay(c, from, harness.Fresh(), 100); return err })
		if point != faultpoint.Accept { // which is before the commit
			stored++
		}
		r.eventually(patience, fmt.Sprintf("%s: %d are mined", point, stored+sent), func() bool { return len(r.chain()) >= stored+sent })
	}
	left := 1000 - 100*stored - sent
	_, err := r.pay(c, from, harness.Fresh(), int64(left+1))
	r.deniedBy(err, "declared/ever")
	if _, err = r.pay(c, from, harness.Fresh(), int64(left)); err != nil {
		t.Errorf("%d wei are left: %v", left, err)
	}
	_, err = r.pay(c, from, harness.Fresh(), 1)
	r.deniedBy(err, "declared/ever")
	if total := r.sum(r.settle(stored+sent+1, patience)); total.Int64() != 1000 {
		t.Errorf("%s wei are mined, the limit is 1000", total)
	}
	r.audited()
}

// What eth_signTransaction signs may have been read by somebody when the daemon is
// killed before it could answer: from the intent on it counts for good, so that kills
// in a loop are no way around a limit.
func TestKillsWhileSigningRegainNoAllowance(t *testing.T) {
	r, d, killed := faulty(t, "policy: {version: hsmsigner-policy-v1, limits: [{name: ever, asset: native, per: account, max: 1000 wei, window: total}]}\n")
	c, from := r.dial(d), r.keys.Addresses[0]
	sign := func(wei int64) error { return signOnly(r, c, wei) }
	used := int64(0)
	for _, point := range []string{faultpoint.Intent, faultpoint.Signed} {
		if err := sign(1); err != nil {
			t.Fatalf("before %s: %v", point, err)
		}
		killed(point, func() error { return sign(300) })
		used += 301
	}
	must(t, sign(1))
	must(t, sign(300))
	d.Kill9()
	d.Restart()
	used += 301
	r.deniedBy(sign(1000-used+1), "declared/ever")
	_, err := r.pay(c, from, harness.Fresh(), 1000-used+1)
	r.deniedBy(err, "declared/ever")

	// Nor does it come back when the daemon looks, much later, at what it had open.
	if code := d.Stop(); code != 0 {
		t.Fatalf("the daemon ended with code %d", code)
	}
	down(t, d, time.Hour)
	d.Restart()
	time.Sleep(time.Second) // for the first sweep
	r.deniedBy(sign(1000-used+1), "declared/ever")
	must(t, sign(1000-used))
	r.deniedBy(sign(1), "declared/ever")
	unanswered := map[string]bool{}
	for _, one := range r.audited() {
		switch {
		case one.Kind == "intent" && one.Verdict != "deny: declared/ever":
			unanswered[one.ID] = true
		case one.Kind == "outcome":
			delete(unanswered, one.Intent)
		}
	}
	if len(unanswered) != 2 { // those of Intent and Signed
		t.Errorf("%d intents have no outcome, want 2", len(unanswered))
	}
}

// signOnly has a payment of the next nonce signed, and not sent.
func signOnly(r *rig, c *rpc.Client, wei int64) error {
	r.Helper()
	args := payment(r.keys.Addresses[0], harness.Fresh(), wei)
	args["nonce"] = hexutil.Uint64(0)
	var signed struct{ Raw hexutil.Bytes }
	return c.CallContext(r.Context(), &signed, "eth_signTransaction", args)
}
