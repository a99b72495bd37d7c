// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func (r *rig) urlOf(c *nodetest.Chain) config.Secret { return config.NewSecret(c.URL()) }

// memory is what is live on the heap and in stacks, in MiB.
func memory() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / (1 << 20)
}

func TestThousandServicesOverTenConfigurationsAreReadyInTime(t *testing.T) {
	r := newRig(t)
	nodes := make([]*nodetest.Chain, 10)
	for i := range nodes {
		nodes[i] = nodetest.New(t, nodetest.Options{Automine: true, DefaultBalance: nodetest.Ether(1000)})
	}
	var specs []fleet.Spec
	for i := range 1000 {
		name := fmt.Sprintf("vault%d", i%10)
		if i < 10 {
			r.vault(name, 10, 10*i)
		}
		s := r.spec(fmt.Sprintf("u0svc%05d", i), name)
		s.Membership = fmt.Sprintf("m%d", i%10)
		s.Wallet.Node.URL, s.Node.ID = r.urlOf(nodes[i%10]), fmt.Sprintf("node%d", i%10)
		specs = append(specs, s)
	}
	goroutines, before := runtime.NumGoroutine(), memory()
	r.vaults["vault9"].hang.Store(true)
	begun := time.Now()
	for _, s := range specs {
		r.must(r.fleet.Open(t.Context(), s))
	}
	opened := time.Since(begun)
	for i, s := range specs {
		if i%10 != 9 {
			r.ready(s.Wallet.Name)
		}
	}
	took := time.Since(begun)
	used, more := memory()-before, runtime.NumGoroutine()-goroutines
	t.Logf("opened in %s, ready in %s, %.1f MiB, %d goroutines", opened.Round(time.Millisecond), took.Round(time.Millisecond), used, more)
	if took > slower*10*time.Second {
		t.Errorf("ready after %s", took)
	}
	if used > 500 {
		t.Errorf("%.0f MiB", used)
	}
	if more > 300 {
		t.Errorf("%d goroutines", more)
	}
	for i := range 10 {
		if n := r.vaults[fmt.Sprintf("vault%d", i)].opened.Load(); n != 1 {
			t.Errorf("vault %d was opened %d times", i, n)
		}
	}
	for i := range 9 {
		v := r.vaults[fmt.Sprintf("vault%d", i)]
		if _, err := r.send(specs[990+i].Wallet.Name, v.address(3), 1); err != nil {
			t.Errorf("configuration %d: %v", i, err)
		}
	}
	r.vaults["vault9"].hang.Store(false)
}
