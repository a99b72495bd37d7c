// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// transacted stores transactions of a service, the oldest first: each that is to
// fail has failed, the others are queued.
func (r *rig) transacted(service string, fails ...bool) (ids []string) {
	r.t.Helper()
	sender := store.Sender{ID: "1337-0a0b0c0d-" + strings.ToLower(address.Hex()), ChainID: 1337, Address: address}
	payload, err := types.NewTx(&types.DynamicFeeTx{ChainID: big.NewInt(1337), To: &address, Value: big.NewInt(5), Gas: 21000}).MarshalBinary()
	must(r.t, err)
	must(r.t, r.db.Write(r.t.Context(), func(w *store.Writer) error {
		if err := w.PutSender(sender); err != nil {
			return err
		}
		for range fails {
			id, now := store.NewID(), time.Now().UTC()
			ids = append(ids, id)
			if err := w.InsertTx(store.Tx{
				ID: id, Wallet: service, Credential: "app:shop", IdempotencyKey: id, Intent: store.NewID(), Sender: sender.ID, Kind: store.UserTx,
				Payload: payload, State: store.Queued, FeeCeiling: big.NewInt(1e9), Expires: now.Add(time.Hour), Created: now, Updated: now,
			}); err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond) // ids are in the order of time
		}
		return nil
	}))
	for i, id := range ids {
		if fails[i] {
			must(r.t, r.db.Write(r.t.Context(), func(w *store.Writer) error {
				return w.ExpectTx(id, []store.TxState{store.Queued}, store.TxUpdate{State: store.Failed})
			}))
		}
	}
	return ids
}

func TestTransactionsAreListedNewestFirstPagedAndFiltered(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	all := n.at() + "/services/" + n.service + "/transactions"
	if a := r.want(r.call(n.key, "GET", all, ""), 200); a.text != "[]\n" {
		t.Error(a.text)
	}
	ids := r.transacted(n.service, false, true, false)
	nonce := uint64(7)
	must(t, r.db.Write(t.Context(), func(w *store.Writer) error { // the second had been sent
		return errors.Join(
			w.PutAccounts(n.service, []store.Account{{Wallet: n.service, Address: address}}),
			w.ExpectTx(ids[1], []store.TxState{store.Failed}, store.TxUpdate{State: store.Failed, SetNonce: true, Nonce: &nonce}),
			w.InsertAttempt(store.Attempt{ID: store.NewID(), Tx: ids[1], Nonce: nonce, Kind: store.FirstAttempt, Hash: common.Hash{7}}),
		)
	}))
	newest := ids[2] + " " + ids[1] + " " + ids[0]
	for query, want := range map[string]string{
		"":                               newest,
		"?limit=1":                       ids[2],
		"?before=" + ids[1]:              ids[0],
		"?state=failed":                  ids[1],
		"?state[]=failed&state[]=queued": newest,
		"?state=mined":                   "",
		"?from=" + strings.ToLower(address.Hex()):          newest,
		"?from=0x0000000000000000000000000000000000000001": "",
		"?fields=id,state&limit=2":                         ids[2] + " " + ids[1],
		"?id=" + ids[1]:                                    ids[1],
		"?id=" + strings.Repeat("0", 32):                   "",
		"?idempotency_key=" + ids[2]:                       ids[2],
		"?idempotency_key=" + ids[2] + "&state=failed":     "",
		"?idempotency_key=nobody%27s":                      "",
		"?nonce=7":                                         ids[1],
		"?nonce=7&from=" + address.Hex():                   ids[1],
		"?nonce=7&before=" + ids[1]:                        "",
		"?nonce=8":                                         "",
		"?hash=" + common.Hash{7}.Hex():                    ids[1],
		"?hash=" + common.Hash{8}.Hex():                    "",
	} {
		if a := r.want(r.call(n.key, "GET", all+query, ""), 200); a.names("id") != want {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	for _, query := range []string{"?state=gone", "?state=", "?state=failed&state[]=queued", "?from=0x1", "?before=x", "?limit=0", "?limit=1001", "?sort=id", "?skip=1", "?hash=x", "?hash=", "?id=", "?id=0x", "?nonce=", "?nonce=-1", "?nonce=0x7", "?nonce=9223372036854775808", "?idempotency_key=", "?fields=nope", "?limit=1&limit=2"} {
		if a := r.call(n.key, "GET", all+query, ""); a.code != 400 {
			t.Errorf("%s: %d", query, a.code)
		}
	}
	one := r.want(r.call(n.key, "GET", all+"/"+ids[0], ""), 200)
	if one.get("id") != ids[0] || one.get("from") != address.Hex() || one.get("value") != "5" || one.get("wallet") != n.service || fmt.Sprint(one.get("gas")) != "21000" {
		t.Error(one.text)
	}
}

func TestTransactionsAreCancelledAndSpedUpByWhoeverOperates(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	one := n.at() + "/services/" + n.service + "/transactions/" + r.transacted(n.service, false)[0]
	r.want(r.call(n.key, "POST", one+"/cancel", ""), 200)
	for _, body := range []string{"", "{}", `{"max_fee_per_gas":"2000000000","priority_fee_per_gas":"1"}`} {
		r.want(r.call(n.key, "POST", one+"/speed-up", body), 200)
	}
	for _, body := range []string{`{"max_fee_per_gas":2}`, `{"max_fee_per_gas":"0x2"}`, `{"max_fee_per_gas":"-1"}`, `{"max_fee_per_gas":"0"}`, `[]`} {
		r.want(r.call(n.key, "POST", one+"/speed-up", body), 400)
	}
}

// By our own service, another's transaction is not there either, by its id or by
// a hash.
func TestATransactionIsFoundByItsOwnServiceOnly(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	other := r.tenant("beside", ours.consortium, ours.environment)
	theirs := r.transacted(other.service, false)[0]
	r.want(r.call(other.key, "GET", other.at()+"/services/"+other.service+"/transactions/"+theirs, ""), 200)
	path := ours.at() + "/services/" + ours.service + "/transactions/"
	for _, c := range [][2]string{{"GET", ""}, {"POST", "/cancel"}, {"POST", "/speed-up"}} {
		want := r.want(r.call(ours.key, c[0], path+strings.Repeat("0", 32)+c[1], ""), 404)
		for _, id := range []string{theirs, common.Hash{1}.Hex(), "x", theirs + "0"} {
			if a := r.call(ours.key, c[0], path+id+c[1], ""); a.code != 404 || a.text != want.text {
				t.Errorf("%s %s: %d %s", c[0], id+c[1], a.code, a.text)
			}
		}
	}
}
