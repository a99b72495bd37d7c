// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// SetSender notes the current numbers of one sender. They are shown summed up
// for its wallet: a series for each address would grow with every key.
func (r *Registry) SetSender(wallet, sender string, now txmgr.SenderGauges) {
	r.senders.set(r.wallets.label(wallet), sender, now)
}

// senders sums the numbers of a wallet's senders at each scrape.
type senders struct {
	mu  sync.Mutex
	all map[string]map[string]txmgr.SenderGauges // by wallet and sender

	count, parked, queued, inFlight, used, limit *prometheus.Desc
}

func newSenders(namespace string) *senders {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"wallet"}, nil)
	}
	return &senders{
		all:      map[string]map[string]txmgr.SenderGauges{},
		count:    desc("senders", "Addresses of a wallet that have sent transactions."),
		parked:   desc("senders_parked", "Senders that wait for a second head or for `tx repair`."),
		queued:   desc("transactions_queued", "Accepted transactions that have no nonce yet."),
		inFlight: desc("transactions_in_flight", "Transactions that have a nonce and are not mined."),
		used:     desc("nonce_window_used", "Nonces in flight of the wallet's fullest sender."),
		limit:    desc("nonce_window_limit", "Nonces that the fullest sender may have in flight."),
	}
}

func (s *senders) set(wallet, sender string, now txmgr.SenderGauges) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.all[wallet]
	if of == nil {
		of = map[string]txmgr.SenderGauges{}
		s.all[wallet] = of
	}
	of[sender] = now
}

// Describe implements prometheus.Collector.
func (s *senders) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{s.count, s.parked, s.queued, s.inFlight, s.used, s.limit} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (s *senders) Collect(metrics chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wallet, of := range s.all {
		var sum, fullest txmgr.SenderGauges
		parked := 0
		for _, g := range of {
			sum.Queued += g.Queued
			sum.InFlight += g.InFlight
			if g.Parked {
				parked++
			}
			// g.InFlight/g.Window > fullest.InFlight/fullest.Window, in whole numbers
			if fullest.Window == 0 || g.InFlight*fullest.Window > fullest.InFlight*g.Window {
				fullest = g
			}
		}
		for desc, value := range map[*prometheus.Desc]int{
			s.count: len(of), s.parked: parked, s.queued: sum.Queued, s.inFlight: sum.InFlight,
			s.used: fullest.InFlight, s.limit: fullest.Window,
		} {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), wallet)
		}
	}
}
