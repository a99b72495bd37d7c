// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"
)

// model is a policy, as the reference knows it.
type model struct {
	rules  []ruleModel
	limits []limitModel
}

type ruleModel struct {
	name, effect string
	conditions   conditions
}

type limitModel struct {
	name, asset, window string
	max                 int64
	conditions          conditions
}

// conditions: nil and empty are those that are not given.
type conditions struct {
	actions, accounts, principals, types []string
	to                                   []string
	toNot                                bool
	data                                 string
	valueMin, valueMax, feeMax           *int64
	hours                                *hours
	methods                              []methodModel
	messageMax                           *int
	messagePrefix                        *string
	sizeMax                              *int64
	primary, contracts                   []string
	memberMax                            *int64
}

type hours struct {
	from, to int
	zone     *time.Location
}

type methodModel struct {
	name      string // transfer, approve or pay
	amountMax *int64
	who       []string
}

// inquiry is a request, as the reference knows it.
type inquiry struct {
	action             string // transaction, sign-transaction, message, document, typed-data
	raw                bool
	principal, account string
	to                 string // empty: a new contract
	kind               int
	value              int64
	gas                int64
	feeCap, ceiling    int64
	data               string // none, good, dirty, long, short
	method             string
	who                []string
	amount             int64
	message            string
	size               int64
	primary, contract  string
}

func (r inquiry) isTransaction() bool {
	return r.action == "transaction" || r.action == "sign-transaction"
}

func (r inquiry) words() []string {
	words := []string{r.action}
	if r.raw {
		words[0] = "raw-transaction"
	}
	if r.isTransaction() && r.to == "" {
		words = append(words, "create-contract")
	}
	return words
}

// defaultActions are those that all given conditions can be asked of.
func (c conditions) defaultActions() []string {
	transactions := []string{"transaction", "sign-transaction", "raw-transaction"}
	withCreate := append(slices.Clone(transactions), "create-contract")
	switch {
	case c.methods != nil || c.to != nil && !c.toNot:
		return transactions
	case c.to != nil || c.types != nil || c.data != "" || c.valueMin != nil || c.valueMax != nil || c.feeMax != nil:
		return withCreate
	case c.messageMax != nil || c.messagePrefix != nil:
		return []string{"message"}
	case c.sizeMax != nil:
		return []string{"document"}
	case c.primary != nil || c.contracts != nil || c.memberMax != nil:
		return []string{"typed-data"}
	}
	return append(withCreate, "message", "document", "typed-data")
}

func modelAddresses() []string { return []string{own.Hex(), friend.Hex(), stranger.Hex(), token.Hex()} }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func some(r *rand.Rand, list ...string) []string {
	n := 1 + r.IntN(len(list))
	out := slices.Clone(list)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:n]
}

func maybeOf(r *rand.Rand, n int64) *int64 {
	if r.IntN(3) > 0 {
		return nil
	}
	return &n
}

func randomModel(r *rand.Rand) model {
	var m model
	for i := range r.IntN(7) {
		effect := pick(r, "allow", "allow", "allow", "ask", "deny")
		m.rules = append(m.rules, ruleModel{fmt.Sprintf("r%d%d", r.IntN(9), i), effect, randomConditions(r, effect != "deny")})
	}
	for i := range r.IntN(4) {
		l := limitModel{
			name: fmt.Sprintf("l%d%d", r.IntN(9), i), asset: pick(r, "native", "any-token", token.Hex()),
			window: pick(r, "1h", "total", "transaction"), max: pick[int64](r, 0, 3, 5, 20, 100),
		}
		if r.IntN(2) == 0 {
			l.conditions = randomConditions(r, false)
		}
		m.limits = append(m.limits, l)
	}
	if len(m.rules)+len(m.limits) == 0 {
		return randomModel(r)
	}
	return m
}

// randomConditions only joins what Parse takes together.
func randomConditions(r *rand.Rand, grants bool) conditions {
	var c conditions
	if r.IntN(4) == 0 {
		c.accounts = some(r, modelAddresses()[:2]...)
	}
	if r.IntN(4) == 0 {
		c.principals = some(r, "app:1", "app:2", "key:*", "person:ann", "app:*")
	}
	if r.IntN(6) == 0 {
		from := r.IntN(12)
		zurich, _ := time.LoadLocation(pick(r, "Europe/Zurich", "UTC", "America/New_York"))
		c.hours = &hours{from, from + 1 + r.IntN(12), zurich}
	}
	about := pick(r, "transactions", "transactions", "transactions", "message", "document", "typed-data", "anything")
	create := false
	switch about {
	case "transactions":
		create = c.randomTransaction(r, grants)
	case "message":
		if r.IntN(2) == 0 {
			n := r.IntN(12)
			c.messageMax = &n
		} else {
			c.messagePrefix = pick(r, new("ab"), new("x"), new(""))
		}
	case "document":
		c.sizeMax = new(r.Int64N(10))
	case "typed-data":
		if r.IntN(2) == 0 {
			c.primary = some(r, "Permit", "Login")
		}
		if r.IntN(2) == 0 {
			c.contracts = some(r, modelAddresses()[1:]...)
		}
		c.memberMax = maybeOf(r, r.Int64N(10))
		if c.primary == nil && c.contracts == nil && c.memberMax == nil {
			c.primary = []string{"Permit"}
		}
	}
	if grants || r.IntN(3) == 0 {
		c.actions = randomActions(r, about, create)
	}
	return c
}

