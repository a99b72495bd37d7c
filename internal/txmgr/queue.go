// SPDX-License-Identifier: Apache-2.0

package txmgr

import "slices"

// nextQueued is the transaction of the queue that can have a nonce now; nil if
// none can. Those that turn out not to be covered by the balance fail here.
func (s *sender) nextQueued() *entry {
	for e := s.loose(); e != nil; e = s.loose() {
		if !s.fresh() {
			s.wantAccount()
			return nil
		}
		if !s.roomFor(e) {
			return nil
		}
		short := s.shortfall(e)
		if short == nil {
			return e
		}
		if !e.prepaid || s.account.latest > s.base {
			e.prepaid = true
			s.askAnew()
			return nil
		}
		s.fail(e, short)
	}
	return nil
}

// loose is the first transaction of the queue that is not frozen; nil if there
// is none. Those of another wallet do not wait for those that are.
func (s *sender) loose() *entry {
	for _, e := range s.queue {
		if s.frozen(e) == nil {
			return e
		}
	}
	return nil
}

// dequeue takes e out of the queue, at whose head it is as a rule.
func (s *sender) dequeue(e *entry) {
	if s.queue[0] == e {
		s.queue = s.queue[1:]
		return
	}
	s.unqueue(e)
}

func (s *sender) unqueue(e *entry) {
	if i := slices.Index(s.queue, e); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}
