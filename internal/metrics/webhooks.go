// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Webhooks counts what becomes of the events for receivers. A hook is called
// WALLET/NAME, as the config names it.
type Webhooks struct {
	delivered *prometheus.CounterVec
	failed    *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	pending   *prometheus.GaugeVec
	age       prometheus.Histogram
	names     *bounded
}

// Webhooks is told what the delivery of webhooks does.
func (r *Registry) Webhooks() *Webhooks { return r.webhooks }

// Delivered says that a receiver has taken an event, created so long ago.
func (w *Webhooks) Delivered(hook string, age time.Duration) {
	w.delivered.WithLabelValues(w.names.label(hook)).Inc()
	w.age.Observe(age.Seconds())
}

// Failed says that a try failed, and of what kind.
func (w *Webhooks) Failed(hook, kind string) {
	w.failed.WithLabelValues(w.names.label(hook), kind).Inc()
}

// Dropped says that an event will not be tried any more.
func (w *Webhooks) Dropped(hook string) { w.dropped.WithLabelValues(w.names.label(hook)).Inc() }

// Pending says how many events wait, by hook.
func (w *Webhooks) Pending(hooks map[string]int) {
	w.pending.Reset()
	for hook, n := range hooks {
		w.pending.WithLabelValues(w.names.label(hook)).Set(float64(n))
	}
}
