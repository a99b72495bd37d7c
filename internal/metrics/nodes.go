// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// WatchNode shows what stats says of a wallet's node at each scrape. A second
// call for a wallet takes the place of the first; nil ends it.
func (r *Registry) WatchNode(wallet string, stats func() node.Stats) {
	wallet = r.wallets.label(wallet)
	r.nodes.mu.Lock()
	defer r.nodes.mu.Unlock()
	if stats == nil {
		delete(r.nodes.stats, wallet)
		return
	}
	r.nodes.stats[wallet] = stats
}

// WatchEndpoints shows, at each scrape, how the nodes stand that serve a
// wallet. A second call for a wallet takes the place of the first; nil ends it.
func (r *Registry) WatchEndpoints(wallet string, endpoints func() []node.EndpointStatus) {
	wallet = r.wallets.label(wallet)
	r.nodes.mu.Lock()
	defer r.nodes.mu.Unlock()
	if endpoints == nil {
		delete(r.nodes.endpoints, wallet)
		return
	}
	r.nodes.endpoints[wallet] = endpoints
}

type nodes struct {
	mu        sync.Mutex
	stats     map[string]func() node.Stats // by wallet
	endpoints map[string]func() []node.EndpointStatus

	up, requests, failures, latency *prometheus.Desc
	active, healthy, head, lag      *prometheus.Desc
}

func newNodes(namespace string) *nodes {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"wallet"}, nil)
	}
	endpoint := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"wallet", "node"}, nil)
	}
	return &nodes{
		stats:     map[string]func() node.Stats{},
		endpoints: map[string]func() []node.EndpointStatus{},

		active:  endpoint("node_endpoint_active", "1 if the wallet's calls go to this node."),
		healthy: endpoint("node_endpoint_healthy", "1 if this node may serve the wallet."),
		head:    endpoint("node_endpoint_head_block", "Number of this node's newest block."),
		lag:     endpoint("node_endpoint_lag_blocks", "Blocks by which this node is behind the best of the others."),

		up:       desc("node_up", "1 if the node answered the last request."),
		requests: desc("node_requests_total", "HTTP requests to the node."),
		failures: desc("node_failures_total", "HTTP requests to the node that got no answer."),
		latency:  desc("node_latency_seconds", "Moving average of the time in which the node answers."),
	}
}

// Describe implements prometheus.Collector.
func (n *nodes) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{n.up, n.requests, n.failures, n.latency, n.active, n.healthy, n.head, n.lag} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (n *nodes) Collect(metrics chan<- prometheus.Metric) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for wallet, stats := range n.stats {
		s := stats()
		up := 0.0
		if s.LastSuccess.After(s.LastFailure) {
			up = 1
		}
		emit := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
			metrics <- prometheus.MustNewConstMetric(desc, kind, value, wallet)
		}
		emit(n.up, prometheus.GaugeValue, up)
		emit(n.requests, prometheus.CounterValue, float64(s.Requests))
		emit(n.failures, prometheus.CounterValue, float64(s.Failures))
		emit(n.latency, prometheus.GaugeValue, s.Latency.Seconds())
	}
	for wallet, endpoints := range n.endpoints {
		for _, e := range endpoints() {
			emit := func(desc *prometheus.Desc, value float64) {
				metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, wallet, e.Name)
			}
			emit(n.active, number(e.Active))
			emit(n.healthy, number(e.Healthy))
			emit(n.head, float64(e.Head))
			emit(n.lag, float64(e.Lag))
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
