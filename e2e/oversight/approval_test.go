// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// pending is the id of the request that an error says is waiting for people.
func (r *rig) pending(err error) string {
	r.Helper()
	var told rpc.DataError
	if denied(err) == "" || !errors.As(err, &told) {
		r.Fatalf("want error -32003 with data, got %v", err)
	}
	text, failed := json.Marshal(told.ErrorData())
	must(r.T, failed)
	var data struct{ Approval, Rule string }
	if json.Unmarshal(text, &data) != nil || data.Approval == "" || data.Rule != "declared/large" {
		r.Fatalf("%v: its data is %s", err, text)
	}
	return data.Approval
}

// admin makes another admin's API key.
func (r *rig) admin(name string) string {
	r.Helper()
	var made struct{ Key string }
	r.want(r.daemons[0], http.StatusCreated, "POST", "/apikeys", fmt.Sprintf(`{"name":%q,"grants":[{"role":"admin"}]}`, name), &made)
	for _, d := range r.daemons {
		r.eventually(patience, "the key is known", func() bool {
			code, _ := r.ask(d, made.Key, "GET", "/whoami", "")
			return code == http.StatusOK
		})
	}
	return made.Key
}

func (r *rig) vote(d *harness.Daemon, key, id, vote string) {
	r.Helper()
	if code, text := r.ask(d, key, "POST", r.service+"/approvals/"+id+"/"+vote, ""); code != http.StatusOK {
		r.Errorf("%s: %d %s", vote, code, text)
	}
}

// onlyOnce demands that exactly this transaction has paid a receiver.
func (r *rig) onlyOnce(to common.Address, hash common.Hash) {
	r.Helper()
	r.eventually(patience, "mined", func() bool { return len(paying(r.chain(), to)) > 0 })
	time.Sleep(300 * time.Millisecond)
	if got := paying(r.chain(), to); len(got) != 1 || got[0] != hash {
		r.Errorf("mined: %v, want %s once", got, hash)
	}
}

func paying(all []mined, to common.Address) (hashes []common.Hash) {
	for _, m := range all {
		if *m.To() == to {
			hashes = append(hashes, m.Hash())
		}
	}
	return hashes
}

// A rule asks two people. Over two replicas, of which one lets its callers wait: what
// is small passes, what is large waits until both have approved, at the same moment
// at different replicas, and is then sent once, by the daemon itself.
func TestWhatPeopleAreAskedForIsSentOnceTheyAgree(t *testing.T) {
	r := newRig(t, built.Of(t), 2)
	const rules = `policy:
  version: hsmsigner-policy-v1
  rules:
    - {name: small, effect: allow, actions: [transaction], value: {max: 10 wei}}
    - {name: large, effect: ask, actions: [transaction], value: {min: 11 wei}, approval: {needed: 2, roles: [admin]}}
    - {name: words, effect: ask, actions: [message], approval: {roles: [admin]}}
`
	r.replicas(r.node.URL, rules, rules+"approvals: {wait: 90s}\n")
	r.manage()
	one, two := r.daemons[0], r.daemons[1]
	other := r.admin("second")
	c, waits, from := r.dial(one), r.dial(two), r.keys.Addresses[0]
	_, err := r.pay(c, from, harness.Fresh(), 10)
	must(t, err)

	receiver := harness.Fresh()
	_, err = r.pay(c, from, receiver, 11)
	id := r.pending(err)
	_, err = r.pay(c, from, receiver, 11)
	if again := r.pending(err); again != id {
		t.Errorf("asked again, it waits as %s, and as %s before", again, id)
	}
	r.vote(one, r.root, id, "approve")
	r.vote(two, r.root, id, "approve") // the same person again is no second one
	_, err = r.pay(c, from, receiver, 11)
	if again := r.pending(err); again != id {
		t.Errorf("with one of two votes it waits as %s", again)
	}
	r.vote(two, other, id, "approve")
	r.eventually(patience, "sent by itself", func() bool { return len(paying(r.chain(), receiver)) > 0 })
	hash, err := r.pay(c, from, receiver, 11)
	if err != nil {
		t.Errorf("asked again after it was sent: %v", err)
	}
	r.onlyOnce(receiver, hash)

	// With a key, and by both at once, each at another replica.
	receiver = harness.Fresh()
	key := map[string]string{"idempotencyKey": "a large one"}
	ask := func(c *rpc.Client) (hash common.Hash, err error) {
		return hash, c.CallContext(t.Context(), &hash, "eth_sendTransaction", payment(from, receiver, 12), key)
	}
	_, err = ask(c)
	id = r.pending(err)
	var both sync.WaitGroup
	both.Go(func() { r.vote(one, r.root, id, "approve") })
	both.Go(func() { r.vote(two, other, id, "approve") })
	both.Wait()
	r.eventually(patience, "known to its caller", func() bool { hash, err = ask(c); return err == nil })
	r.onlyOnce(receiver, hash)
	if same, err := ask(waits); err != nil || same != hash {
		t.Errorf("asked at the other replica: %s %v, want %s", same, err, hash)
	}

	// Whoever waits gets the hash itself.
	receiver = harness.Fresh()
	var waited sync.WaitGroup
	waited.Go(func() {
		hash, err := r.pay(waits, from, receiver, 13)
		if err != nil {
			t.Errorf("a caller that waits: %v", err)
			return
		}
		r.onlyOnce(receiver, hash)
	})
	id = r.waiting(one)
	r.vote(one, r.root, id, "approve")
	r.vote(one, other, id, "approve")
	waited.Wait()

	// One rejection ends it, and what is signed only is signed when it is asked for again.
	receiver = harness.Fresh()
	_, err = r.pay(c, from, receiver, 14)
	id = r.pending(err)
	r.vote(two, other, id, "reject")
	r.eventually(patience, "its caller is told", func() bool {
		_, err = r.pay(c, from, receiver, 14)
		return strings.Contains(denied(err), "reject")
	})
	var signature hexutil.Bytes
	err = c.CallContext(t.Context(), &signature, "personal_sign", "0x68656c6c6f", from)
	if said := denied(err); !strings.Contains(said, "declared/words") {
		t.Fatalf("a message: %v", err)
	}
	r.vote(one, r.root, r.waiting(one), "approve")
	must(t, c.CallContext(t.Context(), &signature, "personal_sign", "0x68656c6c6f", from))
	if err := c.CallContext(t.Context(), &signature, "personal_sign", "0x68656c6c6f", from); denied(err) == "" {
		t.Errorf("an approval was good for a second signature: %v", err)
	}
	if got := paying(r.chain(), receiver); len(got) != 0 {
		t.Errorf("%v were mined although they were rejected", got)
	}
	r.audited()
}

// waiting is the id of the request that waits at the service now.
func (r *rig) waiting(d *harness.Daemon) string {
	r.Helper()
	var all []struct{ ID string }
	r.eventually(patience, "it waits", func() bool {
		r.want(d, http.StatusOK, "GET", r.service+"/approvals?state=pending", "", &all)
		return len(all) == 1
	})
	return all[0].ID
}
