// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// waits has a request of an app credential wait at a service for two admins, or
// an address.
func (r *rig) waits(n tenant, wei int64, needed int, signer common.Address) string {
	r.t.Helper()
	_, pending, err := r.asked.Find(r.t.Context(), policy.Request{
		Principal: auth.Principal{Name: "app:" + n.cred, Membership: n.membership, Environment: n.environment}, ChainID: big.NewInt(1337),
		Owner:   policy.Owner{Consortium: n.consortium, Environment: n.environment, Membership: n.membership, Wallet: n.service, Service: n.service},
		Account: address, Action: audit.SendTransaction, ID: store.NewID(), Asked: policy.Asked{Hash: [32]byte{byte(wei)}},
		Transaction: types.NewTx(&types.DynamicFeeTx{
			ChainID: big.NewInt(1337), To: &address, Value: big.NewInt(wei), Gas: 30_000, Data: []byte{0xab, 0xcd}, GasFeeCap: big.NewInt(9), GasTipCap: big.NewInt(1),
		}),
	}, []policy.Ask{{Rule: "service:" + n.service + "/large", Needed: needed, Approvers: policy.Approvers{Roles: []auth.Role{auth.Admin}, Addresses: []common.Address{signer}}}})
	must(r.t, err)
	return pending.ID
}

func TestApprovalsAreListedShownAndVotedOn(t *testing.T) {
	r := newRig(t)
	n := r.tenant("acme", "", "")
	all := n.at() + "/services/" + n.service + "/approvals"
	if a := r.want(r.call(n.key, "GET", all, ""), 200); strings.TrimSpace(a.text) != "[]" {
		t.Error(a.text)
	}
	signer, err := crypto.GenerateKey()
	must(t, err)
	id := r.waits(n, 5, 2, crypto.PubkeyToAddress(signer.PublicKey))
	other := r.waits(n, 6, 1, common.Address{})
	if got := r.want(r.call(n.key, "GET", all+"?state=pending&limit=9", ""), 200).names("id"); got != other+" "+id {
		t.Errorf("listed %s", got)
	}
	if got := r.want(r.call(n.key, "GET", all+"?state[]=used&state[]=failed", ""), 200).names("id"); got != "" {
		t.Errorf("listed %s", got)
	}
	if got := r.want(r.call(n.key, "GET", all+"?before="+other, ""), 200).names("id"); got != id {
		t.Errorf("listed %s", got)
	}
	shown := r.want(r.call(n.key, "GET", all+"/"+id, ""), 200)
	if shown.get("state") != "pending" || shown.get("data") != "0xabcd" || shown.get("principal") != "app:"+n.cred || shown.get("request", "version") == nil {
		t.Errorf("shown %s", shown.text)
	}
	voted := r.want(r.call(n.key, "POST", all+"/"+id+"/approve", `{"comment":"fine"}`), 200)
	if voted.get("state") != "pending" {
		t.Errorf("after one: %s", voted.text)
	}
	// Ids that nobody can take over, and beside them what people call who it is; in
	// the record of the vote, too, which stays when the key is gone.
	called := r.want(r.call(n.key, "GET", "/apikeys/"+n.id, ""), 200).get("name")
	app := r.want(r.call(n.key, "GET", n.at()+"/appcreds/"+n.cred, ""), 200).get("name")
	if called == nil || !strings.Contains(voted.text, fmt.Sprintf(`"approver":"key:%s","approver_name":%q`, n.id, called)) || shown.get("principal_name") != app {
		t.Errorf("%v of %v: %s", called, app, voted.text)
	}
	record := r.want(r.call(n.key, "GET", "/audit/records?event=approval-vote&subject="+id, ""), 200)
	if !strings.Contains(record.text, `"principal":"key:`+n.id+`"`) || !strings.Contains(record.text, fmt.Sprintf(`"brought_by_name":%q`, called)) {
		t.Errorf("on record as %s", record.text)
	}
	r.want(r.call(n.key, "POST", all+"/"+id+"/approve", ""), 200) // once more changes nothing
	r.want(r.call(n.key, "POST", all+"/"+id+"/reject", ""), 409)

	// The document is what any wallet signs: it is read back from the answer.
	document, err := json.Marshal(shown.get("typed_data", "approve"))
	must(t, err)
	var typed apitypes.TypedData
	must(t, json.Unmarshal(document, &typed))
	digest, _, err := apitypes.TypedDataAndHash(typed)
	must(t, err)
	sig, err := crypto.Sign(digest, signer)
	must(t, err)
	r.want(r.call(n.key, "POST", all+"/"+other+"/approve", fmt.Sprintf(`{"signature":"0x%x"}`, sig)), 403)
	if a := r.want(r.call(n.key, "POST", all+"/"+id+"/approve", fmt.Sprintf(`{"signature":"0x%x"}`, sig)), 200); a.get("state") != "approved" {
		t.Errorf("after two: %s", a.text)
	}
	r.want(r.call(n.key, "POST", all+"/"+other+"/reject", `{"comment":"no"}`), 200)
	r.want(r.call(n.key, "POST", all+"/"+other+"/approve", ""), 409)
	if a := r.want(r.call(n.key, "GET", all+"/"+other, ""), 200); a.get("state") != "rejected" || a.get("typed_data") != nil {
		t.Errorf("shown %s", a.text)
	}
	for _, wrong := range []string{"?state=open", "?before=1", "?limit=0", "?limit=1001", "?state=used&state[]=used"} {
		r.want(r.call(n.key, "GET", all+wrong, ""), 400)
	}
	r.want(r.call(n.key, "POST", all+"/"+id+"/approve", `{"signature":"0x00"}`), 400)
	r.want(r.call(n.key, "GET", all+"/"+strings.Repeat("0", 32), ""), 404)
	r.want(r.call(n.key, "GET", all+"/x", ""), 404)
}

func TestApprovalsOfOneTenantAreNotAnothers(t *testing.T) {
	r := newRig(t)
	one := r.tenant("acme", "", "")
	two := r.tenant("brand", one.consortium, one.environment)
	id := r.waits(one, 5, 1, common.Address{})
	its, others := one.at()+"/services/"+one.service+"/approvals/"+id, two.at()+"/services/"+two.service+"/approvals/"+id
	for _, path := range []string{its, others} {
		r.want(r.call(two.key, "GET", path, ""), 404)
		r.want(r.call(two.key, "POST", path+"/approve", ""), 404)
		r.want(r.call(two.key, "POST", path+"/reject", ""), 404)
	}
	auditor := r.key(fmt.Sprintf(`{"name":"a","grants":[{"role":"operator","consortium_id":%q,"membership_id":%q}]}`, one.consortium, one.membership))
	r.want(r.call(auditor, "GET", its, ""), 200)
	r.want(r.call(auditor, "POST", its+"/approve", ""), 403)
	r.want(r.call(one.key, "POST", its+"/approve", ""), 200)
}
