// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// transactionsShown is how many transactions one page has.
const transactionsShown = 50

// transactionsPage is what the list of a wallet's transactions shows.
type transactionsPage struct {
	Shown  []platform.Transaction
	States []string
	State  string
	From   string
	Search string
	Older  string // URL of the next page; empty if there is none
	Newest bool   // nothing newer is left out, so that the page can keep itself up to date
	None   string // why there are none
}

func walletTransactions(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "transactions")
	if err != nil {
		return view{}, err
	}
	q := v.r.URL.Query()
	page := transactionsPage{States: platform.TransactionStates(), State: q.Get("state"), From: strings.TrimSpace(q.Get("from")), Search: strings.TrimSpace(q.Get("search"))}
	// One that is found by its hash or id has a page.
	if page.Search != "" {
		if t, err := v.c.cfg.Platform.Transaction(ctx, v.who, v.here(), page.Search); err == nil {
			return view{to: v.path("wallets", p.ID, "transactions", t.ID)}, nil
		}
	}
	query := platform.TransactionQuery{Limit: transactionsShown + 1}
	if slices.Contains(page.States, page.State) {
		query.States = []string{page.State}
	}
	if page.From != "" {
		if !common.IsHexAddress(page.From) {
			page.None = "That is no address: an address is 0x and 40 hex digits."
			p.Content = page
			return v.inside(p, "wallet-transactions", "transactions"), nil
		}
		query.Address = common.HexToAddress(page.From)
	}
	query.Before = q.Get("before")
	page.Newest = query.Before == ""
	if page.Shown, err = v.transactions(ctx, query, page.Search); err != nil {
		return view{}, err
	}
	if page.Search != "" && len(page.Shown) == 0 {
		page.None = "No transaction of this wallet has that hash, id, nonce or idempotency key. What is older than the retention time is not kept."
	}
	if len(page.Shown) > transactionsShown {
		page.Shown = page.Shown[:transactionsShown]
		next := url.Values{"before": {page.Shown[transactionsShown-1].ID}}
		for name, value := range map[string]string{"state": page.State, "from": page.From, "search": page.Search} {
			if value != "" {
				next.Set(name, value)
			}
		}
		page.Older = v.path("wallets", p.ID, "transactions") + "?" + next.Encode()
	}
	p.Content = page
	return v.inside(p, "wallet-transactions", "transactions"), nil
}

// transactions lists what fits the query and, if something is searched for, has it
// as its idempotency key or as its nonce. A number can be either.
func (v *visit) transactions(ctx context.Context, query platform.TransactionQuery, search string) ([]platform.Transaction, error) {
	if search == "" {
		return v.c.cfg.Platform.Transactions(ctx, v.who, v.here(), query)
	}
	keyed := query
	keyed.Key = search
	found, err := v.c.cfg.Platform.Transactions(ctx, v.who, v.here(), keyed)
	if err != nil {
		return nil, err
	}
	nonce, err := strconv.ParseUint(search, 10, 63)
	if err != nil {
		return found, nil //nolint:nilerr // then it is no nonce
	}
	query.Nonce = &nonce
	counted, err := v.c.cfg.Platform.Transactions(ctx, v.who, v.here(), query)
	for _, t := range counted {
		if !slices.ContainsFunc(found, func(f platform.Transaction) bool { return f.ID == t.ID }) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b platform.Transaction) int { return strings.Compare(b.ID, a.ID) })
	return found[:min(len(found), query.Limit)], err
}

func showTransaction(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "transactions")
	if err != nil {
		return view{}, err
	}
	t, err := v.c.cfg.Platform.Transaction(ctx, v.who, v.here(), v.r.PathValue("tx"))
	if err != nil {
		return view{}, err
	}
	page := life(t)
	page.Decoded = v.decoded(ctx, t)
	p.Content = page
	return v.inside(p, "transaction", "transaction "+short(t.ID)), nil
}

// transactionPage is what the page of a transaction shows.
type transactionPage struct {
	platform.Transaction
	Final   bool
	Steps   []step
	Unseen  string   // why a time is not known; empty if all are
	Decoded *decoded // nil: no interface that is known here
}

// step is a part of a transaction's life.
type step struct {
	Word string
	Tone string // good, busy, bad or calm
	Text string
	Took string // how long it took to come here; empty if there is nothing to say
}

