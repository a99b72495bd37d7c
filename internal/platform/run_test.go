// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func (r *rig) stateOf(id string) (state, reason string) {
	s := got[*platform.Service](r, platform.Services, at(home(), id))
	return s.State, s.Reason
}

func TestServiceGoesFromProvisioningToStarted(t *testing.T) {
	r := newRig(t)
	s := r.service()
	if s.State != platform.Provisioning || s.URLs["http"] != "https://signer.example.org/"+s.ID {
		t.Fatalf("a new service is %s at %v", s.State, s.URLs)
	}
	r.start(r.p)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	after := got[*platform.Service](r, platform.Services, at(home(), s.ID))
	if after.Revision != s.Revision {
		t.Errorf("the state changed the revision that users see from %s to %s", s.Revision, after.Revision)
	}
	spec, _ := r.stage.spec(s.ID)
	if r.stage.secret(s.ID) != vaultToken || spec.Wallet.Node.ChainID != 1337 || spec.Membership != platform.DefaultMembership {
		t.Errorf("the service runs as %+v", spec)
	}
	if url, _ := spec.Wallet.Node.URL.Reveal(); url != nodeURL {
		t.Errorf("the node is opened at another URL than was given")
	}
}

func TestServiceWithAWrongSecretFailsAndSaysWhy(t *testing.T) {
	r := newRig(t)
	r.stage.wrong[vaultToken] = "the token is not valid: give another in user_secret"
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "failed", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Failed })
	if _, reason := r.stateOf(s.ID); reason != "key backend denied access: the token is not valid: give another in user_secret" {
		t.Errorf("the reason is %q", reason)
	}
	// What mends it is a PATCH of the configuration.
	id := s.Details["cloudhsm_id"].(string)
	patched[*platform.Configuration](r, platform.Configurations, at(home(), id), `{"details":{"user_secret":"hvs.right"}}`)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	if r.stage.secret(s.ID) != "hvs.right" {
		t.Error("it still runs with the old secret")
	}
}

func TestNodeOnAnotherChainFailsTheService(t *testing.T) {
	r := newRig(t)
	r.stage.down = fmt.Errorf("eth_chainId: %w", &node.ChainMismatchError{Want: 1337, Got: 1})
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "failed", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Failed })
	if _, reason := r.stateOf(s.ID); reason != "node serves chain id 1, not 1337" {
		t.Errorf("the reason is %q", reason)
	}
}

func TestUnreachableNodeKeepsTheServiceProvisioningWithAReason(t *testing.T) {
	r := newRig(t)
	r.stage.down = fmt.Errorf("eth_chainId: http://10.0.0.1: %w", node.ErrUnavailable)
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "a reason", func() bool { _, reason := r.stateOf(s.ID); return reason != "" })
	if state, reason := r.stateOf(s.ID); state != platform.Provisioning || reason != "node unavailable" {
		t.Errorf("it is %s: %q", state, reason)
	}
}

func TestServiceThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.stage.refuse = errors.New("the library of the module cannot be loaded")
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "failed", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Failed })
	if _, reason := r.stateOf(s.ID); reason != "the library of the module cannot be loaded" {
		t.Errorf("the reason is %q", reason)
	}
	r.stage.set(func(s *stage) { s.refuse = nil })
	until(t, 4*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
}

func TestResetOpensTheServiceAnew(t *testing.T) {
	r := newRig(t)
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	before, _ := r.stage.spec(s.ID)
	v, err := r.p.Reset(t.Context(), root(), platform.Services, at(home(), s.ID))
	if err != nil || v.(*platform.Service).State != platform.Provisioning {
		t.Fatal(text(v), err)
	}
	until(t, 2*time.Second, "another opening", func() bool { spec, _ := r.stage.spec(s.ID); return spec.Resets == before.Resets+1 })
	until(t, 2*time.Second, "started again", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })

	node := s.Details["node_id"].(string)
	if _, err := r.p.Reset(t.Context(), root(), platform.Nodes, at(home(), node)); err != nil {
		t.Fatal(err)
	}
	until(t, 2*time.Second, "another node", func() bool { spec, _ := r.stage.spec(s.ID); return spec.Node != before.Node })
	if spec, _ := r.stage.spec(s.ID); spec.Backend != before.Backend {
		t.Error("a reset of the node has touched the backend")
	}
}

