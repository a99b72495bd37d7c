// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// accountsShown is how many accounts one page has: their balances are asked for
// one by one.
const accountsShown = 50

// refreshWait is how long the answer to Refresh Accounts waits for its end. A
// listing that takes longer goes on, and the page follows it.
const refreshWait = 5 * time.Second

// accountsPage is what the page of a wallet's accounts shows.
type accountsPage struct {
	Shown  []platform.Account
	All    int // that fit the search
	Known  int
	Search string
	From   int // number of the first that is shown, from 1
	To     int
	Before string // URL of the page before; empty if there is none
	After  string
	Report *platform.AccountsReport // what a refresh has just found
	Follow bool                     // a listing that is under way, or was a moment ago
	Keys   keyMaking
}

func walletAccounts(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "accounts")
	if err != nil {
		return view{}, err
	}
	if v.wantsFragment() { // how far the listing is, and nothing of the node
		return v.inside(p, "wallet-accounts", "accounts"), nil
	}
	return v.accountsPage(ctx, p, nil)
}

func (v *visit) accountsPage(ctx context.Context, p walletPage, report *platform.AccountsReport) (view, error) {
	all, err := v.c.cfg.Platform.Accounts(ctx, v.who, v.here(), platform.AccountQuery{})
	if err != nil {
		return view{}, err
	}
	query := v.r.URL.Query()
	page := accountsPage{Known: len(all), Search: strings.TrimSpace(query.Get("search")), Report: report}
	page.Follow = report == nil && (p.Status.Listing.Running || query.Get("done") == "accounts-listing")
	if p.MayAdmin {
		page.Keys = v.keyMaking(ctx, p)
	}
	all = found(all, page.Search)
	page.All = len(all)
	first, err := strconv.Atoi(query.Get("from"))
	if err != nil || first < 1 || first > len(all) {
		first = 1
	}
	last := min(first-1+accountsShown, len(all))
	link := func(from int) string {
		q := url.Values{"from": {strconv.Itoa(from)}}
		if page.Search != "" {
			q.Set("search", page.Search)
		}
		return v.path("wallets", p.ID, "accounts") + "?" + q.Encode()
	}
	if len(all) > 0 {
		page.Shown, page.From, page.To = all[first-1:last], first, last
	}
	if first > 1 {
		page.Before = link(max(1, first-accountsShown))
	}
	if last < len(all) {
		page.After = link(last + 1)
	}
	v.ask(ctx, page.Shown)
	p.Content = page
	return v.inside(p, "wallet-accounts", "accounts"), nil
}

// found are the accounts in which the words stand.
func found(all []platform.Account, search string) []platform.Account {
	if search == "" {
		return all
	}
	search = strings.ToLower(search)
	var out []platform.Account
	for _, a := range all {
		if strings.Contains(strings.ToLower(a.Address+"\n"+a.Name+"\n"+a.Label+"\n"+a.State), search) {
			out = append(out, a)
		}
	}
	return out
}

// ask asks the node for balances and nonces of what is shown. One that gets no answer
// is shown without.
func (v *visit) ask(ctx context.Context, shown []platform.Account) {
	_ = v.c.cfg.Platform.AskAccounts(ctx, v.who, v.here(), shown)
}

func refreshAccounts(ctx context.Context, v *visit) (view, error) {
	waiting, cancel := context.WithTimeout(ctx, v.c.refreshWait)
	defer cancel()
	report, err := v.c.cfg.Platform.RefreshAccounts(waiting, v.who, v.here())
	f, mendable := v.refused(err)
	late := err != nil && waiting.Err() != nil
	if err != nil && !mendable && !late {
		return view{}, err
	}
	p, failed := v.wallet(ctx, "accounts")
	if failed != nil {
		return view{}, failed
	}
	if late && p.Status.Listing.Running {
		return v.done("accounts-listing", "wallets", p.ID, "accounts"), nil
	}
	if err != nil && !mendable {
		return view{}, err
	}
	if err != nil {
		p.form = f
		return v.accountsPage(ctx, p, nil)
	}
	return v.accountsPage(ctx, p, &report)
}

// accountPage is what the page of one account shows.
type accountPage struct {
	platform.Account
	Transactions []platform.Transaction
	Window       nonceWindow
	Try          trying
}

func showAccount(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "accounts")
	if err != nil {
		return view{}, err
	}
	address, err := v.address()
	if err != nil {
		return view{}, err
	}
	a, err := v.c.cfg.Platform.Account(ctx, v.who, v.here(), address, platform.AccountQuery{Balance: true, Nonce: true})
	if refused := (*platform.Error)(nil); errors.As(err, &refused) && refused.Reason != platform.NotFound {
		a, err = v.c.cfg.Platform.Account(ctx, v.who, v.here(), address, platform.AccountQuery{}) // the node is away
	}
	if err != nil {
		return view{}, err
	}
	recent, err := v.c.cfg.Platform.Transactions(ctx, v.who, v.here(), platform.TransactionQuery{Address: address, Limit: windowRead})
	if err != nil {
		return view{}, err
	}
	if v.r.Method == "GET" {
		p.Values = map[string][]string{"label": {a.Label}}
	}
	p.Frozen = v.frozen(ctx, &address)
	p.Content = accountPage{a, recent[:min(len(recent), 10)], windowOf(recent, a.Nonce), tryingOf(v, p.MembershipID)}
	return v.inside(p, "account", short(a.Address)), nil
}

func (v *visit) address() (common.Address, error) {
	text := v.r.PathValue("address")
	if !common.IsHexAddress(text) {
		return common.Address{}, &platform.Error{Reason: platform.NotFound, Msg: "the wallet has no such account"}
	}
	return common.HexToAddress(text), nil
}

func labelAccount(ctx context.Context, v *visit) (view, error) {
	address, err := v.address()
	if err != nil {
		return view{}, err
	}
	a, err := v.c.cfg.Platform.LabelAccount(ctx, v.who, v.here(), address, v.text("label"))
	if f, ok := v.refused(err, "label"); ok {
		is, err := showAccount(ctx, v)
		if p, isPage := is.data.(walletPage); isPage {
			p.form = f
			is.data, is.status = p, 422
		}
		return is, err
	}
	if err != nil {
		return view{}, err
	}
	return v.done("account-labelled", "wallets", v.r.PathValue("id"), "accounts", a.Address), nil
}
