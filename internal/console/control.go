// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"math/big"
	"net/http"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// file is what a browser is to keep instead of showing it.
type file struct {
	name  string
	media string
	body  []byte
}

// serve writes a file.
func (f file) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", f.media)
	w.Header().Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	_, _ = w.Write(f.body) // who has gone away needs no file
}

// people are the names of those whom records call by an id: app credentials and
// API keys, as far as the person may see them.
func (v *visit) people(ctx context.Context) map[string]string {
	names := map[string]string{}
	if v.at.Environment != "" {
		credentials, _ := list[platform.AppCred](ctx, v, platform.AppCreds) // without, the id is shown
		for _, c := range credentials {
			names["app:"+c.ID] = c.Name
			if c.AuthType == "mtls" {
				names["cert:"+c.Username] = c.Name
			}
		}
	}
	keys, _ := listAt[platform.APIKey](ctx, v, platform.APIKeys, platform.Path{})
	for _, k := range keys {
		names["key:"+k.ID] = k.Name
	}
	return names
}

// walletNames are the names of the wallets here, by what records call them.
func walletNames(services []*platform.Service) map[string]string {
	names := map[string]string{}
	for _, s := range services {
		names[runName(s)] = s.Name
	}
	return names
}

// Me is what records call the person.
func (p *page) Me() string { return p.v.who.Principal.Name }

// API is the URL of something in this environment at the management API.
func (p *page) API(parts ...string) string {
	return strings.Replace(p.v.path(parts...), Base+"/in/"+p.v.at.Consortium+"/"+p.v.at.Environment,
		"/api/v1/consortia/"+p.v.at.Consortium+"/environments/"+p.v.at.Environment, 1)
}

// times is a number of units at a price, both whole; empty if the price is none.
func times(units uint64, price string) string {
	n, ok := new(big.Int).SetString(price, 10)
	if !ok {
		return ""
	}
	return n.Mul(n, new(big.Int).SetUint64(units)).String()
}

// gauge is how much of something is used.
type gauge struct {
	Percent    int // 0 to 100, rounded up: what is begun is seen
	Used, Max  amount
	Left       amount
	Exhausted  bool
	NativeCoin bool
}

func gaugeOf(asset, used, most string) gauge {
	u, okU := new(big.Int).SetString(used, 10)
	m, okM := new(big.Int).SetString(most, 10)
	g := gauge{Used: assetAmount(asset, used), Max: assetAmount(asset, most), NativeCoin: asset == nativeAsset}
	if !okU || !okM {
		return g
	}
	left := new(big.Int).Sub(m, u)
	if left.Sign() <= 0 {
		g.Percent, g.Exhausted, g.Left = 100, true, assetAmount(asset, "0")
		return g
	}
	g.Left = assetAmount(asset, left.String())
	percent, rest := new(big.Int).QuoRem(new(big.Int).Mul(u, big.NewInt(100)), m, new(big.Int))
	g.Percent = int(percent.Int64())
	if rest.Sign() > 0 {
		g.Percent++
	}
	return g
}

// nativeAsset is what limits call the chain's own coin.
const nativeAsset = "native"

// assetAmount writes an amount of the chain's coin as ether, and one of a token,
// whose decimals nobody here knows, as it is.
func assetAmount(asset, n string) amount {
	if asset == nativeAsset {
		return amountOf(n)
	}
	if _, ok := new(big.Int).SetString(n, 10); !ok {
		return amount{Text: n, Exact: n}
	}
	return amount{grouped(n), grouped(n) + " of the token's smallest unit"}
}