// randomTransaction says whether the rule may be about new contracts too.
func (c *conditions) randomTransaction(r *rand.Rand, grants bool) bool {
	c.valueMin, c.valueMax = maybeOf(r, r.Int64N(4)), maybeOf(r, 3+r.Int64N(7))
	c.feeMax = maybeOf(r, r.Int64N(600_000))
	if r.IntN(4) == 0 {
		c.types = some(r, "legacy", "access-list", "dynamic-fee", "blob", "set-code")
	}
	if r.IntN(5) == 0 {
		c.data = pick(r, "none", "some")
	}
	create := true
	if r.IntN(3) == 0 {
		c.to, c.toNot = some(r, modelAddresses()...), r.IntN(3) == 0
		create = c.toNot && !grants
	}
	if r.IntN(3) == 0 {
		create = false
		for _, name := range some(r, "transfer", "approve", "pay") {
			m := methodModel{name: name}
			if name != "pay" {
				m.amountMax = maybeOf(r, r.Int64N(10))
			}
			if r.IntN(2) == 0 {
				m.who = some(r, modelAddresses()...)
			}
			c.methods = append(c.methods, m)
		}
	}
	if c.to == nil && c.methods == nil && c.valueMin == nil && c.valueMax == nil && c.feeMax == nil && c.types == nil && c.data == "" {
		c.valueMax = new(int64(5))
	}
	return create
}

func randomActions(r *rand.Rand, about string, create bool) []string {
	transactions := []string{"transaction", "transaction", "sign-transaction", "raw-transaction"}
	if create {
		transactions = append(transactions, "create-contract")
	}
	switch about {
	case "transactions":
		return some(r, transactions...)
	case "anything":
		return some(r, "transaction", "sign-transaction", "raw-transaction", "create-contract", "message", "document", "typed-data")
	}
	return []string{about}
}

func randomRequest(r *rand.Rand) inquiry {
	q := inquiry{
		action:    pick(r, "transaction", "transaction", "transaction", "sign-transaction", "message", "document", "typed-data"),
		principal: pick(r, "app:1", "app:2", "app:3", "key:1", "person:ann", "operator"),
		account:   pick(r, modelAddresses()[:2]...), to: pick(r, append(modelAddresses(), token.Hex(), token.Hex(), "")...),
		kind: pick(r, 0, 1, 2, 2, 2, 3, 4), value: r.Int64N(10), gas: 21_000 + r.Int64N(5), feeCap: 1 + r.Int64N(20),
		data: pick(r, "none", "good", "good", "good", "dirty", "long", "short"), method: pick(r, "transfer", "approve", "pay"),
		amount: r.Int64N(12), message: pick(r, "", "abc", "ab\nc", "x", "\xff", "abcdefghijk"), size: r.Int64N(12),
		primary: pick(r, "Permit", "Permit", "Login"), contract: pick(r, token.Hex(), token.Hex(), friend.Hex(), ""),
	}
	q.who = some(r, modelAddresses()...)
	if q.to == "" && q.kind > 2 {
		q.kind = 2
	}
	if q.action == "transaction" {
		q.raw = r.IntN(4) == 0
	}
	if q.data == "dirty" && q.method == "pay" {
		q.data = "good"
	}
	if r.IntN(3) == 0 {
		q.ceiling = r.Int64N(30)
	}
	return q
}

func (r inquiry) ofKind(to *common.Address, data []byte) *types.Transaction {
	fee, value, gas := uint256.NewInt(uint64(r.feeCap)), uint256.NewInt(uint64(r.value)), uint64(r.gas)
	switch r.kind {
	case types.AccessListTxType:
		return types.NewTx(&types.AccessListTx{To: to, Value: big.NewInt(r.value), Data: data, Gas: gas, GasPrice: big.NewInt(r.feeCap)})
	case types.DynamicFeeTxType:
		return types.NewTx(&types.DynamicFeeTx{To: to, Value: big.NewInt(r.value), Data: data, Gas: gas, GasFeeCap: big.NewInt(r.feeCap), GasTipCap: big.NewInt(1)})
	case types.BlobTxType:
		return types.NewTx(&types.BlobTx{To: *to, Value: value, Data: data, Gas: gas, GasFeeCap: fee, BlobFeeCap: uint256.NewInt(2), BlobHashes: []common.Hash{{1}, {2}}})
	}
	return types.NewTx(&types.SetCodeTx{To: *to, Value: value, Data: data, Gas: gas, GasFeeCap: fee, AuthList: []types.SetCodeAuthorization{{}}})
}