func TestReplicasConvergeWithinTwoSeconds(t *testing.T) {
	r := newRig(t, func(c *platform.Config) { c.Shared = true })
	other, stage := r.replica(func(c *platform.Config) { c.Shared = true })
	r.start(r.p)
	r.start(other)
	s := r.service()
	took := until(t, 2*time.Second, "the other replica runs it", func() bool { return stage.secret(s.ID) == vaultToken })
	t.Logf("a new service: %s", took)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })

	patched[*platform.Configuration](r, platform.Configurations, at(home(), s.Details["cloudhsm_id"].(string)), `{"details":{"user_secret":"hvs.next"}}`)
	took = until(t, 2*time.Second, "both have the new secret", func() bool {
		return stage.secret(s.ID) == "hvs.next" && r.stage.secret(s.ID) == "hvs.next"
	})
	t.Logf("a rotated secret: %s", took)

	if gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID)); err != nil || gone {
		t.Fatalf("gone %v, %v: other replicas may still take requests", gone, err)
	}
	until(t, 2*time.Second, "both take nothing new", func() bool {
		a, _ := r.stage.spec(s.ID)
		b, _ := stage.spec(s.ID)
		return a.Draining && b.Draining
	})
	until(t, 8*time.Second, "both have let go", func() bool { return r.stage.secret(s.ID) == "" && stage.secret(s.ID) == "" })
}

func TestDeletedServiceFinishesWhatItHas(t *testing.T) {
	r := newRig(t)
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	r.stage.set(func(st *stage) { st.live[s.ID] = 2 })
	gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID))
	if err != nil || gone {
		t.Fatalf("gone %v, %v: two transactions are under way", gone, err)
	}
	if state, _ := r.stateOf(s.ID); state != platform.Deleting {
		t.Errorf("it is %s", state)
	}
	if spec, ok := r.stage.spec(s.ID); !ok || !spec.Draining {
		t.Error("it does not run on, or takes requests")
	}
	if _, err := r.p.Update(t.Context(), root(), platform.Services, at(home(), s.ID), []byte(`{"name":"x"}`)); refused(t, err) != "conflict: the service is being deleted" {
		t.Error(err)
	}
	// Until then its configuration stays.
	_, err = r.p.Delete(t.Context(), root(), platform.Configurations, at(home(), s.Details["cloudhsm_id"].(string)))
	if refused(t, err) != `conflict: the configuration is used by service "treasury" (`+s.ID+`)` {
		t.Error(err)
	}
	r.stage.set(func(st *stage) { st.live[s.ID] = 0 })
	until(t, 3*time.Second, "gone", func() bool {
		_, err := r.p.Get(t.Context(), root(), platform.Services, at(home(), s.ID))
		return err != nil
	})
	if gone, err := r.p.Delete(t.Context(), root(), platform.Configurations, at(home(), s.Details["cloudhsm_id"].(string))); err != nil || !gone {
		t.Error(gone, err)
	}
}

func TestIdleServiceIsGoneWhenDeleteReturns(t *testing.T) {
	r := newRig(t)
	s := r.service()
	r.start(r.p)
	until(t, 2*time.Second, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID))
	if err != nil || !gone {
		t.Fatalf("gone %v, %v", gone, err)
	}
	if _, err := r.p.Get(t.Context(), root(), platform.Services, at(home(), s.ID)); refused(t, err) != "not_found: there is no service "+s.ID {
		t.Error(err)
	}
	if len(r.stage.closed) != 1 {
		t.Errorf("closed: %v", r.stage.closed)
	}
}
