// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// condition is one thing that a rule wants of a request.
type condition struct {
	name  string
	on    actions // that it can be asked of; it is not evaluated for others
	holds func(*facts) outcome
	saw   func(*facts) string // what the request has, for who wants to know why
}

// matcher is everything that a rule or limit wants of a request.
type matcher struct {
	actions    actions
	conditions []condition
}

// about reports what the actions of a matcher say of a request: whoever allows
// must name all that it is, whoever denies only some of it.
func (m *matcher) about(f *facts) outcome {
	o := outcome{surely: f.is&^m.actions == 0, possibly: f.is&m.actions != 0}
	if m.actions&ways == 0 && m.actions&createContract != 0 && f.is == createContract|sendTransaction {
		o.surely = true // create-contract by itself means one that is sent
	}
	return o
}

// matches evaluates the conditions until one surely does not hold.
func (m *matcher) matches(f *facts) outcome {
	o := m.about(f)
	for i := range m.conditions {
		if !o.possibly {
			return o
		}
		o = o.and(m.conditions[i].holds(f))
	}
	return o
}

// why names the first thing that keeps the matcher from matching; surely says
// what it takes to match.
func (m *matcher) why(f *facts, surely bool) string {
	fails := func(o outcome) bool { return surely && !o.surely || !surely && !o.possibly }
	if fails(m.about(f)) {
		return "actions: this is " + f.is.String()
	}
	for _, c := range m.conditions {
		if o := c.holds(f); fails(o) {
			if o.possibly {
				return c.name + ": cannot be told: " + c.saw(f)
			}
			return c.name + ": " + c.saw(f)
		}
	}
	return ""
}

// set is a list of what is wanted, or not wanted.
type set[T comparable] struct {
	in, notIn map[T]bool
}

func (s *set[T]) holds(v T) bool {
	return (s.in == nil || s.in[v]) && !s.notIn[v]
}

// span of amounts; nil: no bound.
type bounds struct{ min, max *big.Int }

func (b bounds) holds(n *big.Int) bool {
	return (b.min == nil || n.Cmp(b.min) >= 0) && (b.max == nil || n.Cmp(b.max) <= 0)
}

// recipients holds for a transaction to one of the addresses. A new contract is no
// recipient: it is on no list, and so not on the list of those to which nothing may
// go but is neither on the list of those to which something may.
func recipients(s *set[common.Address]) func(*facts) outcome {
	return func(f *facts) outcome {
		if f.to == nil {
			return outcome{possibly: s.in == nil}
		}
		return known(s.holds(*f.to))
	}
}

// callRule is a method that a rule names, with what it wants of the arguments.
type callRule struct {
	method *method
	args   []memberTest
}

// called holds if the calldata is a call of one of the methods. Calldata with a
// method's selector which cannot be read may be anything.
func called(methods []callRule) func(*facts) outcome {
	return func(f *facts) outcome {
		var result outcome
		selector, ok := f.selector()
		if !ok {
			return result
		}
		for i := range methods {
			m := &methods[i]
			if m.method.selector != selector {
				continue
			}
			args, ok := f.arguments(m.method)
			if !ok {
				result = result.or(unknown)
				continue
			}
			o := known(true)
			for j := range m.args {
				o = o.and(m.args[j].holds(args))
			}
			result = result.or(o)
		}
		return result
	}
}