// text writes the policy down, in random order and with quotes where they are needed.
func (m model) text() string {
	var b strings.Builder
	if len(m.rules) > 0 {
		b.WriteString("rules:\n")
	}
	for _, r := range m.rules {
		parts := append([]string{"name: " + r.name, "effect: " + r.effect}, r.conditions.text()...)
		if r.effect == "ask" {
			parts = append(parts, "approval: {roles: [admin]}")
		}
		b.WriteString("  - {" + strings.Join(parts, ", ") + "}\n")
	}
	if len(m.limits) > 0 {
		b.WriteString("limits:\n")
	}
	for _, l := range m.limits {
		unit := ""
		if l.asset == "native" {
			unit = " wei"
		}
		parts := append([]string{
			"name: " + l.name, "asset: " + l.asset, "window: " + l.window, fmt.Sprintf("max: %d%s", l.max, unit), "per: account",
		}, l.conditions.text()...)
		b.WriteString("  - {" + strings.Join(parts, ", ") + "}\n")
	}
	return b.String()
}

func (c conditions) text() []string {
	var parts []string
	list := func(key string, items []string) {
		if items != nil {
			parts = append(parts, key+`: ["`+strings.Join(items, `", "`)+`"]`)
		}
	}
	list("actions", c.actions)
	list("accounts", c.accounts)
	list("principals", c.principals)
	list("transaction_types", c.types)
	if c.toNot {
		parts = append(parts, `to: {not_in: ["`+strings.Join(c.to, `", "`)+`"]}`)
	} else {
		list("to", c.to)
	}
	if c.data != "" {
		parts = append(parts, "data: "+c.data)
	}
	parts = append(parts, boundsText("value", c.valueMin, c.valueMax)...)
	parts = append(parts, boundsText("total_fee", nil, c.feeMax)...)
	if h := c.hours; h != nil {
		parts = append(parts, fmt.Sprintf(`times: [{from: "%02d:00", to: "%02d:00", zone: %s}]`, h.from, h.to, h.zone))
	}
	var methods []string
	for _, m := range c.methods {
		signature, who := m.name+"(address to, uint256 amount)", "to"
		if m.name == "pay" {
			signature, who = "pay(address[] list, uint8)", `"list[]"`
		}
		var args []string
		if m.amountMax != nil {
			args = append(args, fmt.Sprintf(`"1": {max: %d}`, *m.amountMax))
		}
		if m.who != nil {
			args = append(args, who+`: ["`+strings.Join(m.who, `", "`)+`"]`)
		}
		if args == nil {
			methods = append(methods, `"`+signature+`"`)
		} else {
			methods = append(methods, `{signature: "`+signature+`", args: {`+strings.Join(args, ", ")+`}}`)
		}
	}
	if methods != nil {
		parts = append(parts, "methods: ["+strings.Join(methods, ", ")+"]")
	}
	if c.messageMax != nil {
		parts = append(parts, fmt.Sprintf("messages: {max_bytes: %d}", *c.messageMax))
	}
	if c.messagePrefix != nil {
		parts = append(parts, `messages: {pattern: "`+*c.messagePrefix+`.*"}`)
	}
	if c.sizeMax != nil {
		parts = append(parts, fmt.Sprintf("documents: {max_size: %d}", *c.sizeMax))
	}
	if typed := c.typedText(); typed != "" {
		parts = append(parts, typed)
	}
	return parts
}

func (c conditions) typedText() string {
	var typed []string
	if c.primary != nil {
		typed = append(typed, "primary_types: ["+strings.Join(c.primary, ", ")+"]")
	}
	if c.contracts != nil {
		typed = append(typed, `verifying_contracts: ["`+strings.Join(c.contracts, `", "`)+`"]`)
	}
	if c.memberMax != nil {
		typed = append(typed, fmt.Sprintf("members: {value: {max: %d}}", *c.memberMax))
	}
	if typed == nil {
		return ""
	}
	return "typed_data: {" + strings.Join(typed, ", ") + "}"
}

func boundsText(key string, least, most *int64) []string {
	var parts []string
	if least != nil {
		parts = append(parts, fmt.Sprintf("min: %d wei", *least))
	}
	if most != nil {
		parts = append(parts, fmt.Sprintf("max: %d wei", *most))
	}
	if parts == nil {
		return nil
	}
	return []string{key + ": {" + strings.Join(parts, ", ") + "}"}
}
