// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// WatchBackend shows what status says of a wallet's key backend at each scrape. A
// second call for a wallet takes the place of the first; nil ends it.
func (r *Registry) WatchBackend(wallet string, status func() keywallet.Status) {
	wallet = r.wallets.label(wallet)
	r.backends.mu.Lock()
	defer r.backends.mu.Unlock()
	if status == nil {
		delete(r.backends.status, wallet)
		return
	}
	r.backends.status[wallet] = status
}

type backends struct {
	mu     sync.Mutex
	status map[string]func() keywallet.Status // by wallet

	heldBack, latency, success, waiting, inFlight *prometheus.Desc
	rate, share, paused, throttled                *prometheus.Desc
	running, keys, finished, took                 *prometheus.Desc
}

func newBackends(namespace string) *backends {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"wallet"}, nil)
	}
	return &backends{
		status: map[string]func() keywallet.Status{},

		heldBack: desc("backend_held_back", "1 if calls are held back because the key backend does not answer (its circuit breaker is not closed)."),
		latency:  desc("backend_latency_seconds", "Moving average of the time in which the key backend signs."),
		success:  desc("backend_last_success_timestamp_seconds", "When the key backend last signed, as Unix time; 0: not yet."),
		waiting:  desc("backend_waiting", "Callers who wait for a signature."),
		inFlight: desc("backend_calls_in_flight", "Signing calls to the key backend in progress."),

		rate:      desc("backend_rate", "Signing calls a second that the service is asked for at most, as it throttles."),
		share:     desc("backend_rate_share", "Signing calls a second that the service may be asked for at most by this process."),
		paused:    desc("backend_paused_seconds", "How long the service still wants to be left alone."),
		throttled: desc("backend_throttled_total", "Calls that the service has throttled, those of other wallets that share its quota included."),

		running:  desc("discovery_running", "1 while the accounts of a wallet are being discovered."),
		keys:     desc("discovery_keys", "Keys that the discovery under way, or else the last, has found so far."),
		finished: desc("discovery_last_success_timestamp_seconds", "When a discovery last succeeded, as Unix time; 0: not yet."),
		took:     desc("discovery_seconds", "How long that discovery took."),
	}
}

// Describe implements prometheus.Collector.
func (b *backends) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		b.heldBack, b.latency, b.success, b.waiting, b.inFlight, b.rate, b.share, b.paused, b.throttled,
		b.running, b.keys, b.finished, b.took,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (b *backends) Collect(metrics chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for wallet, status := range b.status {
		s := status()
		for desc, value := range map[*prometheus.Desc]float64{
			b.heldBack: number(s.Breaker != keywallet.BreakerClosed),
			b.latency:  s.Latency.Seconds(),
			b.success:  unix(s.LastSuccess),
			b.waiting:  float64(s.Waiting),
			b.inFlight: float64(s.InFlight),
			b.rate:     s.Quota.Rate,
			b.share:    s.Quota.Share,
			b.paused:   s.Quota.Paused.Seconds(),
			b.running:  number(s.Discovery.Running),
			b.keys:     float64(s.Discovery.Keys),
			b.finished: unix(s.Discovery.Finished),
			b.took:     s.Discovery.Took.Seconds(),
		} {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, wallet)
		}
		metrics <- prometheus.MustNewConstMetric(b.throttled, prometheus.CounterValue, float64(s.Quota.Throttled), wallet)
	}
}

// unix is t in seconds; 0 for no time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
