// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// newBook is a log over the audit trail of a store.
func newBook(t *testing.T, db *store.DB) *logbook.Book {
	t.Helper()
	key, err := logbook.NewKey("example.org/log")
	must(t, err)
	book, err := logbook.Open(t.Context(), logbook.Config{Store: db, Key: key, Interval: 5 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = book.Run(ctx) })
	t.Cleanup(func() { stop(); ended.Wait() })
	return book
}

// signed writes an intent of a wallet and its outcome, and returns their ids.
func (r *rig) signed(wallet string) (intent, outcome string) {
	r.t.Helper()
	i := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: "key:x", Wallet: wallet, Address: address, Action: audit.SendTransaction,
		Subject: "tx-of-" + wallet, Verdict: "allow: default", Detail: `{"to":"0x00"}`,
	}
	o := audit.Outcome{ID: store.NewID(), Intent: i.ID, At: time.Now(), Digest: common.Hash{1}, Hash: common.Hash{2}}
	must(r.t, r.db.WriteIntent(r.t.Context(), i))
	must(r.t, r.db.WriteOutcome(r.t.Context(), o))
	must(r.t, r.book.Await(r.t.Context(), i.ID, o.ID))
	return i.ID, o.ID
}

// trailOf reads all pages of the trail.
func (r *rig) trailOf(key, query string) (ids map[string]map[string]any) {
	r.t.Helper()
	ids = map[string]map[string]any{}
	before := ""
	for range 1000 {
		a := r.want(r.call(key, http.MethodGet, "/audit/records?limit=7&"+query+before, ""), 200)
		list, _ := a.get("records").([]any)
		for _, one := range list {
			record := one.(map[string]any)
			id := record["id"].(string)
			if ids[id] != nil {
				r.t.Errorf("%s came twice", id)
			}
			ids[id] = record
		}
		next, _ := a.get("next").(string)
		if next == "" {
			return ids
		}
		before = "&before=" + next
	}
	r.t.Fatal("the pages have no end")
	return nil
}

func TestAnAuditorReadsWhatIsHisAndNothingElse(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	beside := r.tenant("beside", ours.consortium, ours.environment)
	elsewhere := r.tenant("elsewhere", "", "")
	auditor := r.want(r.call(ours.key, "POST", "/apikeys", `{"name":"a","grants":[{"role":"auditor","consortium_id":"`+ours.consortium+`","membership_id":"`+ours.membership+`"}]}`), 201).get("key").(string)
	of := map[string][]string{}
	for _, wallet := range []string{ours.service, beside.service, elsewhere.service, "treasury", "someone-gone"} {
		i, o := r.signed(wallet)
		of[wallet] = []string{i, o}
	}
	must(t, r.db.WriteEvent(t.Context(), audit.Event{Kind: "sign-in", Principal: "person:x"}))

	mine := r.trailOf(auditor, "")
	for wallet, ids := range of {
		for _, id := range ids {
			if (mine[id] != nil) != (wallet == ours.service) {
				t.Errorf("record of %s: seen %t", wallet, mine[id] != nil)
			}
		}
	}
	events := 0
	for id, record := range mine {
		if record["kind"] == "event" {
			events++
			if record["membership_id"] != ours.membership {
				t.Errorf("event %s: %v", id, record)
			}
		} else if record["wallet"] != ours.service {
			t.Errorf("record %s: %v", id, record)
		}
	}
	if events < 5 { // membership, node, configuration, service, credential, key
		t.Errorf("%d events", events)
	}
	all := r.trailOf(r.root, "")
	for _, ids := range of {
		for _, id := range ids {
			if all[id] == nil {
				t.Errorf("the operator does not see %s", id)
			}
		}
	}
	if len(r.trailOf(r.root, "event=sign-in")) != 1 || len(r.trailOf(auditor, "event=sign-in")) != 0 {
		t.Error("a sign-in to the deployment is the operator's to see")
	}
	// Of another's, and of nothing, there is no proof, in the same bytes.
	none := r.want(r.call(auditor, "GET", "/audit/records/"+strings.Repeat("0", 32)+"/proof", ""), 404)
	for wallet, ids := range of {
		a := r.call(auditor, "GET", "/audit/records/"+ids[0]+"/proof", "")
		if wallet == ours.service {
			r.want(a, 200)
		} else if a.code != 404 || a.text != none.text {
			t.Errorf("%s: %d %s", wallet, a.code, a.text)
		}
	}
	// What a service signed stays its owners' to read when it is gone.
	r.want(r.call(ours.key, "DELETE", ours.at()+"/services/"+ours.service, ""), 204)
	if r.trailOf(auditor, "")[of[ours.service][0]] == nil {
		t.Error("with the service its records have gone")
	}
	if len(r.trailOf(auditor, "wallet="+beside.service)) != 0 {
		t.Error("a filter shows what is another's")
	}
}