// life is a transaction with how far it has come.
func life(t platform.Transaction) transactionPage {
	p := transactionPage{Transaction: t, Final: slices.Contains([]string{"confirmed", "replaced", "displaced", "failed"}, t.State)}
	order := []struct {
		word   string
		states []string
		text   string
	}{
		{"Accepted", []string{"offered", "queued", "held"}, "Checked, allowed by policy, and stored."},
		{"Numbered", []string{"assigned"}, "It has its nonce; the key backend is asked for the signature."},
		{"Signed", []string{"signed"}, "The signature was checked and the bytes are stored."},
		{"Sent", []string{"sent"}, "A node has taken the bytes."},
		{"Mined", []string{"mined", "superseded"}, "It is in a block."},
		{"Final", []string{"confirmed", "replaced", "displaced", "failed"}, "The block is deep enough."},
	}
	at := len(order) - 1
	for i, o := range order {
		if slices.Contains(o.states, t.State) {
			at = i
		}
	}
	for i, o := range order {
		s := step{Word: o.word, Text: o.text, Tone: "calm"}
		switch {
		case t.State == "failed" && i == at, t.State == "displaced" && i == at:
			s.Word, s.Tone, s.Text = title(t.State), "bad", sentence(t.Error)
		case t.State == "replaced" && i == at:
			s.Word, s.Tone, s.Text = "Replaced", "warn", "Its replacement was mined at the same nonce."
		case t.State == "failed":
			s.Tone, s.Text = "calm", ""
		case i < at || p.Final:
			s.Tone = "good"
		case i == at:
			s.Tone = "busy"
		}
		p.Steps = append(p.Steps, s)
	}
	p.times()
	return p
}

// times says at each step how long it took to come there, and in words what is not
// known.
func (p *transactionPage) times() {
	d := p.Durations
	if d == nil {
		d = &platform.Durations{}
	}
	unseen := false
	for i, stage := range []*int64{d.Queued, d.Signed, d.Sent, d.Mined} {
		s := &p.Steps[i+1]
		switch {
		case stage != nil:
			s.Took = [...]string{"queued for ", "signed in ", "sent in ", "mined in "}[i] + took(*stage)
		case s.Tone != "good":
		case p.Kind == "raw" && i < 2:
			s.Took = "signed by its sender"
		default:
			s.Took, unseen = "time not known", true
		}
	}
	if p.State == "confirmed" {
		p.Steps[len(p.Steps)-1].Took = "final " + took(p.Updated.Sub(p.Created).Microseconds()) + " after it was accepted"
	}
	if unseen {
		p.Unseen = "A time is not known where the daemon that worked on the transaction ended in between, where a block was seen before the node's answer, or where an earlier version did the work."
	}
}

// took words a number of microseconds.
func took(us int64) string {
	switch {
	case us < 1000:
		return "less than 1 ms"
	case us < 10_000_000:
		return (time.Duration(us) * time.Microsecond).Round(time.Millisecond).String()
	}
	return (time.Duration(us) * time.Microsecond).Round(time.Second).String()
}

func title(s string) string { return strings.TrimSuffix(sentence(s), ".") }

func cancelTransaction(ctx context.Context, v *visit) (view, error) {
	t, err := v.c.cfg.Platform.CancelTransaction(ctx, v.who, v.here(), v.r.PathValue("tx"))
	if err != nil {
		return v.careTrouble(ctx, err)
	}
	return v.done("transaction-cancelled", "wallets", v.r.PathValue("id"), "transactions", t.ID), nil
}

func hastenTransaction(ctx context.Context, v *visit) (view, error) {
	fees := map[string]*big.Int{}
	for _, name := range []string{"max_fee_per_gas", "priority_fee_per_gas"} {
		text := v.text(name)
		if text == "" {
			continue
		}
		n, ok := gwei(text)
		if !ok {
			return v.careTrouble(ctx, &platform.Error{Reason: platform.Invalid, Field: name, Msg: "want a number of gwei, like 2.5"})
		}
		fees[name] = n
	}
	t, err := v.c.cfg.Platform.SpeedUpTransaction(ctx, v.who, v.here(), v.r.PathValue("tx"), fees["max_fee_per_gas"], fees["priority_fee_per_gas"])
	if err != nil {
		return v.careTrouble(ctx, err)
	}
	return v.done("transaction-hastened", "wallets", v.r.PathValue("id"), "transactions", t.ID), nil
}

// careTrouble shows the transaction again, with what was wrong.
func (v *visit) careTrouble(ctx context.Context, err error) (view, error) {
	f, ok := v.refused(err, "max_fee_per_gas", "priority_fee_per_gas")
	if !ok {
		return view{}, err
	}
	is, err := showTransaction(ctx, v)
	if p, isPage := is.data.(walletPage); isPage {
		p.form = f
		is.data, is.status = p, http.StatusUnprocessableEntity
	}
	return is, err
}

// gwei reads an amount of gwei, exactly, and gives wei.
func gwei(text string) (*big.Int, bool) {
	r, ok := new(big.Rat).SetString(text)
	if !ok || r.Sign() <= 0 || strings.ContainsAny(text, "/eE") || len(text) > 40 {
		return nil, false
	}
	r.Mul(r, new(big.Rat).SetInt64(1e9))
	if !r.IsInt() {
		return nil, false
	}
	return r.Num(), true
}
