// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// edit changes a row as somebody could who may write the database.
func (r *rig) edit(id string, change func(*store.Resource)) {
	r.t.Helper()
	row := r.row(id)
	change(&row)
	if err := r.db.Write(r.t.Context(), func(w *store.Writer) error { return w.UpdateResource(row) }); err != nil {
		r.t.Fatal(err)
	}
}

// replace changes a text in what is stored of a row.
func (r *rig) replace(id string, pairs ...string) {
	r.t.Helper()
	r.edit(id, func(x *store.Resource) {
		was := bytes.Clone(x.Data)
		x.Data = []byte(strings.NewReplacer(pairs...).Replace(string(x.Data)))
		if bytes.Equal(was, x.Data) {
			r.t.Fatalf("nothing to replace in %s", was)
		}
	})
}

func TestServiceUsesOnlyWhatIsOfItsOwnTenant(t *testing.T) {
	r := newRig(t)
	r.start(r.p)
	victim := r.tenant("", "")
	neighbour := r.tenant(victim.consortium, victim.environment)
	service := neighbour.ids[platform.Services]
	until(t, 8*time.Second, "both run", func() bool {
		return r.stage.secret(service) != "" && r.stage.secret(victim.ids[platform.Services]) != ""
	})
	before, _ := r.stage.spec(service)
	for _, kind := range []platform.Kind{platform.Configurations, platform.Nodes} {
		r.replace(service, neighbour.ids[kind], victim.ids[kind])
		r.edit(service, func(x *store.Resource) { x.State = platform.Provisioning })
		until(t, 8*time.Second, "failed", func() bool { return r.row(service).State == platform.Failed })
		if reason := r.row(service).Reason; !strings.Contains(reason, "is not of its membership, environment and consortium") {
			t.Errorf("%s: the reason is %q", kind, reason)
		}
		if spec, _ := r.stage.spec(service); spec.Backend != before.Backend || spec.Node != before.Node {
			t.Errorf("it runs with %s of another tenant", kind)
		}
		r.replace(service, victim.ids[kind], neighbour.ids[kind])
		until(t, 8*time.Second, "started again", func() bool { return r.row(service).State == platform.Started })
	}
	// Nor what it could have after it was moved to the victim's consortium itself.
	r.edit(service, func(x *store.Resource) { x.State, x.Membership = platform.Provisioning, victim.membership })
	until(t, 8*time.Second, "failed", func() bool { return r.row(service).State == platform.Failed })
}

func TestSecretIsNotSentWhereOnlyTheDatabaseSays(t *testing.T) {
	for name, c := range map[string]struct {
		kind  platform.Kind
		pairs []string
		patch string
	}{
		"the address":        {platform.Configurations, []string{"https://vault.example.org:8200", "https://evil.example.org"}, `{"details":{"mount":"secret"}}`},
		"another detail":     {platform.Configurations, []string{`"zone":"a"`, `"zone":"b"`}, `{"details":{"zone":"a"}}`},
		"the admin's":        {platform.Configurations, []string{`"admin":{`, `"admin":{"tenant_id":"evil",`}, `{"details":{"zone":"a"}}`},
		"the chain of nodes": {platform.Nodes, []string{`"chain_id":1337`, `"chain_id":1`}, `{"urls":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := r.runs(`,"zone":"a","admin":{"user_secret":"hvs.admin","role_id":"r"}`)
			id, _ := s.Details["cloudhsm_id"].(string)
			if c.kind == platform.Nodes {
				id, _ = s.Details["node_id"].(string)
			}
			opens := func() (n int) { r.stage.set(func(st *stage) { n = st.opens[s.ID] }); return n }
			r.replace(id, append(c.pairs, `"revision":1`, `"revision":2,"epoch":7`)...)
			r.edit(s.ID, func(x *store.Resource) { x.State = platform.Provisioning })
			until(t, 8*time.Second, "failed", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Failed })
			if _, reason := r.stateOf(s.ID); !strings.Contains(reason, "was changed in the database, outside of the API") {
				t.Errorf("the reason is %q", reason)
			}
			if n := opens(); n != 1 {
				t.Errorf("it was opened %d times", n)
			}
			// Its owner mends it, and has not to know how.
			if _, err := r.p.Update(t.Context(), root(), c.kind, at(home(), id), []byte(c.patch)); err != nil {
				t.Fatal(err)
			}
			until(t, 8*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
			spec, _ := r.stage.spec(s.ID)
			if h := spec.Wallet.Details.Hashicorp; h.TargetAddress != "https://vault.example.org:8200" || spec.Wallet.Node.ChainID != 1337 {
				t.Errorf("it runs with %s on chain %d", h.TargetAddress, spec.Wallet.Node.ChainID)
			}
		})
	}
}
