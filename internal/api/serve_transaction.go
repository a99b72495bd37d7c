// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// transactionParameters are those of the list of transactions, which can be
// long: only what an index serves can be asked for.
func transactionParameters(item *schema.Schema) []parameter {
	none, one := int64(0), int64(1)
	most := int64(query.MaxLimit)
	return []parameter{
		{name: "state", doc: "Only in this state.", is: &schema.Schema{Type: schema.String, Enum: platform.TransactionStates()}},
		{name: "state[]", doc: "Only in one of these states.", is: &schema.Schema{Type: schema.Array, Items: &schema.Schema{Type: schema.String, Enum: platform.TransactionStates()}}},
		{name: "from", doc: "Only from this address.", is: &schema.Schema{Type: schema.String, Pattern: addressPattern}},
		{name: "id", doc: "Only the one with this id.", is: &schema.Schema{Type: schema.String, Pattern: txIDPattern}},
		{name: "hash", doc: "Only the one of which this is the hash of a signed encoding.", is: &schema.Schema{Type: schema.String, Pattern: hashPattern}},
		{name: "nonce", doc: "Only those that have this nonce, or had it last; with from, of one address.", is: &schema.Schema{Type: schema.Integer, Minimum: &none}},
		{name: "idempotency_key", doc: "Only what was sent under this key, whichever credential gave it. The gateway's keys are found with and without their prefix gateway:.", is: &schema.Schema{Type: schema.String, MinLength: 1}},
		{name: "before", doc: "Only older than the transaction with this id, for paging.", is: &schema.Schema{Type: schema.String, Pattern: transactionPattern}},
		{name: query.Limit, doc: "At most so many.", is: &schema.Schema{Type: schema.Integer, Minimum: &one, Maximum: &most, Default: 50}},
		{name: query.Fields, doc: "Only these fields.", is: query.Choice(item)},
	}
}

const (
	addressPattern     = `^0x[0-9a-fA-F]{40}$`
	txIDPattern        = `^[0-9a-f]{32}$`
	hashPattern        = `^0x[0-9a-fA-F]{64}$`
	transactionPattern = `^([0-9a-f]{32}|0x[0-9a-fA-F]{64})$`
)

var isAddress, isTxID, isHash = regexp.MustCompile(addressPattern), regexp.MustCompile(txIDPattern), regexp.MustCompile(hashPattern)

func listTransactions(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	q, err := transactionQuery(c.query)
	if err != nil {
		return reply{}, err
	}
	chosen := url.Values{}
	if c.query.Has(query.Fields) {
		chosen[query.Fields] = c.query[query.Fields]
	}
	choice, err := query.Parse(chosen, rt.answers[0].body.Items)
	if err != nil {
		return reply{}, err
	}
	all, err := p.Transactions(ctx, c.who, c.at, q)
	if err != nil {
		return reply{}, err
	}
	items := make([]any, len(all))
	for i := range all {
		items[i] = all[i]
	}
	return list(choice, items)
}

func transactionQuery(v url.Values) (platform.TransactionQuery, error) {
	var q platform.TransactionQuery
	if v.Has("state") {
		q.States = []string{v.Get("state")}
	}
	for _, s := range v["state[]"] {
		if v.Has("state") {
			return q, invalid("state", "want state or state[], not both")
		}
		if !slices.Contains(q.States, s) {
			q.States = append(q.States, s)
		}
	}
	for _, s := range q.States {
		if !slices.Contains(platform.TransactionStates(), s) {
			return q, invalid("state", "want one of "+strings.Join(platform.TransactionStates(), ", "))
		}
	}
	if v.Has("from") {
		if !isAddress.MatchString(v.Get("from")) {
			return q, invalid("from", "want an address: 0x and 40 hex digits")
		}
		q.Address, _ = addressOf(v.Get("from"))
	}
	if err := searched(v, &q); err != nil {
		return q, err
	}
	if v.Has("before") {
		if q.Before = v.Get("before"); !isTransactionID(q.Before) {
			return q, invalid("before", "want the id of a transaction")
		}
	}
	if v.Has(query.Limit) {
		var err error
		if q.Limit, err = query.Whole(v.Get(query.Limit), 1, query.MaxLimit); err != nil {
			return q, invalid(query.Limit, err.Error())
		}
	}
	return q, nil
}

// searched reads what few transactions have.
func searched(v url.Values, q *platform.TransactionQuery) error {
	if v.Has("id") {
		if q.ID = v.Get("id"); !isTxID.MatchString(q.ID) {
			return invalid("id", "want the id of a transaction: 32 hex digits")
		}
	}
	if v.Has("hash") {
		if !isHash.MatchString(v.Get("hash")) {
			return invalid("hash", "want a hash: 0x and 64 hex digits")
		}
		q.Hash = common.HexToHash(v.Get("hash"))
	}
	if v.Has("nonce") {
		n, err := strconv.ParseUint(v.Get("nonce"), 10, 63)
		if err != nil {
			return invalid("nonce", "want a whole number from 0 to 2^63-1")
		}
		q.Nonce = &n
	}
	if v.Has("idempotency_key") {
		if q.Key = v.Get("idempotency_key"); q.Key == "" {
			return invalid("idempotency_key", "want the key that the transaction was sent under")
		}
	}
	return nil
}

func isTransactionID(text string) bool {
	return regexp.MustCompile(transactionPattern).MatchString(text)
}

func getTransaction(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isTransactionID(c.leaf) {
		return reply{}, notFound()
	}
	t, err := p.Transaction(ctx, c.who, c.at, c.leaf)
	return ok(t), err
}

func cancelTransaction(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isTransactionID(c.leaf) {
		return reply{}, notFound()
	}
	t, err := p.CancelTransaction(ctx, c.who, c.at, c.leaf)
	return ok(t), err
}

func speedUpTransaction(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !isTransactionID(c.leaf) {
		return reply{}, notFound()
	}
	fee, err := wei(c.body, "max_fee_per_gas")
	if err != nil {
		return reply{}, err
	}
	tip, err := wei(c.body, "priority_fee_per_gas")
	if err != nil {
		return reply{}, err
	}
	t, err := p.SpeedUpTransaction(ctx, c.who, c.at, c.leaf, fee, tip)
	return ok(t), err
}

// wei reads an amount; nil if it is not given.
func wei(body strictjson.Value, name string) (*big.Int, error) {
	v := body.Get(name)
	if !v.Present() {
		return nil, nil
	}
	n, ok := new(big.Int).SetString(v.Text, 10)
	if !ok {
		return nil, fmt.Errorf("api: %s let through by its schema", name)
	}
	return n, nil
}
