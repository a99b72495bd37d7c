// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// TestHungServicesKeepNobodyElseWaiting has a tenant delete many services whose
// backend does not answer, while another one works.
func TestHungServicesKeepNobodyElseWaiting(t *testing.T) {
	const many = 12
	r := newRig(t)
	slow := r.tenant("", "")
	there := platform.Path{Consortium: slow.consortium, Environment: slow.environment}
	var ids []string
	for range many {
		ids = append(ids, made[*platform.Service](r, slow.admin(), platform.Services, there, fmt.Sprintf(
			`{"name":"s","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, slow.ids[platform.Configurations], slow.ids[platform.Nodes])).ID)
	}
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	r.start(r.p)
	until(t, 20*time.Second, "theirs run", func() bool { return r.stage.secret(ids[0]) != "" && r.stage.secret(ids[many-1]) != "" })
	answer := make(chan struct{})
	r.stage.set(func(s *stage) {
		s.held = make(map[string]chan struct{})
		for _, id := range ids {
			s.held[id] = answer
		}
	})
	for _, id := range ids {
		go func() {
			_, _ = r.p.Delete(context.WithoutCancel(t.Context()), slow.admin(), platform.Services, at(there, id))
		}()
	}
	until(t, 20*time.Second, "theirs are being deleted", func() bool { return r.row(ids[many-1]).State == platform.Deleting })
	time.Sleep(200 * time.Millisecond) // the loop has come to them

	// They hang until the test says otherwise: the bounds are for a machine that is
	// busy, and tell waiting for them from not waiting.
	s := r.serviceOf(c.ID)
	took := until(t, 5*time.Second, "ours is started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	t.Logf("ours was started in %s", took)
	begun := time.Now()
	patched[*platform.Configuration](r, platform.Configurations, at(home(), c.ID), `{"details":{"user_secret":"hvs.next"}}`)
	if r.stage.secret(s.ID) != "hvs.next" {
		t.Error("the new secret is not in use when PATCH returns")
	}
	t.Logf("PATCH took %s", time.Since(begun))
	if _, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID)); err != nil {
		t.Error(err)
	}
	until(t, 5*time.Second, "ours is gone", func() bool { _, err := r.db.Resource(t.Context(), s.ID); return err != nil })
	// Their rows stay until they are closed.
	for _, id := range ids {
		if r.row(id).State != platform.Deleting {
			t.Fatal(r.row(id).State)
		}
	}
	close(answer)
	until(t, 20*time.Second, "theirs are gone", func() bool {
		for _, id := range ids {
			if _, err := r.db.Resource(t.Context(), id); err == nil {
				return false
			}
		}
		return true
	})
}

// slowSealer opens one resource only when it may.
type slowSealer struct {
	platform.Sealer
	id  string
	may chan struct{}
}

func (s *slowSealer) Open(ctx context.Context, p seal.Place, sealed []byte) ([]byte, error) {
	if p.ID == s.id {
		select {
		case <-s.may:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Sealer.Open(ctx, p, sealed)
}

func TestHungKeyServiceKeepsOnlyItsOwnServicesWaiting(t *testing.T) {
	var sealer *slowSealer
	r := newRig(t, func(c *platform.Config) {
		sealer = &slowSealer{Sealer: c.Sealer, may: make(chan struct{})}
		c.Sealer = sealer
	})
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	sealer.id = must[*platform.Configuration](r, platform.Configurations, home(), vaultBody("")).ID
	waits := r.serviceOf(sealer.id)
	r.start(r.p)
	s := r.serviceOf(c.ID)
	until(t, 5*time.Second, "another is started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	if state, _ := r.stateOf(waits.ID); state != platform.Provisioning {
		t.Errorf("the one that waits is %s", state)
	}
	close(sealer.may)
	until(t, 5*time.Second, "it is started, too", func() bool { state, _ := r.stateOf(waits.ID); return state == platform.Started })
}

func TestServiceWhoseRowIsGoneIsClosed(t *testing.T) {
	r := newRig(t)
	s := r.runs("")
	other, stage := r.replica()
	r.start(other)
	until(t, 5*time.Second, "both run it", func() bool { return stage.secret(s.ID) != "" && r.stage.secret(s.ID) != "" })
	if gone, err := r.p.Delete(t.Context(), root(), platform.Services, at(home(), s.ID)); err != nil {
		t.Fatal(gone, err)
	}
	until(t, 8*time.Second, "both have closed it", func() bool { return stage.secret(s.ID) == "" && r.stage.secret(s.ID) == "" })
}
