// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// TestThousandServicesAreOpenedInSeconds leaves out what backends and nodes take:
// it is about what the platform itself does.
func TestThousandServicesAreOpenedInSeconds(t *testing.T) {
	const services, configurations = 1000, 10
	r := newRig(t)
	n := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	var ids []string
	for range configurations {
		ids = append(ids, must[*platform.Configuration](r, platform.Configurations, home(), vaultBody("")).ID)
	}
	begun := time.Now()
	for i := range services {
		must[*platform.Service](r, platform.Services, home(), fmt.Sprintf(`{"name":"s","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, ids[i%configurations], n.ID))
	}
	t.Logf("%d services made in %s", services, time.Since(begun))
	versions := func() int64 {
		v, err := r.db.ResourceVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := versions()
	r.start(r.p)
	took := until(t, 8*time.Second, "all are started", func() bool {
		time.Sleep(50 * time.Millisecond)
		all, err := r.db.Resources(t.Context(), store.ResourceFilter{Kind: string(platform.Services)})
		for _, s := range all {
			if s.State != platform.Started {
				return false
			}
		}
		return err == nil && len(all) == services
	})
	t.Logf("%d services started in %s", services, took)
	if after := versions(); after != before {
		t.Errorf("their states told all replicas %d times to read everything anew", after-before)
	}
	patched[*platform.Configuration](r, platform.Configurations, at(home(), ids[0]), `{"details":{"user_secret":"hvs.next"}}`)
	took = until(t, 3*time.Second, "those of one configuration have its new secret", func() bool {
		have := 0
		r.stage.set(func(s *stage) {
			for name := range s.specs {
				if s.opens[name] == 2 {
					have++
				}
			}
		})
		return have == services/configurations
	})
	t.Logf("a secret of %d services rotated in %s", services/configurations, took)
}
