// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func listAccounts(ctx context.Context, p Platform, rt *route, c *call) (reply, error) {
	filters := url.Values{}
	for name, values := range c.query {
		if name != "balance" && name != "nonce" {
			filters[name] = values
		}
	}
	q, err := query.Parse(filters, rt.filtered)
	if err != nil {
		return reply{}, err
	}
	all, err := p.Accounts(ctx, c.who, c.at, accountQuery(c))
	if err != nil {
		return reply{}, err
	}
	items := make([]any, len(all))
	for i := range all {
		items[i] = all[i]
	}
	return list(q, items)
}

func accountQuery(c *call) platform.AccountQuery {
	return platform.AccountQuery{Balance: c.flag("balance"), Nonce: c.flag("nonce")}
}

func getAccount(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	address, err := addressOf(c.leaf)
	if err != nil {
		return reply{}, err
	}
	a, err := p.Account(ctx, c.who, c.at, address, accountQuery(c))
	return ok(a), err
}

// addressOf reads the address in a path, in any case: what is none is not found.
func addressOf(text string) (common.Address, error) {
	if !common.IsHexAddress(text) || !strings.HasPrefix(text, "0x") {
		return common.Address{}, notFound()
	}
	return common.HexToAddress(text), nil
}

func labelAccount(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	address, err := addressOf(c.leaf)
	if err != nil {
		return reply{}, err
	}
	a, err := p.LabelAccount(ctx, c.who, c.at, address, c.body.Get("label").Text)
	return ok(a), err
}

func refreshAccounts(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	r, err := p.RefreshAccounts(ctx, c.who, c.at)
	if r.Problems == nil {
		r.Problems = []platform.AccountProblem{}
	}
	return ok(r), err
}

func createAccount(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	a, err := p.CreateAccount(ctx, c.who, c.at, platform.NewAccount{
		Name: c.body.Get("name").Text, Label: c.body.Get("label").Text, Tags: tags(c.body.Get("tags")),
	})
	return reply{http.StatusCreated, a}, err
}

func importKey(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	k, err := p.ImportKey(ctx, c.who, c.at)
	return ok(k), err
}

func importAccount(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	wrapped, err := base64.StdEncoding.DecodeString(c.body.Get("wrapped_key").Text)
	if err != nil {
		return reply{}, invalid("wrapped_key", "want base64 with its padding (RFC 4648 §4)")
	}
	a, err := p.ImportAccount(ctx, c.who, c.at, platform.ImportedAccount{
		Name: c.body.Get("name").Text, Label: c.body.Get("label").Text, Tags: tags(c.body.Get("tags")), Wrapped: wrapped,
	})
	return reply{http.StatusCreated, a}, err
}

func tags(v strictjson.Value) map[string]string {
	if len(v.Members) == 0 {
		return nil
	}
	m := make(map[string]string, len(v.Members))
	for _, tag := range v.Members {
		m[tag.Name] = tag.Value.Text
	}
	return m
}
