// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/history"
)

// Request counts an answered JSON-RPC request; code 0 is success.
func (r *Registry) Request(wallet, method, transport string, code int, took time.Duration) {
	wallet = r.wallets.label(wallet)
	name := other
	if method != "unknown" { // as rpc calls a method that is not served
		name = r.methods.label(method)
	}
	r.requests.WithLabelValues(wallet, name, transport, outcome(code)).Inc()
	r.requestSeconds.WithLabelValues(wallet, class(method)).Observe(took.Seconds())
}

// Refused counts what the RPC door turned away before it was a request.
func (r *Registry) Refused(reason string) { r.refused.WithLabelValues(reason).Inc() }

// Sockets follows WebSocket connections as they open (+1) and close (-1).
func (r *Registry) Sockets(delta int) { r.sockets.Add(float64(delta)) }

// Subscriptions follows eth_subscribe as they open (+1) and close (-1).
func (r *Registry) Subscriptions(delta int) { r.subscriptions.Add(float64(delta)) }

// Signature counts a request to sign, from policy to the recorded outcome.
func (r *Registry) Signature(wallet, outcome string, took time.Duration) {
	r.past.Signature(wallet, outcome)
	wallet = r.wallets.label(wallet)
	r.signatures.WithLabelValues(wallet, outcome).Inc()
	r.signatureSeconds.WithLabelValues(wallet).Observe(took.Seconds())
}

// BackendCall counts one signing call to a key backend.
func (r *Registry) BackendCall(wallet, outcome string, took time.Duration) {
	r.past.BackendCall(wallet, outcome)
	wallet = r.wallets.label(wallet)
	r.backendCalls.WithLabelValues(wallet, outcome).Inc()
	r.backendCallSeconds.WithLabelValues(wallet).Observe(took.Seconds())
}

// BackendUp says whether a key backend answered when it was last asked.
func (r *Registry) BackendUp(wallet string, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	r.backendUp.WithLabelValues(r.wallets.label(wallet)).Set(value)
}

// Accounts says how many accounts of a wallet may sign and how many may not.
func (r *Registry) Accounts(wallet string, usable, unusable int) {
	wallet = r.wallets.label(wallet)
	r.accounts.WithLabelValues(wallet, "usable").Set(float64(usable))
	r.accounts.WithLabelValues(wallet, "unusable").Set(float64(unusable))
}

// ObserveStage notes how long a transaction spent in a stage.
func (r *Registry) ObserveStage(wallet, stage string, took time.Duration) {
	r.past.Stage(wallet, stage, took)
	r.stageSeconds.WithLabelValues(r.wallets.label(wallet), stage).Observe(took.Seconds())
}

// Event counts something that happened to a transaction or a sender.
func (r *Registry) Event(wallet, kind string) {
	r.past.Event(wallet, kind)
	r.events.WithLabelValues(r.wallets.label(wallet), kind).Inc()
}

// NodeHead notes a new block of a wallet's node.
func (r *Registry) NodeHead(wallet string, number uint64) {
	r.past.Head(wallet, number)
	wallet = r.wallets.label(wallet)
	r.nodeHead.WithLabelValues(wallet).Set(float64(number))
	r.nodeHeadAt.WithLabelValues(wallet).SetToCurrentTime()
}

// NodeError counts a failure to follow the chain of a wallet's node.
func (r *Registry) NodeError(wallet string) {
	r.nodeErrors.WithLabelValues(r.wallets.label(wallet)).Inc()
}

// Commit notes one commit of the store and how many writes shared it.
func (r *Registry) Commit(writes int, took time.Duration) {
	r.commitSeconds.Observe(took.Seconds())
	r.commitWrites.Observe(float64(writes))
}

// History is what the wallets did in the last hour and day.
func (r *Registry) History() *history.Recorder { return r.past }
