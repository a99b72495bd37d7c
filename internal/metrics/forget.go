// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// Forget takes away all that was shown of a wallet, which is no longer served. Its
// place among the labels is free for another.
func (r *Registry) Forget(wallet string) {
	r.past.Forget(wallet)
	if !r.wallets.forget(wallet) {
		return // it was shown among the others
	}
	r.WatchBackend(wallet, nil)
	r.WatchNode(wallet, nil)
	r.WatchEndpoints(wallet, nil)
	r.senders.forget(wallet)
	of := prometheus.Labels{"wallet": wallet}
	for _, vec := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{
		r.requests, r.requestSeconds, r.signatures, r.signatureSeconds, r.backendCalls, r.backendCallSeconds, r.backendUp, r.accounts,
		r.stageSeconds, r.events, r.nodeHead, r.nodeHeadAt, r.nodeErrors,
	} {
		vec.DeletePartialMatch(of)
	}
	r.wallets.forget(wallet) // the calls above have named it once more
}

func (s *senders) forget(wallet string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, wallet)
}

// forget gives a value's place back. It is false if the value had none.
func (b *bounded) forget(value string) bool {
	if _, had := b.seen.LoadAndDelete(value); !had {
		return false
	}
	b.count.Add(-1)
	return true
}
