// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/core/types"
)

// matcher reads the actions and conditions of a rule, or of a limit if effect is
// empty.
func (r *reader) matcher(o *object, effect Effect) matcher {
	var m matcher
	if o == nil {
		return m
	}
	grants := effect == EffectAllow || effect == EffectAsk
	actionsAt, named := o.given("actions")
	if named {
		m.actions = readActions(actionsAt)
	} else if grants {
		node{r, o.yaml, join(o.path, "actions")}.fail("is missing: a rule that allows or asks names what it is about, some of %s", everyAction)
	}
	conditions := r.conditions(o, grants)
	if !named {
		m.actions = everyAction
		for _, c := range conditions {
			m.actions &= c.on
		}
		if m.actions == 0 && !grants {
			o.fail("no request has all of %s", conditionNames(conditions))
		}
	}
	m.conditions = conditions
	for _, c := range conditions {
		if not := m.actions &^ c.on; not != 0 {
			o.values[c.name].fail("means nothing for %s: write a rule of its own for that", not)
		}
	}
	m.types(o, grants)
	return m
}

func conditionNames(list []condition) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
	}
	return strings.Join(names, " and ")
}

func readActions(n node) actions {
	var a actions
	for _, name := range all(n, "an action", oneOf(actionNames()...)) {
		a |= 1 << slices.Index(actionNames(), name)
	}
	return a
}

// conditions reads every condition but the actions and transaction types.
func (r *reader) conditions(o *object, grants bool) []condition {
	var list []condition
	add := func(key string, on actions, read func(n node) condition) {
		if n, ok := o.given(key); ok {
			c := read(n)
			c.name, c.on = key, c.on|on
			if c.holds != nil {
				list = append(list, c)
			}
		}
	}
	// What is cheap to find out comes first.
	add("accounts", everyAction, readAccounts)
	add("principals", everyAction, readPrincipals)
	add("wallets", everyAction, readWallets)
	add("chains", everyAction, readChains)
	add("to", transactions&^createContract, func(n node) condition { return readRecipients(n, grants) })
	add("data", transactions, readData)
	for _, a := range []struct {
		key string
		of  func(*facts) *big.Int
	}{
		{"value", func(f *facts) *big.Int { return f.value }},
		{"gas", func(f *facts) *big.Int { return f.gas }},
		{"max_fee_per_gas", func(f *facts) *big.Int { return f.feeCap }},
		{"max_priority_fee_per_gas", func(f *facts) *big.Int { return f.tipCap }},
		{"total_fee", func(f *facts) *big.Int { return f.fee }},
	} {
		add(a.key, transactions, func(n node) condition { return readBounds(n, a.key != "gas", a.of) })
	}
	add("times", everyAction, readTimes)
	add("messages", signMessage, readMessages)
	add("documents", signDocument, readDocuments)
	add("methods", transactions&^createContract, readMethods)
	add("typed_data", signTypedData, readTypedData)
	return list
}

func typeNames() []string {
	return []string{"legacy", "access-list", "dynamic-fee", "blob", "set-code"}
}

// types reads the transaction types. Who allows must name blobs and set-code.
func (m *matcher) types(o *object, grants bool) {
	var want [types.SetCodeTxType + 1]bool
	n, given := o.given("transaction_types")
	switch {
	case given && m.actions == 0: // reported already
	case given:
		for _, name := range all(n, "a type", oneOf(typeNames()...)) {
			want[slices.Index(typeNames(), name)] = true
		}
		if not := m.actions &^ transactions; not != 0 && o.has("actions") {
			n.fail("means nothing for %s: write a rule of its own for that", not)
		}
		if m.actions &= transactions; m.actions == 0 {
			n.fail("means nothing for a rule that is about no transactions")
		}
	case grants:
		want[types.LegacyTxType], want[types.AccessListTxType], want[types.DynamicFeeTxType] = true, true, true
	default:
		return
	}
	m.conditions = append([]condition{{
		name: "transaction_types",
		on:   transactions,
		holds: func(f *facts) outcome {
			t := f.req.Transaction
			return known(t == nil || t.Type() < uint8(len(want)) && want[t.Type()])
		},
		saw: func(f *facts) string { return "the transaction's type is " + typeNames()[f.req.Transaction.Type()] },
	}}, m.conditions...)
}

func (o *object) has(key string) bool {
	_, ok := o.given(key)
	return ok
}