func TestTheTrailIsFiltered(t *testing.T) {
	r := newRig(t)
	i, o := r.signed("treasury")
	r.signed("other")
	later := "from=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for query, want := range map[string]int{
		"wallet=treasury": 2, "wallet=treasury&kind=intent": 1, "wallet=treasury&kind%5B%5D=intent&kind%5B%5D=outcome": 2,
		"subject=tx-of-other": 2, "principal=key:x": 4, "action=send-transaction": 4, "address=" + address.Hex(): 4,
		"address=0x0000000000000000000000000000000000000001": 0, "kind=event&wallet=treasury": 0, later: 0, "event=nothing": 0,
		"to=2001-01-01T00:00:00Z": 0, "from=2001-01-01T00:00:00%2B02:00&wallet=treasury": 2,
	} {
		if got := r.trailOf(r.root, query); len(got) != want {
			t.Errorf("%s: %d records, want %d", query, len(got), want)
		}
	}
	got := r.trailOf(r.root, "wallet=treasury")
	if in := got[i]; in["verdict"] != "allow: default" || in["address"] != address.Hex() || fmt.Sprint(in["detail"]) != "map[to:0x00]" {
		t.Errorf("%v", in)
	}
	if out := got[o]; out["intent"] != i || out["hash"] != (common.Hash{2}).Hex() || out["action"] != "send-transaction" || out["verdict"] != nil {
		t.Errorf("%v", out)
	}
	for _, query := range []string{"kind=x", "kind=intent&kind%5B%5D=event", "from=yesterday", "address=0x1", "before=x", "limit=0", "limit=1001", "wallet=", "nothing=1", "wallet=" + strings.Repeat("x", 201)} {
		r.want(r.call(r.root, "GET", "/audit/records?"+query, ""), 400)
	}
}

// The proofs of the API hold by a verifier that is not ours.
func TestProofsOfTheAPIHoldByAnIndependentVerifier(t *testing.T) {
	r := newRig(t)
	id, _ := r.signed("treasury")
	first := r.want(r.call(r.root, "GET", "/audit/checkpoint", ""), 200)
	for range 9 {
		r.signed("treasury")
	}
	p := r.want(r.call(r.root, "GET", "/audit/records/"+id+"/proof", ""), 200)
	v, err := logbook.ParseVerifier(p.get("key").(string))
	must(t, err)
	c, err := logbook.ParseCheckpoint([]byte(p.get("checkpoint").(string)), v)
	must(t, err)
	var index int64
	must(t, scan(p.get("index"), &index))
	leaf := rfc6962.DefaultHasher.HashLeaf([]byte(p.get("record").(string)))
	must(t, proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(c.Size), leaf, hashes(t, p), c.Root[:]))
	if !strings.Contains(p.get("record").(string), id) {
		t.Error(p.text)
	}
	var size int64
	must(t, scan(first.get("size"), &size))
	old, err := logbook.ParseCheckpoint([]byte(first.get("checkpoint").(string)), v)
	must(t, err)
	goesOn := r.want(r.call(r.root, "GET", fmt.Sprintf("/audit/consistency?from=%d", size), ""), 200)
	now, err := logbook.ParseCheckpoint([]byte(goesOn.get("checkpoint").(string)), v)
	must(t, err)
	must(t, proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(size), uint64(now.Size), hashes(t, goesOn), old.Root[:], now.Root[:]))
	r.want(r.call(r.root, "GET", fmt.Sprintf("/audit/consistency?from=%d&to=%d", size, size), ""), 200)
	for _, query := range []string{"from=100000", "to=100000", "from=2&to=1", "from=x"} {
		r.want(r.call(r.root, "GET", "/audit/consistency?"+query, ""), 400)
	}
}

func scan(from any, to *int64) error {
	_, err := fmt.Sscan(fmt.Sprint(from), to)
	return err
}

func hashes(t *testing.T, a seen) (all [][]byte) {
	t.Helper()
	for _, h := range a.get("hashes").([]any) {
		b, err := base64.StdEncoding.DecodeString(h.(string))
		must(t, err)
		all = append(all, b)
	}
	return all
}
