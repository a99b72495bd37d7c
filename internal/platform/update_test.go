// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestPatchWithAnOldRevisionIsAConflict(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Consortium](r, platform.Consortia, platform.Path{}, `{"name":"a"}`)
	there := platform.Path{ID: c.ID}
	patched[*platform.Consortium](r, platform.Consortia, there, `{"name":"b","_revision":"1"}`)
	_, err := r.p.Update(t.Context(), root(), platform.Consortia, there, []byte(`{"name":"c","_revision":"1"}`))
	if got := refused(t, err); got != "conflict: the consortium was changed meanwhile: its revision is 2, not 1; read it again" {
		t.Error(got)
	}
	_, err = r.p.Update(t.Context(), root(), platform.Consortia, there, []byte(`{"name":"c","_revision":"x"}`))
	if got := refused(t, err); got != "invalid: _revision: is none of ours: send back the one that you read, or leave it out" {
		t.Error(got)
	}
}

func TestPatchesAtTheSameTimeAllCount(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			_, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), c.ID), fmt.Appendf(nil, `{"details":{"n%d":%d}}`, i, i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := got[*platform.Configuration](r, platform.Configurations, at(home(), c.ID))
	for i := range 6 {
		if after.Details[fmt.Sprintf("n%d", i)] == nil {
			t.Errorf("change %d was lost: %s", i, text(after))
		}
	}
	if after.Revision != "7" {
		t.Errorf("the revision is %s", after.Revision)
	}
}

func TestEveryChangeIsRecorded(t *testing.T) {
	r := newRig(t)
	s := r.service()
	patched[*platform.Service](r, platform.Services, at(home(), s.ID), `{"name":"renamed"}`)
	if _, err := r.p.Reset(t.Context(), root(), platform.Services, at(home(), s.ID)); err != nil {
		t.Fatal(err)
	}
	want := []string{"create configurations", "create nodes", "create services", "update services", "reset services"}
	if got := r.changes.verbs(); !slices.Equal(got, want) {
		t.Errorf("recorded %v", got)
	}
	c := r.changes.all[3]
	if c.Who.Name != "key:root" || c.Path.ID != s.ID || c.Membership != platform.DefaultMembership || !slices.Equal(c.Fields, []string{"name"}) {
		t.Errorf("recorded %+v", c)
	}
	if !strings.Contains(r.log.String(), "verb=update kind=services id="+s.ID) {
		t.Error("it is not in the log")
	}
}

func TestRenamingAServiceDoesNotOpenItAnew(t *testing.T) {
	r := newRig(t)
	s := r.service()
	r.start(r.p)
	until(t, 2e9, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	after := patched[*platform.Service](r, platform.Services, at(home(), s.ID), `{"name":"renamed"}`)
	if after.State != platform.Started || after.Revision != "2" {
		t.Error(text(after))
	}
	later := r.serviceOf(s.Details["cloudhsm_id"].(string))
	until(t, 2e9, "a later change is seen", func() bool { return r.stage.secret(later.ID) != "" })
	r.stage.set(func(st *stage) {
		if st.opens[s.ID] != 1 {
			t.Errorf("opened %d times", st.opens[s.ID])
		}
	})
}

func TestWalletsOfTheConfigFileAreReadOnlyServices(t *testing.T) {
	w := config.Wallet{Name: "treasury", Node: config.Node{ChainID: 1337}, Details: config.Details{Provider: config.ProviderKeystore, Keystore: &config.Keystore{}}}
	r := newRig(t, func(c *platform.Config) { c.Declared = []config.Wallet{w} })
	id := platform.DeclaredID("treasury")
	s := got[*platform.Service](r, platform.Services, at(home(), id))
	if !s.ReadOnly || s.Name != "treasury" || s.State != platform.Provisioning || s.MembershipID != platform.DefaultMembership {
		t.Error(text(s))
	}
	r.stage.set(func(st *stage) { st.specs["treasury"] = platform.ServiceSpec{Wallet: w} })
	all, err := r.p.List(t.Context(), root(), platform.Services, home())
	if err != nil || len(all) != 1 || all[0].(*platform.Service).State != platform.Started {
		t.Error(text(all), err)
	}
	if a, err := r.p.CreateAccount(t.Context(), root(), at(home(), id), platform.NewAccount{Name: "new"}); err != nil || a.Name != "new" {
		t.Error(a, err)
	}
	for name, do := range map[string]func() error{
		"update": func() error {
			_, err := r.p.Update(t.Context(), root(), platform.Services, at(home(), id), []byte(`{"name":"x"}`))
			return err
		},
		"reset":  func() error { _, err := r.p.Reset(t.Context(), root(), platform.Services, at(home(), id)); return err },
		"delete": func() error { _, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), id)); return err },
	} {
		if got := refused(t, do()); !strings.HasPrefix(got, "conflict: the service stands in the operator's config file") {
			t.Errorf("%s: %s", name, got)
		}
	}
	stranger := r.tenant("", "").admin()
	if _, err := r.p.Get(t.Context(), stranger, platform.Services, at(home(), id)); refused(t, err) != "not_found: there is no consortium "+platform.DefaultConsortium {
		t.Error(err)
	}
	if _, err := r.p.Get(t.Context(), auth.Access{}, platform.Services, at(home(), id)); refused(t, err) != "not_found: there is no consortium "+platform.DefaultConsortium {
		t.Error(err)
	}
}

// Each reset has a new login at the provider for every service of a node.
func TestResetsThatFollowEachOtherAreOne(t *testing.T) {
	r := newRig(t)
	s := r.service()
	var revisions [2]string
	for i := range revisions {
		v, err := r.p.Reset(t.Context(), root(), platform.Services, at(home(), s.ID))
		if err != nil {
			t.Fatal(err)
		}
		revisions[i] = v.(*platform.Service).Revision
	}
	if revisions[0] != revisions[1] || revisions[0] == s.Revision {
		t.Errorf("revisions %s, then %v", s.Revision, revisions)
	}
}