// readSet reads a list, or a mapping of in and not_in.
func readSet[T comparable](n node, want string, parse func(string) (T, error)) *set[T] {
	s := &set[T]{}
	read := func(n node) map[T]bool {
		m := map[T]bool{}
		for _, v := range all(n, want, parse) {
			m[v] = true
		}
		return m
	}
	if !n.mapping() {
		s.in = read(n)
		return s
	}
	o := n.object()
	if v, ok := o.given("in"); ok {
		s.in = read(v)
	}
	if v, ok := o.given("not_in"); ok {
		s.notIn = read(v)
	}
	o.done()
	if o != nil && s.in == nil && s.notIn == nil && len(o.keys) == 0 {
		n.fail("is empty: want in or not_in")
	}
	return s
}

func readAccounts(n node) condition {
	s := readSet(n, "an address", addressLiteral)
	return condition{
		holds: func(f *facts) outcome { return known(s.holds(f.req.Account)) },
		saw:   func(f *facts) string { return "the account is " + f.req.Account.Hex() },
	}
}

func readWallets(n node) condition {
	s := readSet(n, "the name of a wallet, or the id of a service", anyText)
	return condition{
		holds: func(f *facts) outcome { return known(s.holds(f.req.Owner.Wallet)) },
		saw:   func(f *facts) string { return "the wallet is " + short(f.req.Owner.Wallet) },
	}
}

// readChains reads the chains of wallets. Of a request that does not say it, it
// cannot be known.
func readChains(n node) condition {
	s := readSet(n, "a chain id", func(s string) (string, error) {
		id, err := chainID(s)
		if err != nil {
			return "", err
		}
		return id.String(), nil
	})
	return condition{
		holds: func(f *facts) outcome {
			if f.req.ChainID == nil {
				return unknown
			}
			return known(s.holds(f.req.ChainID.String()))
		},
		saw: func(f *facts) string { return fmt.Sprintf("the wallet's chain is %v", f.req.ChainID) },
	}
}

// readPrincipals reads names of principals; app:* is every app credential.
func readPrincipals(n node) condition {
	s := readSet(n, "a principal, like app:<id>, key:<id>, person:<subject>, or app:*", func(s string) (string, error) {
		if kind, ok := strings.CutSuffix(s, "*"); ok && (!strings.HasSuffix(kind, ":") || strings.Count(kind, ":") != 1 || kind == ":") {
			return "", fmt.Errorf("%q: * can only stand for the whole name, as in app:*", s)
		}
		return s, nil
	})
	return condition{
		holds: func(f *facts) outcome {
			name := f.req.Principal.Name
			kind, _, ok := strings.Cut(name, ":")
			every := ""
			if ok {
				every = kind + ":*"
			}
			in := s.in == nil || s.in[name] || ok && s.in[every]
			return known(in && !s.notIn[name] && !(ok && s.notIn[every]))
		},
		saw: func(f *facts) string { return "the principal is " + short(f.req.Principal.Name) },
	}
}

func readRecipients(n node, grants bool) condition {
	s := readSet(n, "an address", addressLiteral)
	c := condition{
		holds: recipients(s),
		saw: func(f *facts) string {
			if f.to == nil {
				return "the transaction creates a contract"
			}
			return "the recipient is " + f.to.Hex()
		},
	}
	if !grants && s.in == nil {
		c.on = createContract // which goes to none of those either
	}
	return c
}

func readData(n node) condition {
	want, _ := parsed(n, "none or some", oneOf("none", "some"))
	return condition{
		holds: func(f *facts) outcome { return known((len(f.data) > 0) == (want == "some")) },
		saw:   func(f *facts) string { return fmt.Sprintf("the transaction has %d bytes of data", len(f.data)) },
	}
}

// readBounds reads a mapping of min and max, both included.
func readBounds(n node, amounts bool, of func(*facts) *big.Int) condition {
	parse := integer
	if amounts {
		parse = wei
	}
	o := n.object()
	var b bounds
	b.min, b.max = o.bound("min", parse), o.bound("max", parse)
	o.closed(b)
	return condition{
		holds: func(f *facts) outcome { return known(b.holds(of(f))) },
		saw: func(f *facts) string {
			if amounts {
				return "it is " + of(f).String() + " wei"
			}
			return "it is " + of(f).String()
		},
	}
}

func (o *object) bound(key string, parse func(string) (*big.Int, error)) *big.Int {
	v, ok := o.given(key)
	if !ok {
		return nil
	}
	n, _ := parsed(v, "an amount", parse)
	return n
}

// closed reports bounds that bound nothing, or leave nothing between them.
func (o *object) closed(b bounds) {
	o.done()
	switch {
	case o == nil:
	case len(o.keys) == 0:
		o.fail("is empty: want a condition, such as min or max")
	case b.min != nil && b.max != nil && b.min.Cmp(b.max) > 0:
		o.fail("min is more than max")
	}
}
