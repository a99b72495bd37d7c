// SPDX-License-Identifier: Apache-2.0

// Package metrics is what the daemon tells Prometheus of itself. A [Registry]
// has a method for each thing that happens and satisfies the observer
// interfaces of the packages that do the work; none of them knows Prometheus.
//
// Every name begins with hsmsigner_, every duration is in seconds. Labels come
// from closed sets or are bounded here, so that no caller can grow the
// registry: an address, a hash, a transaction id, a credential or a URL is
// never a label, and neither is a method name that we do not serve. There are
// no globals: two registries in one process share nothing. testdata/names.txt
// lists the metrics.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hsmsigner/hsmsigner/internal/history"
)

const (
	maxWallets = 4000 // distinct values of the label wallet
	maxMethods = 200  // and of the label method; beyond them stands "other"
	other      = "other"
)

// Registry collects the metrics of one daemon. Its methods are safe for
// concurrent use and never block.
type Registry struct {
	registry *prometheus.Registry
	past     *history.Recorder

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	refused        *prometheus.CounterVec
	sockets        prometheus.Gauge
	subscriptions  prometheus.Gauge

	signatures         *prometheus.CounterVec
	signatureSeconds   *prometheus.HistogramVec
	backendCalls       *prometheus.CounterVec
	backendCallSeconds *prometheus.HistogramVec
	backendUp          *prometheus.GaugeVec
	accounts           *prometheus.GaugeVec

	stageSeconds *prometheus.HistogramVec
	events       *prometheus.CounterVec
	senders      *senders

	backends *backends

	nodes      *nodes
	nodeHead   *prometheus.GaugeVec
	nodeHeadAt *prometheus.GaugeVec
	nodeErrors *prometheus.CounterVec

	commitSeconds prometheus.Histogram
	commitWrites  prometheus.Histogram

	webhooks *Webhooks

	wallets, methods *bounded
}

// Build says which program runs.
type Build struct{ Version, Revision string }

// New makes a registry with the Go runtime's and the process's own metrics
// beside ours.
func New(build Build) *Registry {
	const namespace = "hsmsigner"
	registry := prometheus.NewRegistry()
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
		registry.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
		registry.MustRegister(h)
		return h
	}
	// From what a pass-through costs to the longest wait for a transaction.
	seconds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// Being mined takes longer: to an hour.
	stages := append(seconds[:len(seconds):len(seconds)], 120, 300, 900, 3600)

	r := &Registry{
		registry: registry, past: history.New(nil),

		requests:       counter("rpc_requests_total", "JSON-RPC requests answered.", "wallet", "method", "transport", "outcome"),
		requestSeconds: histogram("rpc_request_seconds", "Time from a JSON-RPC request to its answer.", seconds, "wallet", "class"),
		refused:        counter("rpc_refused_total", "What the RPC door turned away before it was a request.", "reason"),
		sockets:        gauge("rpc_websockets", "Open WebSocket connections.").WithLabelValues(),
		subscriptions:  gauge("rpc_subscriptions", "Open eth_subscribe subscriptions.").WithLabelValues(),

		signatures:         counter("signatures_total", "Signatures asked of a wallet, by what came of them.", "wallet", "outcome"),
		signatureSeconds:   histogram("signature_seconds", "Time from policy to the recorded outcome of a signature.", seconds, "wallet"),
		backendCalls:       counter("backend_calls_total", "Signing calls to the key backend; a throttled signature takes several.", "wallet", "outcome"),
		backendCallSeconds: histogram("backend_call_seconds", "Time of one signing call to the key backend.", seconds, "wallet"),
		backendUp:          gauge("backend_up", "1 if the key backend answered the last health check or discovery.", "wallet"),
		accounts:           gauge("accounts", "Accounts of a wallet, by whether they may sign.", "wallet", "state"),

		stageSeconds: histogram("transaction_stage_seconds", "Time that a transaction spent in a stage: accept, sign, send, mine.", stages, "wallet", "stage"),
		events:       counter("transaction_events_total", "What happened to transactions and senders.", "wallet", "kind"),
		senders:      newSenders(namespace),

		backends: newBackends(namespace),

		nodes:      newNodes(namespace),
		nodeHead:   gauge("node_head_block", "Number of the newest block that the node has shown.", "wallet"),
		nodeHeadAt: gauge("node_head_seen_timestamp_seconds", "When the node last showed a new block, as Unix time.", "wallet"),
		nodeErrors: counter("node_errors_total", "Failures to follow the node's chain.", "wallet"),

		commitSeconds: histogram("store_commit_seconds", "Time of one commit of the store.", seconds).WithLabelValues().(prometheus.Histogram),
		commitWrites:  histogram("store_commit_writes", "Writes that shared one commit of the store.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}).WithLabelValues().(prometheus.Histogram),

		webhooks: &Webhooks{
			delivered: counter("webhook_delivered_total", "Events that a receiver has taken.", "hook"),
			failed:    counter("webhook_failed_total", "Tries to deliver an event that failed, by kind.", "hook", "kind"),
			dropped:   counter("webhook_dropped_total", "Events that will not be tried any more.", "hook"),
			pending:   gauge("webhook_pending", "Events that wait to be delivered, on the replica that delivers.", "hook"),
			age:       histogram("webhook_delivery_seconds", "Time from an event to its delivery.", stages).WithLabelValues().(prometheus.Histogram),
			names:     newBounded(maxWallets),
		},

		wallets: newBounded(maxWallets),
		methods: newBounded(maxMethods),
	}
	registry.MustRegister(r.senders, r.backends, r.nodes, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("build_info", "1, with the program's version in its labels.", "version", "revision", "goversion").
		WithLabelValues(build.Version, build.Revision, runtime.Version()).Set(1)
	return r
}

// Handler serves the metrics in Prometheus' text format, a few scrapes at a
// time.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
		EnableOpenMetrics:   true,
	})
}
